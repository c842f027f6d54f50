"""SQLite: one file, one writer, many readers.

All writes of a process go through one thread, which commits them in groups: it takes what waits, runs each function in
its own savepoint (the whole transaction where it is alone), and commits once. While the disk syncs, the next group gathers: those who wait share the cost.

INVARIANT: synchronous=FULL in WAL mode: what COMMIT acknowledged survives a crash of the machine.
INVARIANT: a function that fails undoes only itself; a COMMIT that fails fails every function of its group.
INVARIANT: checkpoints run on their own thread: copying the log into the file stands between no caller and its commit.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar, TypeVar

import apsw

from creto.common.errors import ConnectionFailed
from creto.common.limits import STORE_GROUP_MAX, STORE_NODE_DEAD_S, STORE_QUEUE_MAX
from creto.store.engine import JOIN, LEAVE, EngineStore, checked_result
from creto.store.jobs import Job, closed, resolve
from creto.store.sqlite.bell import Bell
from creto.store.sqlite.checkpoint import Checkpointer
from creto.store.sqlite.connection import FAULTS, connect, fault, wall_ms
from creto.store.sqlite.signals import SqliteWatcher
from creto.store.sqlite.tx import SqliteTx
from creto.store.types import EngineName, ReadTx, Tail

T = TypeVar("T")

WRITERS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by file: never two writers in one process


class GroupLost(Exception):
    """SQLite gave up the whole transaction with one of its statements, as it does when the disk is full."""


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
        self._watcher = SqliteWatcher(connect(path, readonly=True), Bell(path), self.signals, self.instance, self._beat)
        self._writer = threading.Thread(target=self._write_groups, name="creto-store-write", daemon=True)
        self._writer.start()
        self._checkpointer.start()
        self._watcher.start()
        try:
            self.submit(lambda tx: tx.run(JOIN, self.instance, self.node, wall_ms())).result()
        except BaseException:
            self.close()
            raise

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

    def on_change(self, fn: Callable[[], None]) -> bool:
        self._watcher.on_change(fn)
        return True

    def wall_ms(self, tx: ReadTx) -> int:
        return wall_ms()

    def _write_groups(self) -> None:
        while jobs := self.queue.take(STORE_GROUP_MAX):
            self._commit(jobs)

    def _commit(self, jobs: list[Job]) -> None:
        signals: list[tuple[str, str]] = []
        started = perf_counter()
        appended: set[Tail] = set()
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                if len(jobs) == 1:
                    self._run(jobs[0], signals, appended)
                else:
                    for job in jobs:
                        self._attempt(job, signals, appended)
                self._db.execute("ROLLBACK" if len(jobs) == 1 and jobs[0].error else "COMMIT")
        except (*FAULTS, GroupLost) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            failure = ConnectionFailed("PL-503", str(error)) if isinstance(error, GroupLost) else fault(error)
            failure.__cause__ = error
            for job in jobs:
                job.result, job.error = None, job.error or failure
        else:
            self.commit_times.observe(perf_counter() - started)
            self.commits += len(jobs)
            self._tell_committed(signals, appended)
            self._watcher.committed()
        resolve(jobs)

    def _attempt(self, job: Job, signals: list[tuple[str, str]], appended: set[Tail]) -> None:
        """One function of a group, in its own savepoint."""
        self._db.execute("SAVEPOINT job")
        if not self._run(job, signals, appended):
            self._db.execute("ROLLBACK TO job")
        self._db.execute("RELEASE job")

    def _run(self, job: Job, signals: list[tuple[str, str]], appended: set[Tail]) -> bool:
        """Whether it did not fail. Raises only if the whole group is lost with it, as when the disk is full."""
        tx = SqliteTx(self._db, self.instance)
        tx.span = job.span
        try:
            job.result = checked_result(job.fn(tx))
            if tx.failed is not None:
                raise tx.failed
            signals += tx.signals
            appended |= tx.appended
        except BaseException as error:
            job.result, job.error = None, error
            if not self._db.in_transaction:
                raise GroupLost(f"the group's transaction ended early: {error}") from error
            return False
        return True

    def _beat(self, done: Callable[[], None]) -> None:
        """Say that we live, and clear away what nobody needs any more. Who finds its own row gone was told nothing since: the others took
        it for dead, as they take everybody when the machine's clock has jumped ahead."""
        gone = threading.Event()

        def beat(tx: Any) -> None:
            now = wall_ms()
            if not tx.run("UPDATE store_node SET heartbeat_ms = ? WHERE instance = ?", now, self.instance):
                tx.run(JOIN, self.instance, self.node, now)
                gone.set()
            self._watcher.prune(tx, now)
            tx.run("DELETE FROM store_node WHERE heartbeat_ms < ?", now - int(10 * STORE_NODE_DEAD_S * 1000))

        def beaten() -> None:
            if gone.is_set():
                self.signals.tell_lost()
            done()

        self._unattended(beat, beaten)

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
