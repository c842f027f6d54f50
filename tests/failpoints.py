"""Crashes at named moments: a process that dies exactly there, and another one that finds what it left.

    points = Failpoints()
    points.arm("provider.accepted", nth=2)          # the second time that it comes by
    life = Life(points, hub)                        # a process: its store is `life.store`
    try:
        await life.run(work)
    except Crashed:
        life = Life(points, hub)                    # started again, with nothing in memory

The seams are real ones: the store between a service and its database, the provider behind a channel, the answer to a callback, the signal that
wakes who waits. Production code knows nothing of them. What has died does nothing more: every later step of it ends as it did.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from creto.store.types import Isolation, Store

T = TypeVar("T")

COMMIT = ("commit.before", "commit.after")
SEND = ("send.before", "provider.accepted")  # not called yet; done there, and the answer never came back
ACK = ("ack.before", "ack.after")  # of a callback: nothing was answered; it was, and then we died
WAKE = ("wake.before", "wake.after")  # the signal of a decision: not handed on; handed on, and then we died
ACT = ("consume.before", "consume.after")  # the token: not used yet; used, and the act not begun
POINTS = (*COMMIT, *SEND, *ACK, *WAKE, *ACT)


class Crashed(BaseException):
    """No handler of ours takes it for a failure: the process is gone."""


class Failpoints:
    """Which moment is deadly, and how often each has come by."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self._armed: tuple[str, int] | None = None

    def arm(self, name: str, nth: int) -> None:
        """Die at the nth time from now, once."""
        assert name in POINTS
        self._armed = (name, self.passed[name] + nth)

    def disarm(self) -> bool:
        """Whether it had not gone off."""
        armed, self._armed = self._armed, None
        return armed is not None

    def deadly(self, name: str) -> bool:
        self.passed[name] += 1
        if self._armed is None or self._armed != (name, self.passed[name]):
            return False
        self._armed = None
        self.fired[name] += 1
        return True


class Hub:
    """One store for many lives: its signals go to the life that is there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.life: Life | None = None
        self._channels: set[str] = set()
        store.on_signal_lost(self._lost)

    def listen(self, channel: str) -> None:
        if channel not in self._channels:
            self._channels.add(channel)
            self.store.on_signal(channel, lambda payload: self._signal(channel, payload))

    def _signal(self, channel: str, payload: str) -> None:
        if self.life is not None:
            self.life.signalled(channel, payload)

    def _lost(self) -> None:
        if self.life is not None:
            for fn in self.life.when_lost:
                fn()


class Life:
    """A process from its start to its crash."""

    def __init__(self, points: Failpoints, hub: Hub, *, waking: str = "") -> None:
        self.points = points
        self.store = MortalStore(self, hub)
        self.dead = False
        self.when_lost: list[Callable[[], None]] = []
        self._heard: dict[str, list[Callable[[str], None]]] = {}
        self._waking = waking
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self.in_flight: set[asyncio.Future[Any]] = set()  # transactions that have reached the database
        hub.life = self

    def at(self, name: str) -> None:
        """One of the moments comes by."""
        self.check()
        if self.points.deadly(name):
            self.die()
            raise Crashed(name)

    def check(self) -> None:
        if self.dead:
            raise Crashed("it died before")

    def die(self) -> None:
        self.dead = True
        self._loop.call_soon_threadsafe(self._over.set)

    async def run(self, work: Awaitable[T]) -> T:
        """Do it, or die on the way. What has reached the database comes to its end there, before anybody else begins."""
        task, over = asyncio.ensure_future(work), asyncio.ensure_future(self._over.wait())
        await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not self.dead:
            return await task
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        await asyncio.gather(*self.in_flight, return_exceptions=True)
        raise Crashed("while it was at it")

    def hear(self, channel: str, fn: Callable[[str], None]) -> None:
        self._heard.setdefault(channel, []).append(fn)

    def signalled(self, channel: str, payload: str) -> None:
        """On a thread of the store, which lives on: so dying is not raised here."""
        if self.dead:
            return
        waking = channel == self._waking
        if waking and self.points.deadly("wake.before"):
            return self.die()
        for fn in self._heard.get(channel, ()):
            fn(payload)
        if waking and self.points.deadly("wake.after"):
            self.die()
        return None


class MortalStore:
    """The store as one life sees it: commits are moments to die before and after."""

    def __init__(self, life: Life, hub: Hub) -> None:
        self._life = life
        self._hub = hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub.store, name)

    async def write(self, fn: Callable[[Any], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        self._life.at("commit.before")
        committing = asyncio.ensure_future(self._hub.store.write(fn, isolation=isolation))
        self._life.in_flight.add(committing)
        committing.add_done_callback(self._life.in_flight.discard)
        result = await asyncio.shield(committing)
        self._life.at("commit.after")
        return result

    async def read(self, fn: Callable[[Any], T]) -> T:
        self._life.check()
        return await self._hub.store.read(fn)

    def on_signal(self, channel: str, fn: Callable[[str], None]) -> None:
        self._life.hear(channel, fn)
        self._hub.listen(channel)

    def on_signal_lost(self, fn: Callable[[], None]) -> None:
        self._life.when_lost.append(fn)
