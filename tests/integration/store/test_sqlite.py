"""What only SQLite does: groups that a full disk takes down, checkpoints beside the writer, processes on one file."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from creto.common.errors import AlreadyExists, ConnectionFailed, InternalError
from creto.store import Position, Store, Tx
from creto.store.opening import open_store
from creto.store.sqlite import SqliteStore, checkpoint
from creto.store.sqlite import open_path as sqlite_path
from creto.store.sqlite import store as sqlite_store
from tests.contract.processes import line, python_module
from tests.contract.store_examples import entry

JOIN = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, ?, ?)"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/creto.db"


@pytest.fixture
def store(url: str) -> Iterator[SqliteStore]:
    opened = open_store(url)
    assert isinstance(opened, SqliteStore)
    yield opened
    opened.close()


def count(store: Store) -> int:
    return len(store.read_now(lambda tx: tx.ledger_tail(Position(), 100_000)))


async def test_a_full_disk_fails_the_group_and_harms_nothing_that_was_acknowledged(store: SqliteStore) -> None:
    acknowledged = [await store.write(lambda tx: tx.record(entry())) for _ in range(3)]

    def limit(tx: Tx, pages: int) -> None:
        tx.all(f"PRAGMA max_page_count = {pages}")

    pages = store.read_now(lambda tx: tx.value("PRAGMA page_count"))
    await store.write(lambda tx: limit(tx, pages))
    big = entry("agent:" + "x" * 190)
    writes = [store.write(lambda tx: [tx.record(big) for _ in range(20)]) for _ in range(30)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    failed = [r for r in results if isinstance(r, BaseException)]
    assert failed
    assert all(isinstance(r, ConnectionFailed) and r.retryable for r in failed)
    assert count(store) == len(acknowledged) + 20 * (30 - len(failed))
    await store.write(lambda tx: limit(tx, 2**30))
    await store.write(lambda tx: tx.record(entry()))
    assert count(store) == len(acknowledged) + 20 * (30 - len(failed)) + 1


async def test_a_commit_that_fails_fails_every_function_of_its_group(store: SqliteStore) -> None:
    store._db.set_commit_hook(lambda: True)  # SQLite turns the COMMIT into a rollback
    results = await asyncio.gather(
        *(store.write(lambda tx: tx.record(entry())) for _ in range(10)), return_exceptions=True
    )
    store._db.set_commit_hook(None)
    assert [isinstance(r, BaseException) for r in results] == [True] * 10
    assert count(store) == 0
    await store.write(lambda tx: tx.record(entry()))
    assert count(store) == 1


async def test_the_log_stays_small_while_writes_never_pause(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "STORE_WAL_PAGES", 50)
    monkeypatch.setattr(checkpoint, "STORE_WAL_PAGES_MAX", 200)
    store = open_store(url)
    try:
        largest = 0
        log = sqlite_path(url) + "-wal"

        async def caller() -> None:
            nonlocal largest
            for _ in range(150):
                await store.write(lambda tx: [tx.record(entry()) for _ in range(5)])
                largest = max(largest, os.stat(log).st_size)

        await asyncio.gather(*(caller() for _ in range(8)))
        assert count(store) == 150 * 8 * 5
        assert largest < 2_000 * 4096, f"the log grew to {largest} bytes"
    finally:
        store.close()
    assert os.listdir(os.path.dirname(log)) == ["creto.db"], "closing leaves one file"


async def test_a_plan_does_not_change_with_the_values(store: SqliteStore) -> None:
    """A statement that was planned anew for each value would say so in its plan."""
    plan = store.read_now(lambda tx: tx.all("EXPLAIN SELECT node FROM store_node ORDER BY instance LIMIT ?", 7))
    assert any(row[1] == "Variable" for row in plan)
    assert not any(row[1] == "Integer" and row[2] == 7 for row in plan)


def test_a_store_that_cannot_join_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "JOIN", "INSERT INTO nowhere VALUES (?, ?, ?)")
    before = set(threading.enumerate())
    with pytest.raises(InternalError, match="nowhere"):
        open_store(url)
    assert set(threading.enumerate()) <= before


async def test_durability_is_not_negotiable(store: SqliteStore) -> None:
    def settings(tx: Tx) -> list[object]:
        return [tx.value(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await store.write(settings) == ["wal", 2, 1]


async def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(ConnectionFailed):
        store.read_now(lambda tx: tx.all("INSERT INTO store_node VALUES ('a', 'b', 1)"))


async def test_two_processes_write_to_one_file(url: str, store: SqliteStore) -> None:
    with python_module("tests.crash.store_writer", url, "1") as other:
        assert line(other) == "ready"
        for _ in range(50):
            await store.write(lambda tx: tx.record(entry()))
            assert line(other)
        other.kill()
        other.wait()
    seqs = [row.position.seq for row in store.read_now(lambda tx: tx.ledger_tail(Position(), 100_000))]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_value_that_is_too_large_is_the_callers_mistake(store: SqliteStore) -> None:
    from creto.common.errors import InvalidInput

    with pytest.raises(InvalidInput):
        await store.write(lambda tx: tx.run(JOIN, "test-1", "n", 2**63))


async def test_an_older_sqlite_in_the_same_process_is_kept_out(store: SqliteStore) -> None:
    """The bundled SQLite is past the fix for the bug that could corrupt a log when it was reset."""
    assert apsw.sqlite_lib_version() >= "3.51.3"


async def test_a_unique_index_and_a_primary_key_mean_the_same(store: SqliteStore) -> None:
    await store.write(lambda tx: tx.run("CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT UNIQUE)"))
    await store.write(lambda tx: tx.run("INSERT INTO t VALUES ('a', 'b')"))
    for row in ("'a', 'x'", "'x', 'b'"):
        with pytest.raises(AlreadyExists):
            await store.write(lambda tx, row=row: tx.run(f"INSERT INTO t VALUES ({row})"))
