"""Exporting: events as they are kept, page by page, in the order in which they came.

INVARIANT: a page is one bounded look, however few events were asked for: of `ARCHIVE_BATCHES` batches, and `USAGE_EXPORT_SCANNED_MAX` events.
"""

from __future__ import annotations

from creto.common.ids import TenantId, checked_tenant
from creto.common.limits import (
    ARCHIVE_BATCHES,
    INTEGER_MAX,
    PAGE_ITEMS_DEFAULT,
    USAGE_AHEAD_S_MAX,
    USAGE_EXPORT_SCANNED_MAX,
    USAGE_LATE_S,
)
from creto.common.paging import cursor_of, place_of
from creto.common.timestamps import SECOND
from creto.metering import archive_store as rows
from creto.metering.core import Recording, paged
from creto.metering.usage_types import EventPage, EventsQuery, KeptEvent
from creto.store.types import ReadTx

BEFORE_NS = (USAGE_AHEAD_S_MAX + USAGE_LATE_S) * SECOND  # an event comes so long before its time, at most


class Exporting(Recording):
    async def events(
        self, tenant: TenantId, query: EventsQuery, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> EventPage:
        """Every version of every event, in whatever state it is; what comes meanwhile may or may not be among them."""
        place = None if cursor is None else place_of(cursor, tuple[int, int], (0, 0))
        paged(limit)
        return await self._store.read(lambda tx: event_page(tx, checked_tenant(tenant), query, place, limit))


def event_page(tx: ReadTx, tenant: TenantId, query: EventsQuery, place: rows.Where | None, limit: int) -> EventPage:
    last = rows.last_batch(tx)
    at = place or (rows.batch_at(tx, query.start - BEFORE_NS, last), INTEGER_MAX)
    chains = None if query.agent is None else rows.stands_in(tx, tenant, query.agent)
    items: list[KeptEvent] = []
    through = min(last, at[0] + ARCHIVE_BATCHES)
    for _ in range(max(1, USAGE_EXPORT_SCANNED_MAX // limit)):
        found, more = rows.kept_events(tx, at, through, query.start, query.end, limit, tenant)
        for _, chain, kept in found:
            if (chains is None or chain in chains) and query.event_type in (None, kept.event.event_type):
                items.append(kept)
                if len(items) == limit:
                    return EventPage(tuple(items), cursor_of((kept.batch, kept.place)))
        at = more or (through, INTEGER_MAX)
        if more is None:
            break
    if at[0] >= last and at[1] == INTEGER_MAX:
        return EventPage(tuple(items))
    return EventPage(tuple(items), cursor_of(at))
