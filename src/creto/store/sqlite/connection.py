"""Connections to a SQLite file, and what its errors mean."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError, InternalError, InvalidInput
from creto.common.limits import STORE_BUSY_S_MAX

SCHEME = "sqlite:///"
UNIQUE = (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
FAULTS = (apsw.Error, OverflowError)


def open_path(url: str) -> str:
    """The file that a `sqlite:///` address names, created readable by its owner only."""
    path = Path(url.removeprefix(SCHEME))
    if not url.startswith(SCHEME) or str(path) in ("", ".", ":memory:"):
        raise InvalidInput.of(
            "url", got=url, expected="sqlite:///path/to/file.db (a fourth slash begins an absolute path)"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return str(path)


def connect(path: str, *, readonly: bool = False) -> apsw.Connection:
    try:
        db = apsw.Connection(path, statementcachesize=512)
        db.set_busy_handler(_busy_handler())
        # Else a statement with `LIMIT ?` or an ORDER BY is planned anew with every value that is bound: most of its time.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        _use_wal(db)
        db.execute(
            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000"
        )
        db.execute("PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864").fetchall()
        if readonly:
            db.execute("PRAGMA query_only=ON")
    except apsw.Error as error:
        raise fault(error) from error
    return db


def _use_wal(db: apsw.Connection) -> None:
    """Only the first opener of a new file switches it; the switch ignores the busy handler, so the others look again."""
    since = time.monotonic()
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL").fetchall()
        except apsw.BusyError:
            if time.monotonic() - since > STORE_BUSY_S_MAX:
                raise
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - jitter, not a secret
        else:
            return


def _busy_handler() -> Callable[[int], bool]:
    """Another process writes: look again every millisecond or so, and give up after STORE_BUSY_S_MAX."""
    since = [0.0]

    def wait(tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            since[0] = now
        if now - since[0] > STORE_BUSY_S_MAX:
            return False
        time.sleep(random.uniform(0.0002, 0.002))  # noqa: S311 - jitter, not a secret
        return True

    return wait


def fault(error: Exception) -> EnablementError:
    """What an error of SQLite means to a caller."""
    if isinstance(error, apsw.ConstraintError):
        unique = getattr(error, "extendedresult", 0) in UNIQUE
        return AlreadyExists("PL-409", str(error)) if unique else InternalError("PL-500", str(error))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return ConnectionFailed("PL-503", "another process holds the database file", retry_after_s=0.5)
    if isinstance(error, apsw.FullError | apsw.IOError | apsw.CantOpenError | apsw.ReadOnlyError):
        return ConnectionFailed("PL-503", f"the database file cannot be written: {error}", hint="Check the disk.")
    if isinstance(error, OverflowError | apsw.TooBigError):
        return InvalidInput("PL-400", "a value is too large to be stored")
    return InternalError("PL-500", f"SQLite: {error}")


def wall_ms() -> int:
    """The clock of the machine, which all processes on the file share; for heartbeats only."""
    return time.time_ns() // 1_000_000
