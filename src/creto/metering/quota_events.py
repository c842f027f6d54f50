"""What reported usage counts on quotas.

An event counts for its agent and for everybody above it in its chain, in the window of each quota that held the event's own time. So
neither when events arrive nor in which order changes a counter, and what is voided comes off the counter that it was on.

An event is a fact: it counts also beyond a limit. From there on it is acts that are refused.

INVARIANT: no event makes room: what it says below zero, or unreadably, counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING

import msgspec

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId
from creto.common.limits import QUOTA_EVENT_MAX
from creto.contracts import BillableEvent
from creto.metering import quota_rules
from creto.metering.attribution import Chain, chain_of
from creto.metering.events import number_of
from creto.metering.leases_store import KEPT_NS
from creto.metering.quota_rules import Definitions
from creto.metering.quota_types import Limit, Measure, Quota
from creto.metering.triggers import cost_of
from creto.platform.nhi import scope


class Booking(msgspec.Struct, array_like=True, gc=False):
    """What events come to on one counter, and which of them came last."""

    counter: str
    amount: int
    ends_at: int
    event_type: str
    chain: tuple[AgentId, ...]


def measuring(known: Definitions) -> tuple[Quota, ...]:
    """Those that events move."""
    return tuple(quota for quota in known.quotas if quota.measures is Measure.EVENTS)


def amount_of(quota: Quota, event: BillableEvent) -> int:
    """One; or what its property says, a part of a unit as a whole one; or what it cost, in micro-units of the quota's currency."""
    try:
        if quota.currency is not None:
            cost = cost_of(event)
            amount = 0 if cost is None or cost.currency != quota.currency else cost.micros
        elif quota.property is not None:
            amount = int(number_of(event, quota.property).to_integral_value(ROUND_CEILING))
        else:
            amount = 1
    except (InvalidInput, NotFound):
        return 0
    return min(max(amount, 0), QUOTA_EVENT_MAX)


class Tally:
    """The bookings of many events: counters are named once for all events of a chain in a window."""

    def __init__(self, quotas: Sequence[Quota], now: int) -> None:
        self._quotas = quotas
        self._over = now - KEPT_NS  # windows that ended before are forgotten
        self._fitting: dict[str, list[Quota]] = {}
        self._names: dict[tuple[str, Limit, int, Chain], list[str]] = {}
        self._found: dict[str, Booking] = {}

    def add(self, event: BillableEvent, sign: int) -> None:
        chain = chain_of(event)
        for quota in self._of_type(event.event_type):
            amount = sign * amount_of(quota, event)
            if amount:
                for limit in quota.limits:
                    self._count(quota, limit, event, chain, amount)

    def _count(self, quota: Quota, limit: Limit, event: BillableEvent, chain: Chain, amount: int) -> None:
        period = limit.window.period(event.timestamp)
        if period.end <= self._over:
            return
        key = (quota.quota_id, limit, period.start, chain)
        names = self._names.get(key)
        if names is None:
            owners = quota_rules.subjects(quota, chain)
            names = [quota_rules.of_limit(quota, limit, owner, 1, event.timestamp).key for owner in owners]
            self._names[key] = names
        for name in names:
            booking = self._found.get(name)
            if booking is None:
                self._found[name] = Booking(name, amount, period.end, event.event_type, chain)
            else:
                booking.amount += amount

    def _of_type(self, event_type: str) -> list[Quota]:
        found = self._fitting.get(event_type)
        if found is None:
            found = [quota for quota in self._quotas if scope.any_matches(quota.counts, event_type)]
            self._fitting[event_type] = found
        return found

    def bookings(self) -> list[Booking]:
        return [self._found[name] for name in sorted(self._found) if self._found[name].amount]


def bookings(quotas: Sequence[Quota], events: Iterable[BillableEvent], now: int, *, sign: int = 1) -> list[Booking]:
    """What these events count, or with `sign` -1 count no more."""
    tally = Tally(quotas, now)
    for event in events:
        tally.add(event, sign)
    return tally.bookings()
