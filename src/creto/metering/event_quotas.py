"""Events on quotas: what is reported moves the counters of the quotas that measure events.

metering.use_quotas(quotas.events)           # ingestion says in its own transaction what is due, and has it booked after
await metering.ingest_event(tenant, event, by=agent)
authz.check(...)                             # refused from here on, where the event filled the limit

What is due commits with the events; booking it is a step of its own, for the shared limit may be in Redis. Whoever ingested books at once;
what a dead process or an outage left is booked by anybody's upkeep.

INVARIANT: an event that counts is on its counters once, whatever dies or is repeated; one that counts no more is taken off just those.
INVARIANT: from the answer to who ingested on, this process lets no act pass beyond a limit that events have filled; others within 50 ms.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from creto.common import wire
from creto.common.errors import EnablementError
from creto.common.ids import TenantId, new_id
from creto.common.limits import QUOTA_BATCH, QUOTA_DUE_S, QUOTA_TOLD_MAX
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering import quota_due, quota_rules
from creto.metering import quota_store as rows
from creto.metering.leases import Counted, Due, Part, SharedLimits
from creto.metering.quota import QuotaBook
from creto.metering.quota_counters import RETIRED, Counter
from creto.metering.quota_events import Booking, bookings, measuring
from creto.metering.quota_marks import Crossed, marks_reached
from creto.metering.quota_rules import Definitions
from creto.metering.quota_types import Quota
from creto.store.types import Store, Tx

log = logging.getLogger("creto.metering")
_bookings = wire.decoder(tuple[Booking, ...])


class Owed(NamedTuple):
    """What a transaction has found due."""

    tenant: TenantId
    name: str
    bookings: tuple[Booking, ...]

    def due(self) -> Due:
        parts = [Part(one.counter, one.amount, one.ends_at) for one in self.bookings]
        return Due(self.tenant, self.name, parts)


class Seen(NamedTuple):
    """What a booking has brought about: marks that were reached, counters that were filled."""

    crossed: list[Crossed]
    full: list[Counter]


class Teller(NamedTuple):
    """What quotas offer to who finds a counter full."""

    publish: Callable[[Tx, Crossed, ConsensusTimestamp], None]
    want_back: Callable[[Tx, Sequence[Counter]], None]


class EventQuotas:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: SharedLimits,
        book: QuotaBook,
        definitions: Callable[[TenantId], Definitions],
        teller: Teller,
        give_back: Callable[[Sequence[Counter]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._book = book
        self._definitions = definitions
        self._teller = teller
        self._measuring: dict[TenantId, tuple[Definitions, tuple[Quota, ...]]] = {}
        self._told: dict[tuple[TenantId, str], int] = {}  # the greatest mark of each counter
        self._give_back = give_back
        self._gone: deque[Owed] = deque()  # their rows have gone

    def of(self, tenant: TenantId) -> tuple[Quota, ...]:
        """The quotas of a tenant that measure events: mostly none."""
        known = self._definitions(tenant)
        found = self._measuring.get(tenant)
        if found is None or found[0] is not known:
            found = self._measuring[tenant] = (known, measuring(known))
        return found[1]

    # In the transaction

    def add(
        self, tx: Tx, tenant: TenantId, batch: int, events: Sequence[BillableEvent], quotas: Sequence[Quota]
    ) -> list[Owed]:
        """These events of a new batch count by these quotas."""
        if not quotas or not events:
            return []
        quota_due.put_counted(tx, tenant, batch, quota_due.WHOLE, quota_due.print_of(quotas), quotas)
        return self.owe(tx, tenant, bookings(quotas, events, self._clock.now()))

    def change(
        self, tx: Tx, tenant: TenantId, batch: int, place: int, event: BillableEvent, sign: int, quotas: Sequence[Quota]
    ) -> list[Owed]:
        """An event begins to count by these quotas; with `sign` -1 it counts no more by those that it was counted by."""
        if sign > 0:
            quota_due.put_counted(tx, tenant, batch, place, quota_due.print_of(quotas), quotas)
        else:
            quotas = quota_due.counted_by(tx, tenant, batch, place)
        return self.owe(tx, tenant, bookings(quotas, [event], self._clock.now(), sign=sign))

    def owe(self, tx: Tx, tenant: TenantId, found: Sequence[Booking]) -> list[Owed]:
        """Due from when this commits."""
        if not found:
            return []
        owed = Owed(tenant, new_id(), tuple(found))
        quota_due.add_due(tx, tenant, owed.name, wire.encode(owed.bookings), self._clock.now())
        return [owed]

    # After it

    async def booked(self, owed: Sequence[Owed]) -> None:
        """On their counters, if the shared limit answers; else upkeep does it later."""
        if owed:
            await asyncio.to_thread(self.book_now, owed)

    def book_now(self, owed: Sequence[Owed]) -> None:
        try:
            if owed:
                self.book(owed)
        except EnablementError as error:
            log.warning("What was used waits to be counted on quotas: %s", error)

    def book(self, owed: Sequence[Owed]) -> None:
        """Every step can be repeated: who dies between two of them leaves the row for somebody's upkeep."""
        seen = self._look(owed, self._limits.book([one.due() for one in owed]))

        def done(written: Future[None]) -> None:
            if written.exception() is None:
                self._gone.extend(owed)
            else:
                self._told.clear()  # upkeep tells
                rows.unattended(written, "what events filled")

        self._store.submit(lambda tx: self._finish(tx, owed, seen)).add_done_callback(done)

    def book_left(self, now: int) -> None:
        """On the thread of the upkeep: what others did not finish, and marks that nobody needs any more."""
        gone = [self._gone.popleft() for _ in range(len(self._gone))]
        self._limits.forget([one.due() for one in gone])
        found = self._store.read_now(lambda tx: quota_due.left(tx, now - QUOTA_DUE_S * SECOND, QUOTA_BATCH))
        if found:
            self.book([Owed(tenant, name, _bookings.decode(body)) for tenant, name, body in found])

    def _look(self, owed: Sequence[Owed], taken: Counted) -> Seen:
        """What is known here of those counters, what is to be told of them, and which have just been filled."""
        crossed: list[Crossed] = []
        full: list[Counter] = []
        mine: list[Counter] = []
        if len(self._told) > QUOTA_TOLD_MAX:
            self._told.clear()
        known = {tenant: {q.quota_id: q for q in self.of(tenant)} for tenant, _ in taken}
        for (tenant, key), (amount, last) in summed(owed).items():
            used = taken[tenant, key]
            here = self._book.counters.find(tenant, key)
            if here is not None:
                here.taken, here.full_until, here.filled = used, 0, False
            counted = quota_rules.named(known[tenant], key)
            if counted is None:
                continue
            counter = Counter(tenant, RETIRED, counted)
            counter.told = self._told.get((tenant, key), 0)
            crossed += marks_reached(counter, used, last.event_type, last.chain)
            self._told[tenant, key] = counter.told
            if used >= counter.limit:
                if here is not None:
                    here.filled = True
                    mine.append(here)
                full += [counter] if used - amount < counter.limit else []
        if mine:
            self._give_back(mine)
        return Seen(crossed, full)

    def _finish(self, tx: Tx, owed: Sequence[Owed], seen: Seen) -> None:
        now = self._clock.now()
        for mark in seen.crossed:
            counter = mark.counter
            if rows.notice_first(tx, counter.tenant, counter.key, mark.mark, now, counter.resets_at):
                self._teller.publish(tx, mark, now)
        if seen.full:
            self._teller.want_back(tx, seen.full)
        for one in owed:
            quota_due.drop_due(tx, one.tenant, one.name)


def summed(owed: Sequence[Owed]) -> dict[tuple[TenantId, str], tuple[int, Booking]]:
    """By counter: how much, and the last booking."""
    found: dict[tuple[TenantId, str], tuple[int, Booking]] = {}
    for one in owed:
        for booking in one.bookings:
            key = (one.tenant, booking.counter)
            before = found[key][0] if key in found else 0
            found[key] = before + booking.amount, booking
    return found
