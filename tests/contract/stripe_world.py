"""A small business: who bills, what was used, and the connector between its bus and a Stripe on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from creto.bus import EmbeddedBus, Message
from creto.common.breaker import CircuitBreaker
from creto.common.config import Secret
from creto.common.ids import AgentId
from creto.common.retry import without_waiting
from creto.common.settings import StripeConfig
from creto.common.timestamps import HOUR, SECOND
from creto.connectors.stripe import Payer, Receipts, Stripe
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.errors import is_away
from creto.connectors.stripe.service import DURABLE, READS
from creto.metering import Billing, Invoice, Terms
from creto.platform.consensus.testing import ManualClock
from creto.store.types import Store
from tests.contract.billing_desk import FEBRUARY, PLAN, TERMS, KeptInMemory
from tests.contract.stores import MakeStore
from tests.local_stripe import LocalStripe
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, event

PARTS = ("creto.store", "creto.bus", "creto.metering", "creto.connectors.stripe")
JANUARY_OVER = JANUARY.end + HOUR
METERS = ("use=tokens",)
LAYER = AgentId("layer")
MAIL = Payer(name="Ada", email="ada@example.com")


def config(there: LocalStripe, **more: Any) -> StripeConfig:
    return StripeConfig(
        api_key=Secret(there.key), webhook_secret=Secret(there.webhook_secret), url=there.url, **more
    )  # fmt: skip


class Business:
    """Everything of ours but the processes; `there` has the same time."""

    def __init__(self, store: Store, there: LocalStripe, clock: ManualClock, **more: Any) -> None:
        self.store = store
        self.there = there
        self.clock = clock
        self.bus = EmbeddedBus(store)
        self.source = KeptInMemory()
        self.billing = Billing(store, clock, self.source)
        self.config = config(there, **more)
        self.breaker = CircuitBreaker("stripe", counts=is_away, timeout_s=0)  # open, and at once half open
        self.stripe = Stripe(store, self.bus, clock, self.billing, self.config, breaker=self.breaker)
        self.receipts = Receipts(store, clock, self.config, by=LAYER, tenant=TENANT)

    def at(self, now: int) -> None:
        self.clock.set(now)
        self.source.now = now

    async def subscribed(self, agent: AgentId = AGENT, *, key: str = "k", units: int = 1_000) -> Any:
        """A subscription that used so many units in January and in February."""
        if not await self.billing.plans(TENANT):
            await self.billing.create_plan(TENANT, PLAN, by=HUMAN)
        made = await self.billing.subscribe(
            TENANT, agent, PLAN.plan_id, key=key, by=HUMAN, starts_at=JANUARY.start, anchor=JANUARY.start
        )
        for period in (JANUARY, FEBRUARY):
            self.source.used(made, event(period.start + HOUR, id=f"{key}{period.start}", value=units))
        await self.stripe.set_payer(TENANT, agent, MAIL, by=HUMAN)
        return made

    async def final(self, subscription: Any, at: int = JANUARY.start, terms: Terms = TERMS) -> Invoice:
        id = subscription.subscription_id
        made = await self.billing.draft_invoice(TENANT, id, by=HUMAN, at=at, terms=terms)
        return await self.billing.finalize_invoice(TENANT, made.invoice_id, by=HUMAN)

    async def messages(self) -> list[Message]:
        """What metering published since the last time, in order."""
        found: list[Message] = []
        for durable, pattern in READS.items():
            subscription = await self.bus.subscribe(pattern, f"seen-{durable}")
            got = await subscription.fetch(200)
            await subscription.ack(*got)
            await subscription.close()
            found += got
        return found

    async def work(self, messages: Sequence[Message] | None = None) -> None:
        """What the bus would hand to the connector, which was started before all of it."""
        await self.store.write(lambda tx: rows.started(tx, DURABLE, JANUARY.start))
        for message in await self.messages() if messages is None else messages:
            await self.stripe.consume(message)


def now_s(clock: ManualClock) -> int:
    return clock.state().reading // SECOND


@pytest.fixture(name="clock")
def the_clock() -> ManualClock:
    return ManualClock(JANUARY.start)


@pytest.fixture(name="there")
def the_stripe(clock: ManualClock) -> Iterator[LocalStripe]:
    with LocalStripe(lambda: now_s(clock)) as server:
        yield server


@pytest.fixture(name="store")
def the_store(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


@pytest.fixture(name="business")
async def the_business(store: Store, there: LocalStripe, clock: ManualClock) -> AsyncIterator[Business]:
    made = Business(store, there, clock)
    with without_waiting(attempts_max=20):
        yield made
    await made.stripe.stop()
