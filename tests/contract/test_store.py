"""What every engine of the store must do: transactions."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import msgspec
import pytest

from creto.common.errors import AlreadyExists, ConnectionFailed, InternalError, InvalidInput
from creto.common.ids import DEFAULT_TENANT, TenantId
from creto.common.limits import METADATA_BYTES_MAX
from creto.store import EngineName, Isolation, Position, ReadTx, Store, Tx
from tests.contract.store_examples import entry, eventually
from tests.contract.stores import MakeStore

JOIN = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, ?, ?)"
ONE = "SELECT node FROM store_node WHERE instance = ?"
COLUMNS = ("instance", "node", "heartbeat_ms")
NODES = "SELECT node FROM store_node WHERE instance LIKE 'test-%' ORDER BY instance"
FAR = 10**15  # a heartbeat that no pruning touches


def ids(tx: ReadTx) -> list[str]:
    return [row.event_id for row in tx.ledger_tail(Position(), 10_000)]


async def test_recorded_entries_come_out_of_the_tail_in_order(store: Store) -> None:
    entries = [entry() for _ in range(5)]
    for e in entries:
        await store.write(lambda tx, e=e: tx.record(e))
    eventually(lambda: len(store.read_now(ids)) == 5)
    rows = await store.read(lambda tx: tx.ledger_tail(Position(), 10))
    assert [(row.event_id, row.body) for row in rows] == [(e.event_id, e.body()) for e in entries]


async def test_state_ledger_and_outbox_commit_together_or_not_at_all(store: Store) -> None:
    def change(tx: Tx, fail: bool) -> None:
        tx.run(JOIN, "test-1", "n", FAR)
        tx.record(entry())
        tx.publish("a.b", b"x", tenant=DEFAULT_TENANT, agent="agent:a", headers={"k": "v"})
        if fail:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(lambda tx: change(tx, True))
    assert await store.read(lambda tx: tx.all(NODES)) == []
    assert store.read_now(ids) == []
    await store.write(lambda tx: change(tx, False))
    eventually(lambda: store.read_now(ids))
    assert await store.read(lambda tx: tx.all(NODES)) == [("n",)]
    [message] = await store.read(lambda tx: tx.outbox_tail(Position(), 10))
    assert (message.subject, message.payload, message.headers) == ("a.b", b"x", {"k": "v"})


async def test_a_failing_function_undoes_only_itself(store: Store) -> None:
    def good(tx: Tx) -> str:
        return tx.record(entry(action="good"))

    def bad(tx: Tx) -> str:
        tx.record(entry(action="bad"))
        raise ValueError("no")

    results = await asyncio.gather(*(store.write(fn) for fn in [good, bad] * 20), return_exceptions=True)
    assert [isinstance(r, ValueError) for r in results] == [False, True] * 20
    eventually(lambda: len(store.read_now(ids)) == 20)
    assert sorted(store.read_now(ids)) == sorted(r for r in results if isinstance(r, str))


async def test_a_failing_statement_fails_its_neighbours_in_the_group_not(store: Store) -> None:
    writes = [store.write(lambda tx, i=i: tx.run(JOIN, f"test-{i // 2}", "n", FAR)) for i in range(40)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(r == 1 for r in results) == 20
    assert sum(isinstance(r, AlreadyExists) for r in results) == 20


async def test_a_caught_failure_still_ends_the_transaction(store: Store) -> None:
    def stubborn(tx: Tx) -> None:
        tx.run(JOIN, "test-1", "n", FAR)
        try:
            tx.run(JOIN, "test-1", "n", FAR)
        except AlreadyExists:
            return

    with pytest.raises(AlreadyExists) as raised:
        await store.write(stubborn)
    assert raised.value.code == "PL-409"
    assert await store.read(lambda tx: tx.all(NODES)) == []


async def test_what_was_written_is_read(store: Store) -> None:
    for i in range(20):
        await store.write(lambda tx, i=i: tx.run(JOIN, f"test-{i:02}", f"n{i}", FAR))
        assert store.read_now(
            lambda tx, i=i: tx.value("SELECT node FROM store_node WHERE instance = ?", f"test-{i:02}")
        )


async def test_a_read_sees_one_moment(store: Store) -> None:
    await store.write(lambda tx: tx.run(JOIN, "test-1", "before", FAR))

    def look(tx: ReadTx) -> tuple[object, object]:
        first = tx.value(NODES)
        store.submit(lambda w: w.run("UPDATE store_node SET node = 'after' WHERE instance = 'test-1'")).result(10)
        return first, tx.value(NODES)

    first, second = await store.read(look)
    assert first == second
    assert store.read_now(lambda tx: tx.value(NODES)) == "after"


async def test_question_marks_and_percents_in_literals_are_text(store: Store) -> None:
    row = store.read_now(lambda tx: tx.one("SELECT '?%s', 'it''s?', ? /* ? */ -- ?\n", "x"))
    assert row == ("?%s", "it's?", "x")


async def test_truth_is_a_number_and_bytes_are_bytes(store: Store) -> None:
    def write(tx: Tx) -> None:
        tx.run(
            "INSERT INTO store_idempotency (key, payload, state, expires_at, result) VALUES (?, ?, ?, ?, ?)",
            b"\x00k", b"\xff%?'", True, 2**62, None,
        )  # fmt: skip

    await store.write(write)
    row = store.read_now(lambda tx: tx.one("SELECT key, payload, state, expires_at, result FROM store_idempotency"))
    assert row == (b"\x00k", b"\xff%?'", 1, 2**62, None)
    total = store.read_now(lambda tx: tx.value("SELECT SUM(expires_at) FROM store_idempotency"))
    assert (total, type(total)) == (2**62, int)


async def test_many_and_bulk_write_every_row(store: Store) -> None:
    def write(tx: Tx) -> None:
        tx.many(JOIN, [(f"test-{i:03}", "many", FAR) for i in range(100)])
        tx.bulk("store_node", COLUMNS, [(f"test-{i}", "bulk", FAR) for i in range(100, 200)])
        tx.record(entry())

    await store.write(write, isolation=Isolation.READ_COMMITTED)
    rows = await store.read(lambda tx: tx.all(NODES))
    assert [node for (node,) in rows] == ["many"] * 100 + ["bulk"] * 100
    with pytest.raises(AlreadyExists):
        await store.write(lambda tx: tx.bulk("store_node", COLUMNS, [("test-100", "x", 1)]))


async def test_a_lost_update_cannot_happen(store: Store) -> None:
    """Serializable is the default: reading and then writing needs no lock, the store repeats what conflicts."""
    await store.write(lambda tx: tx.run(JOIN, "test-1", "counter", 0))

    def increment(tx: Tx) -> None:
        seen = tx.value("SELECT heartbeat_ms FROM store_node WHERE instance = 'test-1'")
        tx.run("UPDATE store_node SET heartbeat_ms = ? WHERE instance = 'test-1'", seen + 1)

    done = await asyncio.gather(*(store.write(increment) for _ in range(30)), return_exceptions=True)
    kept = sum(r is None for r in done)
    assert all(r is None or (isinstance(r, ConnectionFailed) and r.retryable) for r in done)
    assert kept > 0
    assert store.read_now(lambda tx: tx.value("SELECT heartbeat_ms FROM store_node WHERE instance = 'test-1'")) == kept


async def test_a_lock_keeps_others_out(make_store: MakeStore) -> None:
    one, two = make_store(), make_store()

    def locked(tx: Tx) -> None:
        tx.lock("counter")
        row = tx.one("SELECT heartbeat_ms FROM store_node WHERE instance = 'test-1'" + tx.for_update)
        assert row is not None
        tx.run("UPDATE store_node SET heartbeat_ms = ? WHERE instance = 'test-1'", row[0] + 1)

    await one.write(lambda tx: tx.run(JOIN, "test-1", "counter", 0))
    writes = [s.write(locked, isolation=Isolation.READ_COMMITTED) for s in (one, two) for _ in range(20)]
    await asyncio.gather(*writes)
    assert one.read_now(lambda tx: tx.value("SELECT heartbeat_ms FROM store_node WHERE instance = 'test-1'")) == 40


async def test_a_full_queue_refuses_at_once_and_loses_nothing(make_store: MakeStore) -> None:
    store = make_store(queue_max=5)
    gate, busy = threading.Event(), threading.Semaphore(0)

    def block(tx: Tx) -> None:
        busy.release()
        gate.wait(30)

    workers = 1 if store.engine is EngineName.SQLITE else 10
    blocked: list[Future[None]] = []
    for _ in range(workers):
        blocked.append(store.submit(block))
        assert busy.acquire(timeout=30)
    waiting = [store.submit(lambda tx: tx.record(entry())) for _ in range(5)]
    with pytest.raises(ConnectionFailed, match="queue is full") as raised:
        await store.write(lambda tx: tx.record(entry()))
    assert (raised.value.code, raised.value.retryable) == ("PL-503", True)
    gate.set()
    written = [future.result(10) for future in waiting]
    eventually(lambda: len(store.read_now(ids)) == 5)
    assert sorted(store.read_now(ids)) == sorted(written)


async def test_close_finishes_what_was_accepted(make_store: MakeStore) -> None:
    store = make_store()
    futures = [store.submit(lambda tx: tx.record(entry())) for _ in range(300)]
    store.close()
    written = [future.result(0) for future in futures]
    with pytest.raises(ConnectionFailed, match="closed"):
        store.submit(lambda tx: None)
    with pytest.raises(ConnectionFailed, match="closed"):
        store.read_now(ids)
    again = make_store()
    eventually(lambda: len(again.read_now(ids)) == 300)
    assert sorted(again.read_now(ids)) == sorted(written)


async def test_a_cancelled_waiter_harms_nobody(store: Store) -> None:
    tasks = [asyncio.create_task(store.write(lambda tx: tx.record(entry()))) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, str) for r in results[1::2])
    eventually(lambda: len(store.read_now(ids)) == 20)


async def test_a_coroutine_is_no_transaction(store: Store) -> None:
    async def late(tx: Tx) -> None: ...

    with pytest.raises(InternalError, match="plain function"):
        await store.write(late)


async def test_what_does_not_fit_is_refused_and_changes_nothing(store: Store) -> None:
    with pytest.raises(InvalidInput, match="tenant"):
        await store.write(lambda tx: tx.publish("a", b"", tenant=TenantId(""), agent="agent:a"))
    with pytest.raises(InvalidInput, match="payload"):
        await store.write(lambda tx: tx.publish("a", bytes(2**20 + 1), tenant=DEFAULT_TENANT, agent="agent:a"))
    with pytest.raises(InvalidInput, match="signal"):
        await store.write(lambda tx: tx.signal("a", "x" * 5000))
    big = msgspec.structs.replace(entry(), metadata=msgspec.Raw(b'"' + b"x" * METADATA_BYTES_MAX + b'"'))
    with pytest.raises(InvalidInput, match="metadata"):
        await store.write(lambda tx: tx.record(big))
    with pytest.raises(InternalError) as raised:
        await store.write(lambda tx: tx.run("INSERT INTO nowhere VALUES (?)", "secret"))
    assert "secret" not in raised.value.rendered()
    assert store.read_now(ids) == []


async def test_rows_asked_for_together_come_in_the_order_of_the_questions(store: Store) -> None:
    await store.write(lambda tx: tx.many(JOIN, [("test-1", "a", FAR), ("test-2", "b", FAR)]))

    def ask(tx: ReadTx) -> list[list[tuple[object, ...]]]:
        return tx.together((ONE, "test-2"), (NODES,), (ONE, "test-3"))

    answers = [[("b",)], [("a",), ("b",)], []]
    assert await store.read(ask) == answers
    assert await store.write(ask) == answers


async def test_what_was_pushed_is_seen_by_what_follows_and_fails_its_transaction(store: Store) -> None:
    def push(tx: Tx, *instances: str) -> list[tuple[object, ...]]:
        for instance in instances:
            tx.push(JOIN, instance, "n", FAR)
        return tx.all(NODES)

    assert await store.write(lambda tx: push(tx, "test-1")) == [("n",)]
    with pytest.raises(AlreadyExists):
        await store.write(lambda tx: push(tx, "test-2", "test-1"))
    with pytest.raises(AlreadyExists):
        await store.write(lambda tx: tx.push(JOIN, "test-1", "n", FAR))
    assert await store.read(lambda tx: tx.all(NODES)) == [("n",)]


RENAME = "UPDATE store_node SET node = ? WHERE instance = 'test-1'"


async def supposing(store: Store, supposed: str, fails: bool = False) -> tuple[list[bool], object]:
    """Write as if the node's name were `supposed`: what the function was told in each of its runs, and what came of it."""
    told: list[bool] = []

    def rename(tx: Tx) -> str:
        told.append(tx.suppose(RENAME + " AND node = ?", f"{supposed}!", supposed))
        found = supposed if told[-1] else tx.value(ONE + tx.for_update, "test-1")
        if fails:
            raise ValueError(found)
        if not told[-1]:
            tx.push(RENAME, f"{found}!")
        return str(found)

    try:
        return told, await store.write(rename, isolation=Isolation.READ_COMMITTED)
    except ValueError as error:
        return told, str(error)


async def test_what_is_supposed_and_so_needs_no_look(store: Store) -> None:
    await store.write(lambda tx: tx.run(JOIN, "test-1", "n", FAR))
    told, result = await supposing(store, "n")
    assert told == [True]
    assert result == "n"
    assert await store.read(lambda tx: tx.all(NODES)) == [("n!",)]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_supposed_and_not_so_is_looked_at_in_a_second_run(store: Store, fails: bool) -> None:
    await store.write(lambda tx: tx.run(JOIN, "test-1", "other", FAR))
    told, result = await supposing(store, "n", fails)
    assert told == ([True, False] if store.engine is EngineName.POSTGRES else [False])
    assert result == "other"
    assert await store.read(lambda tx: tx.all(NODES)) == [("other" if fails else "other!",)]


async def test_what_is_supposed_while_another_changes_it_is_seen_once_the_row_is_ours(make_store: MakeStore) -> None:
    """Nobody's change is lost: all suppose the same, one was right, the others look."""
    stores = [make_store(), make_store()]
    await stores[0].write(lambda tx: tx.run(JOIN, "test-1", "n", FAR))
    results = await asyncio.gather(*(supposing(stores[n % 2], "n") for n in range(20)))
    assert sorted(len(str(result)) for _, result in results) == list(range(1, 21))
    assert await stores[0].read(lambda tx: tx.all(NODES)) == [("n" + "!" * 20,)]
