"""Waiting for what a signal tells: a coroutine each, no thread, no question to the store until there is something to learn.

    waiters = Waiters(store, "oversight.decided", most=10_000)
    waiter = waiters.add("acme/req-1", brief=True)
    ...                                             # look; nothing yet: await waiter.event.wait(); look again
    waiters.remove("acme/req-1", waiter)

INVARIANT: who looks after `add` misses nothing: what is told before is there to be seen, what is told after wakes. Lost signals wake all.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from creto.common.errors import InternalError
from creto.store.types import Store


class Waiter:
    """One coroutine that waits."""

    def __init__(self, *, brief: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()
        self.brief = brief  # it has only so much time, and comes back
        self.sent_away = False

    def wake(self) -> None:
        """Called on any thread."""
        with suppress(RuntimeError):  # that loop has ended
            self.loop.call_soon_threadsafe(self.event.set)


class Waiters:
    """Who waits for what: the payload of `signal` names it."""

    def __init__(self, store: Store, signal: str, *, most: int) -> None:
        self._waiting: dict[str, set[Waiter]] = {}
        self._changing = threading.Lock()  # loops of several threads wait here
        self._count = 0
        self._most = most
        store.on_signal(signal, self.wake)
        store.on_signal_lost(self.wake_all)

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, *, brief: bool) -> Waiter:
        waiter = Waiter(brief=brief)
        with self._changing:
            if self._count >= self._most:
                raise InternalError("PL-503", "too many wait in this process", retry_after_s=1.0)
            self._waiting.setdefault(key, set()).add(waiter)
            self._count += 1
        return waiter

    def remove(self, key: str, waiter: Waiter) -> None:
        with self._changing:
            there = self._waiting.get(key)
            if there is not None and waiter in there:
                there.discard(waiter)
                self._count -= 1
                if not there:
                    self._waiting.pop(key, None)

    def wake(self, key: str) -> None:
        """Called on any thread."""
        for waiter in tuple(self._waiting.get(key, ())):
            waiter.wake()

    def wake_all(self) -> None:
        for key in tuple(self._waiting):
            self.wake(key)

    def send_away(self) -> None:
        for waiters in tuple(self._waiting.values()):
            for waiter in tuple(waiters):
                if waiter.brief:
                    waiter.sent_away = True
                    waiter.wake()
