"""The high-water mark: what must be on disk so that time goes on where it was, even after kill -9 and a wall clock set back.

A clock reserves ahead: before it gives a timestamp, a mark above it is durable. After a restart

- in the same boot of the machine, the persisted line says how far time had come: it is continued, not guessed. Timestamps may have
  run past the line by what a clock lets itself be moved, so that much is waited out (a tenth of a second);
- otherwise (a reboot, another machine) only the marks bound what was given, and time starts above them.

INVARIANT: a timestamp is below the mark of its clock's row when it is given (or the clock says that it is degraded).
INVARIANT: `floor` is at or above every timestamp that any clock of this store has given, live ones of other machines aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import msgspec

from creto.common.ids import new_id
from creto.common.limits import CLOCK_RESERVE_S, TIMESTAMPS_MAX
from creto.common.timestamps import SECOND
from creto.platform.consensus.client import SKEW_NS_MAX
from creto.platform.consensus.line import TimeLine
from creto.store.types import Isolation, ReadTx, Store, Tx

RESERVE_NS = int(CLOCK_RESERVE_S * SECOND)
PAST_LINE_NS_MAX = SKEW_NS_MAX + TIMESTAMPS_MAX  # by `observe`, and by a batch


class MarkRow(msgspec.Struct, frozen=True):
    clock: str
    boot: str
    mark: int
    line: TimeLine

    def bound(self, boot: str, elapsed: int) -> int:
        """The most that this clock can have given by now."""
        return min(self.mark, self.line.at(elapsed) + PAST_LINE_NS_MAX) if self.boot == boot else self.mark


class Floor(msgspec.Struct, frozen=True):
    """Where time may begin."""

    here: int  # at or above what was given in this boot of this machine
    elsewhere: int  # at or above what was given before a reboot or on another machine
    line: (
        int | None
    )  # where time has come here, if a clock is running or ended a moment ago: the wall need not be asked

    @property
    def value(self) -> int:
        return max(self.here, self.elsewhere)


def floor_of(rows: Sequence[MarkRow], boot: str, elapsed: int) -> Floor:
    ours = [row for row in rows if row.boot == boot]
    return Floor(
        here=max((row.bound(boot, elapsed) for row in ours), default=0),
        elsewhere=max((row.mark for row in rows if row.boot != boot), default=0),
        line=max((time for row in ours if (time := row.line.at(elapsed)) <= row.mark), default=None),
    )


class HighWaterMark:
    """The rows of one store, and the one that belongs to this clock."""

    def __init__(self, store: Store, boot: str) -> None:
        self._store = store
        self._boot = boot
        self._clock = new_id("clock-")
        self.mark = 0  # durable

    def floor(self, elapsed: int) -> Floor:
        return floor_of(self._store.read_now(read_marks), self._boot, elapsed)

    def reserve(self, line: TimeLine, last: int, ahead_ns: int) -> Future[None]:
        """Make the time up to `ahead_ns` past the line's start ours; `mark` follows when it is on disk.

        Until then timestamps must not run past the line of the reservation before.
        """
        mark = max(line.start, last) + ahead_ns
        row = MarkRow(self._clock, self._boot, mark, line)

        def put(tx: Tx) -> None:
            write_mark(tx, row)

        def durable(done: Future[None]) -> None:
            if not done.cancelled() and done.exception() is None:
                self.mark = max(self.mark, mark)

        future = self._store.submit(put, isolation=Isolation.READ_COMMITTED)
        future.add_done_callback(durable)
        return future

    def settle(self, line: TimeLine, last: int) -> Future[None]:
        """At the end: give back what was reserved and not used."""
        row = MarkRow(self._clock, self._boot, last, line)
        return self._store.submit(lambda tx: write_mark(tx, row))


def read_marks(tx: ReadTx) -> list[MarkRow]:
    rows = tx.all("SELECT clock, boot, mark, start, since, error FROM consensus_clock")
    return [MarkRow(clock, boot, mark, TimeLine(*line)) for clock, boot, mark, *line in rows]


def write_mark(tx: Tx, row: MarkRow) -> None:
    """Ours is at or above the marks of clocks that have ended: their rows are no longer needed."""
    tx.run(
        "INSERT INTO consensus_clock (clock, boot, mark, start, since, error) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (clock) DO UPDATE SET mark = excluded.mark, start = excluded.start, since = excluded.since, "
        "error = excluded.error",
        row.clock, row.boot, row.mark, row.line.start, row.line.since, row.line.error,
    )  # fmt: skip
    tx.run("DELETE FROM consensus_clock WHERE mark < ? AND clock <> ?", row.line.start - RESERVE_NS, row.clock)
