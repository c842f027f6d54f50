"""A line to the layer: in this process or over HTTP. Every method of the SDK is an endpoint bound to one.

agents_get = Async(line).bind(agents.GET)       # typed from the endpoint's own request and answer
identity = await agents_get(agent="agent:nhi:ed25519:…")
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from creto.edge.api.endpoint import Endpoint

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Line(Protocol):
    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R: ...

    async def close(self) -> None: ...


class Async:
    """Methods that are awaited."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def bind(self, endpoint: Endpoint[P, R]) -> Callable[P, Awaitable[R]]:
        def method(*args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
            return self.line.call(endpoint, endpoint.request(*args, **kwargs))

        return described(method, endpoint)


class Sync:
    """Methods that wait. The line lives on a loop of its own thread, so they work with and without a running loop."""

    def __init__(self, line: Line, portal: Portal) -> None:
        self.line = line
        self.portal = portal

    def bind(self, endpoint: Endpoint[P, R]) -> Callable[P, R]:
        def method(*args: P.args, **kwargs: P.kwargs) -> R:
            return self.portal.run(self.line.call(endpoint, endpoint.request(*args, **kwargs)))

        return described(method, endpoint)


def described(method: Callable[P, T], endpoint: Endpoint[..., Any]) -> Callable[P, T]:
    method.__name__ = endpoint.verb
    method.__qualname__ = endpoint.name
    method.__doc__ = endpoint.summary
    return method


class Portal:
    """An event loop on its own thread: where the asynchronous world of a synchronous program runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="creto-sdk", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a synchronous call inside creto's own loop would wait for itself; use AsyncCreto there")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
