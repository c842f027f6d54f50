"""Periods: when a bill begins and ends, and what a part of it is worth.

    monthly = Cycle(unit=CycleUnit.MONTH, anchor=started_at, zone="Europe/Berlin")
    period = period_at(monthly, now)
    share = prorated(fee, len(day_range(Period(now, period.end), period)), days(period))

Periods are counted from the anchor on the wall clock of the tenant's zone: the 31st is the last day of shorter months and
comes back in longer ones, and a month with a change of clocks is an hour longer or shorter.

INVARIANT: periods are half-open and leave no gap: an instant belongs to exactly one period of a cycle.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import PERIODS_MAX
from creto.common.timestamps import SECOND
from creto.metering.rounding import ZERO, precise


class CycleUnit(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


MONTHS = {CycleUnit.MONTH: 1, CycleUnit.QUARTER: 3, CycleUnit.YEAR: 12}
DAY_S = 86_400
SPANS = {CycleUnit.HOUR: timedelta(hours=1), CycleUnit.DAY: timedelta(days=1), CycleUnit.WEEK: timedelta(weeks=1)}


class Period(msgspec.Struct, frozen=True, order=True):
    """From `start` up to, but not including, `end`."""

    start: int
    end: int
    zone: str = "UTC"

    def __contains__(self, at: int) -> bool:
        return self.start <= at < self.end

    @property
    def length_ns(self) -> int:
        return self.end - self.start


class Cycle(msgspec.Struct, frozen=True):
    """`count` units after `count` units, from the anchor on, in both directions."""

    unit: CycleUnit
    anchor: int = 0
    zone: str = "UTC"
    count: int = 1

    def __post_init__(self) -> None:
        zone_of(self.zone)
        if not 1 <= self.count <= 1_000:
            raise InvalidInput.of("count", got=self.count, expected="1 to 1000", code="MT-400")


MACHINES = frozenset(
    {"localtime", "posixrules", "Factory"}
)  # files beside the zones, which differ from machine to machine


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> tzinfo:
    if name == "UTC":  # also where the system has no table of zones
        return UTC
    try:
        if name in MACHINES or name.startswith(("posix/", "right/")):
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput.of(
            "zone", got=name, expected="an IANA time zone, as Europe/Berlin", code="MT-400"
        ) from error


def local(at: int, zone: str) -> datetime:
    """The wall clock at an instant; periods begin on whole seconds."""
    return datetime.fromtimestamp(at // SECOND, zone_of(zone))


def instant(wall: datetime, zone: str) -> int:
    """When a wall clock shows this first. A time that a change of clocks skips is the instant of the change's other side."""
    return int(wall.replace(tzinfo=zone_of(zone), fold=0).astimezone(UTC).timestamp()) * SECOND


def boundary(cycle: Cycle, index: int) -> int:
    """Where the period with this number begins; number 0 begins at the anchor."""
    anchor = local(cycle.anchor, cycle.zone).replace(tzinfo=None)
    if cycle.unit is CycleUnit.HOUR:
        return cycle.anchor // SECOND * SECOND + index * cycle.count * 3_600 * SECOND
    if cycle.unit in SPANS:
        return instant(anchor + SPANS[cycle.unit] * cycle.count * index, cycle.zone)
    years, month = divmod(anchor.month - 1 + MONTHS[cycle.unit] * cycle.count * index, 12)
    year = anchor.year + years
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return instant(anchor.replace(year=year, month=month + 1, day=day), cycle.zone)


def index_at(cycle: Cycle, at: int) -> int:
    """The number of the period that holds an instant: a guess by the mean length, then a step or two."""
    index = (at - cycle.anchor) // mean_ns(cycle)
    while boundary(cycle, index) > at:
        index -= 1
    while boundary(cycle, index + 1) <= at:
        index += 1
    return index


def mean_ns(cycle: Cycle) -> int:
    if cycle.unit in SPANS:
        return int(SPANS[cycle.unit].total_seconds()) * cycle.count * SECOND
    return 2_629_746 * MONTHS[cycle.unit] * cycle.count * SECOND  # a month of the Gregorian year


def wall_period(length_s: int, anchor: int, zone: str, at: int) -> Period:
    """The window of so many seconds on the wall clock that holds an instant: a change of clocks makes one shorter or longer, none shifts."""
    wall, length = local(anchor, zone).replace(tzinfo=None), timedelta(seconds=length_s)
    index = (at - anchor) // (length_s * SECOND)
    while instant(wall + length * index, zone) > at:
        index -= 1
    while instant(wall + length * (index + 1), zone) <= at:
        index += 1
    return Period(instant(wall + length * index, zone), instant(wall + length * (index + 1), zone), zone)


def period_at(cycle: Cycle, at: int) -> Period:
    index = index_at(cycle, at)
    return Period(boundary(cycle, index), boundary(cycle, index + 1), cycle.zone)


def periods(cycle: Cycle, within: Period) -> Iterator[Period]:
    """The periods that touch a range, whole, in order."""
    first = index_at(cycle, within.start)
    for index in range(first, first + PERIODS_MAX):
        period = Period(boundary(cycle, index), boundary(cycle, index + 1), cycle.zone)
        if period.start >= within.end:
            return
        yield period
    raise InvalidInput.of("period", got="a longer range", expected=f"at most {PERIODS_MAX} periods", code="MT-400")


def day_index(at: int, whole: Period) -> int:
    """The number of a day of a period. Its days begin at the time of day at which it began, on the wall clock."""
    return (wall_s(at, whole.zone) - wall_s(whole.start, whole.zone)) // DAY_S


def day_range(part: Period, whole: Period) -> range:
    """The days of a period that a part of it touches. One that ends as a day begins does not touch that day."""
    if part.end <= part.start:
        return range(0)
    return range(day_index(part.start, whole), day_index(part.end - 1, whole) + 1)


def days(period: Period) -> int:
    return len(day_range(period, period))


def wall_s(at: int, zone: str) -> int:
    """Seconds as the wall clock counts them: a day always has 86,400."""
    return int(local(at, zone).replace(tzinfo=UTC).timestamp())


def overlap(a: Period, b: Period) -> Period | None:
    start, end = max(a.start, b.start), min(a.end, b.end)
    return Period(start, end, a.zone) if start < end else None


@precise
def prorated(amount: Decimal, part: int, whole: int) -> Decimal:
    """The share of a part in the whole, exact but for the last of sixty digits."""
    if whole <= 0 or not 0 <= part <= whole:
        raise InvalidInput.of("part", got=f"{part} of {whole}", expected="a part of a whole", code="MT-400")
    return amount * part / whole if part else ZERO
