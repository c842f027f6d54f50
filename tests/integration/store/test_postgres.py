"""What only PostgreSQL does: conflicts, lost connections, restored dumps, partitions."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError
from creto.common.ids import DEFAULT_TENANT
from creto.store import Isolation, Position, Store, Tx, open_store
from creto.store.postgres.pipe import Piped
from creto.store.types import ReadTx
from tests.contract.store_examples import entry, eventually


def ids(store: Store) -> list[str]:
    return [str(row.event_id) for row in store.read_now(lambda tx: tx.ledger_tail(Position(), 10_000))]


@pytest.mark.parametrize("size_bytes", [300_000, 4_000_000])
def test_what_no_socket_takes_at_once_is_sent_all_the_same(postgres_url: str, size_bytes: int) -> None:
    """The client must not wait for an answer to a question of which a part is still with it."""
    store = open_store(postgres_url)
    try:

        def change(tx: Tx) -> int:
            tx.push("INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ('test-1', ?, 1)", "x" * size_bytes)
            return int(tx.value("SELECT length(node) FROM store_node WHERE instance = 'test-1'"))

        assert store.submit(change).result(60) == size_bytes
    finally:
        store.close()


def test_a_conflict_is_run_again(postgres_url: str) -> None:
    """Two transactions read what the other writes; serializable lets one through and the store repeats the other."""
    store = open_store(postgres_url)
    try:
        meet, runs = threading.Barrier(2, timeout=30), [0, 0]

        def skewed(me: int, tx: Tx) -> None:
            runs[me] += 1
            count = tx.value("SELECT COUNT(*) FROM store_node WHERE node = 'pair'")
            if runs[me] == 1:
                meet.wait()
            if count == 0:
                sql = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, 'pair', 1)"
                tx.run(sql, f"test-{me}")

        futures = [store.submit(lambda tx, me=me: skewed(me, tx)) for me in range(2)]
        for future in futures:
            future.result(20)
        assert store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM store_node WHERE node = 'pair'")) == 1
        assert sum(runs) >= 3
    finally:
        store.close()


def test_a_deadlock_is_run_again(postgres_url: str) -> None:
    store = open_store(postgres_url)
    try:
        meet, runs = threading.Barrier(2, timeout=30), [0, 0]

        def crossed(me: int, tx: Tx) -> None:
            runs[me] += 1
            tx.lock(f"lock-{me}")
            if runs[me] == 1:
                meet.wait()
            tx.lock(f"lock-{1 - me}")
            tx.record(entry())

        futures = [
            store.submit(lambda tx, me=me: crossed(me, tx), isolation=Isolation.READ_COMMITTED) for me in range(2)
        ]
        for future in futures:
            future.result(20)
        eventually(lambda: len(ids(store)) == 2)
        assert sum(runs) == 3
    finally:
        store.close()


async def test_lost_connections_are_made_anew_and_nothing_acknowledged_is_lost(postgres_url: str) -> None:
    store = open_store(postgres_url)
    acknowledged: list[str] = []
    try:

        async def writer() -> None:
            for _ in range(40):
                try:
                    acknowledged.append(await store.write(lambda tx: tx.record(entry())))
                except EnablementError as error:
                    if error.code != "PL-503":
                        raise

        async def killer() -> None:
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                for _ in range(5):
                    await asyncio.sleep(0.02)
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'creto' AND datname = current_database()"
                    )

        await asyncio.gather(killer(), *(writer() for _ in range(10)))
        before = len(acknowledged)
        await writer()  # whom the last kill leaves a dead connection hears PL-503 once
        assert len(acknowledged) > before
        eventually(lambda: set(acknowledged) <= set(ids(store)))
        assert len(set(ids(store))) == len(ids(store))
    finally:
        store.close()


def test_what_the_server_ended_while_nobody_asked_is_not_relied_on(postgres_url: str) -> None:
    """A transaction that only writes hears nothing before its commit."""
    with closing(open_store(postgres_url, pool_size=1)) as store:
        first = store.submit(lambda tx: tx.record(entry())).result()
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            ended = admin.execute(
                "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'creto'"
            ).fetchall()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid, _ in ended))
        second = store.submit(lambda tx: tx.record(entry())).result()
        assert ids(store) == [first, second]


def test_a_commit_that_nobody_heard_of_may_have_signalled(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits here for what it says looks again: nobody else tells them, and who sends it once more finds it done."""
    store = open_store(postgres_url)
    lost: list[bool] = []
    store.on_signal_lost(lambda: lost.append(store.signals_alive))
    sync = Piped.sync

    def cut(piped: Piped) -> None:
        sync(piped)
        piped._db.close()
        raise psycopg.OperationalError

    def change(tx: Tx) -> None:
        tx.run(NODES, "test-1", "x")
        tx.signal("thing", "x")
        monkeypatch.setattr(Piped, "sync", cut)

    try:
        with pytest.raises(ConnectionFailed, match="PL-503"):
            store.submit(change).result(30)
        monkeypatch.undo()
        assert store.read_now(lambda tx: tx.value("SELECT node FROM store_node WHERE instance = 'test-1'")) == "x"
        eventually(lambda: lost == [False, True])
    finally:
        store.close()


def test_a_dump_restored_on_a_younger_server_goes_on_in_order(postgres_url: str) -> None:
    store = open_store(postgres_url)
    first = [store.submit(lambda tx: tx.record(entry())).result(10) for _ in range(3)]
    store.submit(lambda tx: tx.publish("s", b"x", tenant=DEFAULT_TENANT, agent="a")).result(10)
    store.close()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("UPDATE store_ledger SET epoch = epoch + 1000000000000")
    store = open_store(postgres_url)
    try:
        more = [store.submit(lambda tx: tx.record(entry())).result(10) for _ in range(3)]
        eventually(lambda: len(ids(store)) == 6)
        assert ids(store) == first + more
    finally:
        store.close()


def test_the_event_tables_are_partitioned_by_agent(postgres_url: str) -> None:
    store = open_store(postgres_url)
    try:
        for i in range(64):
            store.submit(lambda tx, i=i: tx.record(entry(f"agent:{i}"))).result(10)
        parts = store.read_now(lambda tx: tx.all("SELECT tableoid::regclass::text, agent FROM store_ledger"))
        assert len({part for part, _ in parts}) > 4
    finally:
        store.close()


NODES = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, ?, 1)"
NAMED = "SELECT COUNT(*) FROM pg_prepared_statements"


def test_what_has_a_name_at_the_server_keeps_it_through_a_roll_back(postgres_url: str) -> None:
    store = open_store(postgres_url, pool_size=1)

    def counted(tx: Tx) -> int:
        tx.run("DELETE FROM store_node WHERE instance = ?", "nobody")
        return int(tx.value(NAMED))

    def failing(tx: Tx) -> None:
        tx.run(NODES, "twice", "x")
        tx.push(NODES, "twice", "x")

    try:
        before = [store.submit(counted).result(10) for _ in range(20)][-1]
        assert before > 0
        for _ in range(10):
            with pytest.raises(AlreadyExists):
                store.submit(failing).result(10)
            assert store.submit(counted).result(10) >= before
    finally:
        store.close()


def test_a_table_that_has_changed_under_a_named_statement_is_nobodys_fault(postgres_url: str) -> None:
    store = open_store(postgres_url, pool_size=1)
    try:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute("CREATE TABLE changing (a INT)")
            admin.execute("INSERT INTO changing VALUES (1)")
            for _ in range(20):
                assert store.submit(lambda tx: tx.all("SELECT * FROM changing")).result(10) == [(1,)]
                assert store.read_now(lambda tx: tx.all("SELECT * FROM changing")) == [(1,)]
            admin.execute("ALTER TABLE changing ADD COLUMN b INT DEFAULT 2")
            assert store.submit(lambda tx: tx.all("SELECT * FROM changing")).result(10) == [(1, 2)]
            assert store.read_now(lambda tx: tx.all("SELECT * FROM changing")) == [(1, 2)]
    finally:
        store.close()


def test_many_rows_and_answers_that_no_socket_takes_at_once(postgres_url: str) -> None:
    store = open_store(postgres_url, pool_size=1)
    try:
        rows = [(f"test-{n}", "x" * 500) for n in range(20_000)]
        store.submit(lambda tx: tx.many(NODES, rows)).result(60)
        answers = store.read_now(lambda tx: tx.together(*[("SELECT instance, node FROM store_node",)] * 3))
        assert [len(found) >= len(rows) for found in answers] == [True] * 3
    finally:
        store.close()


@pytest.mark.parametrize("first", [True, False])
def test_after_a_copy_that_failed_the_connection_goes_on(postgres_url: str, first: bool) -> None:
    store = open_store(postgres_url, pool_size=1)

    def copy(tx: Tx) -> None:
        if not first:
            tx.push(NODES, "one", "x")
        tx.bulk("store_node", ("instance", "node", "heartbeat_ms"), [("one", "x", 1), ("one", "x", 1)])

    try:
        before = store.submit(lambda tx: tx.value("SELECT pg_backend_pid()")).result(10)
        with pytest.raises(AlreadyExists):
            store.submit(copy).result(10)
        store.submit(lambda tx: tx.run(NODES, "one", "x")).result(10)
        assert store.submit(lambda tx: tx.value("SELECT pg_backend_pid()")).result(10) == before
    finally:
        store.close()


def test_a_read_that_outlives_its_store_leaves_no_connection(postgres_url: str) -> None:
    store = open_store(postgres_url)
    reading, closed, found = threading.Event(), threading.Event(), list[int]()

    def slow(tx: ReadTx) -> int:
        reading.set()
        assert closed.wait(30)
        return int(tx.value("SELECT pg_backend_pid()"))

    thread = threading.Thread(target=lambda: found.append(store.read_now(slow)))
    thread.start()
    assert reading.wait(30)
    store.close()
    closed.set()
    thread.join(30)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: db.execute(sql, found).fetchone() == (0,))
