"""Objects over the wire: bytes as the body, everything else beside it. The key is a query parameter, because it may hold slashes."""

from __future__ import annotations

from functools import partial
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
from creto.gate import Effect
from creto.security.storage import ObjectInfo, ObjectStat

Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=2_000)]], Meta(max_length=100)]
ContentType = Annotated[str, Meta(min_length=1, max_length=200)]


class PutObject(Ask, frozen=True):
    """`if_match` puts only over that version, `if_absent` only where nothing is."""

    key: ObjectKey
    content: bytes
    content_type: ContentType = "application/octet-stream"
    if_match: Id | None = None
    if_absent: bool = False
    retain_until: Nanos | None = None
    metadata: Metadata = {}


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
    content_type: str | None = None  # sealed, as the metadata is: not in listings
    metadata: dict[str, str] = {}


class ObjectsPage(View, frozen=True):
    items: tuple[ObjectView, ...]
    cursor: str | None = None


READ, WRITE = "objects:read", "objects:write"
OBJECT = "object:{key}"
KEPT = ("PL-802", "PL-803", "PL-801")
PUT = Endpoint("objects.put", "PUT", "/v1/objects/content", PutObject, ObjectView, WRITE, "Store an object, sealed", status=201, raw_body="content", errors=KEPT, about=OBJECT, effect=Effect.OUTSIDE)  # fmt: skip
GET = Endpoint("objects.get", "GET", "/v1/objects/content", GetObject, Blob, READ, "Read an object or a part of it", errors=("PL-801", "PL-805"), about=OBJECT)  # fmt: skip
STAT = Endpoint("objects.stat", "GET", "/v1/objects/stat", StatObject, ObjectView, READ, "An object without its bytes", errors=("PL-801",), about=OBJECT)  # fmt: skip
LIST = Endpoint("objects.list", "GET", "/v1/objects", ListObjects, ObjectsPage, READ, "List objects", about="object:{prefix}")  # fmt: skip
DELETE = Endpoint("objects.delete", "DELETE", "/v1/objects/content", DeleteObject, Nothing, WRITE, "Delete an object", status=204, errors=KEPT, about=OBJECT, effect=Effect.OUTSIDE)  # fmt: skip
RETAIN = Endpoint("objects.retain", "POST", "/v1/objects/retain", RetainObject, ObjectView, WRITE, "Keep an object until a time", errors=KEPT, about=OBJECT)  # fmt: skip
HOLD = Endpoint("objects.hold", "POST", "/v1/objects/hold", HoldObject, ObjectView, WRITE, "Put an object under legal hold, or release it", errors=KEPT, about=OBJECT)  # fmt: skip

ENDPOINTS = (PUT, GET, STAT, LIST, DELETE, RETAIN, HOLD)


def view(info: ObjectInfo) -> ObjectView:
    sealed = info if isinstance(info, ObjectStat) else None
    return ObjectView(
        key=info.key,
        version=info.version,
        size=info.size,
        digest=info.digest,
        created_at=info.created_at,
        created_by=info.created_by,
        retain_until=info.retain_until,
        legal_hold=info.legal_hold,
        content_type=sealed.content_type if sealed else None,
        metadata=sealed.metadata if sealed else {},
    )


def until(nanos: int | None) -> ConsensusTimestamp | None:
    return None if nanos is None else ConsensusTimestamp(nanos)


@handles(PUT)
async def put(parts: Parts, call: Call, ask: PutObject) -> ObjectView:
    storage = parts.storage
    store = storage.put_if_absent if ask.if_absent else partial(storage.put, if_match=ask.if_match)
    return view(
        await store(
            call.tenant,
            ask.key,
            ask.content,
            agent=call.known.agent,
            content_type=ask.content_type,
            metadata=ask.metadata,
            retain_until=until(ask.retain_until),
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
