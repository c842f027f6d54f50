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
import threading
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import structs

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import (
    INTEGER_MAX,
    QUOTA_EXPIRED_KEPT_MAX,
    QUOTA_FULL_MS,
    QUOTA_RESERVATION_S,
    QUOTA_STRIPES,
    QUOTA_TRIES_MAX,
)
from creto.common.telemetry import Metrics
from creto.common.timestamps import MILLISECOND, SECOND, ConsensusTimestamp
from creto.metering import overflow, quota_rules
from creto.metering.beyond import Beyond
from creto.metering.leases import Drawn, SharedLimits, Wish
from creto.metering.quota_charges import Charges
from creto.metering.quota_counters import RETIRED, Counter, Counters, Plan
from creto.metering.quota_rules import Counted, Definitions, Mismatch
from creto.metering.quota_steps import Step, Steps
from creto.metering.quota_types import Ask, ChargeBeyond, TopUpLimit
from creto.platform.nhi import ValidatedChain
from creto.security.authz.types import (
    UNLIMITED,
    QuotaDecision,
    QuotaDenied,
    QuotaOutcome,
    RequiresOversight,
    Reservation,
)

KEPT_NS = QUOTA_RESERVATION_S * SECOND
FULL_NS = QUOTA_FULL_MS * MILLISECOND
EXCEEDED = 0  # the mark of an act that finds no room: below all that are amounts


class Taken(Reservation, frozen=True, kw_only=True):
    """A reservation of this process, and what it was taken from."""

    counters: Any = ()
    weights: tuple[int, ...] = ()
    expires_at: int = 0
    plan: Any = None
    beyond: Beyond | None = None  # what it will be billed for beyond a quota


class Crossed(NamedTuple):
    """A mark that a counter has reached."""

    counter: Counter
    mark: int
    used: int
    outcome: QuotaOutcome
    event_type: str
    chain: tuple[AgentId, ...]


class Short(NamedTuple):
    """Why there is no room: this counter has none, nor has its lane."""

    counter: Counter
    outcome: QuotaOutcome
    resets_at: int
    why: str = ""


class Found(NamedTuple):
    """Counters that have room for an act."""

    counters: tuple[Counter, ...]
    weights: tuple[int, ...]
    outcome: QuotaOutcome


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
        self._steps = steps
        self.limits = limits
        self.counters = counters
        self._now = now
        self._definitions = definitions
        self.tell = crossed
        self._lacking = lacking
        self._hurry = hurry  # the upkeep
        self._plans: dict[TenantId, dict[str, dict[object, Plan]]] = {}
        self._open: dict[str, Taken] = {}
        self._expired: dict[str, Taken] = {}
        self._changes = 0
        self._stripes = tuple(threading.Lock() for _ in range(QUOTA_STRIPES))
        self.overdrawn: dict[Counter, Plan] = {}  # spent more than they had, by an act of which kind: upkeep draws it
        self.surplus: set[Counter] = set()  # drawn for an act that was refused, or asked back by another node
        self.leased: set[Counter] = set()  # have drawn since upkeep last looked
        self.late: deque[tuple[Counter, int]] = deque()  # to be booked on counters that are retired
        checks = (metrics or Metrics()).counter("metering_quota_checks_total", "Reservations asked for", "result")
        self.allowed, self.refused = checks.labels("allowed"), checks.labels("denied")
        self.draws = 0  # read by a scrape
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
        approved: bool = False,
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
            self._free(held)

    def _free(self, held: Taken) -> None:
        self._bill(held, 0)
        if held.plan.returns:
            held = self._returned(held)
        self.late.extend(self.counters.book(held.counters, held.weights, held.amount))

    def check_quota(self, tenant: TenantId, agent: AgentId, event_type: str) -> QuotaDecision:
        return self.check(tenant, agent, event_type)

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

    # The slow way: plans, draws, overflow

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
        self, tenant: TenantId, agent: AgentId, chain: ValidatedChain | None, plan: Plan, amount: int, *, approved: bool
    ) -> Reservation | QuotaDenied | RequiresOversight:
        now = self._now()
        if plan.until <= now or plan.epoch != self.counters.epoch:
            made = self._plan(tenant, agent, chain, plan.event_type, amount, now)
            if isinstance(made, QuotaDenied):
                return made
            plan = made
        found = self._room(plan, amount, now, approved=approved, take=True)
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

    def _room(self, plan: Plan, amount: int, now: int, *, approved: bool, take: bool) -> Found | Short:
        """Counters with room: those of the plan, and lanes in the place of those that are full. One thread at a time for one agent."""
        if not plan.counters:
            return Found((), (), QuotaOutcome.ALLOW)
        with self._stripes[hash(plan.counters[0].key) % QUOTA_STRIPES]:
            chosen = list(plan.counters)
            outcome, drew = QuotaOutcome.ALLOW, list[Counter]()
            for _ in range(QUOTA_TRIES_MAX):
                short = self._short(chosen, plan.weights, amount, take=take)
                if not short:
                    return Found(tuple(chosen), plan.weights, outcome)
                refused = None
                for index in self._still_short(short, chosen, plan, amount, now, drew):
                    if chosen[index].paid < chosen[index].limit:
                        if not take:
                            if self._payable(chosen[index], amount * plan.weights[index], plan, now):
                                return Found(tuple(chosen), plan.weights, QuotaOutcome.TOP_UP)
                        elif self._bought(chosen[index], plan, now):
                            continue
                    turned = self._beyond(chosen[index], now, approved=approved)
                    if take:
                        self._tell_exceeded(chosen[index], turned, plan)
                    if isinstance(turned, Short):
                        if refused is None or overflow.stricter(refused.outcome, turned.outcome) is turned.outcome:
                            refused = turned
                        continue
                    chosen[index], terms = turned
                    outcome = overflow.stricter(outcome, terms)
                if refused is not None:
                    self.surplus.update(drew)
                    return refused
            return Short(chosen[short[0]], QuotaOutcome.THROTTLE, now + FULL_NS)

    def _short(self, chosen: list[Counter], weights: tuple[int, ...], amount: int, *, take: bool) -> list[int]:
        """The places of those without room; if there are none, it is taken."""
        cells = self.counters.cells
        with self.counters.lock:
            short = [
                i
                for i, counter in enumerate(chosen)
                if counter.slot == RETIRED or cells[counter.slot] < amount * weights[i]
            ]
            if not short and take:
                for counter, weight in zip(chosen, weights, strict=True):
                    cells[counter.slot] -= amount * weight
            return short

    def _still_short(
        self, short: list[int], chosen: list[Counter], plan: Plan, amount: int, now: int, drew: list[Counter]
    ) -> list[int]:
        """Draw for them; the places of those for which the shared limit has nothing."""
        cells = self.counters.cells
        wanted = {i: wish(chosen[i], amount * plan.weights[i], cells) for i in short if chosen[i].slot != RETIRED}
        asking = [i for i, one in wanted.items() if chosen[i].full_until <= now or one.need < chosen[i].full_need]
        wishes = [wanted[i] for i in asking]
        drawn = self._draw([chosen[i] for i in asking], wishes, plan, now) if wishes else []
        empty = {i for i, answer in zip(asking, drawn, strict=True) if not answer.granted}
        drew += [chosen[i] for i in asking if i not in empty]
        if empty:
            self._lacking([chosen[i] for i in empty])
        return [i for i in short if i in empty or i not in asking]

    def _draw(self, counters: list[Counter], wishes: list[Wish], plan: Plan, now: int) -> list[Drawn]:
        drawn = self.limits.draw(self.node, wishes)
        self.draws += 1
        marks: list[Crossed] = []
        with self.counters.lock:
            for counter, asked, answer in zip(counters, wishes, drawn, strict=True):
                counter.taken = answer.after
                if answer.granted:
                    if self.counters.came(counter, answer.granted):
                        counter.filled = False
                else:
                    counter.full_until, counter.full_need = now + FULL_NS, asked.need
        for counter, answer in zip(counters, drawn, strict=True):
            if answer.granted:
                self.leased.add(counter)
            if not counter.counted.returns:  # what runs has used nothing yet
                marks += marks_reached(counter, answer.after, plan.event_type, plan.chain)
        if marks:
            self.tell(marks)
        return drawn

    def _beyond(self, counter: Counter, now: int, *, approved: bool) -> tuple[Counter, QuotaOutcome] | Short:
        """The lane of a counter that is full, and on which terms; or why there is none."""
        if counter.beyond:
            full = self.counters.find(counter.tenant, quota_rules.within(counter.key)) or counter
            why = ", and nobody can pay for more" if counter.paid < counter.limit else ""
            return Short(full, overflow.exhausted(counter.overflow), counter.resets_at, why)
        terms = overflow.beyond(counter.overflow, approved=approved)
        found = quota_rules.lane(counter.counted, now)
        if not terms.allowed or found is None:
            return Short(counter, terms, counter.resets_at)
        return self.counters.get(counter.tenant, found), terms

    def _bought(self, counter: Counter, plan: Plan, now: int) -> bool:
        """Whether the next step of a limit that is topped up at a price is paid: it may be drawn from here on."""
        step = None if counter.unpaid_until > now else next_step(counter, plan)
        if self._steps is None or step is None:
            return False
        if not self._steps.buy(step):
            counter.unpaid_until = now + FULL_NS
            return False
        counter.paid, counter.full_until = min(counter.limit, step.number * step.amount), 0
        return True

    def _payable(self, counter: Counter, need: int, plan: Plan, now: int) -> bool:
        """Whether all steps that an act needs are paid or could be. Nothing is bought."""
        step = None if counter.unpaid_until > now else next_step(counter, plan)
        if self._steps is None or step is None:
            return False
        until = counter.taken + need - self.counters.cells[counter.slot]
        return until <= counter.limit and self._steps.payable(step, -(-until // step.amount))

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

    def _tell_exceeded(self, counter: Counter, turned: tuple[Counter, QuotaOutcome] | Short, plan: Plan) -> None:
        """Once for a counter in its window: an act is refused, asked about, or goes beyond."""
        full = turned.counter if isinstance(turned, Short) else counter
        if full.exceeded or full.beyond:
            return
        full.exceeded = True
        outcome = turned.outcome if isinstance(turned, Short) else turned[1]
        self.tell([Crossed(full, EXCEEDED, full.taken, outcome, plan.event_type, plan.chain)])

    def _check_slowly(self, plan: Plan, amount: int, now: int) -> QuotaDecision:
        found = self._room(plan, amount, now, approved=False, take=False)
        cells = self.counters.cells
        if isinstance(found, Short):
            counter = found.counter
            retry = found.resets_at - now if found.resets_at < INTEGER_MAX else None
            return decision(counter, left_of(counter, cells), found.outcome, retry)
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
            self._free(held)
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


def wish(counter: Counter, need: int, cells: memoryview) -> Wish:
    return Wish(
        counter.tenant, counter.key, counter.slot, need - cells[counter.slot], min(counter.limit, counter.paid),
        counter.resets_at, counter.marks,
    )  # fmt: skip


def marks_reached(counter: Counter, used: int, event_type: str, chain: tuple[AgentId, ...]) -> list[Crossed]:
    """Those that this process has not told of yet, the greatest last."""
    found = [mark for mark in counter.marks if counter.told < mark <= used]
    if found:
        counter.told = found[-1]
    terms = overflow.beyond(counter.overflow, approved=True)
    outcome = terms if terms.allowed else QuotaOutcome.ALLOW
    return [Crossed(counter, mark, used, outcome, event_type, chain) for mark in found]


def left_of(counter: Counter, cells: memoryview) -> int:
    return max(0, counter.limit - counter.taken + (cells[counter.slot] if counter.slot != RETIRED else 0))


def next_step(counter: Counter, plan: Plan) -> Step | None:
    """The one by which a limit that is topped up at a price grows next."""
    terms = counter.overflow
    if not isinstance(terms, TopUpLimit) or terms.price is None:
        return None
    return Step(
        tenant=counter.tenant, counter=counter.key, number=counter.paid // terms.amount + 1, amount=terms.amount,
        quota_id=counter.quota_id, owner=counter.owner, wallet=terms.wallet or counter.owner or plan.chain[0],
        price=terms.price, currency=terms.currency, starts_at=counter.starts_at, ends_at=counter.resets_at, by=plan.chain[-1],
    )  # fmt: skip


def outcome_near(counter: Counter, left: int) -> QuotaOutcome:
    """Allowed; and somebody has been told, where a mark was reached and the quota lets acts beyond it."""
    terms = overflow.beyond(counter.overflow, approved=False)
    told = counter.marks and counter.limit - left >= counter.marks[0]
    return terms if told and terms is QuotaOutcome.ALLOW_WITH_NOTIFICATION else QuotaOutcome.ALLOW


def decision(counter: Counter, left: int, outcome: QuotaOutcome, retry_ns: int | None = None) -> QuotaDecision:
    return QuotaDecision(
        outcome=outcome,
        remaining=max(left, 0),
        limit=counter.limit,
        resets_at=ConsensusTimestamp(counter.resets_at) if counter.resets_at < INTEGER_MAX else None,
        decided_by=counter.owner,
        window=counter.name,
        retry_after_s=None if retry_ns is None else Decimal(max(retry_ns, 0)) / SECOND,
        policy_id=counter.overflow.policy_id
        if outcome is QuotaOutcome.REQUIRE_APPROVAL and isinstance(counter.overflow, Ask)
        else None,
    )


def refusal(short: Short, now: int) -> QuotaDenied | RequiresOversight:
    counter = short.counter
    if short.outcome is QuotaOutcome.REQUIRE_APPROVAL and isinstance(counter.overflow, Ask):
        return RequiresOversight(counter.overflow.policy_id)
    whose = f" of {counter.owner}" if counter.owner else ""
    return QuotaDenied(
        f"quota {counter.quota_id}{whose} for this {counter.name} is used up{short.why}"
        if short.outcome is QuotaOutcome.DENY
        else f"quota {counter.quota_id}{whose} is throttled",
        None if short.resets_at >= INTEGER_MAX else max(0, short.resets_at - now) / SECOND,
        limit=counter.limit,
        used=min(counter.taken, counter.limit),
    )
