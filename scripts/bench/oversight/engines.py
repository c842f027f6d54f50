"""The engines that oversight is measured on, and what this machine's disk and they take with nothing of ours.

PostgreSQL is set as docs/operations/deploying.md says for production, over its Unix socket; `fsync` and `synchronous_commit` are on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import apsw
import psycopg
from tests import engines

from scripts.bench.measure import Row, Scale, each, latency

POSTGRES = ("max_wal_size=4GB", "min_wal_size=1GB", "checkpoint_timeout=15min", "wal_compression=on")
PAGE = 4096
PAGES = 16  # about as many as a transition writes
LOG_PAGES = 8_000
SAMPLES = 2_000


def urls(folder: Path, stack: ExitStack) -> dict[str, str]:
    found = {"SQLite FULL": f"sqlite:///{folder}/oversight.db"}
    if engines.postgres_bin() is not None:
        found["PostgreSQL"] = stack.enter_context(engines.postgres(*POSTGRES, unix=True))
    return found


def floors(folder: Path, found: dict[str, str], scale: Scale) -> Iterator[Row]:
    count = scale.count(SAMPLES)
    yield latency(f"floor: {PAGES} pages written in place, fdatasync", disk(folder, count), note="nothing of ours")
    note = f"nothing of ours: {PAGES} UPDATEs of 1 kB by apsw, the log in place"
    yield latency("floor: a transaction, SQLite FULL", sqlite(folder, count), note=note)
    if "PostgreSQL" in found:
        note = "nothing of ours: SELECT FOR UPDATE, 5 statements, COMMIT by psycopg, 2 round trips"
        yield latency("floor: a transaction, PostgreSQL", postgres(found["PostgreSQL"], count), note=note)


def disk(folder: Path, count: int) -> list[float]:
    file = os.open(folder / "floor", os.O_CREAT | os.O_RDWR)
    try:
        os.write(file, bytes(PAGES * PAGE * 64))
        os.fsync(file)
        page, turn = os.urandom(PAGE), iter(range(10**9))

        def commit() -> None:
            at = next(turn) % 64 * PAGES * PAGE
            for number in range(PAGES):
                os.pwrite(file, page, at + number * PAGE)
            os.fdatasync(file)

        return each(commit, count, warm=20)
    finally:
        os.close(file)


def sqlite(folder: Path, count: int) -> list[float]:
    with closing(apsw.Connection(str(folder / "floor.db"))) as db:
        db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0").fetchall()
        db.execute("CREATE TABLE floor (place INTEGER PRIMARY KEY, body BLOB)")
        body, turn = os.urandom(1_000), iter(range(10**9))
        for place in range(PAGES):  # three rows fill a page: neighbours are kept apart
            db.execute("INSERT INTO floor VALUES (?, ?)", (place, body * 3 + b"-" * 500))

        def commit() -> None:
            if next(turn) * PAGES % LOG_PAGES < PAGES:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            db.execute("BEGIN IMMEDIATE")
            for place in range(PAGES):
                db.execute("UPDATE floor SET body = ? WHERE place = ?", (os.urandom(1_000) * 3 + b"-" * 500, place))
            db.execute("COMMIT")

        return each(commit, count, warm=LOG_PAGES // PAGES)


def postgres(url: str, count: int) -> list[float]:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE floor (place INT PRIMARY KEY, body BYTEA)")
        db.execute("INSERT INTO floor SELECT n, '' FROM generate_series(1, 100) AS n")
        turn = iter(range(10**9))

        def commit() -> None:
            place, body = next(turn) % 90 + 1, os.urandom(1_000)
            with db.pipeline():
                db.execute("BEGIN")
                db.execute("SELECT body FROM floor WHERE place = %s FOR UPDATE", (place,), prepare=True).fetchall()
                for number in range(5):
                    db.execute("UPDATE floor SET body = %b WHERE place = %s", (body, place + number), prepare=True)
                db.execute("COMMIT")

        return each(commit, count, warm=50)
