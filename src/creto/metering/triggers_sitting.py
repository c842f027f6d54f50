"""A batch judged by cost thresholds: what each of its events finds spent, with those before it.

What was spent before the batch is read once for all that its events ask for; what they add themselves is added to that, and written at
the end, or before something is told of the rows.

INVARIANT: an event finds spent what the rows would say if all that came in before it had been added to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from creto.common.ids import AgentId, TenantId
from creto.contracts import BillableEvent, BillingPeriod, OversightTrigger
from creto.metering.triggers import Alarms, Cost, Exceeded, Rule, crossed, payers, quiet, window_of
from creto.metering.triggers_costs import Costs, Spent
from creto.store.types import Tx


class Teller(Protocol):
    """Who acts on what was crossed, in the transaction."""

    def cost(self, tenant: TenantId, event: BillableEvent, known: Sequence[Rule]) -> Cost | None: ...

    def act_on(
        self, tx: Tx, tenant: TenantId, event: BillableEvent, found: Sequence[Exceeded]
    ) -> OversightTrigger | None: ...


class Sitting:
    def __init__(
        self,
        teller: Teller,
        costs: Costs,
        tx: Tx,
        tenant: TenantId,
        known: Sequence[Rule],
        events: Sequence[BillableEvent],
        alarms: Alarms = quiet,
    ) -> None:
        self._teller = teller
        self._costs = costs
        self._tx = tx
        self._tenant = tenant
        self._known = known
        self._alarms = alarms
        zone = costs.zone(tenant)
        self._windows = {rule.period: window_of(rule.period, zone) for rule in known if rule.period is not None}
        self._latest: dict[BillingPeriod, tuple[int, int]] = {}
        self._now = costs.spent(tx, tenant, self._asked_for(events))
        self._pending: list[tuple[BillableEvent, Cost]] = []

    def consider(self, event: BillableEvent) -> OversightTrigger | None:
        """None: it counts, for those after it too. A trigger: it waits. QuotaExceeded MT-429, InvalidInput MT-400: it does not come in."""
        cost = self._teller.cost(self._tenant, event, self._known)
        found = crossed(event, cost, self._known, partial(self._spent, event.timestamp), alarms=self._alarms)
        if found:
            self.end()
            trigger = self._teller.act_on(self._tx, self._tenant, event, found)
            if trigger is not None:
                return trigger
        if cost is not None:
            self._pending.append((event, cost))
            self._count(event, cost)
        return None

    def end(self) -> None:
        """Write down what those that count have cost."""
        self._costs.put(self._tx, self._tenant, self._pending)
        self._pending = []

    def _spent(self, at: int, rule: Rule, whose: AgentId) -> dict[str, int]:
        assert rule.period is not None
        return self._now.get((whose, rule.period, rule.currency, *self._within(rule.period, at)), {})

    def _count(self, event: BillableEvent, cost: Cost) -> None:
        for of in self._windows:
            start, end = self._within(of, event.timestamp)
            for agent in payers(event):
                place = (agent, of, cost.currency, start, end)
                mine = self._now.setdefault(place, {})
                mine[event.event_type] = mine.get(event.event_type, 0) + cost.micros

    def _within(self, of: BillingPeriod, at: int) -> tuple[int, int]:
        """One after the other in time mostly, so the last one is tried first."""
        known = self._latest.get(of)
        if known is None or not known[0] <= at < known[1]:
            period = self._windows[of].period(at)
            known = self._latest[of] = (period.start, period.end)
        return known

    def _asked_for(self, events: Iterable[BillableEvent]) -> set[Spent]:
        found: set[Spent] = set()
        for event in events:
            for rule in self._known:
                whose = rule.concerns(event) if rule.period is not None else None
                if whose is not None and rule.period is not None:
                    found.add((whose, rule.period, rule.currency, *self._within(rule.period, event.timestamp)))
        return found
