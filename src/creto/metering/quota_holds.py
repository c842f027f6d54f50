"""Reservations that outlive a call: what their row keeps, and what their end moves.

    row = HoldRow.of(held, by)           # with the counters that it was taken from
    row.bookings(12, now)                # it took 12: what is to be added to each, or taken off

INVARIANT: what a reservation took beside what was held is due from the moment on in which its row goes.
"""

from __future__ import annotations

from itertools import chain as chained
from itertools import repeat
from typing import NamedTuple, Self

import msgspec

from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX
from creto.metering.beyond import Beyond
from creto.metering.event_quotas import Owed
from creto.metering.leases import bounded
from creto.metering.leases_store import KEPT_NS
from creto.metering.quota import Taken
from creto.metering.quota_events import Booking


class HoldRow(msgspec.Struct, frozen=True):
    """What a reservation was taken from."""

    amount: int
    counters: tuple[tuple[str, int], ...]  # with the weight of each
    returning: tuple[str, ...] = ()  # those that events move: all of it comes back
    event_type: str = ""
    chain: tuple[AgentId, ...] = ()
    beyond: Beyond | None = None
    ends: tuple[int, ...] = ()  # when the window of each is over
    by: AgentId | None = None  # who made it, where that is not the last of the chain

    @classmethod
    def of(cls, held: Taken, by: AgentId | None) -> Self:
        pairs = tuple((counter.key, weight) for counter, weight in zip(held.counters, held.weights, strict=True))
        returning = tuple(counter.key for counter in held.counters if counter.counted.returns)
        ends = tuple(counter.resets_at for counter in held.counters)
        return cls(held.amount, pairs, returning, held.plan.event_type, held.plan.chain, held.beyond, ends, by)

    def bookings(self, took: int, now: int) -> list[Booking]:
        """What its end moves on its counters, but for those that are forgotten."""
        found = []
        for (counter, weight), ends_at in zip(self.counters, chained(self.ends, repeat(INTEGER_MAX)), strict=False):
            more = -self.amount if counter in self.returning else took - self.amount
            if more and ends_at + KEPT_NS > now:
                found.append(Booking(counter, bounded(more * weight), ends_at, self.event_type, self.chain))
        return found


class Closed(NamedTuple):
    """A reservation that is out of its table, what it took, and what is still to be booked for that."""

    row: HoldRow
    took: int
    owed: list[Owed]
