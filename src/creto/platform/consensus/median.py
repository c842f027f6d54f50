"""Agreement on the time among 3f+1 nodes of which f may lie.

Each reading says: this node's clock is `offset` past our elapsed time, give or take `radius` (half the round trip). Of the valid
readings the 2f+1 that lie closest together are taken, and their median is the time.

INVARIANT: at least f+1 of the 2f+1 are honest, so the median lies between two honest clocks, whatever f liars say.
INVARIANT: no reading that was taken lies further than `radius` of the agreement from its median; more than the tolerated skew, and
there is no agreement. So all honest clocks among them, f+1 at least, are that near.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common.limits import CLOCK_DRIFT_PPM_MAX, TIME_AGE_S_MAX
from creto.common.timestamps import SECOND
from creto.platform.consensus.client import SKEW_NS_MAX


class Sample(msgspec.Struct, frozen=True):
    node: str
    offset: int  # the node's time less our elapsed time
    radius: int
    at: int  # our elapsed time at the middle of the round trip


class Agreement(msgspec.Struct, frozen=True):
    offset: int
    radius: int
    at: int  # the elapsed time of its oldest reading: from here on it ages
    nodes: tuple[str, ...]


def faults_tolerated(nodes: int) -> int:
    """f of 3f+1."""
    return (nodes - 1) // 3


def quorum(nodes: int) -> int:
    return 2 * faults_tolerated(nodes) + 1


def drift(age_ns: int) -> int:
    """How far two clocks may have parted: each runs wrong by its own share."""
    return 2 * age_ns * CLOCK_DRIFT_PPM_MAX // 1_000_000


# Held back from the tolerance, so that an agreement stays within it for as long as it counts as fresh.
RADIUS_NS_MAX = SKEW_NS_MAX - drift(int(TIME_AGE_S_MAX * SECOND))


def agree(samples: Sequence[Sample], nodes: int) -> Agreement | None:
    """The time of the quorum, or None when no 2f+1 readings lie close enough together."""
    size = quorum(nodes)
    ranked = sorted({sample.node: sample for sample in samples}.values(), key=lambda s: (s.offset, s.node))
    best: Agreement | None = None
    for start in range(len(ranked) - size + 1):
        taken = ranked[start : start + size]
        median = taken[size // 2].offset
        radius = max(abs(s.offset - median) + s.radius for s in taken)
        if radius <= RADIUS_NS_MAX and (best is None or radius < best.radius):
            best = Agreement(median, radius, min(s.at for s in taken), tuple(s.node for s in taken))
    return best
