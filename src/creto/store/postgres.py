"""PostgreSQL: a pool of threads with a connection each, serializable by default, retried when the server asks for it.

INVARIANT: a function is run again only while nothing of it can have been committed; when the connection breaks during
COMMIT the outcome is unknown, the caller gets PL-503, and an idempotency key tells it later what happened.
INVARIANT: a tail returns a row only when every transaction with a lower id has ended, so nothing can appear before it.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, ClassVar, LiteralString, TypeVar

import msgspec
import psycopg
from psycopg import errors, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import TransactionStatus

from creto.common.errors import (
    AlreadyExists,
    ConnectionFailed,
    EnablementError,
    InternalError,
    InvalidInput,
    Timeout,
)
from creto.common.limits import STORE_POOL_SIZE, STORE_QUEUE_MAX, STORE_RETRIES_MAX
from creto.store import schema
from creto.store.engine import LEAVE, EngineStore, checked_result
from creto.store.jobs import Job, closed, resolve
from creto.store.postgres_signals import CHANNEL, LEFT, PostgresListener
from creto.store.transaction import SqlTx
from creto.store.types import EngineName, Isolation, ReadTx, Row

T = TypeVar("T")
Connection = psycopg.Connection[Row]

SCHEMES = ("postgresql:", "postgres:")
MIGRATION_LOCK = 0x637265746F  # "creto"
RECONNECT_S = 0.5  # after a failed connection the next callers fail at once for this long

BEGIN = {
    Isolation.SERIALIZABLE: "BEGIN ISOLATION LEVEL SERIALIZABLE",
    Isolation.READ_COMMITTED: "BEGIN ISOLATION LEVEL READ COMMITTED",
}
BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
WALL_MS: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
VISIBLE = "epoch < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + store_epoch_base()"

# Strings, quoted names, comments and dollar quotes are stepped over; what is left of `?` are parameters.
TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(\w*)\$.*?\$\1\$ | (?P<mark>\?)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=4096)
def numbered(text: str) -> str:
    """`?` → `$1`, `$2`, … : the server's own placeholders, so that `%` needs no care."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match["mark"] is None:
            return match[0]
        count += 1
        return f"${count}"

    return TOKEN.sub(number, text)


class BoolAsInt(Dumper):
    """The layer keeps truth as 0 and 1, as SQLite does."""

    oid = psycopg.adapters.types["int2"].oid

    def dump(self, obj: bool) -> Buffer:
        return b"1" if obj else b"0"


class WholeNumeric(Loader):
    """A SUM over bigint is a numeric on PostgreSQL; it is a whole number all the same."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def connect(url: str, **options: Any) -> Connection:
    try:
        db = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=5,
            application_name="creto",
            cursor_factory=psycopg.RawCursor,
            **options,
        )
    except psycopg.Error as error:
        raise fault(error) from error
    db.prepared_max = 500
    db.adapters.register_dumper(bool, BoolAsInt)
    db.adapters.register_loader("numeric", WholeNumeric)
    db.execute(DURABLE)
    return db


def fault(error: Exception) -> EnablementError:
    """What an error of PostgreSQL means to a caller, without the server's details: they repeat the row's values."""
    said = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or type(error).__name__
    if isinstance(error, errors.UniqueViolation):
        return AlreadyExists("PL-409", said)
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
        return ConnectionFailed("PL-503", "too many transactions want the same rows", retry_after_s=0.1)
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
        return Timeout("PL-504", f"PostgreSQL: {said}")
    if isinstance(error, psycopg.DataError):
        return InvalidInput("PL-400", f"a value does not fit its column: {said}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return ConnectionFailed("PL-503", f"PostgreSQL is not reachable: {said}", retry_after_s=0.5)
    return InternalError("PL-500", f"PostgreSQL: {said}")


class PostgresTx(SqlTx):
    """A transaction on one connection."""

    engine: ClassVar[EngineName] = EngineName.POSTGRES
    for_update: ClassVar[LiteralString] = " FOR UPDATE"
    LEDGER_TAIL = (
        f"SELECT epoch, seq, event_id, body FROM store_ledger"  # noqa: S608 - literals
        f" WHERE (epoch, seq) > (?, ?) AND {VISIBLE} ORDER BY epoch, seq LIMIT ?"
    )
    OUTBOX_TAIL = (
        f"SELECT epoch, seq, message_id, tenant, subject, agent, payload, headers FROM store_outbox"  # noqa: S608
        f" WHERE (epoch, seq) > (?, ?) AND {VISIBLE} ORDER BY epoch, seq LIMIT ?"
    )
    FORGET = "DELETE FROM store_outbox WHERE epoch = ? AND seq = ?"
    FORGET_UPTO = "DELETE FROM store_outbox WHERE (epoch, seq) <= (?, ?)"

    def __init__(self, db: Connection, instance: str) -> None:
        super().__init__()
        self.cause: Exception | None = None
        self._db = db
        self._instance = instance

    def all(self, sql: LiteralString, *params: Any) -> list[Row]:
        return self._execute(sql, params).fetchall()

    def run(self, sql: LiteralString, *params: Any) -> int:
        return self._execute(sql, params).rowcount

    def _execute(self, text: str, params: Sequence[Any]) -> psycopg.Cursor[Row]:
        if self.failed is not None:
            raise self.failed
        try:
            return self._db.execute(numbered(text).encode(), params)
        except psycopg.Error as error:
            raise self._fail(error) from error

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        if self.failed is not None:
            raise self.failed
        try:
            with self._db.cursor() as cursor:
                cursor.executemany(numbered(sql).encode(), rows)
        except psycopg.Error as error:
            raise self._fail(error) from error

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        if self.failed is not None:
            raise self.failed
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        try:
            with self._db.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise self._fail(error) from error

    def send_signal(self, channel: str, payload: str) -> None:
        # The count keeps PostgreSQL from folding equal notifications of one transaction into one.
        body = msgspec.json.encode([self._instance, len(self.signals), channel, payload]).decode()
        self._execute("SELECT pg_notify(?, ?)", (CHANNEL, body))

    def lock(self, name: str) -> None:
        self._execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))

    def _fail(self, error: Exception) -> EnablementError:
        self.cause = error
        self.failed = fault(error)
        return self.failed


class PostgresStore(EngineStore):
    """The store over one PostgreSQL database."""

    engine: ClassVar[EngineName] = EngineName.POSTGRES

    def __init__(self, url: str, node: str | None = None, queue_max: int = STORE_QUEUE_MAX) -> None:
        super().__init__(node, queue_max)
        self.url = url
        self._down_until = 0.0
        self._idle_readers: deque[Connection] = deque()
        self._reading = threading.Semaphore(STORE_POOL_SIZE)
        self._listener = PostgresListener(partial(connect, url), self.signals, self.instance, self.node)
        self._listener.start()
        self._writers = [
            threading.Thread(target=self._write_all, name=f"creto-store-write-{i}", daemon=True)
            for i in range(STORE_POOL_SIZE)
        ]
        for writer in self._writers:
            writer.start()

    def read_now(self, fn: Callable[[ReadTx], T]) -> T:
        if self._closed:
            raise closed()
        with self._reading:
            for attempt in range(STORE_RETRIES_MAX + 1):
                db = self._reader()
                tx = PostgresTx(db, self.instance)
                try:
                    db.execute(BEGIN_READ)
                    result = checked_result(fn(tx))
                    db.execute("COMMIT")
                    return result
                except BaseException as error:
                    cause = tx.cause or error
                    if attempt == STORE_RETRIES_MAX or not self._again(db, cause):
                        if isinstance(error, psycopg.Error):
                            raise fault(error) from error
                        raise
                finally:
                    self._return_reader(db)
        raise AssertionError("unreachable")

    def _reader(self) -> Connection:
        with suppress(IndexError):
            while True:
                db = self._idle_readers.pop()
                if not db.closed:
                    return db
        return self._connect()

    def _return_reader(self, db: Connection) -> None:
        if _cleared(db):
            self._idle_readers.append(db)

    def wall_ms(self, tx: ReadTx) -> int:
        return int(tx.value(WALL_MS))

    def _connect(self) -> Connection:
        if time.monotonic() < self._down_until:
            raise ConnectionFailed("PL-503", "PostgreSQL is not reachable", retry_after_s=RECONNECT_S)
        try:
            return connect(self.url)
        except ConnectionFailed:
            self._down_until = time.monotonic() + RECONNECT_S
            raise

    def _write_all(self) -> None:
        db: Connection | None = None
        while jobs := self.queue.take(1):
            db = self._write(jobs[0], db)
            resolve(jobs)
        if db is not None:
            db.close()

    def _write(self, job: Job, db: Connection | None) -> Connection | None:
        """Run one transaction until it is committed or has failed for good; the connection to go on with."""
        for attempt in range(STORE_RETRIES_MAX + 1):
            try:
                db = db or self._connect()
                again = self._attempt(job, db)
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                job.result, job.error = None, error
                again = False
            if db is not None and not _cleared(db):
                db = None
            if not again:
                break
            time.sleep(random.uniform(0, min(0.1, 0.001 * 2**attempt)))  # noqa: S311 - jitter, not a secret
        return db

    def _attempt(self, job: Job, db: Connection) -> bool:
        """Run the function once, to its result or its error; True if it may and should be run again."""
        tx = PostgresTx(db, self.instance)
        job.error = None
        committing = False
        try:
            db.execute(BEGIN[job.isolation])
            job.result = checked_result(job.fn(tx))
            if tx.failed is not None:
                raise tx.failed
            committing = True
            db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            cause = tx.cause or error
            job.result = None
            job.error = fault(error) if isinstance(error, psycopg.Error) else error
            return self._again(db, cause) and not (committing and db.closed)
        if tx.signals:
            self.signals.handle(tx.signals)
        return False

    def _again(self, db: Connection, cause: BaseException) -> bool:
        """Whether the failure was none of the function's: a conflict, or a connection that broke before the commit."""
        if isinstance(cause, errors.SerializationFailure | errors.DeadlockDetected):
            return True
        return isinstance(cause, psycopg.OperationalError) and db.closed

    def close(self) -> None:
        if self._closed:
            return
        self._listener.stopping()
        self._unattended(self._leave)
        self.queue.close()
        for writer in self._writers:
            writer.join()
        self._closed = True
        self._readers.shutdown()
        self._listener.join()
        while self._idle_readers:
            self._idle_readers.pop().close()

    def _leave(self, tx: Any) -> None:
        tx.run(LEAVE, self.instance)
        tx.signal(LEFT, self.node)


def _cleared(db: Connection) -> bool:
    """Whether the connection can be used again; whatever was open on it is undone."""
    try:
        if not db.closed and db.info.transaction_status is not TransactionStatus.IDLE:
            db.execute("ROLLBACK")
    except psycopg.Error:
        db.close()
    return not db.closed


def migration_statuses(
    url: str, wanted: Sequence[schema.Migration], parts: Sequence[str]
) -> list[schema.MigrationStatus]:
    with connect(url) as db:
        if db.execute("SELECT to_regclass('store_migration')").fetchall() == [(None,)]:
            return schema.status(wanted, [], parts)
        return schema.status(wanted, _applied(db), parts)


def _applied(db: Connection) -> list[schema.Applied]:
    return [schema.Applied(*row) for row in db.execute(schema.SELECT).fetchall()]


def migrate(url: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
    """Apply what is pending, in one transaction; other processes wait for its lock and then find nothing to do."""
    with connect(url) as db:
        try:
            db.execute("BEGIN")
            db.execute("SELECT pg_advisory_xact_lock($1)", (MIGRATION_LOCK,))
            db.execute(schema.TABLE)
            statuses = schema.status(wanted, _applied(db), parts)
            schema.check(statuses, pending_allowed=True)
            for migration in schema.pending(wanted, statuses):
                db.execute(migration.sql(EngineName.POSTGRES).encode())
                now = datetime.now(UTC).isoformat()
                row = (migration.part, migration.version, migration.name, migration.checksum, now)
                db.execute(numbered(schema.INSERT).encode(), row)
            _lift_epochs(db)
            db.execute("COMMIT")
        except psycopg.Error as error:
            raise fault(error) from error


def _lift_epochs(db: Connection) -> None:
    """A dump restored on another server brings epochs above its transaction ids: new ones begin above those."""
    highest = "SELECT GREATEST((SELECT max(epoch) FROM store_ledger), (SELECT max(epoch) FROM store_outbox))"
    [(newest,)] = db.execute(highest.encode()).fetchall()
    [(current, base)] = db.execute("SELECT pg_current_xact_id()::text::bigint, store_epoch_base()").fetchall()
    if newest is not None and newest > current + base:
        body = f"SELECT {int(newest)}::bigint"
        db.execute(
            "CREATE OR REPLACE FUNCTION store_epoch_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE"
            f" AS '{body}'".encode()
        )
