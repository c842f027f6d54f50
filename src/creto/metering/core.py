"""What the use cases of billing share: the store, the clock, where events are, and the record of every act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from creto.common.errors import NotFound, ProductId
from creto.common.ids import AgentId, EventId, ResourceId, SubscriptionId, TenantId
from creto.common.paging import checked_limit
from creto.common.telemetry import Metrics
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering.periods import Period
from creto.metering.types import Subscription
from creto.metering.usage_types import EventHistory
from creto.store.entries import entry, told
from creto.store.types import EntryId, Outcome, ReadTx, Store, Tx

PLANS_CHANGED = "metering.plans"  # the signal that a tenant has another plan or version


class EventSource(Protocol):
    """Where the events of a subscription are kept. What it gives counts: voided events are left out, corrected ones corrected."""

    def events(
        self, tx: ReadTx, subscription: Subscription, period: Period, known_at: int | None = None
    ) -> Sequence[BillableEvent]:
        """Those of a period; with `known_at` as they stood at that instant, so that a bill of then can be counted again."""
        ...

    def changed(self, tx: ReadTx, subscription: Subscription, period: Period, since: int) -> bool:
        """Whether an event of the period came, was corrected or was voided after an instant; sooner yes than no."""
        ...

    def find(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> tuple[SubscriptionId | None, BillableEvent]:
        """An event as it stands, and the subscription that it falls on, if any does. NotFound (MT-404) if there is none."""
        ...

    def history(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> EventHistory:
        """What became of an event that `find` finds."""
        ...


class Recording:
    """The store, the clock, and the record of every act."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def _record(
        self, tx: Tx, tenant: TenantId, act: str, event: str, *, by: AgentId, subject: str, now: ConsensusTimestamp,
        fields: Mapping[str, object],
    ) -> EntryId:  # fmt: skip
        return tell(tx, self._clock, tenant, act, event, by=by, subject=subject, now=now, fields=fields)


def note(
    tx: Tx, clock: Clock, tenant: TenantId, act: str, event: str, by: AgentId, about: ResourceId, facts: object,
    outcome: Outcome = Outcome.SUCCESS,
) -> None:  # fmt: skip
    """One entry in the ledger."""
    tx.record(
        entry(
            tenant=tenant, product=ProductId.METERING, agent=by, action=f"metering.{act}", event=event, outcome=outcome,
            resource=about.to_uri(), timestamp=clock.now(), facts=facts, degraded_clock=clock.degraded,
        )
    )  # fmt: skip


def tell(
    tx: Tx, clock: Clock, tenant: TenantId, act: str, event: str, *, by: AgentId, subject: str, now: ConsensusTimestamp,
    fields: Mapping[str, object],
) -> EntryId:  # fmt: skip
    """One entry in the ledger, and the same facts on the bus as `metering.<act>`."""
    return told(
        tx, f"metering.{act}", event, tenant=tenant, actor=by, subject=subject, now=now, fields=fields,
        product=ProductId.METERING, degraded_clock=clock.degraded,
    )  # fmt: skip


def paged(limit: int) -> int:
    return checked_limit(limit, code="MT-400")


class Core(Recording):
    def __init__(self, store: Store, clock: Clock, source: EventSource, metrics: Metrics | None = None) -> None:
        super().__init__(store, clock)
        self._source = source
        self._generated = (metrics or Metrics()).counter(
            "metering_invoices_generated_total", "Invoices that became final", "currency"
        )


def known(subscription: Subscription | None, subscription_id: SubscriptionId) -> Subscription:
    if subscription is None:
        raise NotFound("MT-404", f"subscription {subscription_id} does not exist")
    return subscription
