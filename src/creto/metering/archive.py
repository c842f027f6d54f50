"""The archive of usage: days as Parquet, each in parts.

    day = day_of(event.timestamp)                       # days of UTC
    ready_at(day, seen_at, grace_ns, parts=0)           # when its next part is due
    part_key(day, 1, attempt)                           # metering/events/2026-01-15/0001-….parquet

A day is archived once it is over and its grace has passed. What comes later, or changes its state later, makes a further part.

INVARIANT: an event is in one part of its day; if its state changes after that, a later part has it again, and of all its rows the one in the
last part holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import TenantId
from creto.common.timestamps import DAY, from_iso, iso

FOLDER = "metering/events"


class ArchivePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part as its entry in the ledger describes it.

    `digest` is of the file, with its suite in front; `root` is the RFC 9162 root over the events in the order of the file, each as a leaf of
    its batch's own tree.
    """

    day: str
    part: int
    events: int
    batches: int
    size: int
    digest: bytes
    root: bytes
    archived_at: int
    key: str


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What of a day no part holds yet. `changes` are events that an earlier part has in another state: batch, place, when."""

    tenant: TenantId
    day: int
    first_batch: int = 0
    last_batch: int = -1
    events: int = 0
    changes: tuple[tuple[int, int, int], ...] = ()

    def holds(self, batch: int) -> bool:
        return self.first_batch <= batch <= self.last_batch

    @property
    def again(self) -> dict[tuple[int, int], int]:
        """Those changes that are not among the events."""
        return {(batch, place): at for batch, place, at in self.changes if not self.holds(batch)}


def day_of(at: int) -> int:
    return at // DAY * DAY


def day_name(day: int) -> str:
    return iso(day)[:10]


def day_named(name: str) -> int:
    try:
        day = from_iso(f"{name}T00:00:00Z", "day")
    except InvalidInput as error:
        raise InvalidInput.of("day", got=name, expected="a day, as 2026-01-31", code="MT-400") from error
    return day


def ready_at(day: int, seen_at: int, grace_ns: int, *, parts: int) -> int:
    """A first part waits for the day's own latecomers, a further one for those that come with the event that made it due."""
    return (max(day + DAY, seen_at) if parts else day + DAY) + grace_ns


def part_key(day: int, part: int, attempt: str) -> str:
    return f"{FOLDER}/{day_name(day)}/{part:04}-{attempt}.parquet"


def spans(dues: Sequence[Due]) -> list[tuple[int, int]]:
    """The batches to read, from first to last, each once however many days lie in them."""
    found: list[tuple[int, int]] = []
    single = [(batch, batch) for due in dues for batch, _ in due.again]
    for first, last in sorted([*((due.first_batch, due.last_batch) for due in dues if due.events), *single]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
