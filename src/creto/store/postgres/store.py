"""PostgreSQL: a pool of threads with a connection each, serializable by default, retried when the server asks for it.

Under load a thread takes several functions into one transaction; if anything goes wrong with it, each is run alone.

INVARIANT: a function is run again only while nothing of it can have been committed; when the connection breaks during
COMMIT the outcome is unknown, the caller gets PL-503, and an idempotency key tells it later what happened. What it would have
signalled is unknown as well, so this process trusts nothing in memory until the server has ended that transaction.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from functools import partial
from types import CodeType
from typing import Any, ClassVar, LiteralString, TypeVar, cast

import psycopg
from psycopg import errors

from creto.common.errors import ConnectionFailed, EnablementError
from creto.common.limits import STORE_CONNECT_S, STORE_POOL_SIZE, STORE_QUEUE_MAX, STORE_RETRIES_MAX
from creto.store.draft import Drafted
from creto.store.engine import LEAVE, EngineStore, checked_result
from creto.store.jobs import Job, closed, resolve
from creto.store.postgres.connection import STALE, Connection, cleared, connect, fault
from creto.store.postgres.pipe import Piped
from creto.store.postgres.short import COMMITTED, ShortWay, Unheard
from creto.store.postgres.signals import LEFT, PostgresListener
from creto.store.postgres.tx import MoreThanOne, PostgresTx
from creto.store.types import EngineName, Isolation, ReadTx, Tail, Tx

T = TypeVar("T")

SHARES = 4  # what waits is divided by this: larger groups cost fewer commits, smaller ones use more cores of the server
SHORT_SIZE_MAX = 32 * 1024  # of what takes the short way: a socket takes it at once
GROUP_MAX = 32  # functions in one transaction: the more, the longer its row locks are held
SLOW_S = 0.25  # a server that is down refuses at once; one that is cut off lets us wait
CODES_MAX = 4096  # functions remembered as needing a snapshot

BEGIN = {
    Isolation.SERIALIZABLE: "BEGIN ISOLATION LEVEL SERIALIZABLE",
    Isolation.READ_COMMITTED: "BEGIN ISOLATION LEVEL READ COMMITTED",
}
BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
IMPATIENT = "SET LOCAL lock_timeout = '50ms'"  # a group gives way, so that two of them never wait for one another
WALL_MS: LiteralString = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class Ended(Enum):
    """How an attempt to commit came out."""

    DONE = "done"
    FAILED = "failed"  # for good; nothing was changed
    AGAIN = "again"  # none of the function's fault; nothing was changed
    UNKNOWN = "unknown"  # the connection broke during COMMIT


class PostgresStore(EngineStore):
    """The store over one PostgreSQL database."""

    engine: ClassVar[EngineName] = EngineName.POSTGRES

    def __init__(
        self, url: str, node: str | None = None, queue_max: int = STORE_QUEUE_MAX, pool_size: int = STORE_POOL_SIZE
    ) -> None:
        super().__init__(node, queue_max)
        self.url = url
        self._down_until = 0.0
        self._idle_readers: deque[Connection] = deque()
        self._reading = threading.Semaphore(pool_size)
        self._need_snapshot: set[CodeType] = set()
        self._ways: dict[asyncio.AbstractEventLoop, ShortWay] = {}
        self._opening: dict[asyncio.AbstractEventLoop, Future[Connection]] = {}
        self._opening_ways = threading.Lock()
        self._closing = False
        self._listener = PostgresListener(partial(connect, url), self.signals, self.instance, self.node)
        self._listener.start()
        self._writers = [
            threading.Thread(target=self._write_all, name=f"creto-store-write-{i}", daemon=True)
            for i in range(pool_size)
        ]
        for writer in self._writers:
            writer.start()

    async def write(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        if isinstance(fn, Drafted) and isolation is Isolation.READ_COMMITTED and fn.size <= SHORT_SIZE_MAX:
            with suppress(psycopg.Error):  # the server refused: nothing was changed, and a thread sees to it
                if (done := self._short_write(fn)) is not None:
                    try:
                        await done
                    except Unheard as error:
                        raise fault(psycopg.OperationalError()) from error
                    return cast(T, fn.result)
        return await super().write(fn, isolation=isolation)

    def _short_write(self, work: Drafted[Any]) -> asyncio.Future[None] | None:
        way = self._way(asyncio.get_running_loop())
        if way is None or not way.free:
            return None
        tx: PostgresTx | None = None
        started = time.perf_counter()

        def send(piped: Piped) -> bool:
            nonlocal tx
            tx = PostgresTx(way.db, piped, self.instance, self._listener.alone_since, refuted=False)
            return work.written(tx)

        def told() -> None:
            assert tx is not None
            self.commit_times.observe(time.perf_counter() - started)
            self.commits += 1
            self._tell_committed(tx.signals, tx.appended)

        return way.write(send, told)

    def _way(self, loop: asyncio.AbstractEventLoop) -> ShortWay | None:
        """The loop's own, opened for the next time if there is none."""
        way = self._ways.get(loop)
        if way is not None and not way.closed:
            return way
        with self._opening_ways:
            opening = self._opening.get(loop)
            if self._closing or (opening is not None and not opening.done()):
                return None
            if opening is None:
                self._forget_ended_loops()
                self._opening[loop] = self._readers.submit(self._connect_committed)
                return None
            del self._opening[loop]
            if opening.exception() is None:
                self._ways[loop] = ShortWay(opening.result(), loop, self._listener.distrust)
        return None  # the loop hears first whether the server has ended it meanwhile

    def _connect_committed(self) -> Connection:
        db = self._connect()
        try:
            db.execute(COMMITTED)
            db.pgconn.nonblocking = 1
        except BaseException:
            db.close()
            raise
        return db

    def _forget_ended_loops(self) -> None:
        for loop in [one for one in self._ways if one.is_closed()]:
            self._ways.pop(loop).close()
        for loop in [one for one, opening in self._opening.items() if one.is_closed() and opening.done()]:
            _close_opened(self._opening.pop(loop))

    def read_now(self, fn: Callable[[ReadTx], T]) -> T:
        if self._closed:
            raise closed()
        with self._reading:
            for attempt in range(STORE_RETRIES_MAX + 1):
                db = self._reader()
                try:
                    return self._read_once(db, fn)
                except psycopg.Error as error:
                    if attempt == STORE_RETRIES_MAX or not _again(db, error):
                        raise fault(error) from error
                finally:
                    self._put_back(db)
        raise AssertionError("the last attempt returns or raises")

    def _read_once(self, db: Connection, fn: Callable[[ReadTx], T]) -> T:
        """One statement is its own snapshot and needs no transaction; a function with more is remembered."""
        code = getattr(fn, "__code__", None)
        if code is not None and code not in self._need_snapshot:
            with suppress(MoreThanOne), Piped(db) as piped:
                return _reading(fn, PostgresTx(db, piped, self.instance, alone=True))
            if len(self._need_snapshot) < CODES_MAX:
                self._need_snapshot.add(code)
        with Piped(db) as piped:
            piped.send(BEGIN_READ)
            result = _reading(fn, PostgresTx(db, piped, self.instance))
            piped.send("COMMIT")
        return result

    def _reader(self) -> Connection:
        with suppress(IndexError):
            while True:
                db = self._idle_readers.pop()
                if not db.closed:
                    return db
        return self._connect()

    def wall_ms(self, tx: ReadTx) -> int:
        return int(tx.value(WALL_MS))

    def _connect(self) -> Connection:
        """Connect; after a failure that was slow to show, the next callers fail at once for as long as that took."""
        started = time.monotonic()
        if started < self._down_until:
            raise ConnectionFailed("PL-503", "PostgreSQL is not reachable", retry_after_s=0.5)
        try:
            return connect(self.url, connect_timeout=STORE_CONNECT_S)
        except ConnectionFailed:
            ended = time.monotonic()
            if ended - started > SLOW_S:
                self._down_until = ended + (ended - started)
            raise

    def _write_all(self) -> None:
        db: Connection | None = None
        while jobs := self.queue.take(GROUP_MAX, share=SHARES):
            alike = len(jobs) > 1 and all(job.isolation is Isolation.SERIALIZABLE for job in jobs)
            if alike and db is not None and self._attempt(jobs, db) in (Ended.DONE, Ended.UNKNOWN):
                resolve(jobs)
                continue
            for job in jobs:
                db = self._write(job, db)
                resolve([job])
        if db is not None:
            db.close()

    def _write(self, job: Job, db: Connection | None) -> Connection | None:
        """Run one transaction until it is committed or has failed for good; the connection to go on with."""
        for attempt in range(STORE_RETRIES_MAX + 1):
            try:
                db = db if db is not None and not db.closed else self._connect()
            except Exception as error:  # noqa: BLE001 - it belongs to the caller
                job.error = error
                return None
            if self._attempt([job], db) is not Ended.AGAIN:
                break
            time.sleep(random.uniform(0, min(0.1, 0.001 * 2**attempt)))  # noqa: S311 - jitter, not a secret
        return db

    def _attempt(self, jobs: Sequence[Job], db: Connection) -> Ended:
        """Run these functions once, as one transaction; each has its result then, or all have the error."""
        tx: PostgresTx | None = None
        signals: list[tuple[str, str]] = []
        appended: set[Tail] = set()
        committing = False
        started = time.perf_counter()
        try:
            with Piped(db) as piped:
                piped.send(BEGIN[jobs[0].isolation])
                if len(jobs) > 1:
                    piped.send(IMPATIENT)
                for job in jobs:
                    tx = PostgresTx(
                        db, piped, self.instance, self._listener.alone_since, refuted=job.refuted or len(jobs) > 1
                    )
                    tx.span = job.span
                    job.result = checked_result(job.fn(tx))
                    if tx.failed is not None:
                        raise tx.failed
                    signals += tx.signals
                    appended |= tx.appended
                committing = True
                piped.send("COMMIT")
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            cause = (tx.cause if tx is not None else None) or error
            for job in jobs:
                job.result, job.error = None, fault(error) if isinstance(error, psycopg.Error) else error
            if committing and not _answered(cause) and not cleared(db):
                self._listener.distrust()
                return Ended.UNKNOWN
            again = _again(db, cause)
            if tx is not None and tx.supposed:  # whatever came of it may come of what is not so
                jobs[0].refuted = again = True
            cleared(db)
            return Ended.AGAIN if again else Ended.FAILED
        self.commit_times.observe(time.perf_counter() - started)
        self.commits += len(jobs)
        for job in jobs:
            job.error = None
        self._tell_committed(signals, appended)
        return Ended.DONE

    def close(self) -> None:
        if self._closed:
            return
        with self._opening_ways:
            self._closing = True
        for way in tuple(self._ways.values()):
            way.close()
        self._listener.stopping()
        self._unattended(self._leave)
        self.queue.close()
        for writer in self._writers:
            writer.join()
        self._closed = True
        self._readers.shutdown()
        for opening in self._opening.values():
            _close_opened(opening)
        self._listener.join()
        self._close_readers()

    def _put_back(self, db: Connection) -> None:
        if cleared(db):
            self._idle_readers.append(db)
        if self._closed:  # meanwhile, and nobody else comes for it
            self._close_readers()

    def _close_readers(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle_readers.pop().close()

    def _leave(self, tx: Any) -> None:
        tx.run(LEAVE, self.instance)
        tx.signal(LEFT, self.node)


def _again(db: Connection, cause: BaseException) -> bool:
    """Whether the failure was none of the function's: a conflict, a connection that broke before the commit, or one that knows old tables."""
    if isinstance(cause, errors.SerializationFailure | errors.DeadlockDetected):
        return True
    if isinstance(cause, STALE):
        db.close()  # and with it the names
    return isinstance(cause, (psycopg.OperationalError, *STALE)) and db.closed


def _answered(cause: BaseException) -> bool:
    """Whether the server itself said that a statement, or the commit, failed: then nothing was committed, whatever becomes of the connection."""
    return isinstance(cause, psycopg.Error) and cause.diag.severity_nonlocalized == "ERROR"


def _close_opened(opening: Future[Connection]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _reading(fn: Callable[[ReadTx], T], tx: PostgresTx) -> T:
    """Run a read; what the server said comes out as it was, so that it can be tried again."""
    try:
        return checked_result(fn(tx))
    except EnablementError:
        if tx.cause is not None:
            raise tx.cause from None
        raise
