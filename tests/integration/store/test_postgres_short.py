"""Drafts on PostgreSQL: sent by the event loop, heard by it, and seen to by a thread where that does not go."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from creto.common.errors import ConnectionFailed, InternalError
from creto.store import Isolation, Store, Tx, open_store
from creto.store.draft import AsSeen, drafted
from creto.store.postgres import PostgresStore
from creto.store.postgres.connection import Connection, cleared
from creto.store.postgres.pipe import Piped
from creto.store.postgres.short import COMMITTED
from tests.contract.store_examples import eventually

SAVE = "UPDATE store_node SET node = ? WHERE instance = 'test-1'"
WHO = "SELECT node FROM store_node WHERE instance = 'test-1'"
HOLD = "SELECT 1 FROM store_node WHERE instance = 'test-1' FOR UPDATE"
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
CONNECTED = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'creto'"
OPENED = CONNECTED + " AND query = '" + COMMITTED.replace("'", "''") + "'"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """One whose loop has its short way."""
    opened = open_store(postgres_url)
    assert isinstance(opened, PostgresStore)
    await opened.write(
        lambda tx: tx.run("INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ('test-1', '0', 4000000000000)")
    )
    await rename(opened, "0", "0")
    await has_way(opened)
    yield opened
    await asyncio.to_thread(opened.close)


@pytest.fixture
def other(postgres_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres_url) as db:
        yield db


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - the loop goes on meanwhile
            await asyncio.sleep(0.001)


async def begin(store: PostgresStore) -> None:
    """To open a way, and not wait for it."""
    assert store._way(asyncio.get_running_loop()) is None


async def has_way(store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    await until(lambda: store._way(loop))


async def rename(store: Store, old: str, new: str) -> str:
    def work(tx: Tx) -> str:
        tx.push(SAVE, new)
        tx.signal("thing", new)
        return "drafted"

    draft = drafted(work, AsSeen(SAVE, " AND node = ?", old), lambda tx: "afresh", lambda: True)
    return await store.write(draft, isolation=Isolation.READ_COMMITTED)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch, store: PostgresStore) -> list[object]:
    """What threads did."""
    done: list[object] = []
    attempt = store._attempt
    monkeypatch.setattr(store, "_attempt", lambda jobs, db: done.append(jobs) or attempt(jobs, db))
    return done


async def waiting(other: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Until somebody waits for a lock: who that is."""
    found: list[tuple[object, ...]] = []
    await until(lambda: found.extend(other.execute(WAITING).fetchall()) or found)
    return found


async def test_no_thread_sees_to_a_draft_that_holds(store: PostgresStore, threads: list[object]) -> None:
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    before = store.commits
    for number in range(5):
        assert await rename(store, str(number), str(number + 1)) == "drafted"
        assert store.read_now(lambda tx: tx.value(WHO)) == str(number + 1)
    assert heard == ["1", "2", "3", "4", "5"]
    assert (threads, store.commits - before) == ([], 5)


async def test_what_has_changed_is_seen_to_by_a_thread_and_the_way_stays(
    store: PostgresStore, threads: list[object]
) -> None:
    assert await rename(store, "another", "1") == "afresh"
    assert len(threads) == 2  # it supposes, is refuted, and looks
    assert await rename(store, "0", "1") == "drafted"
    assert len(threads) == 2


async def test_what_has_changed_is_seen_to_also_when_the_connection_breaks_with_the_answer(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(db: Connection) -> bool:
        db.close()
        return cleared(db)

    monkeypatch.setattr("creto.store.postgres.store.cleared", broken)
    assert await rename(store, "another", "1") == "afresh"
    assert store.signals_alive


async def test_who_goes_away_changes_nothing(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    other.execute(HOLD)
    task = asyncio.create_task(rename(store, "0", "1"))
    await waiting(other)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    other.rollback()
    await until(lambda: heard)
    assert store.read_now(lambda tx: tx.value(WHO)) == "1"
    assert await rename(store, "1", "2") == "drafted"


async def test_while_one_is_under_way_threads_see_to_the_others(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]], threads: list[object]
) -> None:
    other.execute(HOLD)
    one = asyncio.create_task(rename(store, "0", "1"))
    await waiting(other)
    two = asyncio.create_task(rename(store, "1", "2"))
    await until(lambda: threads)
    other.rollback()
    assert sorted([await one, await two]) in (
        ["drafted", "drafted"],
        ["afresh", "drafted"],
    )  # whoever gets the row first


async def test_a_way_that_the_server_ended_is_opened_anew(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]], threads: list[object]
) -> None:
    way = store._ways[asyncio.get_running_loop()]
    other.execute("SELECT pg_terminate_backend(%s)", (way.db.pgconn.backend_pid,))
    await until(lambda: way.closed)
    assert await rename(store, "0", "1") == "drafted"
    assert len(threads) == 1
    await has_way(store)
    assert await rename(store, "1", "2") == "drafted"
    assert len(threads) == 1


async def test_what_nobody_heard_of_is_said_so(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    other.execute(HOLD)
    task = asyncio.create_task(rename(store, "0", "1"))
    [(pid,)] = await waiting(other)
    other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(ConnectionFailed, match="PL-503"):
        await task
    other.rollback()
    assert store.read_now(lambda tx: tx.value(WHO)) == "0"


async def test_what_was_committed_and_not_heard_of_is_looked_for(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[bool] = []
    store.on_signal_lost(lambda: lost.append(store.signals_alive))
    hear = Piped.hear

    def cut(piped: Piped) -> bool:
        if hear(piped):
            raise psycopg.OperationalError
        return False

    monkeypatch.setattr(Piped, "hear", cut)
    with pytest.raises(ConnectionFailed, match="PL-503"):
        await rename(store, "0", "1")
    assert store.read_now(lambda tx: tx.value(WHO)) == "1"
    assert lost == [False]
    await until(lambda: lost == [False, True])


async def test_a_commit_that_fails_has_changed_nothing(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]], threads: list[object]
) -> None:
    other.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON store_node DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (new.node = 'refused') EXECUTE FUNCTION refuse()"
    )
    other.commit()
    with pytest.raises(InternalError, match="PL-500"):
        await rename(store, "0", "refused")
    assert len(threads) == 2  # supposed, then looked at
    assert await rename(store, "0", "1") == "drafted"
    assert len(threads) == 2
    assert store.read_now(lambda tx: tx.value(WHO)) == "1"


@pytest.mark.parametrize("on_loop", [True, False])
async def test_closing_waits_for_what_is_under_way(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]], postgres_url: str, on_loop: bool
) -> None:
    other.execute(HOLD)
    task = asyncio.create_task(rename(store, "0", "1"))
    await waiting(other)
    release = threading.Timer(0.05, other.rollback)
    release.start()
    if on_loop:
        store.close()
    else:
        await asyncio.to_thread(store.close)
    assert await task == "drafted"
    release.join()
    with closing(open_store(postgres_url)) as again:
        assert again.read_now(lambda tx: tx.value(WHO)) == "1"


async def test_a_way_whose_names_the_server_forgot_is_opened_anew(store: PostgresStore, threads: list[object]) -> None:
    way = store._ways[asyncio.get_running_loop()]
    for number in range(5):  # often enough for names
        await rename(store, str(number), str(number + 1))
    way.db.pgconn.nonblocking = 0
    way.db.execute("DEALLOCATE ALL")
    assert await rename(store, "5", "6") == "drafted"
    assert (len(threads), way.closed) == (1, True)
    await has_way(store)
    assert await rename(store, "6", "7") == "drafted"
    assert len(threads) == 1


def test_a_way_that_nobody_came_back_for_is_closed(postgres_url: str) -> None:
    store = open_store(postgres_url)
    assert isinstance(store, PostgresStore)
    with psycopg.connect(postgres_url, autocommit=True) as db, closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(begin(store))
        eventually(lambda: db.execute(OPENED).fetchall())
        store.close()
        eventually(lambda: not db.execute(CONNECTED).fetchall())


async def test_a_way_that_has_ended_leaves_alone_whoever_has_its_number_now(
    store: PostgresStore, other: psycopg.Connection[tuple[object, ...]]
) -> None:
    loop = asyncio.get_running_loop()
    way = store._ways[loop]
    number = way.db.fileno()
    other.execute("SELECT pg_terminate_backend(%s)", (way.db.info.backend_pid,))
    await until(lambda: way.closed)
    ours, theirs = socket.socketpair()
    if (mine := ours.detach()) != number:
        os.dup2(mine, number)
        os.close(mine)
    with theirs, closing(socket.socket(fileno=number)):
        heard = asyncio.Event()
        loop.add_reader(number, heard.set)
        await asyncio.to_thread(store.close)
        theirs.send(b"!")
        await asyncio.wait_for(heard.wait(), 30)
        loop.remove_reader(number)


def test_a_loop_that_stops_while_the_store_closes_leaves_no_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(postgres_url)
    assert isinstance(store, PostgresStore)
    asked, closer = threading.Event(), threading.Thread(target=store.close)
    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(begin(store))
        loop.run_until_complete(has_way(store))
        way, ask = store._ways[loop], loop.call_soon_threadsafe

        def stop() -> None:
            closer.start()
            asked.wait(30)
            loop.stop()

        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *call: (ask(*call), asked.set()))
        loop.call_soon(stop)
        loop.run_forever()
        closer.join()
        assert way.closed


def test_loops_that_have_ended_leave_no_connection(postgres_url: str) -> None:
    with closing(open_store(postgres_url)) as store:
        assert isinstance(store, PostgresStore)

        async def act() -> None:
            await rename(store, "nobody", "somebody")
            await has_way(store)

        for _ in range(4):
            asyncio.run(act())
        assert len(store._ways) == 1
        with psycopg.connect(postgres_url) as db:
            eventually(lambda: len(db.execute(CONNECTED).fetchall()) < 12)


def test_a_loop_that_ended_in_the_middle_holds_up_no_closing(postgres_url: str) -> None:
    store = open_store(postgres_url)
    assert isinstance(store, PostgresStore)
    row = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ('test-1', '0', 4000000000000)"
    store.submit(lambda tx: tx.run(row)).result(30)
    with psycopg.connect(postgres_url) as other, closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(begin(store))
        loop.run_until_complete(has_way(store))
        other.execute(HOLD)
        left = loop.create_task(rename(store, "0", "1"))
        loop.run_until_complete(waiting(other))
        loop.close()
        other.rollback()
        store.close()
        assert other.execute(WHO).fetchall() == [("1",)]
    left._log_destroy_pending = False  # type: ignore[attr-defined]  # it was meant to be left
