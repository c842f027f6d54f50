"""The clock of a single installation: a hybrid logical clock with a mark on disk.

    with EmbeddedClock(store) as clock:
        clock.now()

It follows elapsed time, which no step of the wall clock touches, and works off what the wall clock says otherwise by a tenth of the
time that passes. While the two differ by more than the tolerated skew it is `degraded`: somebody moved the machine's clock, and only an
operator can tell which one is right. A restart follows a wall clock that was set forward at once, one that was set back slowly.

What holds:
- within a process timestamps strictly increase, over all threads;
- a process that starts after another has ended (also by kill -9, also after a reboot) continues above all its timestamps;
- between processes that run at the same time on one machine timestamps agree to the slew, and may be equal;
  cause and effect are in order when the receiver of a message calls `observe` with the timestamp in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from creto.common.errors import EnablementError
from creto.common.limits import CLOCK_RESERVE_S
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.consensus.client import SKEW_NS_MAX, ConsensusClient
from creto.platform.consensus.line import TimeLine
from creto.platform.consensus.local import LocalTime, SystemTime, wall_offset
from creto.platform.consensus.mark import RESERVE_NS, Floor, HighWaterMark
from creto.platform.consensus.types import ClockState
from creto.store.types import Store

DISK_S_MAX = 30.0


class EmbeddedClock(ConsensusClient):
    """Opening it reads and writes the store once. It waits a tenth of a second when another clock of this machine runs or has just
    crashed, and a second at most for a mark that was left before a reboot or on another machine."""

    def __init__(
        self,
        store: Store,
        *,
        local: LocalTime | None = None,
        pause: Callable[[float], None] = time.sleep,
        background: bool = True,
    ) -> None:
        """`background=False`: the caller calls `reserve` every half second, as a simulation does."""
        self._local = local or SystemTime()
        self._mark = HighWaterMark(store, self._local.boot)
        elapsed = self._local.elapsed()
        floor = self._mark.floor(elapsed)
        self._line = first_line(floor, elapsed, wall_offset(self._local) + elapsed)
        while 0 <= (gap := floor.value - self._line.at(self._local.elapsed())) <= RESERVE_NS + SKEW_NS_MAX:
            pause((gap + 1) / SECOND)
        super().__init__(floor=floor.value)
        self.reserve()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="creto-clock", daemon=True)
        if background:
            self._thread.start()

    @property
    def degraded(self) -> bool:
        """The mark could not be written in time, or the wall clock contradicts."""
        return self._last > self._mark.mark or abs(self._line.owed(self._local.elapsed())) > SKEW_NS_MAX

    def state(self) -> ClockState:
        elapsed = self._local.elapsed()
        owed = abs(self._line.owed(elapsed))
        return ClockState(ConsensusTimestamp(self._line.at(elapsed)), self.degraded, owed, elapsed - self._line.since)

    def reserve(self) -> None:
        """Look at the wall clock, head for it, and make the next second ours; returns when that is on disk."""
        offset = wall_offset(self._local)
        elapsed = self._local.elapsed()
        line = self._line.turned(elapsed, offset + elapsed)
        covering = line.covering(elapsed, self._line)
        self._mark.reserve(covering, self._last, RESERVE_NS + SKEW_NS_MAX).result(DISK_S_MAX)
        self._line = line  # only now: what is on disk covers both the line so far and this one

    def close(self) -> None:
        """Stop reserving and give back what is left of the reservation. The clock still reads, degraded when its mark is passed."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        with self._lock:
            line, last = self._line.turned(self._local.elapsed(), self._line.at(self._local.elapsed())), self._last
        with suppress(
            EnablementError, TimeoutError
        ):  # the store is closed: the mark stays where it is, above all that was given
            self._mark.settle(line, max(last, line.start)).result(DISK_S_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _physical(self) -> int:
        return self._line.at(self._local.elapsed())

    def _keep(self) -> None:
        while not self._stop.wait(CLOCK_RESERVE_S / 2):
            with suppress(EnablementError, TimeoutError):  # the mark runs out and the clock says that it is degraded
                self.reserve()


def first_line(floor: Floor, elapsed: int, wall: int) -> TimeLine:
    """Where a process's time begins: on the line that runs here, else at the wall clock, never at or below what was given.

    A mark of elsewhere that is no further ahead than a reservation is waited for rather than jumped to: else every start of
    another machine would push the time of all a second forward.
    """
    start = max(wall, floor.here + 1) if floor.line is None else floor.line
    if floor.elsewhere > start + RESERVE_NS + SKEW_NS_MAX:
        start = floor.elsewhere + 1
    return TimeLine(start, elapsed, wall - start)
