"""The way in: a bounded queue of transactions, and the way out: one wake-up of each event loop per group.

INVARIANT: a job that was accepted is resolved exactly once; a full or closed queue refuses at once and changes nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from creto.common.errors import ConnectionFailed
from creto.common.tracing import current
from creto.store.types import Isolation


class Job:
    """A transaction on its way; `loop` is None when a thread waits for it."""

    __slots__ = ("error", "fn", "future", "isolation", "loop", "refuted", "result", "span")

    def __init__(
        self,
        fn: Callable[[Any], Any],
        isolation: Isolation,
        future: Future[Any] | asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self.fn = fn
        self.isolation = isolation
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None
        self.span = current()
        self.refuted = False  # what it supposed was not so: it looks for itself now


class JobQueue:
    """First in, first out, between any number of threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # may change while it runs
        self._jobs: deque[Job] = deque()
        self._change = threading.Lock()
        self._idle: list[threading.Lock] = []  # one of each thread that waits; released, it goes on
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        with self._change:
            if self._closed:
                raise closed()
            if len(self._jobs) >= self.limit:
                raise ConnectionFailed(
                    "PL-503",
                    f"the store's queue is full: {self.limit} transactions wait already",
                    retry_after_s=0.1,
                    hint="Nothing was changed; slow down and try again shortly.",
                )
            self._jobs.append(job)
            if self._idle:
                self._idle.pop().release()

    def take(self, count_max: int, share: int = 1) -> list[Job]:
        """One of `share` parts of what waits, at most `count_max`; nothing when the queue is closed and drained.

        Of the threads that wait the last goes on first: what it needs, here and at the server, is still at hand.
        """
        turn = threading.Lock()
        turn.acquire()
        while True:
            with self._change:
                if self._jobs:
                    count = min(count_max, -(-len(self._jobs) // share))
                    return [self._jobs.popleft() for _ in range(count)]
                if self._closed:
                    return []
                self._idle.append(turn)
            turn.acquire()

    def close(self) -> None:
        with self._change:
            self._closed = True
            while self._idle:
                self._idle.pop().release()


def closed() -> ConnectionFailed:
    return ConnectionFailed("PL-503", "the store is closed", hint="Open it again.")


def resolve(jobs: Iterable[Job]) -> None:
    """Hand out results: threads directly, coroutines with one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        if job.loop is None:
            _settle(job)
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, group)
        except RuntimeError:  # the loop was closed: nobody waits any more
            continue


def _settle_all(jobs: list[Job]) -> None:
    for job in jobs:
        _settle(job)


def _settle(job: Job) -> None:
    future = job.future
    # Once it is marked as running no other thread can cancel it.
    waits = future.set_running_or_notify_cancel() if isinstance(future, Future) else not future.done()
    if not waits:  # the waiter was cancelled; the transaction stands
        return
    if job.error is not None:
        future.set_exception(job.error)
    else:
        future.set_result(job.result)
