"""Parts of a period: in which of it what held, and what meters read in a part.

    for terms in outline(asked.plans, asked.subscription, asked.period):
        terms.part                          # where the plan's own minimum and commitment held
        terms.fees, terms.charges           # what they are over, each with the part in which it held

A fee or a charge is billed in stretches: all of the period in which it was the same is one, whatever else of the plan changed meanwhile,
and whether or not it was another for a while. So nobody begins the tiers or the free units anew by a change to and fro.

INVARIANT: each day of a period belongs to one part at most; a day on which plans changed belongs to the later one.
INVARIANT: a pause divides no part: tiers, minimums and packages go on after it where they were before it.
INVARIANT: a change cuts only what it changes. The plan's own minimum and commitment are over all its lines: if they change, all is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from creto.contracts import BillableEvent
from creto.metering.aggregation import Carried, Group, carried_on, measured, selected
from creto.metering.periods import Period, day_range
from creto.metering.plans import effective, override_at, trial_ends_at, version_of
from creto.metering.prices import Usage
from creto.metering.rounding import ZERO
from creto.metering.subscriptions import billable
from creto.metering.types import Aggregation, Charge, ChargeId, Fee, Meter, Payer, Plan, Subscription

Item = TypeVar("Item", bound=Fee | Charge)
Key = TypeVar("Key", bound=Hashable)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a period. `held` are the times in which it counted, without pauses, each with who paid for usage then.

    Of the period's days it has `days`, and of these `paid` after the trial, which ends at `paid_from`, if it does. `of_days` is how many
    of the period the subscription had; `mark` sets the lines of several parts apart.
    """

    plan: Plan
    held: tuple[tuple[Period, Payer], ...]
    days: frozenset[int]
    paid: frozenset[int]
    paid_from: int | None
    of_days: int
    mark: str = ""

    @property
    def pieces(self) -> tuple[Period, ...]:
        """The times as they lie apart: those that touch are one."""
        found: list[Period] = []
        for piece, _ in self.held:
            if found and found[-1].end == piece.start:
                piece = Period(found.pop().start, piece.end, piece.zone)
            found.append(piece)
        return tuple(found)

    @property
    def period(self) -> Period:
        first, last = self.pieces[0], self.pieces[-1]
        return Period(first.start, last.end, first.zone)

    @property
    def payers(self) -> tuple[Payer, ...]:
        return tuple(dict.fromkeys(payer for _, payer in self.held))

    def payer_at(self, at: int) -> Payer:
        if len(self.held) == 1:
            return self.held[0][1]
        return next((payer for piece, payer in self.held if at in piece), self.held[-1][1])


class Stretch(msgspec.Struct, Generic[Item], frozen=True):
    """A fee or a charge, and where it held."""

    item: Item
    part: Part


class Terms(msgspec.Struct, frozen=True):
    """Where a plan's own minimum and commitment held, and all that they are over."""

    part: Part
    fees: tuple[Stretch[Fee], ...]
    charges: tuple[Stretch[Charge], ...]

    def covers(self, charge_id: ChargeId, mark: str) -> bool:
        """Whether they are over the lines of a charge that have this mark."""
        fees = {(fee.item.charge_id, fee.part.mark) for fee in self.fees}
        return (charge_id, mark) in fees | {(charge.item.charge_id, charge.part.mark) for charge in self.charges}


def outline(plans: Sequence[Plan], subscription: Subscription, period: Period) -> list[Terms]:
    parts = parts_of(plans, subscription, period)
    by_bounds = grouped(((part.plan.minimum, part.plan.commitment), part) for part in parts)
    stretches = Counter(
        charge_id
        for own in by_bounds.values()
        for charge_id, _ in {(item.charge_id, nameless(item)) for part in own for item in items(part.plan)}
    )
    several = frozenset(charge_id for charge_id, count in stretches.items() if count > 1)
    return [
        Terms(
            joined(own, marked=len(by_bounds) > 1),
            stretched(own, lambda plan: plan.fees, several),
            stretched(own, lambda plan: plan.charges, several),
        )
        for own in by_bounds.values()
    ]


def items(plan: Plan) -> tuple[Fee | Charge, ...]:
    return (*plan.fees, *plan.charges)


def stretched(
    parts: Sequence[Part], items_of: Callable[[Plan], tuple[Item, ...]], several: frozenset[ChargeId]
) -> tuple[Stretch[Item], ...]:
    found = grouped((nameless(item), (item, part)) for part in parts for item in items_of(part.plan))
    return tuple(
        Stretch(own[-1][0], joined([part for _, part in own], marked=own[-1][0].charge_id in several))
        for own in found.values()
    )


def nameless(item: Item) -> Item:
    """What it costs; a new name for it changes nothing."""
    return replace(item, name="")


T = TypeVar("T")


def grouped(pairs: Iterable[tuple[Key, T]]) -> dict[Key, list[T]]:
    found: dict[Key, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def joined(parts: Sequence[Part], *, marked: bool) -> Part:
    """Parts in order as one; the plan is the last one's."""
    return replace(
        parts[-1],
        held=tuple(held for part in parts for held in part.held),
        days=frozenset().union(*(part.days for part in parts)),
        paid=frozenset().union(*(part.paid for part in parts)),
        paid_from=min((part.paid_from for part in parts if part.paid_from is not None), default=None),
        mark=f"@{parts[0].period.start}" if marked else "",
    )


def parts_of(plans: Sequence[Plan], subscription: Subscription, period: Period) -> list[Part]:
    """One for each phase of the subscription in a period, in order."""
    pieces = billable(subscription, period)
    parts: list[Part] = []
    claimed: set[int] = set()
    for phase in reversed({phase.since: phase for phase, _ in pieces}.values()):
        held = [piece for own, piece in pieces if own.since == phase.since]
        plan = effective(version_of(plans, phase.plan_id, phase.version), override_at(phase, subscription))
        days = frozenset(day for piece in held for day in day_range(piece, period)) - claimed
        claimed |= days
        end, free_until = held[-1].end, max(trial_ends_at(plan, subscription), held[0].start)
        part = Part(
            plan=plan,
            held=tuple((piece, plan.payer) for piece in held),
            days=days,
            paid=days.intersection(day_range(Period(free_until, end, period.zone), period)),
            paid_from=free_until if free_until < end else None,
            of_days=0,
        )
        parts.append(part)
    return [replace(part, of_days=len(claimed)) for part in reversed(parts)]


def read(
    meter: Meter, events: Sequence[BillableEvent], part: Part, carried: Mapping[Group, Carried], whole: Period
) -> dict[Group, Usage]:
    """What a meter reads in a part of a period. What counts time counts none of a pause; a level goes on through it."""
    if len(part.pieces) > 1 and (meter.prorated or meter.aggregation is Aggregation.WEIGHTED_SUM):
        return read_pieces(meter, events, part, carried, whole)
    return measured(meter, selected(meter, counted(meter, events, part), part.period), part.period, carried, whole)


def counted(meter: Meter, events: Sequence[BillableEvent], part: Part) -> Sequence[BillableEvent]:
    """The events of a part; those of a pause move the level of a meter that carries and are nobody's usage otherwise."""
    if meter.carries:
        return [e for e in events if e.timestamp in part.period]
    pieces = part.pieces
    return [e for e in events if any(e.timestamp in piece for piece in pieces)]


def read_pieces(
    meter: Meter, events: Sequence[BillableEvent], part: Part, carried: Mapping[Group, Carried], whole: Period
) -> dict[Group, Usage]:
    found: dict[Group, Usage] = {}
    for piece in part.pieces:
        before = Period(part.period.start, piece.start, piece.zone)
        level = carried_on(meter, events, before, carried) or carried
        for group, usage in measured(meter, selected(meter, events, piece), piece, level, whole).items():
            known = found.get(group, Usage(ZERO))
            found[group] = replace(
                usage,
                quantity=known.quantity + usage.quantity,
                sent=known.sent + usage.sent,
                events=known.events + usage.events,
            )
    return found
