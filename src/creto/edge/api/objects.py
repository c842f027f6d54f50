"""Objects over the wire: bytes as the body, everything else beside it. The key is a query parameter, because it may hold slashes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.ids import AgentId
from creto.common.limits import OBJECT_KEY_CHARS_MAX, PAGE_ITEMS_DEFAULT
from creto.common.timestamps import ConsensusTimestamp
from creto.common.tracing import trace_id
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Blob, Endpoint, Nothing, View
from creto.edge.api.fields import Count, Cursor, Id, Limit, Nanos, ObjectKey, Reason
from creto.edge.api.parts import Parts
from creto.security.storage import ObjectInfo, ObjectStat

ContentType = Annotated[str, Meta(min_length=1, max_length=200)]


class PutObject(Ask, frozen=True):
    """`if_match` puts only over that version, `if_absent` only where nothing is."""

    key: ObjectKey
    content: bytes
    content_type: ContentType = "application/octet-stream"
    if_match: Id | None = None
    if_absent: bool = False
    retain_until: Nanos | None = None


class GetObject(Ask, frozen=True):
    """The whole object, or `length` bytes from `start`."""

    key: ObjectKey
    start: Count = 0
    length: Count | None = None


class StatObject(Ask, frozen=True):
    key: ObjectKey


class ListObjects(Ask, frozen=True):
    prefix: Annotated[str, Meta(max_length=OBJECT_KEY_CHARS_MAX)] = ""
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class DeleteObject(Ask, frozen=True):
    key: ObjectKey
    if_match: Id | None = None


class RetainObject(Ask, frozen=True):
    key: ObjectKey
    until: Nanos


class HoldObject(Ask, frozen=True):
    key: ObjectKey
    on: bool
    reason: Reason


class ObjectView(View, frozen=True):
    key: str
    version: str
    size: int
    digest: bytes
    created_at: ConsensusTimestamp
    created_by: AgentId
    retain_until: ConsensusTimestamp | None = None
    legal_hold: bool = False
    content_type: str | None = None  # not in listings


class ObjectsPage(View, frozen=True):
    items: tuple[ObjectView, ...]
    cursor: str | None = None


READ, WRITE = "objects:read", "objects:write"
KEPT = ("PL-802", "PL-803", "PL-801")
PUT = Endpoint("objects.put", "PUT", "/v1/objects/content", PutObject, ObjectView, WRITE, "Store an object, sealed", status=201, raw_body="content", errors=KEPT)  # fmt: skip
GET = Endpoint("objects.get", "GET", "/v1/objects/content", GetObject, Blob, READ, "Read an object or a part of it", errors=("PL-801", "PL-805"))  # fmt: skip
STAT = Endpoint("objects.stat", "GET", "/v1/objects/stat", StatObject, ObjectView, READ, "An object without its bytes", errors=("PL-801",))  # fmt: skip
LIST = Endpoint("objects.list", "GET", "/v1/objects", ListObjects, ObjectsPage, READ, "List objects")
DELETE = Endpoint("objects.delete", "DELETE", "/v1/objects/content", DeleteObject, Nothing, WRITE, "Delete an object", status=204, errors=KEPT)  # fmt: skip
RETAIN = Endpoint("objects.retain", "POST", "/v1/objects/retain", RetainObject, ObjectView, WRITE, "Keep an object until a time", errors=KEPT)  # fmt: skip
HOLD = Endpoint("objects.hold", "POST", "/v1/objects/hold", HoldObject, ObjectView, WRITE, "Put an object under legal hold, or release it", errors=KEPT)  # fmt: skip

ENDPOINTS = (PUT, GET, STAT, LIST, DELETE, RETAIN, HOLD)


def view(info: ObjectInfo) -> ObjectView:
    return ObjectView(
        key=info.key,
        version=info.version,
        size=info.size,
        digest=info.digest,
        created_at=info.created_at,
        created_by=info.created_by,
        retain_until=info.retain_until,
        legal_hold=info.legal_hold,
        content_type=info.content_type if isinstance(info, ObjectStat) else None,
    )


def until(nanos: int | None) -> ConsensusTimestamp | None:
    return None if nanos is None else ConsensusTimestamp(nanos)


@handles(PUT)
async def put(parts: Parts, call: Call, ask: PutObject) -> ObjectView:
    me, kept = call.known.agent, until(ask.retain_until)
    if ask.if_absent:
        return view(
            await parts.storage.put_if_absent(
                call.tenant,
                ask.key,
                ask.content,
                agent=me,
                content_type=ask.content_type,
                retain_until=kept,
                trace_id=trace_id(),
            )
        )
    return view(
        await parts.storage.put(
            call.tenant,
            ask.key,
            ask.content,
            agent=me,
            if_match=ask.if_match,
            content_type=ask.content_type,
            retain_until=kept,
            trace_id=trace_id(),
        )
    )


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetObject) -> Blob:
    if ask.start == 0 and ask.length is None:
        return Blob(await parts.storage.get(call.tenant, ask.key))
    size = (await parts.storage.stat(call.tenant, ask.key)).size
    length = size - ask.start if ask.length is None else ask.length
    return Blob(await parts.storage.get_range(call.tenant, ask.key, ask.start, length))


@handles(STAT)
async def stat(parts: Parts, call: Call, ask: StatObject) -> ObjectView:
    return view(await parts.storage.stat(call.tenant, ask.key))


@handles(LIST)
async def list_objects(parts: Parts, call: Call, ask: ListObjects) -> ObjectsPage:
    page = await parts.storage.list(call.tenant, ask.prefix, cursor=ask.cursor, limit=ask.limit)
    return ObjectsPage(items=tuple(view(item) for item in page.items), cursor=page.cursor)


@handles(DELETE)
async def delete(parts: Parts, call: Call, ask: DeleteObject) -> Nothing:
    await parts.storage.delete(call.tenant, ask.key, agent=call.known.agent, if_match=ask.if_match, trace_id=trace_id())
    return Nothing()


@handles(RETAIN)
async def retain(parts: Parts, call: Call, ask: RetainObject) -> ObjectView:
    kept = ConsensusTimestamp(ask.until)
    return view(await parts.storage.retain(call.tenant, ask.key, kept, agent=call.known.agent, trace_id=trace_id()))


@handles(HOLD)
async def hold(parts: Parts, call: Call, ask: HoldObject) -> ObjectView:
    return view(
        await parts.storage.hold(
            call.tenant, ask.key, ask.on, agent=call.known.agent, reason=ask.reason, trace_id=trace_id()
        )
    )
