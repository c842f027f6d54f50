"""What both engines share: the queue in front, signals beside, and a close that finishes what was accepted."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import CoroutineType
from typing import Any, ClassVar, TypeVar

from creto.common.errors import ConnectionFailed, InternalError
from creto.common.ids import new_id
from creto.common.limits import STORE_NODE_DEAD_S, STORE_READERS_MAX
from creto.common.metrics import Histogram
from creto.store.jobs import Job, JobQueue, closed
from creto.store.signals import ACK, BARRIER, Signals
from creto.store.types import EngineName, Isolation, ReadTx, Tail, Tx

log = logging.getLogger("creto.store")

T = TypeVar("T")

JOIN = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, ?, ?)"
LEAVE = "DELETE FROM store_node WHERE instance = ?"
OTHERS = "SELECT instance FROM store_node WHERE instance <> ? AND heartbeat_ms > ?"


class EngineStore:
    """A store without its engine."""

    engine: ClassVar[EngineName]

    def __init__(self, node: str | None, queue_max: int) -> None:
        self.node = node or f"{socket.gethostname()}-{os.getpid()}"
        self.instance = new_id()
        self.queue = JobQueue(queue_max)
        self.signals = Signals(self.instance, self._acknowledge)
        self._appended: dict[Tail, tuple[Callable[[], None], ...]] = {}
        self._readers = ThreadPoolExecutor(STORE_READERS_MAX, thread_name_prefix="creto-store-read")
        self._closed = False
        self.commit_times = Histogram()  # of groups, read by a scrape
        self.commits = 0  # transactions

    def submit(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> Future[T]:
        future: Future[T] = Future()
        self.queue.put(Job(here(fn), isolation, future, None))
        return future

    async def write(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self.queue.put(Job(here(fn), isolation, future, loop))
        return await future

    async def read(self, fn: Callable[[ReadTx], T]) -> T:
        if self._closed:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, fn)

    @abstractmethod
    def read_now(self, fn: Callable[[ReadTx], T]) -> T: ...

    def on_signal(self, channel: str, fn: Callable[[str], None]) -> None:
        self.signals.on(channel, fn)

    def on_signal_lost(self, fn: Callable[[], None]) -> None:
        self.signals.on_lost(fn)

    def on_appended(self, tail: Tail, fn: Callable[[], None]) -> None:
        self._appended[tail] = (*self._appended.get(tail, ()), fn)

    def on_change(self, fn: Callable[[], None]) -> bool:
        return False

    def _tell_committed(self, signals: list[tuple[str, str]], appended: set[Tail]) -> None:
        """What follows a commit in this process."""
        if signals:
            self.signals.handle(signals)
        for tail in appended:
            for fn in self._appended.get(tail, ()):
                try:
                    fn()
                except Exception:
                    log.exception("who waits for the %s could not be told", tail)

    @property
    def signals_alive(self) -> bool:
        return self.signals.alive

    async def settled(self, timeout_s: float = 0.05) -> bool:
        loop = asyncio.get_running_loop()
        barrier, reached = new_id(), asyncio.Event()
        try:
            others = await self.read(self._others)
            if not others:
                return True
            async with asyncio.timeout(timeout_s):
                self.signals.expect(barrier, others, partial(_wake, loop, reached))
                await self.write(lambda tx: tx.signal(BARRIER, barrier), isolation=Isolation.READ_COMMITTED)
                await reached.wait()
                return True
        except (TimeoutError, ConnectionFailed):
            return False
        finally:
            self.signals.forget(barrier)

    def _others(self, tx: ReadTx) -> set[str]:
        alive_since_ms = self.wall_ms(tx) - int(STORE_NODE_DEAD_S * 1000)
        return {row[0] for row in tx.all(OTHERS, self.instance, alive_since_ms)}

    @abstractmethod
    def wall_ms(self, tx: ReadTx) -> int:
        """The one wall clock that all nodes of this store can compare their heartbeats by."""

    def _acknowledge(self, barrier: str) -> None:
        self._unattended(lambda tx: tx.signal(ACK, barrier))

    def _unattended(self, fn: Callable[[Tx], Any], done: Callable[[], None] | None = None) -> None:
        """Write for the store's own sake. A full queue is no fault here: whoever needs it asks again."""
        try:
            future = self.submit(fn, isolation=Isolation.READ_COMMITTED)
        except ConnectionFailed:
            return
        if done is not None:
            future.add_done_callback(lambda f: None if f.exception() else done())

    @abstractmethod
    def close(self) -> None: ...


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def checked_result(result: T) -> T:
    """A transaction is a plain function: a coroutine would run after its commit."""
    if isinstance(result, CoroutineType):
        result.close()
        raise InternalError("PL-500", "a transaction is a plain function, not a coroutine")
    return result


def here(fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
    """The function as if it ran where it was handed in: in the same trace, for the same caller."""
    context = copy_context()
    return lambda tx: context.run(fn, tx)
