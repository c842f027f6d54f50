"""Quotas inside the call: reserve, settle or release, from this process's own leases.

    book = QuotaBook(node, Pace(clock).now, limits, counters, definitions)    # a QuotaHook: authz asks it on every allowed check
    held = book.reserve(tenant, agent, chain, "inference.call", resource, 1_200)
    book.settle(held, 950)                                # it took less than was reserved

An act counts for its agent and for everybody above in the chain, in each window of each quota that fits, and within the budget of each
link. While the leases have room that is memory alone. When one is used up, the calling thread draws from the shared limit: a
transaction on the store or a round trip to Redis. Where that has nothing left, the quota's overflow says what happens.

INVARIANT: of the counters of an act all are taken or none.
INVARIANT: `settle` and `release` of one reservation book once, however often they are called.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from msgspec import structs

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import (
    INTEGER_MAX,
    QUOTA_EXPIRED_KEPT_MAX,
    QUOTA_RESERVATION_S,
)
from creto.common.telemetry import Metrics
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.metering import overflow, quota_rules
from creto.metering.beyond import Beyond
from creto.metering.leases import SharedLimits
from creto.metering.quota_charges import Charges
from creto.metering.quota_counters import RETIRED, Counter, Counters, Plan
from creto.metering.quota_decisions import asking, decision, outcome_near, refusal
from creto.metering.quota_marks import Crossed
from creto.metering.quota_room import Found, Room, Short, left_of
from creto.metering.quota_rules import Counted, Definitions, Mismatch
from creto.metering.quota_steps import Steps
from creto.metering.quota_types import ChargeBeyond
from creto.platform.nhi import ValidatedChain
from creto.security.authz.types import (
    JOINT,
    UNLIMITED,
    QuotaDecision,
    QuotaDenied,
    QuotaOutcome,
    RequiresOversight,
    Reservation,
)

KEPT_NS = QUOTA_RESERVATION_S * SECOND


class Taken(Reservation, frozen=True, kw_only=True):
    """A reservation of this process, and what it was taken from."""

    counters: Any = ()
    weights: tuple[int, ...] = ()
    expires_at: int = 0
    plan: Any = None
    beyond: Beyond | None = None  # what it will be billed for beyond a quota


class QuotaBook:
    """`definitions` are a tenant's quotas and rates, and whether they may be kept in memory until `changed` is called."""

    def __init__(
        self,
        node: str,
        now: Callable[[], int],
        limits: SharedLimits,
        counters: Counters,
        definitions: Callable[[TenantId], tuple[Definitions, bool]],
        *,
        crossed: Callable[[list[Crossed]], None] = lambda _: None,
        lacking: Callable[[list[Counter]], None] = lambda _: None,
        hurry: Callable[[], None] = lambda: None,
        charges: Charges | None = None,
        steps: Steps | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.node = node
        self._charges = charges
        self.limits = limits
        self.counters = counters
        self._now = now
        self._definitions = definitions
        self.tell = crossed
        self._hurry = hurry  # the upkeep
        self._plans: dict[TenantId, dict[str, dict[object, Plan]]] = {}
        self._open: dict[str, Taken] = {}
        self._expired: dict[str, Taken] = {}
        self._changes = 0
        self.room = Room(node, limits, counters, tell=crossed, lacking=lacking, steps=steps)
        self.overdrawn: dict[Counter, Plan] = {}  # spent more than they had, by an act of which kind: upkeep draws it
        self.surplus = self.room.surplus
        self.leased = self.room.leased
        self.late: deque[tuple[Counter, int]] = deque()  # to be booked on counters that are retired
        checks = (metrics or Metrics()).counter("metering_quota_checks_total", "Reservations asked for", "result")
        self.allowed, self.refused = checks.labels("allowed"), checks.labels("denied")
        self.overruns = 0  # settled above what was reserved
        self.overrun_units = 0

    # The hook

    def reserve(
        self,
        tenant: TenantId,
        agent: AgentId,
        chain: ValidatedChain | None,
        action: str,
        resource: str,
        amount: int,
        *,
        approved: frozenset[str] = frozenset(),
    ) -> Reservation | QuotaDenied | RequiresOversight:
        now = self._now()
        try:
            plan = self._plans[tenant][action][chain.links if chain is not None and chain.links else agent]
            if plan.until <= now or amount < 0:
                raise KeyError
        except KeyError:
            made = self._plan(tenant, agent, chain, action, amount, now)
            if isinstance(made, QuotaDenied):
                return made
            plan = made
        fits = False
        counters = self.counters
        cells = counters.cells
        with counters.lock:
            if plan.epoch == counters.epoch:
                slots = plan.slots
                for slot in slots:
                    room = cells[slot] - amount
                    if room < 0:
                        put_back(cells, slots, slot, amount)
                        break
                    cells[slot] = room
                else:
                    fits = not plan.costs or take_costs(cells, plan, amount)
                    if fits:
                        self.allowed.value = number = self.allowed.value + 1
        if not fits:
            return self._reserve_slowly(tenant, agent, chain, plan, amount, approved=approved)
        name = f"q{number}"
        held = Taken(
            reservation_id=name, amount=amount, counters=plan.counters, weights=plan.weights, expires_at=now + KEPT_NS,
            plan=plan,
        )  # fmt: skip
        self._open[name] = held
        return held

    def settle(self, reservation: Reservation, amount: int | None = None) -> None:
        held = self._closed(reservation, settling=True)
        if held is None:
            return
        self._bill(held, held.amount if amount is None else max(amount, 0))
        if held.plan.returns:
            held = self._returned(held)
        if amount is None or amount == held.amount:
            return
        back = held.amount - max(amount, 0)
        self.late.extend(self.counters.book(held.counters, held.weights, back))
        if back < 0:
            self._overran(held, -back)

    def release(self, reservation: Reservation) -> None:
        held = self._closed(reservation, settling=False)
        if held is not None:
            self.give_back(held)

    def give_back(self, held: Taken) -> None:
        """What is out of the book has taken nothing."""
        self._bill(held, 0)
        if held.plan.returns:
            held = self._returned(held)
        self.late.extend(self.counters.book(held.counters, held.weights, held.amount))

    def check_quota(self, tenant: TenantId, agent: AgentId, event_type: str) -> QuotaDecision:
        return self.check(tenant, agent, event_type)

    def asks(
        self, tenant: TenantId, agent: AgentId, chain: ValidatedChain | None, action: str, amount: int
    ) -> RequiresOversight | None:
        policies = self.check(tenant, agent, action, chain, amount).policy_id
        return None if policies is None else asking(set(policies.split(JOINT)))

    def check(
        self, tenant: TenantId, agent: AgentId, event_type: str, chain: ValidatedChain | None = None, amount: int = 1
    ) -> QuotaDecision:
        """Whether an act would be let through now, and which counter has the least left. Nothing is taken."""
        now = self._now()
        try:
            plan = self._plans[tenant][event_type][chain.links if chain is not None and chain.links else agent]
            if plan.until <= now or plan.epoch != self.counters.epoch:
                raise KeyError
        except KeyError:
            made = self._plan(tenant, agent, chain, event_type, amount, now)
            if isinstance(made, QuotaDenied):
                return QuotaDecision(outcome=QuotaOutcome.DENY, remaining=0, limit=made.limit or 0)
            plan = made
        cells = self.counters.cells
        tightest, least, fits = None, INTEGER_MAX, True
        for counter, weight in zip(plan.counters, plan.weights, strict=True):
            room = cells[counter.slot]
            if room < amount * weight:
                fits = False
            left = counter.limit - counter.taken + room
            if left < least:
                tightest, least = counter, left
        if tightest is None:
            return UNLIMITED
        if not fits:
            return self._check_slowly(plan, amount, now)
        return decision(tightest, least, outcome_near(tightest, least))

    # The slow way: plans, and room where there is none in memory

    def _plan(
        self, tenant: TenantId, agent: AgentId, chain: ValidatedChain | None, action: str, amount: int, now: int
    ) -> Plan | QuotaDenied:
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount <= INTEGER_MAX:
            raise InvalidInput.of("amount", got=amount, expected=f"0 to {INTEGER_MAX}", code="MT-400")
        changes = self._changes
        known, lasting = self._definitions(tenant)
        agents = chain.agents if chain is not None else (agent,)
        counters = [quota_rules.counted(known, agents, action, now)]
        if chain is not None and chain.links:
            counters.append(quota_rules.budgets(chain, quota_rules.rate_of(known.rates, action)))
        wanted: list[Counted] = []
        for found in counters:
            if isinstance(found, Mismatch):
                return QuotaDenied(f"{found.limited} is in {found.currency}, {action} is priced in {found.rate}")
            wanted += found
        pairs = [(counted, self.counters.get(tenant, counted)) for counted in wanted]
        until = min((counted.period.end for counted in wanted), default=INTEGER_MAX)
        plan = Plan(pairs, agents, action, self.counters.epoch, until)
        key = chain.links if chain is not None and chain.links else agent
        with self.counters.lock:
            if lasting and changes == self._changes:
                self._plans.setdefault(tenant, {}).setdefault(action, {})[key] = plan
        return plan

    def _reserve_slowly(
        self,
        tenant: TenantId,
        agent: AgentId,
        chain: ValidatedChain | None,
        plan: Plan,
        amount: int,
        *,
        approved: frozenset[str],
    ) -> Reservation | QuotaDenied | RequiresOversight:
        now = self._now()
        if plan.until <= now or plan.epoch != self.counters.epoch:
            made = self._plan(tenant, agent, chain, plan.event_type, amount, now)
            if isinstance(made, QuotaDenied):
                return made
            plan = made
        found = self.room.find(plan, amount, now, approved=approved, take=True)
        if isinstance(found, Short):
            self.refused.add()
            return refusal(found, now)
        with self.counters.lock:
            self.allowed.value = number = self.allowed.value + 1
        held = Taken(
            reservation_id=f"q{number}", amount=amount, outcome=found.outcome, counters=found.counters,
            weights=found.weights, expires_at=now + KEPT_NS, plan=plan,
            beyond=self._charged(tenant, f"beyond-{self.node}-q{number}", found, plan, amount, now),
        )  # fmt: skip
        self._open[held.reservation_id] = held
        return held

    def _charged(self, tenant: TenantId, name: str, found: Found, plan: Plan, amount: int, now: int) -> Beyond | None:
        """Of the quotas that it went beyond at a price the dearest: on disk before it goes on."""
        lanes = [(c.overflow, c) for c in found.counters if c.beyond]
        dear = [(terms, counter) for terms, counter in lanes if isinstance(terms, ChargeBeyond)]
        if self._charges is None or not dear or not amount:
            return None
        terms, counter = max(dear, key=lambda pair: pair[0].factor)
        beyond = Beyond(
            tenant=tenant, booking_id=name, chain=plan.chain, event_type=plan.event_type, quota_id=counter.quota_id,
            factor=terms.factor, charge=terms.charge, amount=amount, at=ConsensusTimestamp(now),
        )  # fmt: skip
        try:
            self._charges.begin(beyond)
        except BaseException:
            self.late.extend(self.counters.book(found.counters, found.weights, amount))
            raise
        return beyond

    def _bill(self, held: Taken, units: int) -> None:
        if held.beyond is not None and self._charges is not None:
            self._charges.end(held.beyond, units)

    def _check_slowly(self, plan: Plan, amount: int, now: int) -> QuotaDecision:
        found = self.room.find(plan, amount, now, approved=frozenset(), take=False)
        cells = self.counters.cells
        if isinstance(found, Short):
            counter = found.counter
            retry = found.resets_at - now if found.resets_at < INTEGER_MAX else None
            made = decision(counter, left_of(counter, cells), found.outcome, retry)
            if found.outcome is not QuotaOutcome.REQUIRE_APPROVAL:
                return made
            return structs.replace(made, policy_id=PolicyId(asking(found.asked).under))
        lane = next((counter for counter in found.counters if counter.beyond), None)
        if lane is not None:  # beyond a limit: what is left is what may go beyond, where that has an end
            full = self.counters.find(lane.tenant, quota_rules.within(lane.key)) or lane
            return decision(full, 0 if lane.limit == INTEGER_MAX else left_of(lane, cells), found.outcome)
        counter = min(found.counters, key=lambda c: left_of(c, cells))
        near = outcome_near(counter, left_of(counter, cells))
        return decision(counter, left_of(counter, cells), overflow.stricter(found.outcome, near))

    # What is open

    def _closed(self, reservation: Reservation, *, settling: bool) -> Taken | None:
        """Out of the book; None if it was closed before. One that has expired was released: settled now, it is taken again."""
        held = self._open.pop(reservation.reservation_id, None)
        if held is not None:
            return held
        late = self._expired.pop(reservation.reservation_id, None)
        if late is not None and settling:
            self.late.extend(self.counters.book(late.counters, late.weights, -late.amount))
            self.overdrawn.update(dict.fromkeys(late.counters, late.plan))
            return late
        return None

    def _returned(self, held: Taken) -> Taken:
        """Give back what it held while it ran of counters that events move; the rest of it. Where events have filled one meanwhile
        nobody here takes it again: it goes to the shared limit."""
        pairs = list(zip(held.counters, held.weights, strict=True))
        for counter, weight in pairs:
            if counter.counted.returns and counter.filled:
                self.late.append((counter, held.amount * weight))
            elif counter.counted.returns:
                self.late.extend(self.counters.book([counter], [weight], held.amount))
        if self.late:
            self._hurry()
        rest = [(counter, weight) for counter, weight in pairs if not counter.counted.returns]
        return structs.replace(held, counters=tuple(c for c, _ in rest), weights=tuple(w for _, w in rest))

    def _overran(self, held: Taken, more: int) -> None:
        """An act took more than was reserved for it. It counts in full, and at once: what others may take is that much less."""
        self.overruns += 1
        self.overrun_units += more
        self.overdrawn.update(dict.fromkeys(held.counters, held.plan))
        self._hurry()

    def handed_over(self, held: Taken) -> None:
        """It is kept elsewhere from here on, with all that was taken for it."""
        self._open.pop(held.reservation_id, None)

    def expire(self, now: int) -> int:
        """Release what nobody settled in time; how many. They all have the same time, so the first opened is the first to end."""
        count = 0
        for name, held in list(itertools.islice(self._open.items(), QUOTA_EXPIRED_KEPT_MAX)):
            if held.expires_at > now:
                break
            if self._open.pop(name, None) is None:
                continue
            self.give_back(held)
            self._expired[name] = held
            count += 1
        for name in list(itertools.islice(self._expired, max(0, len(self._expired) - QUOTA_EXPIRED_KEPT_MAX))):
            self._expired.pop(name, None)
        return count

    def changed(self, tenant: TenantId | None = None) -> None:
        """Quotas or rates of a tenant are others now: what is drawn of them goes back, so that a lower limit holds."""
        with self.counters.lock:
            self._changes += 1
            if tenant is None:
                self._plans = {}
            else:
                self._plans.pop(tenant, None)
        self.surplus.update(self.counters.every() if tenant is None else self.counters.of(tenant))

    @property
    def open_reservations(self) -> int:
        return len(self._open)


def put_back(cells: memoryview, slots: tuple[int, ...], until: int, amount: int) -> None:
    """All of it or nothing: what was taken before the one without room."""
    for slot in slots:
        if slot == until:
            return
        cells[slot] += amount


def take_costs(cells: memoryview, plan: Plan, amount: int) -> bool:
    """Where money is counted beside acts, which have been taken already."""
    cost = amount * plan.rate
    for slot in plan.costs:
        if cells[slot] < cost:
            put_back(cells, (*plan.slots, RETIRED), RETIRED, amount)
            return False
    for slot in plan.costs:
        cells[slot] -= cost
    return True
