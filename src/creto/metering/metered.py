"""Who pays for an event, and what their meters read of it: kept in memory, for an event that they could not bill stays out.

    account = payers.of(tenant)
    account.meters(event)          # None where no subscription pays; of the one that does, what its plan then reads of such events

The same subscription as on the invoice: the nearest in the chain whose plan meters the event's type at its time.
INVARIANT: what was read before a change is never kept after it; while signals may be lost nothing is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from creto.common import wire
from creto.common.ids import AgentId, TenantId
from creto.common.limits import INTEGER_MAX, SUBSCRIBERS_CACHED_MAX, SUBSCRIPTIONS_READ_MAX
from creto.contracts import BillableEvent
from creto.metering import store as rows
from creto.metering.accounts import payer_of
from creto.metering.attribution import Chain, chain_of
from creto.metering.core import PLANS_CHANGED
from creto.metering.plans import phase_at, version_of
from creto.metering.source import Book
from creto.metering.types import Meter, Plan, PlanId, Subscription
from creto.store.types import ReadTx, Store


class Answer(NamedTuple):
    """What reads the events of a chain and a type from an instant up to another; None where nobody pays."""

    start: int
    end: int
    meters: Sequence[Meter] | None


class Account:
    """The plans of a tenant and its subscriptions: all of them, or of a large tenant each as it is asked for first."""

    def __init__(self, store: Store, tenant: TenantId) -> None:
        self._store = store
        self._tenant = tenant
        self._plans: dict[PlanId, list[Plan]] = {}
        self._known: dict[AgentId, Sequence[Subscription]] = {}
        self._answers: dict[tuple[AgentId, Chain, str], Answer] = {}
        self._changes = 0
        self._lock = threading.Lock()
        plans, subscriptions = store.read_now(lambda tx: (rows.all_versions(tx, tenant), first(tx, tenant)))
        for plan in plans:
            self._plans.setdefault(plan.plan_id, []).append(plan)
        self._types = frozenset(charge.meter.event_type for plan in plans for charge in plan.charges)
        self._knows_all = len(subscriptions) < SUBSCRIPTIONS_READ_MAX
        if self._knows_all:
            self._known = {one.agent: [] for one in subscriptions}
            for one in subscriptions:
                self._known[one.agent] = [*self._known[one.agent], one]

    def meters(self, event: BillableEvent) -> Sequence[Meter] | None:
        """None where nobody pays for the event."""
        if event.event_type not in self._types:
            return None
        key = (event.agent_nhi, event.delegation_chain, event.event_type)
        known = self._answers.get(key)
        if known is None or not known.start <= event.timestamp < known.end:
            known = self._answer(key, event)
        return known.meters

    def forget(self, agent: AgentId) -> None:
        """Its subscriptions have changed: they are read again when they are asked for."""
        with self._lock:
            self._changes += 1
            self._known.pop(agent, None)
            self._knows_all = False
            self._answers.clear()

    def _answer(self, key: tuple[AgentId, Chain, str], event: BillableEvent) -> Answer:
        """It holds until a subscription of the chain begins, changes or ends."""
        changes, chain, at = self._changes, chain_of(event), event.timestamp
        known = {agent: self._subscriptions(agent) for agent in chain}
        payer = payer_of(chain, event.event_type, at, known, self._plan)
        moments = [moment for found in known.values() for one in found for moment in changing(one)]
        answer = Answer(
            max((moment for moment in moments if moment <= at), default=0),
            min((moment for moment in moments if moment > at), default=INTEGER_MAX),
            None if payer is None else metered(event, self._plan(*plan_at(payer, at))),
        )
        with self._lock:
            if changes == self._changes:
                if len(self._answers) >= SUBSCRIBERS_CACHED_MAX:
                    self._answers.clear()
                self._answers[key] = answer
        return answer

    def _plan(self, plan_id: PlanId, version: int) -> Plan:
        return version_of(self._plans.get(plan_id, ()), plan_id, version)

    def _subscriptions(self, agent: AgentId) -> Sequence[Subscription]:
        found = self._known.get(agent)
        if found is not None:
            return found
        changes = self._changes
        if self._knows_all:
            return ()
        found = self._store.read_now(lambda tx: Book(tx, self._tenant).of(agent))
        with self._lock:
            if changes == self._changes:
                if len(self._known) >= SUBSCRIBERS_CACHED_MAX:
                    self._known.clear()
                self._known[agent] = found
        return found


class Payers:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._accounts: dict[TenantId, Account] = {}
        self._changes = 0
        self._lock = threading.Lock()
        store.on_signal(PLANS_CHANGED, self._on_plans)
        store.on_signal(rows.SUBSCRIBED, self._on_subscribed)
        store.on_signal_lost(self._forget)

    def of(self, tenant: TenantId) -> Account:
        found = self._accounts.get(tenant) if self._store.signals_alive else None
        return self._read(tenant) if found is None else found

    def _read(self, tenant: TenantId) -> Account:
        changes = self._changes
        account = Account(self._store, tenant)
        with self._lock:
            if changes == self._changes and self._store.signals_alive:
                self._accounts[tenant] = account
        return account

    def _on_plans(self, tenant: str) -> None:
        with self._lock:
            self._changes += 1
            self._accounts.pop(TenantId(tenant), None)

    def _on_subscribed(self, payload: str) -> None:
        tenant, agent = wire.decode(payload, tuple[TenantId, AgentId], what="signal")
        with self._lock:
            self._changes += 1
            account = self._accounts.get(tenant)
        if account is not None:
            account.forget(agent)

    def _forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._accounts.clear()


def first(tx: ReadTx, tenant: TenantId) -> list[Subscription]:
    """As many of a tenant's subscriptions as are read at once."""
    return rows.subscriptions_of(tx, tenant, None, "", SUBSCRIPTIONS_READ_MAX)


def changing(one: Subscription) -> Iterator[int]:
    """When who pays by it, and for what, may become another."""
    yield one.started_at
    if one.ends_at is not None:
        yield one.ends_at
    for phase in one.phases:
        yield phase.since


def meters_in(tx: ReadTx, tenant: TenantId, event: BillableEvent) -> Sequence[Meter]:
    """As `Account.meters`, as one transaction sees it."""
    book = Book(tx, tenant)
    payer = book.payer(chain_of(event), event.event_type, event.timestamp)
    return () if payer is None else metered(event, book.plan(*plan_at(payer, event.timestamp)))


def plan_at(payer: Subscription, at: int) -> tuple[PlanId, int]:
    phase = phase_at(payer.phases, at)
    assert phase is not None
    return phase.plan_id, phase.version


def metered(event: BillableEvent, plan: Plan) -> Sequence[Meter]:
    return [charge.meter for charge in plan.charges if charge.meter.event_type == event.event_type]
