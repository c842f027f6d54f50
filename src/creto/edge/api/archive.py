"""Events over the wire as they are kept, and the archive: what there is, make it now, its files piece by piece."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.ids import AgentId
from creto.common.limits import ARCHIVE_PIECE_BYTES, INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.timestamps import SECOND
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Blob, Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Nanos
from creto.edge.api.metering_fields import Asked
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.metering import ArchivePart, EventPage, EventsQuery
from creto.metering.archiving import MEDIA_TYPE

Day = Annotated[str, Meta(min_length=10, max_length=10, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class ListEvents(Asked, frozen=True):
    """Events of the time from `start` up to `end`; of an agent with all who act for it, of a type."""

    start: Nanos = 0
    end: Nanos = INTEGER_MAX
    agent: Agent | None = None
    event_type: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ListArchive(Asked, frozen=True):
    """The parts of the days from `start` up to `end`."""

    start: Nanos = 0
    end: Nanos = INTEGER_MAX
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ArchiveParts(View, frozen=True):
    items: tuple[ArchivePart, ...]
    cursor: str | None = None


class MakeArchive(Asked, frozen=True):
    """`grace_s` is how long ago a day must have ended; as configured, if nothing is said."""

    grace_s: Count | None = None


class OfPart(Asked, frozen=True):
    day: Day
    part: Annotated[int, Meta(ge=1, le=INTEGER_MAX)]


class ReadPart(OfPart, frozen=True):
    """Up to 4 MiB of its file from `start`."""

    start: Count = 0
    length: Annotated[int, Meta(ge=1, le=ARCHIVE_PIECE_BYTES)] | None = None


QUERY, WRITE, PART_OF = "query_usage", "metering:write", "metering:archive:{day}/{part}"
BAD, MISSING = ("MT-400",), ("MT-400", "MT-404")

EVENTS = Endpoint("metering.events", "GET", "/v1/usage/events", ListEvents, EventPage, QUERY, "Events as they are kept, every version in its state, in the order in which they came", errors=BAD)  # fmt: skip
LIST = Endpoint("metering.archives", "GET", "/v1/usage/archive", ListArchive, ArchiveParts, QUERY, "The parts of the archive, by days", errors=BAD)  # fmt: skip
ARCHIVE = Endpoint("metering.archive_usage", "POST", "/v1/usage/archive", MakeArchive, ArchiveParts, WRITE, "Archive the days that are over, now", errors=("PL-501",), effect=Effect.OUTSIDE)  # fmt: skip
PART = Endpoint("metering.archive_part", "GET", "/v1/usage/archive/{day}/{part}", OfPart, ArchivePart, QUERY, "One part of the archive", errors=MISSING, about=PART_OF)  # fmt: skip
FILE = Endpoint("metering.archive_file", "GET", "/v1/usage/archive/{day}/{part}/content", ReadPart, Blob, QUERY, "A piece of the Parquet file of a part", errors=(*MISSING, "PL-404", "PL-801", "PL-805"), about=PART_OF)  # fmt: skip

ENDPOINTS = (EVENTS, LIST, ARCHIVE, PART, FILE)


@concerns(EVENTS)
async def whose_events(parts: Parts, call: Call, ask: ListEvents) -> str | None:
    return ask.agent


@handles(EVENTS)
async def events(parts: Parts, call: Call, ask: ListEvents) -> EventPage:
    agent = None if ask.agent is None else AgentId(ask.agent)
    query = EventsQuery(start=ask.start, end=ask.end, agent=agent, event_type=ask.event_type)
    return await parts.metering.events(call.tenant, query, cursor=ask.cursor, limit=ask.limit)


@handles(LIST)
async def list_(parts: Parts, call: Call, ask: ListArchive) -> ArchiveParts:
    page = await parts.archive.parts(call.tenant, ask.start, ask.end, cursor=ask.cursor, limit=ask.limit)
    return ArchiveParts(items=page.items, cursor=page.cursor)


@handles(ARCHIVE)
async def archive(parts: Parts, call: Call, ask: MakeArchive) -> ArchiveParts:
    grace_s = parts.metering_terms.archive_grace_s if ask.grace_s is None else ask.grace_s
    made = await parts.archive.run(grace_s * SECOND, by=call.known.agent, tenant=call.tenant)
    return ArchiveParts(items=tuple(made))


@handles(PART)
async def part(parts: Parts, call: Call, ask: OfPart) -> ArchivePart:
    return await parts.archive.part(call.tenant, ask.day, ask.part)


@handles(FILE)
async def file(parts: Parts, call: Call, ask: ReadPart) -> Blob:
    return Blob(await parts.archive.read(call.tenant, ask.day, ask.part, ask.start, ask.length), MEDIA_TYPE)
