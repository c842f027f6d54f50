"""Each thing of ours is made at Stripe once, whenever we or it may die.

A row says what is wanted before it is asked for, with the parameters and the time; the idempotency key follows from our id and the attempt.
Who finds the row without an answer asks again with the same key and parameters, and Stripe gives its first answer. Once the key may be
forgotten there, or is burnt, we look for the object before we ask with the next one.

INVARIANT: a new key is used only after Stripe refused, or after a look that began when the key before it could have no effect any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec.structs import replace

from creto.common.ids import TenantId
from creto.common.limits import STRIPE_KEY_S
from creto.common.timestamps import SECOND, Clock
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.errors import StripeAway, StripeRefused
from creto.connectors.stripe.types import Kind, Params, State, StripeId, Thing
from creto.platform.crypto import digest
from creto.store.types import Store

Look = Callable[[Thing], Awaitable[StripeId | None]]  # what became of an earlier attempt


class Make(Protocol):
    """One request; the object that it made."""

    def __call__(self, params: Params, /, *, key: str) -> Awaitable[Params]: ...


def identifier(tenant: TenantId, kind: Kind, our_id: str, *more: str) -> str:
    """A name of ours for Stripe: the same from whatever process, never another thing's."""
    named = "\n".join((tenant, kind, our_id, *more))
    return f"creto-{kind}-{digest(named.encode()).hex()[:40]}"


def key_of(one: Thing) -> str:
    """The idempotency key of an attempt."""
    return identifier(one.tenant, one.kind, one.our_id, str(one.attempt))


class Objects:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def id_of(self, tenant: TenantId, kind: Kind, our_id: str) -> StripeId | None:
        found = await self._store.read(lambda tx: rows.find(tx, tenant, kind, our_id))
        return None if found is None else found.stripe_id

    async def ensure(
        self, tenant: TenantId, kind: Kind, our_id: str, params: Params, make: Make, look: Look
    ) -> StripeId:
        """Its id there; made now, or by an earlier try."""
        now = self._clock.now()
        one, fresh = await self._store.write(lambda tx: rows.begin(tx, tenant, kind, our_id, params, now))
        if not fresh and one.stripe_id is None:
            one = await self._again(one, params, look, now)
        if one.stripe_id is not None:
            return one.stripe_id
        asked = one
        try:
            made = await make(asked.params, key=key_of(asked))
        except StripeRefused:
            await self._store.write(lambda tx: rows.put_state(tx, asked, State.REFUSED))
            raise
        except StripeAway as error:
            if error.burnt:
                await self._store.write(lambda tx: rows.put_state(tx, asked, State.DOUBTFUL))
            raise
        return await self._keep(asked, StripeId(made["id"]))

    async def _again(self, one: Thing, params: Params, look: Look, now: int) -> Thing:
        """The same request once more; the next one, if Stripe refused that or knows nothing of it; or what came of it."""
        if one.state is State.ASKED and now - one.asked_at <= STRIPE_KEY_S * SECOND:
            return one
        found = None if one.state is State.REFUSED else await look(one)
        if found is None:
            return await self._store.write(lambda tx: rows.next_attempt(tx, one, params, now))
        return replace(one, stripe_id=await self._keep(one, found))

    async def _keep(self, one: Thing, stripe_id: StripeId) -> StripeId:
        await self._store.write(lambda tx: rows.put_id(tx, one, stripe_id))
        return stripe_id
