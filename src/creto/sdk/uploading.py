"""Storing an object of any length: in one request what fits into one, in parts what is larger or comes as a stream.

creto.objects.put(key="notes/today", content=b"short")
creto.objects.put(key="images/root.ext4", content=open("root.ext4", "rb"))       # parts, four at a time

INVARIANT: the object is there whole or not at all: what fails is given up with its parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import IO

from creto.common.errors import EnablementError, InvalidInput
from creto.common.limits import STORAGE_PART_BYTES, STORAGE_PARTS_IN_FLIGHT, UPLOAD_PARTS_MAX
from creto.edge.api import objects, uploads
from creto.edge.api.objects import ObjectView, PutObject
from creto.edge.api.uploads import AbortUpload, CompleteUpload, CreateUpload, PutPart, SentPart, UploadView
from creto.sdk.line import Line

Content = bytes | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]
Advance = Callable[[int], None]


async def put(
    line: Line,
    key: str,
    content: Content,
    content_type: str = "application/octet-stream",
    if_match: str | None = None,
    if_absent: bool = False,
    retain_until: int | None = None,
    advance: Advance | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ObjectView:
    """Store an object, sealed: bytes, an open file or a stream of bytes, of any length.

    `if_match` puts only over that version, `if_absent` only where nothing is; `metadata` is sealed beside it; `advance` hears how many bytes have arrived."""
    advance, named = advance or (lambda _: None), dict(metadata or {})
    cut = even(content)
    first, second = await anext(cut, b""), await anext(cut, None)
    if second is None:
        made = await line.call(
            objects.PUT,
            PutObject(
                key=key,
                content=first,
                content_type=content_type,
                if_match=if_match,
                if_absent=if_absent,
                retain_until=retain_until,
                metadata=named,
            ),
        )
        advance(len(first))
        return made
    opened = await line.call(
        uploads.CREATE,
        CreateUpload(
            key=key,
            content_type=content_type,
            if_match=if_match,
            if_absent=if_absent,
            retain_until=retain_until,
            metadata=named,
        ),
    )
    try:
        sent = await in_parts(line, opened, chained(first, second, cut), advance)
        return await line.call(uploads.COMPLETE, CompleteUpload(upload=opened.upload, parts=sent))
    except BaseException:
        with suppress(EnablementError):  # the sweep removes what cannot be given up now
            await line.call(uploads.ABORT, AbortUpload(upload=opened.upload))
        raise


async def in_parts(
    line: Line, opened: UploadView, pieces: AsyncIterator[bytes], advance: Advance
) -> tuple[SentPart, ...]:
    """A few parts at a time; the first that fails ends the others."""
    places = asyncio.Semaphore(STORAGE_PARTS_IN_FLIGHT)

    async def send(number: int, piece: bytes) -> SentPart:
        try:
            part = await line.call(uploads.PUT_PART, PutPart(upload=opened.upload, number=number, content=piece))
        finally:
            places.release()
        advance(part.size)
        return SentPart(number=part.number, size=part.size, root=part.root)

    tasks: list[asyncio.Task[SentPart]] = []
    try:
        async with asyncio.TaskGroup() as group:
            async for piece in pieces:
                if len(tasks) == UPLOAD_PARTS_MAX:
                    raise InvalidInput.of("content", got="more", expected=f"{UPLOAD_PARTS_MAX} parts", code="PL-413")
                await places.acquire()
                tasks.append(group.create_task(send(len(tasks) + 1, piece)))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return tuple(task.result() for task in tasks)


async def even(content: Content) -> AsyncIterator[bytes]:
    """The same bytes in pieces of STORAGE_PART_BYTES, the last one shorter; nothing for no bytes."""
    if isinstance(content, bytes):
        for start in range(0, len(content), STORAGE_PART_BYTES):
            yield content[start : start + STORAGE_PART_BYTES]
        return
    kept = bytearray()
    async for piece in read(content):
        kept += piece
        while len(kept) >= STORAGE_PART_BYTES:
            yield bytes(kept[:STORAGE_PART_BYTES])
            del kept[:STORAGE_PART_BYTES]
    if kept:
        yield bytes(kept)


async def read(content: IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Whatever waits for a disk does so on a thread."""
    if isinstance(content, AsyncIterable):
        async for piece in content:
            yield piece
    elif hasattr(content, "read"):
        while piece := await asyncio.to_thread(content.read, STORAGE_PART_BYTES):
            yield piece
    else:
        source = iter(content)
        while more := await asyncio.to_thread(lambda: list(islice(source, 1))):
            yield more[0]


async def chained(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for piece in rest:
        yield piece
