"""Running totals: what events of a type came to under a chain in an hour or a day.

A cell counts events and, of each property that is a number, adds it up and keeps the largest. Batches are folded into cells after they
came; whoever reads adds those that wait. So a total holds what is committed, at any moment, after any crash.

INVARIANT: cells and what waits are together what a count over all events that count gives.
INVARIANT: neither the order of events nor how they were cut into batches changes a cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec

from creto.common import wire
from creto.common.timestamps import DAY, HOUR
from creto.metering.aggregation import Tally
from creto.metering.event_store import EventRow
from creto.metering.rounding import ZERO, precise
from creto.metering.types import Aggregation, Meter

NUMBER_CHARS_MAX = 40  # as `parse_amount` reads them

_properties = msgspec.json.Decoder(dict[str, str | int | bool])
_sum = msgspec.json.Decoder(tuple[int, dict[str, tuple[int, int | Decimal, int | Decimal]]])


class Grain(IntEnum):
    HOUR = 0
    DAY = 1


LENGTHS_NS = {Grain.HOUR: HOUR, Grain.DAY: DAY}


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A property: how many events had it as a number, their sum, the largest of them."""

    events: int
    total: Decimal
    maximum: Decimal


class Cell(msgspec.Struct, frozen=True, array_like=True):
    events: int = 0
    values: dict[str, Value] = {}

    @precise
    def merged(self, other: Cell) -> Cell:
        values = dict(self.values)
        for name, value in other.values.items():
            known = values.get(name)
            values[name] = (
                value
                if known is None
                else Value(known.events + value.events, known.total + value.total, max(known.maximum, value.maximum))
            )
        return Cell(self.events + other.events, values)


class CellKey(msgspec.Struct, frozen=True, order=True, gc=False):
    chain: bytes
    begins_at: int
    event_type: str


SumPlace = tuple[bytes, int, str]  # a chain, when an hour or a day begins, a type
Fact = tuple[
    bytes, int, int, str, bytes
]  # of an event: its chain, when it happened and changed, its type and properties


class Kept(msgspec.Struct, frozen=True):
    """A cell with the instant when the last of its events came or was changed."""

    cell: Cell
    changed_at: int

    def merged(self, other: Kept) -> Kept:
        return Kept(self.cell.merged(other.cell), max(self.changed_at, other.changed_at))


class Sum:
    """A cell while it grows. `values` are as in a cell: how many events had a property as a number, their sum, the largest."""

    __slots__ = ("changed_at", "events", "values")

    def __init__(self) -> None:
        self.events = 0
        self.changed_at = 0
        self.values: dict[str, list[Any]] = {}

    def add(self, changed_at: int, properties: bytes) -> None:
        self.events += 1
        if changed_at > self.changed_at:
            self.changed_at = changed_at
        for name, value in _properties.decode(properties).items():
            number = value if type(value) is int else number_in(value)
            if number is not None:
                self._value(name, 1, number, number)

    def merge(self, events: int, changed_at: int, values: Mapping[str, Sequence[Any]]) -> None:
        self.events += events
        self.changed_at = max(self.changed_at, changed_at)
        for name, (count, total, top) in values.items():
            self._value(name, count, total, top)

    def _value(self, name: str, events: int, total: int | Decimal, top: int | Decimal) -> None:
        known = self.values.get(name)
        if known is None:
            self.values[name] = [events, total, top]
        else:
            known[0] += events
            known[1] += total
            if top > known[2]:
                known[2] = top

    def kept(self) -> Kept:
        values = {name: Value(n, Decimal(total), Decimal(top)) for name, (n, total, top) in self.values.items()}
        return Kept(Cell(self.events, values), self.changed_at)

    def merge_body(self, changed_at: int, body: bytes) -> None:
        """With what a row has."""
        events, values = _sum.decode(body)
        self.merge(events, changed_at, values)

    def body(self) -> bytes:
        """As a row has it: a `Cell`."""
        return wire.encode((self.events, self.values))


def number_in(value: str | int | bool) -> int | Decimal | None:
    """A property as meters read numbers; None for what is no number."""
    if isinstance(value, str):
        plain = value.removeprefix("-").replace(".", "", 1)
        if len(value) > NUMBER_CHARS_MAX or not plain.isdecimal() or not plain.isascii():
            return None
        return Decimal(value)
    return None if isinstance(value, bool) else value


def beginning(at: int, grain: Grain) -> int:
    length = LENGTHS_NS[grain]
    return at // length * length


@precise
def folded(facts: Iterable[Fact]) -> dict[CellKey, Kept]:
    """The cells of the hours of events that all count."""
    return {CellKey(*place): own.kept() for place, own in summed(facts).items()}


@precise
def summed(facts: Iterable[Fact]) -> dict[SumPlace, Sum]:
    sums: dict[SumPlace, Sum] = {}
    for chain, happened_at, changed_at, event_type, properties in facts:
        place = (chain, happened_at // HOUR * HOUR, event_type)
        found = sums.get(place)
        if found is None:
            found = sums[place] = Sum()
        found.add(changed_at, properties)
    return sums


@precise
def summed_by_day(hours: Mapping[SumPlace, Sum]) -> dict[SumPlace, Sum]:
    days: dict[SumPlace, Sum] = {}
    for (chain, begins_at, event_type), hour in hours.items():
        place = (chain, begins_at // DAY * DAY, event_type)
        found = days.get(place)
        if found is None:
            found = days[place] = Sum()
        found.merge(hour.events, hour.changed_at, hour.values)
    return days


def facts(rows: Iterable[EventRow]) -> Iterator[Fact]:
    return ((row.chain, row.happened_at, row.changed_at, row.event_type, row.properties) for row in rows)


@precise
def by_day(hours: Iterable[tuple[CellKey, Kept]]) -> dict[CellKey, Kept]:
    days: dict[CellKey, Kept] = {}
    for key, kept in hours:
        day = CellKey(key.chain, beginning(key.begins_at, Grain.DAY), key.event_type)
        known = days.get(day)
        days[day] = kept if known is None else known.merged(kept)
    return days


def tells(meter: Meter) -> bool:
    """Whether cells hold what a meter reads."""
    simple = meter.aggregation in (Aggregation.COUNT, Aggregation.SUM, Aggregation.MAX)
    plain = not (meter.filters or meter.group_by or meter.bucket_ns or meter.carries or meter.prorated)
    return simple and plain and meter.amount_property is None


class Reading:
    """What a meter reads of cells, one after the other."""

    __slots__ = ("events", "maximum", "total")

    def __init__(self) -> None:
        self.events = 0
        self.total = ZERO
        self.maximum: Decimal | None = None

    def add(self, cell: Cell, property: str | None) -> bool:
        """False if some of its events lack the property, so that each has to be looked at."""
        self.events += cell.events
        if property is None or not cell.events:
            return True
        value = cell.values.get(property)
        if value is None or value.events != cell.events:
            return False
        self.total += value.total
        if self.maximum is None or value.maximum > self.maximum:
            self.maximum = value.maximum
        return True

    @property
    def tally(self) -> Tally:
        return Tally(count=self.events, total=self.total, maximum=self.maximum)


class Span(msgspec.Struct, frozen=True):
    start: int
    end: int


class Cover(msgspec.Struct, frozen=True):
    """A stretch of time taken apart: whole days, the whole hours beside them, and the rest."""

    days: Span
    hours: tuple[Span, ...]
    rest: tuple[Span, ...]


def cover(start: int, end: int, finest: int) -> Cover:
    """`finest`: the length that all inner boundaries are multiples of; cells longer than it would lie in two slices."""
    hour_start, hour_end = -(-start // HOUR) * HOUR, end // HOUR * HOUR
    if finest % HOUR or hour_start >= hour_end:
        return Cover(Span(start, start), (), (Span(start, end),))
    rest = spans((start, hour_start), (hour_end, end))
    day_start, day_end = -(-start // DAY) * DAY, end // DAY * DAY
    if finest % DAY or day_start >= day_end:
        return Cover(Span(start, start), (Span(hour_start, hour_end),), rest)
    return Cover(Span(day_start, day_end), spans((hour_start, day_start), (day_end, hour_end)), rest)


def spans(*bounds: tuple[int, int]) -> tuple[Span, ...]:
    return tuple(Span(start, end) for start, end in bounds if start < end)


def within(spans: Iterable[Span], at: int) -> bool:
    return any(span.start <= at < span.end for span in spans)


def aligned(bounds: Iterable[int]) -> int:
    """The longest cell that no boundary cuts: a day, an hour, or nothing."""
    inner = list(bounds)
    for length in (DAY, HOUR):
        if all(bound % length == 0 for bound in inner):
            return length
    return 1
