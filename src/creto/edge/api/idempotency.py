"""`Idempotency-Key`: a request that is sent twice has one effect and one answer.

The key is written in the transaction of the handler's first change (`OnceStore` stands between the services and the store), the answer
when the handler is done. A crash between the two leaves the effect without its answer, and the repetition is told so (PL-411) instead
of having it again.

INVARIANT: an answer is kept sealed, under a key made of the request itself. Only who sends the same request again opens it, so neither
the database nor a backup of it gives away what an erased memory said, or an approval's token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import IdempotencyConflict, ProductId
from creto.common.ids import TenantId
from creto.common.timestamps import DAY, Clock
from creto.edge.api.endpoint import Endpoint
from creto.platform.crypto import hkdf, open_sealed, seal
from creto.store.idempotency import IdempotencyGuard
from creto.store.types import Isolation, ReadTx, Store, Tx

if TYPE_CHECKING:
    from creto.edge.api.dispatch import Call
    from creto.edge.api.parts import Parts

R = TypeVar("R")
T = TypeVar("T")

WINDOW_NS = DAY
GUARD = IdempotencyGuard()


@dataclass
class Claim:
    """A key on its way to its first effect."""

    tenant: TenantId
    operation: str
    key: str
    payload: bytes
    clock: Clock
    spent: bool = False

    @property
    def answer_operation(self) -> str:
        return f"{self.operation}.answer"

    @property
    def answer_key(self) -> bytes:
        return hkdf(
            self.payload, salt=self.key.encode(), info=b"creto answer to a repeated request " + self.operation.encode()
        )

    def recall(self, tx: ReadTx) -> bytes | None:
        """The answer of last time; PL-411 where there was an effect and its answer is not known."""
        now = self.clock.now()
        answer = GUARD.recall(tx, self.tenant, ProductId.PLATFORM, self.answer_operation, self.key, self.payload, now)
        if answer is not None:
            return open_sealed(self.answer_key, answer.result)
        if GUARD.recall(tx, self.tenant, ProductId.PLATFORM, self.operation, self.key, self.payload, now) is not None:
            raise open_still(self.key)
        return None

    def around(self, fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
        def once(tx: Tx) -> T:
            results: list[T] = []

            def effect(tx: Tx) -> bytes:
                results.append(fn(tx))
                return b""

            done = GUARD.once(
                tx,
                self.tenant,
                ProductId.PLATFORM,
                self.operation,
                self.key,
                self.payload,
                WINDOW_NS,
                self.clock.now(),
                effect,
            )
            if not done.first:
                raise open_still(self.key)
            return results[-1]

        return once

    def settle(self, done: Future[Any]) -> None:
        """A change that did not come about has not spent the key."""
        self.spent = self.spent or done.exception() is None

    def keep(self, tx: Tx, answer: bytes) -> None:
        sealed = seal(self.answer_key, answer)
        GUARD.once(
            tx,
            self.tenant,
            ProductId.PLATFORM,
            self.answer_operation,
            self.key,
            self.payload,
            WINDOW_NS,
            self.clock.now(),
            lambda _: sealed,
        )


def open_still(key: str) -> IdempotencyConflict:
    return IdempotencyConflict("PL-411", field="Idempotency-Key", got=key, expected="a request that is finished")


CLAIM: ContextVar[Claim | None] = ContextVar("creto_idempotency", default=None)


@contextmanager
def unclaimed() -> Iterator[None]:
    """What is written in the block is no effect of the request, as a question to a human: its key stays for the act itself."""
    token = CLAIM.set(None)
    try:
        yield
    finally:
        CLAIM.reset(token)


class OnceStore:
    """A store whose first write of a claimed request carries the claim."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> T:
        claim = CLAIM.get()
        if claim is None or claim.spent:
            return await self._store.write(fn, isolation=isolation)
        result = await self._store.write(claim.around(fn), isolation=isolation)
        claim.spent = True
        return result

    def submit(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> Future[T]:
        claim = CLAIM.get()
        if claim is None or claim.spent:
            return self._store.submit(fn, isolation=isolation)
        future = self._store.submit(claim.around(fn), isolation=isolation)
        future.add_done_callback(claim.settle)
        return future


Step = Callable[[], Awaitable[R]]
Around = Callable[[], AbstractAsyncContextManager[Any]]


async def answered_once(
    parts: Parts, endpoint: Endpoint[..., R], call: Call, request: Any, *, around: Around, answer: Step[R]
) -> R:
    """The answer, with the gate around it. What was answered before needs no second decision: an approval, for one, is used up by then."""
    key = call.idempotency_key
    if key is None or not endpoint.takes_key:
        async with around():
            return await answer()
    claim = Claim(call.tenant, f"{endpoint.name}:{call.known.agent}"[-200:], key, wire.encode(request), parts.clock)
    before = await parts.store.read(claim.recall)
    if before is not None:
        parts.requests.repeated += 1
        return wire.decode(before, endpoint.response)
    async with around():
        result = await claimed(claim, answer)
    data = msgspec.json.encode(result)
    await parts.store.write(lambda tx: claim.keep(tx, data))
    return result


async def claimed(claim: Claim, answer: Step[R]) -> R:
    """The handler's own writes carry the claim, and nobody else's."""
    token = CLAIM.set(claim)
    try:
        return await answer()
    finally:
        CLAIM.reset(token)
