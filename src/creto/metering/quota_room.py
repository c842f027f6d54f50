"""Room for an act that does not fit into this process's leases: draw more, buy more, or go beyond, as the quota says.

    room = Room(node, limits, counters, tell=tell, lacking=lacking, steps=steps)
    room.find(plan, 1_200, now, approved=False, take=True)    # Found: it is taken; Short: why there is none

INVARIANT: of the counters of an act all are taken or none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from creto.common.ids import PolicyId
from creto.common.limits import QUOTA_FULL_MS, QUOTA_STRIPES, QUOTA_TRIES_MAX
from creto.common.timestamps import MILLISECOND
from creto.metering import overflow, quota_rules
from creto.metering.leases import Drawn, SharedLimits, Wish
from creto.metering.quota_counters import RETIRED, Counter, Counters, Plan
from creto.metering.quota_marks import EXCEEDED, Crossed, marks_reached
from creto.metering.quota_steps import Step, Steps
from creto.metering.quota_types import Ask, TopUpLimit
from creto.security.authz.types import QuotaOutcome

FULL_NS = QUOTA_FULL_MS * MILLISECOND


class Short(NamedTuple):
    """Why there is no room: this counter has none, nor has its lane. `asked` are the policies of all quotas that ask about the act."""

    counter: Counter
    outcome: QuotaOutcome
    resets_at: int
    why: str = ""
    asked: frozenset[PolicyId] = frozenset()


class Found(NamedTuple):
    """Counters that have room for an act."""

    counters: tuple[Counter, ...]
    weights: tuple[int, ...]
    outcome: QuotaOutcome


class Room:
    def __init__(
        self, node: str, limits: SharedLimits, counters: Counters, *, tell: Callable[[list[Crossed]], None],
        lacking: Callable[[list[Counter]], None], steps: Steps | None,
    ) -> None:  # fmt: skip
        self.node = node
        self.limits = limits
        self.counters = counters
        self.tell = tell
        self._lacking = lacking
        self._steps = steps
        self._stripes = tuple(threading.Lock() for _ in range(QUOTA_STRIPES))
        self.surplus: set[Counter] = set()  # drawn for an act that was refused, or asked back by another node
        self.leased: set[Counter] = set()  # have drawn since upkeep last looked
        self.draws = 0  # read by a scrape

    def find(self, plan: Plan, amount: int, now: int, *, approved: frozenset[str], take: bool) -> Found | Short:
        """Counters with room: those of the plan, and lanes in the place of those that are full. One thread at a time for one agent."""
        if not plan.counters:
            return Found((), (), QuotaOutcome.ALLOW)
        with self._stripes[hash(plan.counters[0].key) % QUOTA_STRIPES]:
            chosen, cells = list(plan.counters), self.counters.cells
            outcome, drew = QuotaOutcome.ALLOW, list[Counter]()
            for _ in range(QUOTA_TRIES_MAX):
                short = self._short(chosen, plan.weights, amount, take=take)
                if not short:
                    return Found(tuple(chosen), plan.weights, outcome)
                refused = None
                lacking = self._still_short(short, chosen, plan, amount, now, drew)
                for index in sorted(lacking, key=lambda i: chosen[i].paid < chosen[i].limit):
                    need = amount * plan.weights[index]
                    if refused is None and buys(chosen[index], need, cells):
                        if not take:
                            if self._payable(chosen[index], need, plan, now):
                                return Found(tuple(chosen), plan.weights, QuotaOutcome.TOP_UP)
                        elif self._bought(chosen[index], plan, now):
                            continue
                    turned = self._beyond(chosen[index], now, approved=approved)
                    if take:
                        self._tell_exceeded(chosen[index], turned, plan)
                    if isinstance(turned, Short):
                        refused = turned if refused is None else stricter(refused, turned)
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

    def _beyond(self, counter: Counter, now: int, *, approved: frozenset[str]) -> tuple[Counter, QuotaOutcome] | Short:
        """The lane of a counter that is full, and on which terms; or why there is none."""
        if counter.beyond:
            full = self.counters.find(counter.tenant, quota_rules.within(counter.key)) or counter
            why = ", and nobody can pay for more" if counter.paid < counter.limit else ""
            return Short(full, overflow.exhausted(counter.overflow), counter.resets_at, why)
        terms = overflow.beyond(counter.overflow, approved=approved)
        found = quota_rules.lane(counter.counted, now)
        if not terms.allowed or found is None:
            asked = frozenset({counter.overflow.policy_id} if isinstance(counter.overflow, Ask) else ())
            return Short(counter, terms, counter.resets_at, asked=asked)
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

    def _tell_exceeded(self, counter: Counter, turned: tuple[Counter, QuotaOutcome] | Short, plan: Plan) -> None:
        """Once for a counter in its window: an act is refused, asked about, or goes beyond."""
        full = turned.counter if isinstance(turned, Short) else counter
        if full.exceeded or full.beyond:
            return
        full.exceeded = True
        outcome = turned.outcome if isinstance(turned, Short) else turned[1]
        self.tell([Crossed(full, EXCEEDED, full.taken, outcome, plan.event_type, plan.chain)])


def left_of(counter: Counter, cells: memoryview) -> int:
    return max(0, counter.limit - counter.taken + (cells[counter.slot] if counter.slot != RETIRED else 0))


def buys(counter: Counter, need: int, cells: memoryview) -> bool:
    """Whether steps that are not paid yet could hold it: none is bought for an act that goes beyond all of them."""
    return counter.paid < counter.limit and need <= left_of(counter, cells)


def stricter(one: Short, other: Short) -> Short:
    """Both refuse. INVARIANT: where several quotas ask, nothing passes that one of their policies has not let pass."""
    strictest = other if overflow.stricter(one.outcome, other.outcome) is other.outcome else one
    return strictest._replace(asked=one.asked | other.asked)


def wish(counter: Counter, need: int, cells: memoryview) -> Wish:
    return Wish(
        counter.tenant, counter.key, counter.slot, need - cells[counter.slot], min(counter.limit, counter.paid),
        counter.resets_at, counter.marks,
    )  # fmt: skip


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
