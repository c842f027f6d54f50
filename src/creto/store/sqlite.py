"""SQLite: one file, one writer, many readers.

All writes of a process go through one thread, which commits them in groups: it takes what waits, runs each function in its own
savepoint, and commits once. While the disk syncs, the next group gathers; so the cost of durability is shared by everyone who waits.

INVARIANT: synchronous=FULL in WAL mode: what COMMIT acknowledged survives a crash of the machine.
INVARIANT: a function that fails undoes only itself; a COMMIT that fails fails every function of its group.
INVARIANT: checkpoints run on their own thread, so that copying the log into the file never stands between a caller and its commit.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, LiteralString, TypeVar

import apsw

from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError, InternalError, InvalidInput
from creto.common.limits import (
    STORE_BUSY_S_MAX,
    STORE_GROUP_MAX,
    STORE_NODE_DEAD_S,
    STORE_QUEUE_MAX,
    STORE_WAL_PAGES,
    STORE_WAL_PAGES_MAX,
)
from creto.store import schema
from creto.store.engine import JOIN, LEAVE, EngineStore, checked_result
from creto.store.jobs import Job, closed, resolve
from creto.store.sqlite_signals import SqliteWatcher
from creto.store.transaction import SqlTx
from creto.store.types import EngineName, ReadTx, Row

T = TypeVar("T")

SCHEME = "sqlite:///"
WRITERS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by file: never two writers in one process

SIGNAL: LiteralString = "INSERT INTO store_signal (instance, channel, payload, at_ms) VALUES (?, ?, ?, ?)"


def connect(path: str, *, readonly: bool = False) -> apsw.Connection:
    try:
        db = apsw.Connection(path, statementcachesize=512)
        db.set_busy_handler(_busy_handler())
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        db.execute(
            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000"
        )
        db.execute("PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864").fetchall()
        if readonly:
            db.execute("PRAGMA query_only=ON")
    except apsw.Error as error:
        raise fault(error) from error
    return db


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
        unique = error.extendedresult in (apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY)
        return AlreadyExists("PL-409", str(error)) if unique else InternalError("PL-500", str(error))
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return ConnectionFailed("PL-503", "another process holds the database file", retry_after_s=0.5)
    if isinstance(error, apsw.FullError | apsw.IOError | apsw.CantOpenError | apsw.ReadOnlyError):
        return ConnectionFailed("PL-503", f"the database file cannot be written: {error}", hint="Check the disk.")
    if isinstance(error, OverflowError | apsw.TooBigError):
        return InvalidInput("PL-400", "a value is too large to be stored")
    return InternalError("PL-500", f"SQLite: {error}")


FAULTS = (apsw.Error, OverflowError)


class SqliteTx(SqlTx):
    """A transaction, or a savepoint in a group of them."""

    engine: ClassVar[EngineName] = EngineName.SQLITE
    LEDGER_TAIL = "SELECT ?, seq, event_id, body FROM store_ledger WHERE seq > ? ORDER BY seq LIMIT ?"
    OUTBOX_TAIL = (
        "SELECT ?, seq, message_id, tenant, subject, agent, payload, headers FROM store_outbox"
        " WHERE seq > ? ORDER BY seq LIMIT ?"
    )
    FORGET = "DELETE FROM store_outbox WHERE ? = 0 AND seq = ?"
    FORGET_UPTO = "DELETE FROM store_outbox WHERE ? = 0 AND seq <= ?"

    def __init__(self, db: apsw.Connection, instance: str) -> None:
        super().__init__()
        self._db = db
        self._instance = instance

    def all(self, sql: LiteralString, *params: Any) -> list[Row]:
        try:
            return self._ready().execute(sql, params).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error

    def run(self, sql: LiteralString, *params: Any) -> int:
        try:
            self._ready().execute(sql, params).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error
        return self._db.changes()

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._ready().executemany(sql, rows).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        marks = ", ".join("?" for _ in columns)
        self.many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608 - literals

    def send_signal(self, channel: str, payload: str) -> None:
        self.run(SIGNAL, self._instance, channel, payload, wall_ms())

    def lock(self, name: str) -> None:
        """The one writer is the lock."""

    def _ready(self) -> apsw.Connection:
        if self.failed is not None:
            raise self.failed
        return self._db

    def _fail(self, error: Exception) -> EnablementError:
        self.failed = fault(error)
        return self.failed


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteStore(EngineStore):
    """The store over one SQLite file."""

    engine: ClassVar[EngineName] = EngineName.SQLITE

    def __init__(self, path: str, node: str | None = None, queue_max: int = STORE_QUEUE_MAX) -> None:
        super().__init__(node, queue_max)
        self.path = path
        self._lock = WRITERS[os.path.realpath(path)]
        self._db = connect(path)
        self._idle_readers: deque[apsw.Connection] = deque()
        self._checkpointer = Checkpointer(path, self._lock)
        self._db.set_wal_hook(self._checkpointer.after_commit)
        self._watcher = SqliteWatcher(connect(path, readonly=True), self.signals, self.instance, self._beat)
        self._writer = threading.Thread(target=self._write_groups, name="creto-store-write", daemon=True)
        self._writer.start()
        self._checkpointer.start()
        self.submit(lambda tx: tx.run(JOIN, self.instance, self.node, wall_ms())).result()
        self._watcher.start()

    def read_now(self, fn: Callable[[ReadTx], T]) -> T:
        if self._closed:
            raise closed()
        try:
            db = self._idle_readers.pop()
        except IndexError:
            db = connect(self.path, readonly=True)
        try:
            db.execute("BEGIN")
            try:
                return checked_result(fn(SqliteTx(db, self.instance)))
            finally:
                db.execute("COMMIT")
        except FAULTS as error:
            raise fault(error) from error
        finally:
            self._idle_readers.append(db)

    def wall_ms(self, tx: ReadTx) -> int:
        return wall_ms()

    def _write_groups(self) -> None:
        while jobs := self.queue.take(STORE_GROUP_MAX):
            self._commit(jobs)

    def _commit(self, jobs: list[Job]) -> None:
        signals: list[tuple[str, str]] = []
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._attempt(job, signals)
                self._db.execute("COMMIT")
        except FAULTS as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            failure = fault(error)
            failure.__cause__ = error
            for job in jobs:
                job.result, job.error = None, job.error or failure
        else:
            if signals:
                self.signals.handle(signals)
        resolve(jobs)

    def _attempt(self, job: Job, signals: list[tuple[str, str]]) -> None:
        """Run one function of the group. Raises only if the whole group is lost with it (a full disk ends the transaction)."""
        db = self._db
        db.execute("SAVEPOINT job")
        tx = SqliteTx(db, self.instance)
        try:
            job.result = checked_result(job.fn(tx))
            if tx.failed is not None:
                raise tx.failed
            signals += tx.signals
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            job.result, job.error = None, error
            db.execute("ROLLBACK TO job")
        db.execute("RELEASE job")

    def _beat(self, done: Callable[[], None]) -> None:
        """Say that we live, and clear away what nobody needs any more."""

        def beat(tx: Any) -> None:
            now = wall_ms()
            if not tx.run("UPDATE store_node SET heartbeat_ms = ? WHERE instance = ?", now, self.instance):
                tx.run(JOIN, self.instance, self.node, now)
            self._watcher.prune(tx, now)
            tx.run("DELETE FROM store_node WHERE heartbeat_ms < ?", now - int(10 * STORE_NODE_DEAD_S * 1000))

        self._unattended(beat, done)

    def close(self) -> None:
        if self._closed:
            return
        self._watcher.stop()
        self._unattended(lambda tx: tx.run(LEAVE, self.instance))
        self.queue.close()
        self._writer.join()
        self._closed = True
        self._readers.shutdown()
        self._checkpointer.stop()
        self._db.close()
        while self._idle_readers:
            self._idle_readers.pop().close()


class Checkpointer:
    """Copies the write-ahead log into the file, beside the writer.

    A checkpoint that runs beside a busy writer never quite reaches the end of the log, and only then can the log start anew. So past
    STORE_WAL_PAGES_MAX the writer waits once for the last few pages.
    """

    def __init__(self, path: str, writer: threading.Lock) -> None:
        self._db = connect(path)
        self._writer = writer
        self._due = threading.Event()
        self._pages = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="creto-store-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def after_commit(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        if pages >= STORE_WAL_PAGES:
            self._due.set()
        return apsw.SQLITE_OK

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stopped:
                return
            self._due.clear()
            long = self._pages >= STORE_WAL_PAGES_MAX
            self._checkpoint()
            if long:
                self._checkpoint()
                with self._writer:
                    self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:  # another process is at it
            return

    def stop(self) -> None:
        self._stopped = True
        self._due.set()
        self._thread.join()
        self._db.close()


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


def migration_statuses(
    path: str, wanted: Sequence[schema.Migration], parts: Sequence[str]
) -> list[schema.MigrationStatus]:
    db = connect(path)
    try:
        return schema.status(wanted, _applied(db), parts)
    finally:
        db.close()


def _applied(db: apsw.Connection) -> list[schema.Applied]:
    db.execute(schema.TABLE)
    return [schema.Applied(*row) for row in db.execute(schema.SELECT).fetchall()]


def migrate(path: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
    """Apply what is pending, in one transaction; other processes wait for its lock and then find nothing to do."""
    db = connect(path)
    try:
        db.execute("BEGIN IMMEDIATE")
        statuses = schema.status(wanted, _applied(db), parts)
        schema.check(statuses, pending_allowed=True)
        for migration in schema.pending(wanted, statuses):
            db.execute(migration.sql(EngineName.SQLITE)).fetchall()
            now = datetime.now(UTC).isoformat()
            db.execute(schema.INSERT, (migration.part, migration.version, migration.name, migration.checksum, now))
        db.execute("COMMIT")
    except apsw.Error as error:
        raise fault(error) from error
    finally:
        db.close()
