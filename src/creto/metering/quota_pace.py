"""Consensus time at the price of a tick: read every few milliseconds, and carried on by the machine's own counter between.

A check asks what time it is only to know whether its windows still run, and to the millisecond that is enough; a reading of the clock
would cost it more than all its counters.

INVARIANT: it is off by no more than the clock is slewed in `STEP_NS`, a tenth of that at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from creto.common.timestamps import MILLISECOND, Clock

STEP_NS = 10 * MILLISECOND


class Pace:
    __slots__ = ("_base", "_clock", "_ticks")

    def __init__(self, clock: Clock, ticks: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._ticks = ticks
        self._base = (ticks(), int(clock.now()))  # one value, so that a thread never sees half of it

    def now(self) -> int:
        ticked, now = self._base
        gone = self._ticks() - ticked
        if gone < STEP_NS:
            return now + gone
        self._base = (self._ticks(), now := int(self._clock.now()))
        return now
