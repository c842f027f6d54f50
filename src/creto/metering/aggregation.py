"""Aggregation: from events to quantities.

    usage = measure(meter, events, period)[()]      # one Usage for each group; () where the meter has no groups

A meter's events fold into a `Tally`, in any order and in any number of runs: tallies of parts merge into the tally of the whole.
The running totals of ingestion and the recount at invoice time are the same fold, so they agree.

INVARIANT: merging is associative and commutative, and the order of events does not matter: of two events at one instant the one
with the greater id is the later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import EventId
from creto.contracts import BillableEvent
from creto.metering.events import number_of, text_of
from creto.metering.periods import Period, day_index, day_range, days
from creto.metering.prices import Usage
from creto.metering.rounding import ZERO, Rounding, plain, precise, round_to
from creto.metering.types import Aggregation, Meter, PropertyFilter, UnitRounding

Group = tuple[tuple[str, str], ...]
REMOVE = "remove"  # the property `operation` of an event that takes a value out of a unique count again
BUCKET = "bucket"  # the name under which a slice of time stands in a group

# What a share of a period counts is cut here: five digits, upwards, the share of each value for itself.
WHOLE = UnitRounding(Rounding.CEIL, 5)


class Mark(msgspec.Struct, frozen=True, order=True):
    """Where an event stands in time."""

    at: int
    event_id: str


class Tally(msgspec.Struct, frozen=True):
    """What a meter has seen of one group. Each aggregation reads the part that it needs."""

    count: int = 0
    total: Decimal = ZERO
    sent: Decimal = ZERO
    level_ns: Decimal = ZERO  # the sum of value × time left in the period
    day_units: Decimal = ZERO  # the sum of value × days left in the period
    maximum: Decimal | None = None
    latest: tuple[Mark, Decimal] | None = None
    values: Mapping[str, tuple[tuple[Mark, bool], ...]] = {}  # of each value its additions (True) and removals

    @precise
    def merged(self, other: Tally) -> Tally:
        values = dict(self.values)
        for value, marks in other.values.items():
            values[value] = tuple(sorted({*values.get(value, ()), *marks}))
        return Tally(
            count=self.count + other.count,
            total=self.total + other.total,
            sent=self.sent + other.sent,
            level_ns=self.level_ns + other.level_ns,
            day_units=self.day_units + other.day_units,
            maximum=max((m for m in (self.maximum, other.maximum) if m is not None), default=None),
            latest=max((v for v in (self.latest, other.latest) if v is not None), default=None),
            values=values,
        )


class Carried(msgspec.Struct, frozen=True):
    """What a meter that carries brings into a period: its level, and which values are there."""

    level: Decimal = ZERO
    values: frozenset[str] = frozenset()


NOTHING = Carried()


def counts(meter: Meter, event: BillableEvent) -> bool:
    return event.event_type == meter.event_type and all(passes(f, event) for f in meter.filters)


def passes(wanted: PropertyFilter, event: BillableEvent) -> bool:
    return (text_of(event, wanted.property) in wanted.values) is not wanted.except_for


def check_metered(meter: Meter, event: BillableEvent) -> None:
    """InvalidInput unless an event that the meter counts has what it reads."""
    if not counts(meter, event):
        return
    if meter.property is not None and meter.aggregation is not Aggregation.UNIQUE_COUNT:
        number_of(event, meter.property)
    if meter.amount_property is not None:
        number_of(event, meter.amount_property)


def read_by(meters: Iterable[Meter], events: Sequence[BillableEvent]) -> tuple[Sequence[BillableEvent], list[EventId]]:
    """The events that these meters can read, and the ids of the others: they came before a plan asked for what they lack."""
    by_type: dict[str, list[Meter]] = {}
    for meter in meters:
        by_type.setdefault(meter.event_type, []).append(meter)
    unread: dict[EventId, None] = {}
    for event in events:
        for meter in by_type.get(event.event_type, ()):
            try:
                check_metered(meter, event)
            except (InvalidInput, NotFound):  # it lacks it, or no table prices its model
                unread[event.event_id] = None
    return (events if not unread else [e for e in events if e.event_id not in unread]), sorted(unread)


def group_of(meter: Meter, event: BillableEvent) -> Group:
    group = tuple((name, text_of(event, name) or "") for name in meter.group_by)
    if meter.bucket_ns is None:
        return group
    return (*group, (BUCKET, str(event.timestamp // meter.bucket_ns * meter.bucket_ns)))


def selected(meter: Meter, events: Iterable[BillableEvent], period: Period) -> dict[Group, list[BillableEvent]]:
    """The events of a period that a meter counts, by group. Each event is given once."""
    found: dict[Group, list[BillableEvent]] = {}
    for event in events:
        if event.timestamp in period and counts(meter, event):
            found.setdefault(group_of(meter, event), []).append(event)
    return found


@precise
def tally(meter: Meter, events: Sequence[BillableEvent], period: Period) -> Tally:
    """What the selected events of one group add up to."""
    sent = ZERO if meter.amount_property is None else sum((number_of(e, meter.amount_property) for e in events), ZERO)
    if meter.property is None:
        return Tally(count=len(events), sent=sent)
    if meter.aggregation is Aggregation.UNIQUE_COUNT:
        return Tally(count=len(events), sent=sent, values=comings(meter.property, events))
    values = [number_of(event, meter.property) for event in events]
    seen = Tally(count=len(events), total=sum(values, ZERO), sent=sent, maximum=max(values, default=None))
    match meter.aggregation:
        case Aggregation.LATEST:
            marks = [
                (Mark(event.timestamp, event.event_id), value) for event, value in zip(events, values, strict=True)
            ]
            return replace(seen, latest=max(marks, default=None))
        case Aggregation.WEIGHTED_SUM:
            left = [period.end - event.timestamp for event in events]
            return replace(seen, level_ns=weighted(values, left))
        case Aggregation.SUM if meter.prorated:
            left = [len(day_range(Period(event.timestamp, period.end), period)) for event in events]
            return replace(seen, day_units=weighted(values, left))
    return seen


def weighted(values: Sequence[Decimal], weights: Sequence[int]) -> Decimal:
    return sum((value * weight for value, weight in zip(values, weights, strict=True)), ZERO)


def comings(property: str, events: Iterable[BillableEvent]) -> dict[str, tuple[tuple[Mark, bool], ...]]:
    """When each value came and went."""
    found: dict[str, list[tuple[Mark, bool]]] = {}
    for event in events:
        mark = Mark(event.timestamp, event.event_id)
        found.setdefault(text_of(event, property) or "", []).append((mark, text_of(event, "operation") != REMOVE))
    return {value: tuple(sorted(marks)) for value, marks in found.items()}


def tallies(meter: Meter, events: Iterable[BillableEvent], period: Period) -> dict[Group, Tally]:
    return {group: tally(meter, own, period) for group, own in selected(meter, events, period).items()}


@precise
def quantity(
    meter: Meter, seen: Tally, period: Period, carried: Carried = NOTHING, whole: Period | None = None
) -> Decimal:
    """What the meter reads for this tally, rounded to its units. `whole`: the billing period that `period` is a part of."""
    value = raw_quantity(meter, seen, period, carried if meter.carries else NOTHING, whole or period)
    if meter.rounding is None:
        return plain(value)
    return round_to(value, meter.rounding.digits, meter.rounding.rounding)


def raw_quantity(meter: Meter, seen: Tally, period: Period, carried: Carried, whole: Period) -> Decimal:
    match meter.aggregation:
        case Aggregation.COUNT:
            return Decimal(seen.count)
        case Aggregation.SUM if meter.prorated:
            there = carried.level * len(day_range(period, whole))
            return cut((there + seen.day_units) / days(whole), WHOLE)
        case Aggregation.SUM:
            return carried.level + seen.total
        case Aggregation.MAX:
            return ZERO if seen.maximum is None else seen.maximum
        case Aggregation.LATEST:
            return carried.level if seen.latest is None else seen.latest[1]
        case Aggregation.WEIGHTED_SUM:
            return (carried.level * period.length_ns + seen.level_ns) / whole.length_ns
        case Aggregation.UNIQUE_COUNT:
            return unique(meter, seen, period, carried, whole)


def unique(meter: Meter, seen: Tally, period: Period, carried: Carried, whole: Period) -> Decimal:
    """Values that were there: at the end of the period or, prorated, each by its days."""
    names = set(seen.values) | carried.values
    if not meter.prorated:
        return Decimal(len(present(names, seen)))
    active = [active_days(seen.values.get(name, ()), name in carried.values, period, whole) for name in names]
    return sum((cut(Decimal(part) / days(whole), WHOLE) for part in active), ZERO)


def present(names: Iterable[str], seen: Tally) -> list[str]:
    """The values that are there at the end."""
    return [name for name in names if not seen.values.get(name) or seen.values[name][-1][1]]


def active_days(marks: Iterable[tuple[Mark, bool]], there: bool, period: Period, whole: Period) -> int:
    """Days on which a value was there; the day it came and the day it went both count."""
    active: set[int] = set()
    since = day_index(period.start, whole) if there else None
    for mark, added in marks:
        today = day_index(mark.at, whole)
        if added and since is None:
            since = today
        elif not added and since is not None:
            active.update(range(since, today + 1))
            since = None
    if since is not None:
        active.update(range(since, day_index(period.end - 1, whole) + 1))
    return len(active)


def cut(value: Decimal, unit: UnitRounding) -> Decimal:
    return round_to(value, unit.digits, unit.rounding)


@precise
def carry(meter: Meter, seen: Tally, before: Carried = NOTHING) -> Carried:
    """What the next period begins with."""
    if not meter.carries:
        return NOTHING
    if meter.aggregation is Aggregation.UNIQUE_COUNT:
        return Carried(values=frozenset(present(set(seen.values) | before.values, seen)))
    if meter.aggregation is Aggregation.LATEST:
        return Carried(before.level if seen.latest is None else seen.latest[1])
    return Carried(before.level + seen.total)


def carried_on(
    meter: Meter, events: Sequence[BillableEvent], period: Period, before: Mapping[Group, Carried]
) -> dict[Group, Carried]:
    """What each group brings into what follows the period."""
    if not meter.carries:
        return {}
    seen = tallies(meter, events, period)
    return {g: carry(meter, seen.get(g, Tally()), before.get(g, NOTHING)) for g in sorted(seen.keys() | before.keys())}


def measure(
    meter: Meter,
    events: Iterable[BillableEvent],
    period: Period,
    carried: Mapping[Group, Carried] | None = None,
    whole: Period | None = None,
) -> dict[Group, Usage]:
    """The usage of each group, by name of the group. `events` count (see `events.standing`) and are in order of time."""
    return measured(meter, selected(meter, events, period), period, carried or {}, whole)


def measured(
    meter: Meter,
    by_group: Mapping[Group, Sequence[BillableEvent]],
    period: Period,
    carried: Mapping[Group, Carried],
    whole: Period | None = None,
) -> dict[Group, Usage]:
    """As `measure`, of events that are selected. A meter without groups reads something where nothing happened, too."""
    always = set() if meter.group_by or meter.bucket_ns else {()}
    found = {}
    for group in sorted(by_group.keys() | carried.keys() | always):
        events = by_group.get(group, ())
        seen = tally(meter, events, period)
        read = quantity(meter, seen, period, carried.get(group, NOTHING), whole)
        found[group] = Usage(read, transactions(meter, events), seen.sent, seen.count)
    return found


def transactions(meter: Meter, events: Iterable[BillableEvent]) -> tuple[Decimal, ...]:
    """The single values in order, for prices that look at each; of a sum, where a value is an amount of its own."""
    if meter.aggregation is not Aggregation.SUM or meter.prorated or meter.property is None:
        return ()
    return tuple(number_of(event, meter.property) for event in events)
