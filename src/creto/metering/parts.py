"""Parts of a period: one for each version of a plan that held in it, and what meters read in a part.

INVARIANT: each day of a period belongs to one part at most; a day on which plans changed belongs to the later one.
INVARIANT: a pause divides no part: tiers, minimums and packages go on after it where they were before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from creto.contracts import BillableEvent
from creto.metering.aggregation import Carried, Group, carried_on, measured, selected
from creto.metering.periods import Period, day_range
from creto.metering.plans import effective, override_at, version_of
from creto.metering.prices import Usage
from creto.metering.rounding import ZERO
from creto.metering.subscriptions import billable
from creto.metering.types import Aggregation, Meter, Plan, Subscription


class Part(msgspec.Struct, frozen=True):
    """`held` are the times in which it counted, without pauses; `mark` sets the lines of several parts apart."""

    plan: Plan
    held: tuple[Period, ...]
    days: frozenset[int]
    mark: str

    @property
    def period(self) -> Period:
        return Period(self.held[0].start, self.held[-1].end, self.held[0].zone)


def parts_of(plans: Sequence[Plan], subscription: Subscription, period: Period) -> list[Part]:
    pieces = billable(subscription, period)
    phases = list({phase.since: phase for phase, _ in pieces}.values())
    parts: list[Part] = []
    claimed: set[int] = set()
    for phase in reversed(phases):
        held = tuple(piece for own, piece in pieces if own.since == phase.since)
        touched = {day for piece in held for day in day_range(piece, period)}
        plan = effective(version_of(plans, phase.plan_id, phase.version), override_at(phase, subscription))
        mark = f"@{held[0].start}" if len(phases) > 1 else ""
        parts.append(Part(plan, held, frozenset(touched - claimed), mark))
        claimed |= touched
    return parts[::-1]


def read(
    meter: Meter, events: Sequence[BillableEvent], part: Part, carried: Mapping[Group, Carried], whole: Period
) -> dict[Group, Usage]:
    """What a meter reads in a part of a period. What counts time counts none of a pause; a level goes on through it."""
    if len(part.held) > 1 and (meter.prorated or meter.aggregation is Aggregation.WEIGHTED_SUM):
        return read_pieces(meter, events, part, carried, whole)
    return measured(meter, selected(meter, counted(meter, events, part), part.period), part.period, carried, whole)


def counted(meter: Meter, events: Sequence[BillableEvent], part: Part) -> Sequence[BillableEvent]:
    """The events of a part; those of a pause move the level of a meter that carries and are nobody's usage otherwise."""
    if meter.carries:
        return [e for e in events if e.timestamp in part.period]
    return [e for e in events if any(e.timestamp in piece for piece in part.held)]


def read_pieces(
    meter: Meter, events: Sequence[BillableEvent], part: Part, carried: Mapping[Group, Carried], whole: Period
) -> dict[Group, Usage]:
    found: dict[Group, Usage] = {}
    for piece in part.held:
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
