"""What a node does beside its checks: give back, book, expire, retire, reclaim. Nothing exact rests on when it runs.

What lies idle for a lease goes back to the shared limit; what another node asks for, at the next step. What a dead node of this
machine had not spent goes back from its journal.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from creto.common.errors import EnablementError
from creto.common.limits import QUOTA_BATCH, QUOTA_PRUNE_S, QUOTA_UPKEEP_S
from creto.common.timestamps import SECOND, Clock
from creto.metering import leases_journal
from creto.metering.leases import GivenBack
from creto.metering.quota import QuotaBook
from creto.metering.quota_counters import RETIRED, Counter
from creto.metering.quota_marks import Crossed, marks_reached
from creto.metering.quota_room import wish

T = TypeVar("T")
log = logging.getLogger("creto.metering")


class Upkeep:
    """`further` is done with every step, as expiring reservations that are kept in rows."""

    def __init__(
        self,
        book: QuotaBook,
        clock: Clock,
        lease_s: Callable[[], int],
        folder: Path | None,
        further: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._clock = clock
        self._lease_s = lease_s
        self._folder = folder
        self._further = further
        self._looked_at = 0
        self._pruned_at = 0
        self._wake = threading.Event()
        self._stopped = False
        self._turn = threading.RLock()  # what is done further may give back
        self._thread = threading.Thread(target=self._run, name="creto-quota-upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(QUOTA_UPKEEP_S)
            self._wake.clear()
            try:
                self.once(self._clock.now())
            except EnablementError:  # the shared limit is away: what is local goes on, the rest waits
                log.warning("the upkeep of quotas failed and is tried again", exc_info=True)
            except Exception:
                log.exception("the upkeep of quotas failed")

    def once(self, now: int) -> None:
        with self._turn:
            book = self._book
            book.expire(now)
            self._cover()
            self._retire(book.counters.ended(now))
            self._give_back(drain(book.surplus))
            if now - self._looked_at >= self._lease_s() * SECOND:
                self._looked_at = now
                self._give_back(self._idle())
            while book.late:
                self._book_late(*book.late.popleft())
            if self._folder is not None:
                leases_journal.reclaim(self._folder, book.limits)
            self._further(now)
            if now - self._pruned_at >= QUOTA_PRUNE_S * SECOND:
                self._pruned_at = now
                book.limits.prune(now)

    def _book_late(self, counter: Counter, by: int) -> None:
        """Nobody knows whether what failed was done. INVARIANT: in doubt a limit is full too early, never too late."""
        try:
            self._book.limits.adjust(counter.tenant, counter.key, -by)
        except EnablementError:
            if by < 0:
                self._book.late.appendleft((counter, by))
            raise

    def close(self) -> None:
        """Give everything back."""
        with self._turn:
            self._cover()
            self._retire(self._book.counters.every())

    def give_back(self, counters: Iterable[Counter]) -> None:
        """What of these is not spent, now."""
        with self._turn:
            self._give_back(counters)

    def _idle(self) -> Iterator[Counter]:
        """Of those that have drawn: what has not moved since the last look."""
        cells = self._book.counters.cells
        for counter in list(self._book.leased):
            room = cells[counter.slot] if counter.slot != RETIRED else 0
            if room <= 0 or room == counter.idle_room:
                self._book.leased.discard(counter)
                counter.idle_room = 0
                if room > 0:
                    yield counter
            else:
                counter.idle_room = room

    def _give_back(self, counters: Iterable[Counter]) -> None:
        book = self._book
        for batch in batched(counters, QUOTA_BATCH):
            rooms = [(counter, book.counters.take_back(counter)) for counter in batch]
            parts = [GivenBack(counter.tenant, counter.key, room) for counter, room in rooms if room]
            if parts:
                book.limits.give_back(book.node, parts)
                for counter, room in rooms:
                    counter.taken -= room
                    counter.full_until = 0

    def _retire(self, counters: Iterable[Counter]) -> None:
        book = self._book
        for batch in batched(counters, QUOTA_BATCH):
            left = book.counters.retire(batch)
            book.leased.difference_update(batch)
            parts = [GivenBack(counter.tenant, counter.key, room, last=True) for counter, room in left]
            if parts:
                book.limits.give_back(book.node, parts)

    def _cover(self) -> None:
        """Draw what was spent beyond what was there, past any limit: it has happened. Who is to be told of a mark is told."""
        book = self._book
        cells = book.counters.cells
        for batch in batched(list(book.overdrawn), QUOTA_BATCH):
            plans = {counter: book.overdrawn.pop(counter) for counter in batch}
            short = [c for c in batch if c.slot != RETIRED and cells[c.slot] < 0]
            wishes = [wish(counter, 0, cells)._replace(force=True) for counter in short]
            try:
                drawn = book.limits.draw(book.node, wishes) if wishes else []
            except EnablementError:
                book.overdrawn.update(plans)
                raise
            marks: list[Crossed] = []
            for counter, answer in zip(short, drawn, strict=True):
                counter.taken = answer.after
                with book.counters.lock:
                    here = book.counters.came(counter, answer.granted)
                if not here:
                    book.late.append((counter, answer.granted))
                plan = plans[counter]
                marks += marks_reached(counter, answer.after, plan.event_type, plan.chain)
            if marks:
                book.tell(marks)


def drain(found: set[Counter]) -> list[Counter]:
    """All that is in it now; what comes meanwhile stays."""
    taken = list(found)
    found.difference_update(taken)
    return taken


def batched(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
