"""The events of subscriptions, from rows: the `EventSource` of billing.

INVARIANT: what it gives is what counts at the moment of the transaction, or counted at the instant that was asked for: no held, void or
corrected event, and no event that another subscription is billed for, by what was known of all subscriptions then.
"""

from __future__ import annotations

from collections.abc import Sequence

from creto.common.ids import AgentId, EventId, SubscriptionId, TenantId
from creto.common.limits import PAGE_ITEMS_MAX, USAGE_LATE_S
from creto.common.timestamps import SECOND
from creto.contracts import BillableEvent
from creto.metering import event_store as rows
from creto.metering import store as billing_rows
from creto.metering import total_store
from creto.metering.accounts import payer_of
from creto.metering.admission import unpacked
from creto.metering.attribution import Chain
from creto.metering.beyond import beyond_type, used_type
from creto.metering.event_history import counted_then, versions_of
from creto.metering.event_store import Behind
from creto.metering.periods import Period
from creto.metering.plans import version_of
from creto.metering.sorting import find
from creto.metering.types import Plan, PlanId, Subscription
from creto.metering.usage_types import EventHistory
from creto.store.types import ReadTx


class StoredEvents:
    def events(
        self, tx: ReadTx, subscription: Subscription, period: Period, known_at: int | None = None
    ) -> Sequence[BillableEvent]:
        tenant = subscription.tenant
        book = Book(tx, tenant, known_at)
        chains = rows.chains_of(tx, tenant, subscription.agent)
        types = sorted(book.types_of(subscription))
        contested = {chain for chain, behind in chains.items() if book.contested(whole(behind), subscription)}
        start = max(period.start, subscription.started_at)
        end = period.end if subscription.ends_at is None else min(period.end, subscription.ends_at)
        found: list[BillableEvent] = []
        if not types:
            return found
        if known_at is None:
            counted = total_store.events_between(tx, tenant, chains, start, end, types)
        else:
            counted = counted_then(tx, tenant, chains, start, end, types, known_at)
        for row in counted:
            behind = chains[row.chain]
            if row.chain in contested and not book.pays(subscription, whole(behind), row.event_type, row.happened_at):
                continue
            found.append(row.event(tenant, behind))
        return found

    def changed(self, tx: ReadTx, subscription: Subscription, period: Period, since: int) -> bool:
        """Sooner yes than no: a transaction that began before `since` may have come to disk after it.

        A subscription that was made known later may take events over, or give them back.
        """
        tenant, since = subscription.tenant, since - USAGE_LATE_S * SECOND
        chains = rows.chains_of(tx, tenant, subscription.agent)
        if total_store.changed_since(tx, tenant, sorted(chains), period.start, period.end, since):
            return True
        near = {agent for behind in chains.values() for agent in nearer(whole(behind), subscription)}
        return billing_rows.subscriptions_changed(tx, tenant, sorted(near), subscription.subscription_id, since)

    def find(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> tuple[SubscriptionId | None, BillableEvent]:
        row = find(tx, tenant, event_id)
        behind = rows.find_chain(tx, tenant, row.chain)
        payer = Book(tx, tenant).payer(whole(behind), row.event_type, row.happened_at)
        return None if payer is None else payer.subscription_id, row.event(tenant, behind)

    def history(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> EventHistory:
        row = find(tx, tenant, event_id)
        times = sorted({version.happened_at for version in versions_of(tx, tenant, row)})
        return EventHistory(row.state, rows.acts_of(tx, tenant, unpacked(row.event_id)), tuple(times))


class Book:
    """Subscriptions and plans as one transaction sees them, or as they were known at an instant, each read once."""

    def __init__(self, tx: ReadTx, tenant: TenantId, known_at: int | None = None) -> None:
        self._tx = tx
        self._tenant = tenant
        self._known_at = known_at
        self._subscriptions: dict[AgentId, Sequence[Subscription]] = {}
        self._plans: dict[PlanId, list[Plan]] = {}

    def plan(self, plan_id: PlanId, version: int) -> Plan:
        if plan_id not in self._plans:
            self._plans[plan_id] = billing_rows.versions(self._tx, self._tenant, plan_id)
        return version_of(self._plans[plan_id], plan_id, version)

    def of(self, agent: AgentId) -> Sequence[Subscription]:
        if agent not in self._subscriptions:
            self._subscriptions[agent] = self._read(agent)
        return self._subscriptions[agent]

    def _read(self, agent: AgentId) -> list[Subscription]:
        if self._known_at is not None:
            return billing_rows.subscriptions_at(self._tx, self._tenant, agent, self._known_at)
        found: list[Subscription] = []
        after = SubscriptionId("")
        while page := billing_rows.subscriptions_of(self._tx, self._tenant, agent, after, PAGE_ITEMS_MAX):
            found += page
            after = page[-1].subscription_id
        return found

    def types_of(self, subscription: Subscription) -> set[str]:
        """With what is booked beyond quotas for them."""
        plans = [self.plan(phase.plan_id, phase.version) for phase in subscription.phases]
        types = {charge.meter.event_type for plan in plans for charge in plan.charges}
        return types | {beyond_type(one) for one in types}

    def contested(self, chain: Chain, subscription: Subscription) -> bool:
        """Whether the events of a chain may be billed by another one, or by this one for a part of the time only."""
        return any(
            other.subscription_id != subscription.subscription_id
            for agent in nearer(chain, subscription)
            for other in self.of(agent)
        )

    def pays(self, subscription: Subscription, chain: Chain, event_type: str, at: int) -> bool:
        payer = self.payer(chain, event_type, at)
        return payer is not None and payer.subscription_id == subscription.subscription_id

    def payer(self, chain: Chain, event_type: str, at: int) -> Subscription | None:
        known = {agent: self.of(agent) for agent in chain}
        return payer_of(chain, used_type(event_type), at, known, self.plan)


def nearer(chain: Chain, subscription: Subscription) -> Chain:
    """Who of a chain comes before the subscriber, from the agent itself up: their subscriptions pay first."""
    return chain[chain.index(subscription.agent) :]


def whole(behind: Behind) -> Chain:
    agent, chain = behind
    return chain if chain and chain[-1] == agent else (*chain, agent)
