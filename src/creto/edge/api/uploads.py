"""Multipart uploads over the wire: what is larger than one body comes in parts, in any order and again after a failure.

POST   /v1/objects/uploads                            open one; its id becomes the object's version
PUT    /v1/objects/uploads/{upload}/parts/{number}    a part, up to BODY_BYTES_MAX; sent again, it replaces itself
POST   /v1/objects/uploads/{upload}/complete          all parts become one object; asked again, the same object
DELETE /v1/objects/uploads/{upload}                   or none of them

What nobody finishes is removed after UPLOAD_TTL_S.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.ids import AgentId
from creto.common.limits import BODY_BYTES_MAX, INTEGER_MAX, PAGE_ITEMS_DEFAULT, UPLOAD_PARTS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.common.tracing import trace_id
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import Cursor, Id, Limit, Nanos, ObjectKey, octets
from creto.edge.api.objects import KEPT, OBJECT, READ, WRITE, ContentType, Metadata, ObjectView, until, view
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.security.storage import Part, Upload

PartNumber = Annotated[int, Meta(ge=1, le=UPLOAD_PARTS_MAX)]


class CreateUpload(Ask, frozen=True):
    """`if_match`, `if_absent` and the retention of what is in its place count when it completes."""

    key: ObjectKey
    content_type: ContentType = "application/octet-stream"
    if_match: Id | None = None
    if_absent: bool = False
    retain_until: Nanos | None = None
    metadata: Metadata = {}


class PutPart(Ask, frozen=True):
    upload: Id
    number: PartNumber
    content: bytes


class ListParts(Ask, frozen=True):
    upload: Id


class ListUploads(Ask, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class SentPart(Ask, frozen=True):
    """A part as its answer named it."""

    number: PartNumber
    size: Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
    root: Annotated[bytes, octets(65)]


class CompleteUpload(Ask, frozen=True):
    """With `parts`, only if they are exactly those that arrived."""

    upload: Id
    parts: Annotated[tuple[SentPart, ...], Meta(min_length=1, max_length=UPLOAD_PARTS_MAX)] | None = None


class AbortUpload(Ask, frozen=True):
    upload: Id


class UploadView(View, frozen=True):
    """`part_bytes_max` is the largest part that one request takes."""

    upload: str
    key: str
    created_at: ConsensusTimestamp
    created_by: AgentId
    part_bytes_max: int = BODY_BYTES_MAX


class UploadsPage(View, frozen=True):
    items: tuple[UploadView, ...]
    cursor: str | None = None


class PartView(View, frozen=True):
    """`root` is the Merkle root of its sealed chunks."""

    number: int
    size: int
    root: bytes


class PartsView(View, frozen=True):
    """What has arrived, in the order of the numbers."""

    items: tuple[PartView, ...]


UPLOAD, GONE = "/v1/objects/uploads/{upload}", ("PL-804",)
CREATE = Endpoint("objects.create_upload", "POST", "/v1/objects/uploads", CreateUpload, UploadView, WRITE, "Open an upload in parts", status=201, about=OBJECT)  # fmt: skip
# Repeating these two is safe without a key: a part replaces itself, and completing again gives the same object.
PUT_PART = Endpoint("objects.put_part", "PUT", UPLOAD + "/parts/{number}", PutPart, PartView, WRITE, "Send a part", raw_body="content", errors=GONE, keyed=False, effect=Effect.OUTSIDE)  # fmt: skip
COMPLETE = Endpoint("objects.complete_upload", "POST", UPLOAD + "/complete", CompleteUpload, ObjectView, WRITE, "Make the parts one object", status=201, errors=(*KEPT, *GONE), keyed=False, effect=Effect.OUTSIDE)  # fmt: skip
PARTS = Endpoint("objects.list_parts", "GET", UPLOAD + "/parts", ListParts, PartsView, READ, "The parts that have arrived", errors=GONE)  # fmt: skip
LIST = Endpoint(
    "objects.list_uploads", "GET", "/v1/objects/uploads", ListUploads, UploadsPage, READ, "Uploads that are open"
)
ABORT = Endpoint("objects.abort_upload", "DELETE", UPLOAD, AbortUpload, Nothing, WRITE, "Give up an upload and its parts", status=204, errors=GONE, effect=Effect.OUTSIDE)  # fmt: skip

ENDPOINTS = (CREATE, PUT_PART, COMPLETE, PARTS, LIST, ABORT)


def upload_view(upload: Upload) -> UploadView:
    return UploadView(upload=upload.upload, key=upload.key, created_at=upload.created_at, created_by=upload.created_by)


def part_view(part: Part) -> PartView:
    return PartView(number=part.number, size=part.size, root=part.root)


@concerns(PUT_PART, COMPLETE, PARTS, ABORT)
async def upload_subject(
    parts: Parts, call: Call, ask: PutPart | CompleteUpload | ListParts | AbortUpload
) -> str | None:
    """The object that the upload becomes."""
    key = await parts.uploads.key_of(call.known.tenant, ask.upload)
    return None if key is None else f"object:{key}"


@handles(CREATE)
async def create(parts: Parts, call: Call, ask: CreateUpload) -> UploadView:
    made = await parts.uploads.create(
        call.tenant,
        ask.key,
        agent=call.known.agent,
        if_match=ask.if_match,
        if_absent=ask.if_absent,
        content_type=ask.content_type,
        metadata=ask.metadata,
        retain_until=until(ask.retain_until),
    )
    return upload_view(made)


@handles(PUT_PART)
async def put_part(parts: Parts, call: Call, ask: PutPart) -> PartView:
    return part_view(await parts.uploads.put_part(call.tenant, ask.upload, ask.number, ask.content))


@handles(COMPLETE)
async def complete(parts: Parts, call: Call, ask: CompleteUpload) -> ObjectView:
    sent = None if ask.parts is None else [Part(part.number, part.size, part.root) for part in ask.parts]
    return view(
        await parts.uploads.complete(call.tenant, ask.upload, agent=call.known.agent, parts=sent, trace_id=trace_id())
    )


@handles(PARTS)
async def list_parts(parts: Parts, call: Call, ask: ListParts) -> PartsView:
    return PartsView(items=tuple(map(part_view, await parts.uploads.parts(call.tenant, ask.upload))))


@handles(LIST)
async def list_uploads(parts: Parts, call: Call, ask: ListUploads) -> UploadsPage:
    page = await parts.uploads.list(call.tenant, cursor=ask.cursor, limit=ask.limit)
    return UploadsPage(items=tuple(map(upload_view, page.items)), cursor=page.cursor)


@handles(ABORT)
async def abort(parts: Parts, call: Call, ask: AbortUpload) -> Nothing:
    await parts.uploads.abort(call.tenant, ask.upload, agent=call.known.agent, trace_id=trace_id())
    return Nothing()
