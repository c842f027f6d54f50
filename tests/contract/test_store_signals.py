"""Signals: in the process before `write` returns, in the others within 50 ms, and known when they may be missing."""

from __future__ import annotations

import signal as signals
import threading

import psycopg
import pytest

from creto.common.limits import STORE_NODE_DEAD_S
from creto.store import EngineName, Store, Tx
from tests.contract.processes import line, python_module, say
from tests.contract.store_examples import entry, eventually
from tests.contract.stores import MakeStore

NODE = "tests.contract.store_node"


async def test_a_signal_has_been_handled_when_write_returns(store: Store) -> None:
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    await store.write(lambda tx: tx.signal("thing", "x"))
    assert heard == ["x"]


async def test_a_signal_is_sent_only_by_what_was_committed(store: Store) -> None:
    heard: list[str] = []
    store.on_signal("thing", heard.append)

    def change(tx: Tx) -> None:
        tx.signal("thing", "undone")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(change)
    await store.write(lambda tx: tx.signal("thing", "done"))
    assert heard == ["done"]


async def test_a_callback_reads_what_was_committed(store: Store) -> None:
    found: list[object] = []
    store.on_signal("thing", lambda p: found.append(store.read_now(lambda tx: tx.value(ONE, p))))

    def change(tx: Tx) -> None:
        tx.run("INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ('test-1', 'new', 1)")
        tx.signal("thing", "test-1")

    await store.write(change)
    assert found == ["new"]


ONE = "SELECT node FROM store_node WHERE instance = ?"


async def test_every_process_is_told_of_a_change_where_the_engine_can(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    changed = threading.Event()
    told = two.on_change(changed.set)
    assert told is (one.engine is EngineName.SQLITE)
    await one.write(lambda tx: tx.record(entry()))
    assert not told or changed.wait(30)


async def test_equal_signals_are_all_heard_everywhere(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    heard: list[str] = []
    two.on_signal("thing", heard.append)

    def change(tx: Tx) -> None:
        for _ in range(3):
            tx.signal("thing", "x")
            tx.signal("other", "y")

    await one.write(change)
    assert await one.settled(30)
    assert heard == ["x", "x", "x"]


async def test_settled_means_that_every_node_has_handled_it(make_store: MakeStore) -> None:
    nodes = [make_store() for _ in range(3)]
    heard: list[tuple[int, str]] = []
    for i, node in enumerate(nodes):
        node.on_signal("thing", lambda p, i=i: heard.append((i, p)))
    for round_ in range(10):
        heard.clear()
        writer = nodes[round_ % 3]
        await writer.write(lambda tx, r=round_: tx.signal("thing", str(r)))
        assert await writer.settled(30)
        assert sorted(heard) == [(i, str(round_)) for i in range(3)]


async def test_settled_alone_is_settled(store: Store) -> None:
    await store.write(lambda tx: tx.signal("thing", "x"))
    assert await store.settled(0)


async def test_settled_says_when_a_node_does_not_answer(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    gate = threading.Event()
    two.on_signal("thing", lambda p: gate.wait(30) and None)
    await one.write(lambda tx: tx.signal("thing", "x"))
    assert not await one.settled(0.05)
    gate.set()
    assert await one.settled(30)


async def test_another_process_hears_it_and_is_heard(store_url: str, make_store: MakeStore) -> None:
    store = make_store()
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    with python_module(NODE, store_url) as other:
        assert line(other) == "ready"
        for i in range(20):
            await store.write(lambda tx, i=i: tx.signal("thing", f"x{i}"))
            assert line(other) == f"heard x{i}"
        assert await store.settled(30)
        say(other, "hello")
        eventually(lambda: heard[-1] == "hello")


async def test_a_stopped_process_holds_settled_up_and_a_dead_one_does_not(
    store_url: str, make_store: MakeStore
) -> None:
    store = make_store()
    with python_module(NODE, store_url) as other:
        assert line(other) == "ready"
        other.send_signal(signals.SIGSTOP)
        assert not await store.settled(0.2)
        other.kill()
        other.wait()
    late = int((STORE_NODE_DEAD_S + 1) * 1000)
    await store.write(lambda tx: tx.run("UPDATE store_node SET heartbeat_ms = heartbeat_ms - ?", late))
    assert await store.settled(30)


async def test_a_failing_callback_counts_as_lost_and_stops_nobody(store: Store) -> None:
    events: list[str] = []

    def fail(payload: str) -> None:
        raise RuntimeError("a bug")

    store.on_signal("thing", fail)
    store.on_signal("thing", events.append)
    store.on_signal_lost(lambda: events.append("lost"))
    await store.write(lambda tx: tx.signal("thing", "x"))
    assert events == ["lost", "x"]


async def test_signals_that_were_pruned_before_they_were_read_are_reported(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()
    if one.engine is not EngineName.SQLITE:
        return  # PostgreSQL keeps none: a listener that is away knows that it is
    events: list[str] = []
    two.on_signal_lost(lambda: events.append("lost"))
    two.on_signal("thing", events.append)

    def change(tx: Tx) -> None:
        tx.signal("thing", "gone")
        tx.run("DELETE FROM store_signal")
        tx.signal("thing", "kept")

    await one.write(change)
    eventually(lambda: "kept" in events)
    assert events == ["lost", "kept"]


async def test_who_was_taken_for_dead_is_told_that_signals_were_lost(make_store: MakeStore) -> None:
    one, two = make_store(), make_store(node="taken for dead")
    events: list[str] = []
    two.on_signal_lost(lambda: events.append("lost"))
    two.on_signal("thing", events.append)

    def change(tx: Tx) -> None:
        tx.run("DELETE FROM store_node WHERE node = 'taken for dead'")
        tx.signal("thing", "unheard")

    await one.write(change)
    eventually(lambda: "lost" in events)
    eventually(lambda: two.signals_alive)
    await one.write(lambda tx: tx.signal("thing", "heard"))
    eventually(lambda: events[-1] == "heard")


def test_a_broken_connection_is_reported_at_once_and_again_when_it_is_back(postgres_url: str) -> None:
    from creto.store import open_store

    store = open_store(postgres_url)
    try:
        states: list[bool] = []
        heard: list[str] = []
        store.on_signal_lost(lambda: states.append(store.signals_alive))
        store.on_signal("thing", heard.append)
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'creto'"
                " AND datname = current_database()"
            )
        eventually(lambda: states == [False, True])
        assert store.signals_alive
        other = open_store(postgres_url)
        other.submit(lambda tx: tx.signal("thing", "x")).result(10)
        other.close()
        eventually(lambda: heard == ["x"])
        store.submit(lambda tx: tx.signal("thing", "y")).result(10)
        assert heard == ["x", "y"]
    finally:
        store.close()
