"""Archiving: days that are over go to storage as Parquet, and can be read from there again.

    archive = Archive(store, clock, storage)
    await archive.run(86_400 * SECOND, by=operator)         # whatever is due, of all tenants
    await archive.parts("acme", start, end)                 # what there is

A part is made in four steps: an attempt is written down, its events are gathered into a file, the file is put under a key of that attempt's own,
and one transaction makes the attempt the part, with its entry in the ledger.

INVARIANT: whenever a process dies, each event is in one part or still due. An attempt that another one took the place of can never become
the part, so what it left in storage is removed.
INVARIANT: a part has as many events as were counted when they were noted; else it is not made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from creto.common.errors import AlreadyExists, EnablementError, InternalError, NotFound
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.limits import (
    ARCHIVE_BATCHES,
    ARCHIVE_DAYS,
    ARCHIVE_EVENTS,
    ARCHIVE_PIECE_BYTES,
    INTEGER_MAX,
    PAGE_ITEMS_DEFAULT,
)
from creto.common.paging import cut, place_of
from creto.common.telemetry import Metrics, fields
from creto.common.timestamps import DAY, Clock
from creto.metering import analytics
from creto.metering import archive_store as rows
from creto.metering.admission import leaf_of
from creto.metering.archive import ArchivePart, Due, day_name, day_named, day_of, part_key, ready_at, spans
from creto.metering.core import Recording, paged
from creto.metering.usage_types import KeptEvent
from creto.platform.crypto import merkle, tagged_digest_of
from creto.security.storage import Storage
from creto.store.types import Isolation, Row, Store, Tx

log = logging.getLogger("creto.metering")
T = TypeVar("T")

MEDIA_TYPE = "application/vnd.apache.parquet"
Days = list[tuple[TenantId, int]]


class Attempt(msgspec.Struct, frozen=True):
    """What is to become a part."""

    due: Due
    part: int
    key: str

    @property
    def name(self) -> str:
        return f"{self.due.tenant}/{self.due.day}"


class Tally:
    """What went into the file of an attempt so far."""

    def __init__(self) -> None:
        self.events = 0
        self.batches = 0
        self.tree = merkle.CompactRange()
        self._batch = -1

    def add(self, kept: KeptEvent) -> None:
        self.events += 1
        self.batches += kept.batch != self._batch
        self._batch = kept.batch
        self.tree.append(leaf_of(msgspec.structs.replace(kept.event, signature=None)))


class ArchivePage(msgspec.Struct, frozen=True):
    items: tuple[ArchivePart, ...]
    cursor: str | None = None


class Archive(Recording):
    def __init__(self, store: Store, clock: Clock, storage: Storage, metrics: Metrics | None = None) -> None:
        super().__init__(store, clock)
        self._storage = storage
        self._archived = (metrics or Metrics()).counter(
            "metering_events_archived_total", "Usage events written to the archive"
        )

    # Make

    async def run(self, grace_ns: int, *, by: AgentId, tenant: TenantId | None = None) -> list[ArchivePart]:
        """Make every part that is due, of a tenant or of all. Running again makes nothing anew."""
        analytics.engine()
        await self._note_days()
        made: list[ArchivePart] = []
        days = await self._ready(tenant, grace_ns)
        for start in range(0, len(days), ARCHIVE_DAYS):
            made += await self._make(days[start : start + ARCHIVE_DAYS], by)
        return made

    async def _note_days(self) -> None:
        """Which days the events are of that came since the last look."""
        through = await self._store.write(rows.horizon, isolation=Isolation.READ_COMMITTED)
        while (before := await self._store.read(rows.mark)) < through:
            after = 0 if before == rows.NEVER else min(through, before + ARCHIVE_BATCHES)
            found = await self._store.read(lambda tx, a=before, b=after: rows.days_between(tx, a, b))  # type: ignore[misc]
            now = self._clock.now()

            def move(tx: Tx, a: int = before, b: int = after, found: Sequence[Row] = found, now: int = now) -> None:
                if rows.move_mark(tx, a, b):
                    rows.add_due(tx, found, now)

            await self._store.write(move, isolation=Isolation.READ_COMMITTED)

    async def _ready(self, tenant: TenantId | None, grace_ns: int) -> Days:
        now = self._clock.now()
        pending = await self._store.read(lambda tx: rows.pending_days(tx, tenant))
        return [
            (whose, day) for whose, day, since, parts in pending if ready_at(day, since, grace_ns, parts=parts) <= now
        ]

    async def _make(self, days: Days, by: AgentId) -> list[ArchivePart]:
        attempts = [one for tenant, day in days if (one := await self._begin(tenant, day, by)) is not None]
        if not attempts:
            return []
        made: list[ArchivePart] = []
        with TemporaryDirectory(prefix="creto-archive-") as name:
            folder = Path(name)
            sheet = await on_thread(lambda: analytics.Sheet(folder))
            try:
                tallies = await self._gather(sheet, attempts)
                for attempt in attempts:
                    try:
                        made.append(
                            await self._finish(sheet, folder / "part.parquet", attempt, tallies[attempt.name], by)
                        )
                    except AlreadyExists as error:  # another process was at the same day, and later
                        log.info("%s", error, extra=fields(tenant=attempt.due.tenant))
                        await self._remove(attempt.due.tenant, attempt.key, by)
            finally:
                await on_thread(sheet.close)
        return made

    async def _begin(self, tenant: TenantId, day: int, by: AgentId) -> Attempt | None:
        attempt_id = new_id()

        def begin(tx: Tx) -> Attempt | None:
            due = rows.find_due(tx, tenant, day)
            if not due.events and not due.changes:
                return None
            part = rows.next_part(tx, tenant, day)
            key = part_key(day, part, attempt_id)
            rows.put_attempt(tx, tenant, day, part, key)
            return Attempt(due, part, key)

        attempt = await self._store.write(begin)
        if attempt is not None:
            await self._tidy(tenant, day, attempt, by)
        return attempt

    async def _gather(self, sheet: analytics.Sheet, attempts: Sequence[Attempt]) -> dict[str, Tally]:
        """One pass over the events, whosever days they are of."""
        wanted = {(one.due.tenant, one.due.day): one for one in attempts}
        named, tallies = {one.name: one for one in attempts}, {one.name: Tally() for one in attempts}
        start, end = min(one.due.day for one in attempts), max(one.due.day for one in attempts) + DAY

        def add(found: Sequence[tuple[TenantId, bytes, KeptEvent]]) -> None:
            groups: dict[str, list[KeptEvent]] = {}
            for tenant, _, kept in found:
                attempt = wanted.get((tenant, day_of(kept.event.timestamp)))
                if attempt is not None and belongs(attempt.due, kept):
                    groups.setdefault(attempt.name, []).append(kept)
                    tallies[attempt.name].add(kept)
            for name, events in groups.items():
                one = named[name]
                again = [not one.due.holds(kept.batch) for kept in events]
                sheet.add(name, events, one.part, again=again)

        for first, last in spans([one.due for one in attempts]):
            place: rows.Where | None = (first, rows.NEVER)
            while place is not None:
                found, place = await self._store.read(
                    lambda tx, at=place, to=last: rows.kept_events(tx, at, to, start, end, ARCHIVE_EVENTS)  # type: ignore[misc]
                )
                await on_thread(lambda found=found: add(found))  # type: ignore[misc]
        return tallies

    async def _finish(
        self, sheet: analytics.Sheet, path: Path, attempt: Attempt, tally: Tally, by: AgentId
    ) -> ArchivePart:
        due = attempt.due
        if tally.events != due.events + len(due.again):
            raise InternalError(
                "PL-500", f"the events of {day_name(due.day)} are not those that were noted",
                got=tally.events, expected=due.events + len(due.again),
            )  # fmt: skip
        await on_thread(lambda: sheet.write(attempt.name, path))
        digest = await on_thread(lambda: tagged_digest_of(pieces(path)))
        stat = await self._storage.put(
            due.tenant, attempt.key, streamed(path), agent=by, content_type=MEDIA_TYPE,
            metadata={"day": day_name(due.day), "part": str(attempt.part), "events": str(tally.events)},
        )  # fmt: skip
        made = ArchivePart(
            day=day_name(due.day), part=attempt.part, events=tally.events, batches=tally.batches, size=stat.size,
            digest=digest, root=tally.tree.root(), archived_at=self._clock.now(), key=attempt.key,
        )  # fmt: skip
        await self._store.write(lambda tx: self._commit(tx, due, made, by))
        self._archived.labels().add(tally.events)
        return made

    def _commit(self, tx: Tx, due: Due, made: ArchivePart, by: AgentId) -> None:
        if not rows.finish_part(tx, due.tenant, due.day, made) or not rows.drop_due(tx, due):
            raise AlreadyExists("MT-412", f"part {made.part} of {made.day} was made by another process")
        self._record(
            tx, due.tenant, "usage.archived", "UsageArchived", by=by, subject=f"metering:archive:{made.day}/{made.part}",
            now=self._clock.now(), fields=msgspec.to_builtins(made),
        )  # fmt: skip

    async def _tidy(self, tenant: TenantId, day: int, attempt: Attempt, by: AgentId) -> None:
        """What earlier attempts at the same part have left."""
        for info in (await self._storage.list(tenant, part_key(day, attempt.part, "")[: -len(".parquet")])).items:
            if info.key != attempt.key:
                await self._remove(tenant, info.key, by)

    async def _remove(self, tenant: TenantId, key: str, by: AgentId) -> None:
        with suppress(NotFound):
            try:
                await self._storage.delete(tenant, key, agent=by)
            except EnablementError as error:
                if isinstance(error, NotFound):
                    raise
                log.warning("%s of the archive is not needed and stays: %s", key, error, extra=fields(tenant=tenant))

    # Read

    async def parts(
        self, tenant: TenantId, start: int = 0, end: int = INTEGER_MAX, *, cursor: str | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> ArchivePage:  # fmt: skip
        """The parts of the days that begin in a stretch of time, in their order."""
        after = place_of(cursor, tuple[int, int], (-1, 0))
        paged(limit)
        found = await self._store.read(
            lambda tx: rows.parts(tx, checked_tenant(tenant), day_of(start), end, after, limit + 1)
        )
        return ArchivePage(*cut(found, limit, lambda last: (day_named(last.day), last.part)))

    async def part(self, tenant: TenantId, day: str, part: int) -> ArchivePart:
        at = day_named(day)
        found = await self._store.read(lambda tx: rows.find_part(tx, checked_tenant(tenant), at, part))
        if found is None:
            raise NotFound("MT-404", f"the archive has no part {part} of {day}")
        return found

    async def read(self, tenant: TenantId, day: str, part: int, start: int = 0, length: int | None = None) -> bytes:
        """A piece of a part's file, up to `ARCHIVE_PIECE_BYTES`."""
        found = await self.part(tenant, day, part)
        wanted = ARCHIVE_PIECE_BYTES if length is None else min(length, ARCHIVE_PIECE_BYTES)
        return await self._storage.get_range(tenant, found.key, start, wanted)


def belongs(due: Due, kept: KeptEvent) -> bool:
    return due.holds(kept.batch) or (kept.batch, kept.place) in due.again


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(ARCHIVE_PIECE_BYTES):
            yield piece


async def streamed(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, ARCHIVE_PIECE_BYTES):
            yield piece


async def on_thread(fn: Callable[[], T]) -> T:
    """Beside the loop. Who is cancelled meanwhile waits until it is done: a connection has one user at a time."""
    task = asyncio.ensure_future(asyncio.to_thread(fn))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
