"""A clock for tests: it stands still until told to move.

clock = ManualClock()
clock.advance(5 * MINUTE)
clock.set(from_iso("2026-01-31T09:30:00Z"))
clock.degraded = True

It keeps every promise of the real clocks (the same conformance suite runs over it): two calls of `now()` never give the same time,
the second is a nanosecond later.
"""

from __future__ import annotations

from creto.common.timestamps import ConsensusTimestamp
from creto.platform.consensus.client import ConsensusClient
from creto.platform.consensus.types import ClockState

MANUAL_START = ConsensusTimestamp(1_767_225_600_000_000_000)  # 2026-01-01T00:00:00Z


class ManualClock(ConsensusClient):
    def __init__(self, now: int = MANUAL_START) -> None:
        super().__init__(floor=now - 1)
        self._reading = now
        self._degraded = False

    @property
    def degraded(self) -> bool:
        return self._degraded

    @degraded.setter
    def degraded(self, value: bool) -> None:
        self._degraded = value

    def state(self) -> ClockState:
        return ClockState(ConsensusTimestamp(self._reading), self._degraded, 0, 0)

    def _physical(self) -> int:
        return self._reading

    def advance(self, ns: int) -> None:
        """Let time pass; the next `now()` is at least `ns` past the last one."""
        with self._lock:
            self._reading = max(self._reading, self._last) + ns

    def set(self, now: int) -> None:
        """Put the reading anywhere, also back: timestamps still only grow."""
        with self._lock:
            self._reading = now
