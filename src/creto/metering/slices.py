"""Slices: how a question about usage is cut into rows, put in order and given out in pages.

INVARIANT: pages hold each row once, in an order that does not depend on where a page ends.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import USAGE_BUCKETS_MAX
from creto.metering.aggregation import Group
from creto.metering.attribution import Chain
from creto.metering.periods import Cycle, CycleUnit, Period, instant, periods
from creto.metering.usage_types import BucketSize, UsageBy, UsagePage, UsageQuery, UsageRow
from creto.platform.crypto.jose import b64url_decode, b64url_encode

UNITS = {
    BucketSize.HOUR: CycleUnit.HOUR,
    BucketSize.DAY: CycleUnit.DAY,
    BucketSize.WEEK: CycleUnit.WEEK,
    BucketSize.MONTH: CycleUnit.MONTH,
}
CURSOR_CHARS_MAX = 4_096

SliceKey = tuple[int, str, Group]  # the slice's number, whom it is told for, the group


class Slices(msgspec.Struct, frozen=True):
    """Half-open slices without gaps: one between each bound and the next."""

    bounds: tuple[int, ...]
    zone: str

    def index(self, at: int) -> int:
        return bisect_right(self.bounds, at) - 1

    def period(self, index: int) -> Period:
        return Period(self.bounds[index], self.bounds[index + 1], self.zone)


def slices(query: UsageQuery) -> Slices:
    period = query.period
    if query.bucket is None:
        return Slices((period.start, period.end), period.zone)
    anchor = wall_anchor(query.bucket, period.zone)
    inner = []
    for one in periods(Cycle(UNITS[query.bucket], anchor, period.zone), period):
        if period.start < one.start < period.end:
            inner.append(one.start)
        if len(inner) > USAGE_BUCKETS_MAX:
            raise InvalidInput.of("bucket", got=query.bucket, expected=f"at most {USAGE_BUCKETS_MAX}", code="MT-400")
    return Slices((period.start, *inner, period.end), period.zone)


def wall_anchor(bucket: BucketSize, zone: str) -> int:
    """An instant at which a bucket begins on the wall clock of the zone: midnight, of a Monday where it is a week, of a first where it is a month."""
    day = datetime(1970, 1, 5) if bucket is BucketSize.WEEK else datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock
    return instant(day, zone)


def told_for(query: UsageQuery, chain: Chain) -> Sequence[str]:
    """Whom the usage under a chain counts for."""
    match query.by:
        case UsageBy.ALL:
            return ("",)
        case UsageBy.AGENT:
            return (chain[-1],)
        case UsageBy.ANCESTOR:
            return chain


def paged(query: UsageQuery, rows: Iterable[UsageRow]) -> UsagePage:
    """By time, agent and group; with `top` the largest first, ties in that order."""
    ordered = sorted(rows, key=place_of)
    if query.top is not None:
        ordered = sorted(ordered, key=lambda row: row.quantity, reverse=True)[: query.top]
    start = 0 if query.after is None else position_of(query.after)
    page = ordered[start : start + query.limit]
    more = start + query.limit < len(ordered)
    return UsagePage(tuple(page), cursor_of(start + query.limit) if more else None)


def place_of(row: UsageRow) -> tuple[int, str, list[tuple[str, str]]]:
    return row.start, row.agent or "", sorted(row.group.items())


def cursor_of(position: int) -> str:
    return b64url_encode(wire.encode(position))


def position_of(cursor: str) -> int:
    try:
        position = wire.decode(b64url_decode(cursor[:CURSOR_CHARS_MAX]), int, what="after")
    except InvalidInput as error:
        raise InvalidInput.of("after", got=cursor, expected="`next` of the page before", code="MT-400") from error
    if not 0 <= position <= 10**9:
        raise InvalidInput.of("after", got=cursor, expected="`next` of the page before", code="MT-400")
    return position


def agent_of(who: str) -> AgentId | None:
    return AgentId(who) if who else None
