"""What counters stand at: what was used, and what nodes hold unspent, which is not used.

A node knows its own leases to the unit, and those of the processes beside it by their journals. Of a node elsewhere it knows what that
had unspent when it last drew: by so much at most its use is told too low, until it draws again or gives back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from creto.common.ids import TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.metering.leases import Lease, SharedLimits
from creto.metering.leases_journal import unspent_beside
from creto.metering.quota import QuotaBook
from creto.metering.quota_counters import RETIRED
from creto.metering.quota_rules import Counted
from creto.metering.quota_types import QuotaUsage


class Standing(NamedTuple):
    used: int
    held: int


def standing(
    tenant: TenantId, keys: Sequence[str], limits: SharedLimits, book: QuotaBook, folder: Path | None
) -> dict[str, Standing]:
    leases: dict[str, list[int]] = {key: [] for key in keys}
    for lease in limits.leases(tenant, keys):
        leases[lease.counter].append(room_of(tenant, lease, book, folder))
    taken = limits.taken(tenant, keys)
    return {
        key: Standing(max(0, used - sum(leases[key])), sum(room for room in leases[key] if room > 0))
        for key, used in zip(keys, taken, strict=True)
    }


def room_of(tenant: TenantId, lease: Lease, book: QuotaBook, folder: Path | None) -> int:
    """What a node has not spent; below nothing where an act took more than was there, and it was not drawn yet."""
    if lease.node == book.node:
        counter = book.counters.find(tenant, lease.counter)
        return 0 if counter is None or counter.slot == RETIRED else book.counters.cells[counter.slot]
    beside = None if folder is None else unspent_beside(folder, lease.node, lease.slot)
    return lease.unspent if beside is None else beside


def used_and_over(counted: Counted, lane: Counted | None, stands: Mapping[str, Standing]) -> tuple[int, int]:
    """All that was used, and what of it lies beyond the limit: an act in a lane of its own, an event where all are counted. A lane with
    a window of its own, as a throttle's, tells what went beyond in that."""
    used = stands[counted.key].used
    beyond = max(0, used - counted.limit)
    if lane is None or counted.by_events:
        return used, beyond
    aside = stands[lane.key].used
    return used + (aside if lane.period == counted.period else 0), beyond + aside


def usage_of(counted: Counted, lane: Counted | None, stands: Mapping[str, Standing]) -> QuotaUsage:
    used, over = used_and_over(counted, lane, stands)
    return QuotaUsage(
        quota_id=counted.quota_id, agent=counted.owner, window=counted.window.name, limit=counted.limit, used=used,
        over=over, held=stands[counted.key].held, starts_at=ConsensusTimestamp(counted.period.start),
        resets_at=ConsensusTimestamp(counted.period.end),
    )  # fmt: skip
