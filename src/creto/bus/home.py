"""The loop a bus lives on: a process may have several, gRPC has one of its own.

    home = Home()                                   # the loop that runs here; else the first that asks
    await home.run(lambda: self._subscribe(...))    # done there, waited for here
    home.soon(self._wake.set)

INVARIANT: tasks, events and the connection of a bus are touched on its home loop alone; a consumer runs on the loop that subscribed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from creto.bus.types import Consumer, DurableName, Message, Subscription

T = TypeVar("T")
P = ParamSpec("P")


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def on(loop: asyncio.AbstractEventLoop, work: Callable[[], Awaitable[T]]) -> T:
    """Do it on that loop, in our context; wait for it on ours."""

    async def there() -> T:
        return await work()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop))


class Home:
    def __init__(self) -> None:
        self._loop = running_loop()

    def here(self) -> bool:
        """Whether the running loop is home. It becomes so if there was none, or the old one has ended."""
        loop = running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
        return loop is not None and loop is self._loop

    def soon(self, fn: Callable[[], None]) -> None:
        """Call it at home: at once if we are there. Without any loop nothing waits that could be told."""
        if self.here():
            fn()
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(fn)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        if self.here():
            return await work()
        assert self._loop is not None  # ours runs, so `here` found one
        return await on(self._loop, work)

    async def subscribed(
        self, subscribe: Callable[[Consumer | None], Awaitable[Subscription]], consumer: Consumer | None
    ) -> Subscription:
        """Subscribe at home, and bring the messages to the loop that asked."""
        if self.here():
            return await subscribe(consumer)
        brought = None if consumer is None else partial(bring, asyncio.get_running_loop(), consumer)
        return FromAfar(self, await self.run(lambda: subscribe(brought)))


async def bring(loop: asyncio.AbstractEventLoop, consumer: Consumer, message: Message) -> None:
    await on(loop, lambda: consumer(message))


class FromAfar:
    """A subscription in the hands of another loop."""

    def __init__(self, home: Home, there: Subscription) -> None:
        self._home = home
        self._there = there

    @property
    def durable(self) -> DurableName:
        return self._there.durable

    @property
    def pattern(self) -> str:
        return self._there.pattern

    async def fetch(self, limit: int, *, wait_s: float = 0.0) -> list[Message]:
        return await self._home.run(lambda: self._there.fetch(limit, wait_s=wait_s))

    async def ack(self, *messages: Message) -> None:
        await self._home.run(lambda: self._there.ack(*messages))

    async def nack(self, message: Message, reason: BaseException | str) -> None:
        await self._home.run(lambda: self._there.nack(message, reason))

    async def close(self) -> None:
        await self._home.run(self._there.close)


class Dweller(Protocol):
    @property
    def home(self) -> Home: ...


D = TypeVar("D", bound=Dweller)


def at_home(
    method: Callable[Concatenate[D, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[D, P], Coroutine[Any, Any, T]]:
    """The method runs at home, whatever loop calls it."""

    @wraps(method)
    async def called(self: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.home.run(lambda: method(self, *args, **kwargs))

    return called
