"""A line to the layer, in this process or over HTTP, and the methods that are bound to one.

class Agents(Part[World]):
    get = Method(agents.GET)              # typed from the endpoint's own request and answer

Agents(Async(line)).get(agent="agent:nhi:ed25519:…")      # an awaitable Identity
Agents(Sync(line, portal)).get(agent="agent:nhi:…")       # an Identity
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from creto.common.errors import InvalidInput
from creto.edge.api.endpoint import Endpoint
from creto.platform.nhi import DelegationChain

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@contextmanager
def written(endpoint: Endpoint[..., Any]) -> Iterator[None]:
    """What no text can hold is said in the words of the product, before anything is sent."""
    try:
        yield
    except UnicodeEncodeError as error:
        code = "MT-400" if "MT-400" in endpoint.errors else "PL-400"
        raise InvalidInput.of("request", got="half of a surrogate pair", expected="text", code=code) from error


class Line(Protocol):
    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R: ...

    def acting(self, chain: DelegationChain) -> Line:
        """The same line, on which the agent at the end of the chain acts."""
        ...

    def with_override(self, token: str) -> Line:
        """The same line, with a human's approval of one operation."""
        ...

    async def close(self) -> None: ...


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

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Async:
    """The world in which methods are awaited."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def call(self, endpoint: Endpoint[..., R], request: Any) -> Awaitable[R]:
        return self.line.call(endpoint, request)

    def run(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        return work

    def along(self, line: Line) -> Async:
        return Async(line)


class Sync:
    """The world in which methods wait. It works with and without a running loop, because the line has a loop of its own."""

    def __init__(self, line: Line, portal: Portal) -> None:
        self.line = line
        self.portal = portal

    def call(self, endpoint: Endpoint[..., R], request: Any) -> R:
        return self.portal.run(self.line.call(endpoint, request))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.portal.run(work)

    def along(self, line: Line) -> Sync:
        return Sync(line, self.portal)


World = TypeVar("World", Async, Sync)


class Part(Generic[World]):
    """Some methods in one world."""

    def __init__(self, world: World) -> None:
        self._world: World = world


class Method(Generic[P, R]):
    """An endpoint as a method of a part."""

    def __init__(self, endpoint: Endpoint[P, R]) -> None:
        self.endpoint = endpoint
        self.__doc__ = endpoint.summary

    @overload
    def __get__(self, part: Part[Async], owner: type) -> Callable[P, Awaitable[R]]: ...

    @overload
    def __get__(self, part: Part[Sync], owner: type) -> Callable[P, R]: ...

    @overload
    def __get__(self, part: None, owner: type) -> Method[P, R]: ...

    def __get__(self, part: Part[Any] | None, owner: type) -> Any:
        if part is None:
            return self
        world: Any = part._world
        endpoint = self.endpoint

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return world.call(endpoint, endpoint.request(*args, **kwargs))

        method.__name__, method.__qualname__, method.__doc__ = endpoint.verb, endpoint.name, endpoint.summary
        return method


class Steps(Generic[P, R]):
    """A method of a part that is made of several questions to the line."""

    name = "steps"

    def __init__(self, work: Callable[Concatenate[Line, P], Coroutine[Any, Any, R]]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, part: Part[Async], owner: type) -> Callable[P, Awaitable[R]]: ...

    @overload
    def __get__(self, part: Part[Sync], owner: type) -> Callable[P, R]: ...

    @overload
    def __get__(self, part: None, owner: type) -> Self: ...

    def __get__(self, part: Part[Any] | None, owner: type) -> Any:
        if part is None:
            return self
        world, work = part._world, partial(self._work, part._world.line)

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return world.run(work(*args, **kwargs))

        method.__name__, method.__qualname__, method.__doc__ = self.name, f"{owner.__name__}.{self.name}", self.__doc__
        return method


class Composed(Steps[P, R]):
    """Steps that stand for an endpoint: nobody needs to ask it by itself."""

    def __init__(
        self, endpoint: Endpoint[..., R], work: Callable[Concatenate[Line, P], Coroutine[Any, Any, R]]
    ) -> None:
        super().__init__(work)
        self.endpoint = endpoint
