"""A billing desk over any store: what the tests of billing, credits and invoices are written with."""

from __future__ import annotations

from collections.abc import Sequence

from creto.common import wire
from creto.common.errors import NotFound
from creto.common.ids import EventId, SubscriptionId, TenantId
from creto.common.timestamps import DAY
from creto.metering import BillableEvent, Billing, Period, PerUnit, Plan, Subscription, Tax, Terms
from creto.metering.types import InvoiceId
from creto.metering.usage_types import EventHistory, EventState
from creto.platform.consensus.testing import ManualClock
from creto.store.types import Entry, Position, ReadTx, Store
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D, charge, plan

FEBRUARY = Period(JANUARY.end, JANUARY.end + 29 * DAY)
PLAN = plan(charge(PerUnit(unit=D("0.10"))), fee="31")
TERMS = Terms(taxes=(Tax(code="vat", percent=D(20)),))


class KeptInMemory:
    """Events by subscription, as ingestion would keep them in rows."""

    def __init__(self) -> None:
        self.all: dict[SubscriptionId, list[BillableEvent]] = {}
        self.came: dict[str, int] = {}
        self.now = JANUARY.start

    def events(
        self, tx: ReadTx, subscription: Subscription, period: Period, known_at: int | None = None
    ) -> Sequence[BillableEvent]:
        kept = [e for e in self.all.get(subscription.subscription_id, []) if e.timestamp in period]
        return [e for e in kept if known_at is None or self.came[e.event_id] <= known_at]

    def changed(self, tx: ReadTx, subscription: Subscription, period: Period, since: int) -> bool:
        return any(self.came[e.event_id] > since for e in self.events(tx, subscription, period))

    def find(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> tuple[SubscriptionId | None, BillableEvent]:
        for subscription_id, kept in self.all.items():
            for event in kept:
                if (event.event_id, event.tenant) == (event_id, tenant):
                    return subscription_id, event
        raise NotFound("MT-404", f"event {event_id} does not exist")

    def history(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> EventHistory:
        return EventHistory(EventState.COUNTED, (), (self.find(tx, tenant, event_id)[1].timestamp,))

    def used(self, subscription: Subscription, *events: BillableEvent) -> None:
        self.came |= {e.event_id: self.now for e in events}
        self.all.setdefault(subscription.subscription_id, []).extend(events)


class Desk:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(JANUARY.start)
        self.source = KeptInMemory()
        self.billing = Billing(store, self.clock, self.source)

    async def subscribed(self, asked: Plan = PLAN, **more: object) -> Subscription:
        await self.billing.create_plan(TENANT, asked, by=HUMAN)
        return await self.billing.subscribe(
            TENANT,
            AGENT,
            asked.plan_id,
            key="k",
            by=HUMAN,
            starts_at=JANUARY.start,
            **more,  # type: ignore[arg-type]
        )

    async def drafted(
        self, subscription: Subscription, at: int = JANUARY.start, terms: Terms | None = TERMS
    ) -> InvoiceId:
        made = await self.billing.draft_invoice(TENANT, subscription.subscription_id, by=HUMAN, at=at, terms=terms)
        return made.invoice_id


def set_clock(desk: Desk, now: int) -> None:
    desk.clock.set(now)
    desk.source.now = now


def entries(store: Store) -> list[Entry]:
    return [wire.decode(row.body, Entry) for row in store.read_now(lambda tx: tx.ledger_tail(Position(), 1_000))]
