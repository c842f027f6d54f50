"""Time as a line: from a known moment on it grows with elapsed time, and works off what it was wrong by.

A clock that finds itself wrong does not jump: it runs a tenth faster or slower until it is right. So nobody who moves the machine's
clock can make a deadline pass at more than 11/10 of its pace, and a clock that is ahead never stands still.

INVARIANT: `at` grows with `elapsed`.
"""

from __future__ import annotations

import msgspec

from creto.common.limits import CLOCK_SLEW_PART


class TimeLine(msgspec.Struct, frozen=True):
    start: int  # the time when `since` had elapsed
    since: int
    error: int = 0  # what is to be added, little by little

    def at(self, elapsed: int) -> int:
        passed = elapsed - self.since
        if passed <= 0:
            return self.start
        if self.error == 0:
            return self.start + passed
        most = passed // CLOCK_SLEW_PART
        return self.start + passed + max(-most, min(self.error, most))

    def owed(self, elapsed: int) -> int:
        """What is still to be added (or, negative, taken off)."""
        most = max(0, elapsed - self.since) // CLOCK_SLEW_PART
        return self.error - max(-most, min(self.error, most))

    def turned(self, elapsed: int, right: int) -> TimeLine:
        """The line that goes on from here and heads for `right`, the time it should be."""
        reading = self.at(elapsed)
        return TimeLine(reading, elapsed, right - reading)

    def latest(self, elapsed: int) -> int:
        """The most that any line which was persisted as this one can have read: it may have turned since, and run fast."""
        passed = max(0, elapsed - self.since)
        return self.start + passed + passed // CLOCK_SLEW_PART
