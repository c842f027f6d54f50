"""A quorum's time, kept between rounds by elapsed time alone.

INVARIANT: never backwards: an agreement that lies behind what was given already is approached slowly.
INVARIANT: while not `degraded`, the reading is within the tolerated skew of at least f+1 honest nodes.
INVARIANT: knowledge ages by elapsed time, so a process that was stopped sees at its first look that it must not vouch any more.
"""

from __future__ import annotations

import msgspec

from creto.common.limits import TIME_AGE_S_MAX
from creto.common.timestamps import SECOND
from creto.platform.consensus.client import SKEW_NS_MAX
from creto.platform.consensus.line import TimeLine
from creto.platform.consensus.median import Agreement, drift

AGE_NS_MAX = int(TIME_AGE_S_MAX * SECOND)


class QuorumTime(msgspec.Struct, frozen=True):
    """The rule alone: no thread, no socket, no clock of its own."""

    line: TimeLine
    wall_offset: int  # wall - elapsed, when the agreement was adopted
    agreement: Agreement | None = None

    @staticmethod
    def local(elapsed: int, wall_offset: int) -> QuorumTime:
        """Before any quorum answered: the machine's own time."""
        return QuorumTime(TimeLine(wall_offset + elapsed, elapsed), wall_offset)

    def adopted(self, agreement: Agreement, elapsed: int, wall_offset: int, last: int) -> QuorumTime:
        """Head for the agreed time: at once unless timestamps up to `last`, given already, lie past it."""
        right = agreement.offset + elapsed
        line = TimeLine(right, elapsed) if right > last else TimeLine(last, elapsed, right - last)
        return QuorumTime(line, wall_offset, agreement)

    def reading(self, elapsed: int) -> int:
        return self.line.at(elapsed)

    def uncertainty(self, elapsed: int) -> int | None:
        """How far the reading may be from an honest node of the quorum; None where no quorum ever answered."""
        if self.agreement is None:
            return None
        return self.agreement.radius + drift(elapsed - self.agreement.at) + abs(self.line.owed(elapsed))

    def degraded(self, elapsed: int, wall_offset: int) -> bool:
        """Whether the quorum's word is missing, too old, or no longer what the reading rests on.

        A wall clock that moved against elapsed time since the last round means that one of the two is wrong (a step, a restored
        snapshot): until the next round nobody can say which.
        """
        uncertainty = self.uncertainty(elapsed)
        if self.agreement is None or uncertainty is None:
            return True
        if elapsed - self.agreement.at > AGE_NS_MAX or uncertainty > SKEW_NS_MAX:
            return True
        return abs(wall_offset - self.wall_offset) > SKEW_NS_MAX
