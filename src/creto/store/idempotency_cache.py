"""A shared memory of finished operations, in front of the guard: Redis, or nothing.

    cached = CachedGuard(store, RedisHints("redis://…"))
    once = await cached.once(tenant, ProductId.RUNTIME, "spawn", key, payload, SPAWN_WINDOW_NS, now, effect)

INVARIANT: a hint is never believed. It says only that a read is likely to find the first result, which spares the
repetition its transaction; what the store says decides. So Redis may be slow, empty, old or lying: exactness stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from creto.common.breaker import CircuitBreaker
from creto.common.errors import InternalError, ProductId
from creto.common.ids import TenantId
from creto.common.timestamps import MILLISECOND
from creto.store.idempotency import IdempotencyGuard, Once
from creto.store.types import Isolation, Store, Tx

log = logging.getLogger("creto.store")

HINT_TIMEOUT_S = 0.02  # a hint that takes longer than the transaction it would spare is worth nothing


class Hints(Protocol):
    async def seen(self, name: str) -> bool: ...

    async def remember(self, name: str, window_ns: int) -> None: ...


class NoHints:
    """Without a shared cache every repetition costs its own transaction."""

    async def seen(self, name: str) -> bool:
        return False

    async def remember(self, name: str, window_ns: int) -> None:
        return None


class RedisHints:
    """Names of finished operations in Redis, as the specification writes them: `idem:{product}:{operation}:{key}`.

    A Redis that keeps failing is spared for a while, so that nobody waits for it: the store answers, exactly as before.
    """

    def __init__(self, url: str, breaker: CircuitBreaker | None = None) -> None:
        try:
            from redis import asyncio as redis
        except ModuleNotFoundError as error:
            raise InternalError(
                "PL-501", "the Redis client is not installed", hint="pip install 'creto[redis]'"
            ) from error
        self._redis: Any = redis.Redis.from_url(url)
        self.breaker = breaker or CircuitBreaker("redis")

    async def seen(self, name: str) -> bool:
        try:
            return bool(await self.breaker.call(lambda: self._in_time(self._redis.exists(name))))
        except Exception as error:  # noqa: BLE001 - whatever happens to the cache, the store decides
            log.debug("no hint: %s", type(error).__name__)
            return False

    async def remember(self, name: str, window_ns: int) -> None:
        try:
            await self.breaker.call(
                lambda: self._in_time(self._redis.set(name, b"1", px=max(1, window_ns // MILLISECOND)))
            )
        except Exception as error:  # noqa: BLE001 - whatever happens to the cache, the store decides
            log.debug("hint not kept: %s", type(error).__name__)

    async def _in_time(self, question: Awaitable[Any]) -> Any:
        async with asyncio.timeout(HINT_TIMEOUT_S):
            return await question

    async def close(self) -> None:
        await self._redis.aclose()


class CachedGuard:
    """The guard with its own transaction: for operations that consist of nothing else."""

    def __init__(self, store: Store, hints: Hints | None = None, guard: IdempotencyGuard | None = None) -> None:
        self._store = store
        self._hints = hints or NoHints()
        self._guard = guard or IdempotencyGuard()
        self.hits = 0  # repetitions that got the first result, read by a scrape

    async def once(
        self,
        tenant: TenantId,
        product: ProductId,
        operation: str,
        key: str,
        payload: bytes,
        window_ns: int,
        now: int,
        effect: Callable[[Tx], bytes],
        *,
        isolation: Isolation = Isolation.SERIALIZABLE,
    ) -> Once:
        name = f"idem:{tenant}:{product}:{operation}:{key}"
        if await self._hints.seen(name):
            found = await self._store.read(
                lambda tx: self._guard.recall(tx, tenant, product, operation, key, payload, now)
            )
            if found is not None:
                self.hits += 1
                return found
        once = await self._store.write(
            lambda tx: self._guard.once(tx, tenant, product, operation, key, payload, window_ns, now, effect),
            isolation=isolation,
        )
        self.hits += not once.first
        await self._hints.remember(name, window_ns)
        return once
