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

    def covering(self, elapsed: int, other: TimeLine) -> TimeLine:
        """A line from here that stays at or above this one and `other`, which meet here."""
        return TimeLine(self.at(elapsed), elapsed, max(self.owed(elapsed), other.owed(elapsed)))
