"""What every clock of the layer offers, whatever it stands on.

A clock makes `_physical()`, its reading in nanoseconds, which may repeat or step back; this class makes consensus time of it.

INVARIANT: every timestamp of one clock is greater than all it gave before, whichever thread asks.
INVARIANT: after `observe(t)`, every timestamp is greater than `t`: what is caused by a message comes after it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import cast

from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.limits import CLOCK_SKEW_MS_MAX, TIMESTAMPS_MAX
from creto.common.timestamps import MILLISECOND, ConsensusTimestamp
from creto.platform.consensus.types import ClockState

SKEW_NS_MAX = CLOCK_SKEW_MS_MAX * MILLISECOND


class ConsensusClient(ABC):
    """The client's name for whoever gives consensus timestamps; a `common.timestamps.Clock`."""

    def __init__(self, floor: int = 0) -> None:
        self._last = floor
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def degraded(self) -> bool:
        """Whether time is local for now, so that it must be marked."""

    @abstractmethod
    def state(self) -> ClockState:
        """What the clock knows of its own time."""

    @abstractmethod
    def _physical(self) -> int:
        """The reading that timestamps follow. It waits for nothing."""

    def now(self) -> ConsensusTimestamp:
        """The next timestamp: later than every one before. No disk and no network."""
        with self._lock:
            reading = self._physical()
            last = self._last
            self._last = reading = reading if reading > last else last + 1
        return ConsensusTimestamp(reading)

    async def get_timestamp(self) -> ConsensusTimestamp:
        """`now()` under the client's name."""
        return self.now()

    def timestamps(self, n: int) -> list[ConsensusTimestamp]:
        """`n` timestamps in a row, each a nanosecond after the one before: for a batch that is ordered in itself."""
        if not 1 <= n <= TIMESTAMPS_MAX:
            raise InvalidInput.of("n", got=n, expected=f"an integer from 1 to {TIMESTAMPS_MAX}")
        with self._lock:
            first = max(self._physical(), self._last + 1)
            self._last = first + n - 1
        return cast(list[ConsensusTimestamp], list(range(first, first + n)))

    def observe(self, timestamp: int) -> None:
        """Take note of a timestamp that another process gave, so that ours come after it.

        One that lies further ahead than the tolerated skew is refused (PL-302): it would carry a wrong clock's time into ours.
        """
        with self._lock:
            if timestamp <= self._last:
                return
            ahead_ns = timestamp - self._physical()
            if ahead_ns > self._ahead_ns_max():
                raise ConnectionFailed.of(
                    "timestamp",
                    got=f"{ahead_ns} ns ahead of ours",
                    expected=f"at most {self._ahead_ns_max()} ns",
                    code="PL-302",
                )
            self._last = timestamp

    def _ahead_ns_max(self) -> int:
        """How far past its own reading this clock lets itself be moved; from the reading, so that small steps do not add up."""
        return SKEW_NS_MAX
