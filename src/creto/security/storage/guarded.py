"""A place for blobs behind a circuit breaker: while it keeps failing nobody waits for it.

A blob that is missing or taken is an answer like another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from creto.common.breaker import CircuitBreaker
from creto.security.storage.backends import Backend, Blob


class GuardedBackend:
    def __init__(self, backend: Backend, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self._backend = backend

    def __repr__(self) -> str:
        return f"GuardedBackend({self._backend!r})"

    async def put(self, name: str, data: bytes | bytearray) -> None:
        with self.breaker.guarding():
            await self._backend.put(name, data)

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes | bytearray]) -> None:
        with self.breaker.guarding():
            await self._backend.put_stream(name, chunks)

    async def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with self.breaker.guarding():
            return await self._backend.read(name, ranges)

    async def size(self, name: str) -> int:
        with self.breaker.guarding():
            return await self._backend.size(name)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        with self.breaker.guarding():
            async for piece in self._backend.stream(name):
                yield piece

    async def delete(self, name: str) -> None:
        with self.breaker.guarding():
            await self._backend.delete(name)

    async def list(self, prefix: str) -> AsyncIterator[list[Blob]]:
        with self.breaker.guarding():
            async for page in self._backend.list(prefix):
                yield page

    async def tidy(self, before: int) -> int:
        with self.breaker.guarding():
            return await self._backend.tidy(before)
