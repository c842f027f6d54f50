"""Between plaintext and blobs: a stream becomes sealed segments, a range of an object becomes reads of a few chunks.

INVARIANT: memory is bounded by a few parts, however long the object.
INVARIANT: reading n bytes reads the chunks that hold them and the header, nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from creto.common.errors import ConnectionFailed, CryptoError, EnablementError, InvalidInput
from creto.common.ids import TenantId
from creto.common.limits import CHUNK_BYTES, OBJECT_BYTES_MAX, SEGMENT_BYTES_MAX, STORAGE_PART_BYTES
from creto.platform.crypto import AeadSuite, random_bytes
from creto.security.storage.backends import Backend
from creto.security.storage.seal import HEADER_BYTES, SEALED_CHUNK_BYTES, Opener, Sealer, chunks_of, context_of, span
from creto.security.storage.types import Segment

T = TypeVar("T")
Content = bytes | bytearray | memoryview | AsyncIterable[bytes]

INLINE_BYTES = 4 * CHUNK_BYTES  # sealing this takes a fraction of a millisecond; more goes to a thread
BATCH_BYTES = 32 * CHUNK_BYTES  # what a thread seals at once
PLAIN_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


async def off_loop(size: int, fn: Callable[[], T]) -> T:
    """Run on the loop what is short, in a thread what is long."""
    return fn() if size <= INLINE_BYTES else await asyncio.to_thread(fn)


def folder_of(tenant: TenantId) -> str:
    """The tenant as a path segment: any other character becomes =XX, so no two tenants share a folder and none escapes."""
    return "".join(c if c in PLAIN_NAME else "".join(f"={byte:02X}" for byte in c.encode()) for c in tenant)


def tenant_of(folder: str) -> str | None:
    """The tenant that a folder was made for, or None if `folder_of` made it for nobody."""
    try:
        tenant = unquote_to_bytes(folder.replace("=", "%")).decode()
    except UnicodeDecodeError:
        return None
    return tenant if folder_of(TenantId(tenant)) == folder else None


def new_blob(tenant: TenantId, version: str) -> str:
    """A fresh name below the tenant's folder, spread over 256 folders; the version in it tells the sweep whose it is."""
    return f"{folder_of(tenant)}/{version[-2:]}/{version}.{random_bytes(8).hex()}"


class SegmentWriter:
    """Writes a content as segments of one object."""

    def __init__(
        self, backend: Backend, tenant: TenantId, key: str, version: str, data_key: bytes,
        suite: AeadSuite = AeadSuite.AES_256_GCM,
    ) -> None:  # fmt: skip
        self._suite = suite
        self._backend = backend
        self._tenant = tenant
        self._key = key
        self._version = version
        self._data_key = data_key

    async def write(self, content: Content, *, bytes_max: int = SEGMENT_BYTES_MAX) -> tuple[Segment, ...]:
        """All segments of a content; those already stored are removed if it fails."""
        if not isinstance(content, AsyncIterable) and len(content) <= min(STORAGE_PART_BYTES, bytes_max):
            return (await self._whole(content),)
        source = Batches(content if isinstance(content, AsyncIterable) else in_pieces(content))
        segments: list[Segment] = []
        try:
            while not segments or not await source.ended():
                segments.append(await self._streamed(source, bytes_max))
        except BaseException:
            await discard(self._backend, (segment.blob for segment in segments))
            raise
        return tuple(segments)

    def _sealer(self, blob: str) -> Sealer:
        return Sealer(self._data_key, context_of(self._tenant, self._key, blob), suite=self._suite)

    async def _whole(self, content: bytes | bytearray | memoryview) -> Segment:
        blob = new_blob(self._tenant, self._version)
        sealer = self._sealer(blob)
        sealed = await off_loop(len(content), lambda: sealer.update(content) + sealer.finish())
        await self._backend.put(blob, sealed)
        return Segment(blob, sealer.size, sealer.root)

    async def _streamed(self, source: Batches, bytes_max: int) -> Segment:
        blob = new_blob(self._tenant, self._version)
        sealer = self._sealer(blob)

        async def sealed() -> AsyncIterator[bytes]:
            while sealer.size < bytes_max:
                batch = await source.next(bytes_max - sealer.size)
                if not batch:
                    break
                yield await off_loop(len(batch), lambda batch=batch: sealer.update(batch))  # type: ignore[misc]
            yield sealer.finish()

        await self._backend.put_stream(blob, sealed())
        return Segment(blob, sealer.size, sealer.root)


async def in_pieces(content: bytes | bytearray | memoryview) -> AsyncIterator[memoryview]:
    view = memoryview(content)
    for at in range(0, len(view), BATCH_BYTES):
        yield view[at : at + BATCH_BYTES]


class Batches:
    """Pieces of any size in, batches of a useful size out; large pieces are cut without copying. The object's limit is held here."""

    def __init__(self, pieces: AsyncIterable[bytes] | AsyncIterable[memoryview]) -> None:
        self._pieces = aiter(pieces)
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._done = False
        self._total = 0

    async def ended(self) -> bool:
        await self._fill(1)
        return self._done and not self._size

    async def next(self, bytes_max: int) -> bytes | memoryview:
        """At most `bytes_max` bytes; none at the end."""
        wanted = min(bytes_max, BATCH_BYTES)
        await self._fill(wanted)
        taken: list[memoryview] = []
        while self._waiting and wanted:
            piece = self._waiting.popleft()
            if len(piece) > wanted:
                self._waiting.appendleft(piece[wanted:])
                piece = piece[:wanted]
            taken.append(piece)
            wanted -= len(piece)
            self._size -= len(piece)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _fill(self, wanted: int) -> None:
        while self._size < wanted and not self._done:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._done = True
                return
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise InvalidInput.of("content", got=type(piece).__name__, expected="bytes")
            # A bytearray may be filled again by its owner once we asked for the next piece.
            view = memoryview(bytes(piece) if isinstance(piece, bytearray) else piece)
            self._total += len(view)
            if self._total > OBJECT_BYTES_MAX:
                raise InvalidInput.of(
                    "content", got="more", expected=f"at most {OBJECT_BYTES_MAX} bytes", code="PL-413"
                )
            if view:
                self._waiting.append(view)
                self._size += len(view)


class SegmentReader:
    """Reads ranges of one object."""

    def __init__(
        self, backend: Backend, tenant: TenantId, key: str, data_key: bytes, segments: tuple[Segment, ...]
    ) -> None:
        self._backend = backend
        self._tenant = tenant
        self._key = key
        self._data_key = data_key
        self._segments = segments

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The plaintext [start, end) in pieces; an empty object is read and checked too."""
        offset = 0
        for segment in self._segments:
            low, high = max(start - offset, 0), min(end - offset, segment.size)
            if low < high or low == high == segment.size == 0:
                async for piece in self._read(segment, low, high):
                    yield piece
            offset += segment.size

    async def _read(self, segment: Segment, start: int, end: int) -> AsyncIterator[bytes]:
        """One segment, part by part. The next part is on its way while this one is opened."""
        begins = list(parts_between(start, end))
        steps = list(zip(begins, [*begins[1:], end], strict=True))
        opener: Opener | None = None
        waiting = asyncio.ensure_future(self._fetch(segment, *steps[0], header=True))
        try:
            for number, (low, high) in enumerate(steps):
                header, sealed = await waiting
                if number + 1 < len(steps):
                    waiting = asyncio.ensure_future(self._fetch(segment, *steps[number + 1], header=False))
                opener = opener or self._opener(segment, header)
                yield await self._open(opener, segment, low, high, sealed)
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError, EnablementError):
                await waiting

    async def _fetch(self, segment: Segment, start: int, end: int, *, header: bool) -> tuple[bytes, bytes]:
        first, last, begin = span(start, end)
        stop = begin + (last - first + 1) * SEALED_CHUNK_BYTES
        stop += last == chunks_of(segment.size) - 1  # one byte more than there may be: a longer blob shows itself
        if not header:
            return b"", (await self._backend.read(segment.blob, [(begin, stop)]))[0]
        if begin == HEADER_BYTES:
            whole = (await self._backend.read(segment.blob, [(0, stop)]))[0]
            return whole[:HEADER_BYTES], whole[HEADER_BYTES:]
        found = await self._backend.read(segment.blob, [(0, HEADER_BYTES), (begin, stop)])
        return found[0], found[1]

    def _opener(self, segment: Segment, header: bytes) -> Opener:
        try:
            return Opener(self._data_key, context_of(self._tenant, self._key, segment.blob), header)
        except EnablementError as error:
            raise self._damaged("its header is not the one that was written", error) from error

    async def _open(self, opener: Opener, segment: Segment, start: int, end: int, sealed: bytes) -> bytes:
        first, last, _ = span(start, end)
        chunks = chunks_of(segment.size)
        try:
            plain = await off_loop(len(sealed), lambda: opener.open(sealed, first, chunks))
        except EnablementError as error:
            raise self._damaged("a chunk is not the one that was written", error) from error
        if len(plain) != min((last + 1) * CHUNK_BYTES, segment.size) - first * CHUNK_BYTES:
            raise self._damaged("it has another length than was written")
        return plain[start - first * CHUNK_BYTES : end - first * CHUNK_BYTES]

    def _damaged(self, how: str, error: EnablementError | None = None) -> CryptoError:
        return CryptoError("PL-801", f"object {self._key}: {how}", caused_by=error)


def parts_between(start: int, end: int) -> Iterable[int]:
    """Where parts begin: at the start, then at multiples of a part, so that no chunk is read twice."""
    yield start
    yield from range((start // STORAGE_PART_BYTES + 1) * STORAGE_PART_BYTES, end, STORAGE_PART_BYTES)


async def discard(backend: Backend, blobs: Iterable[str]) -> bool:
    """Remove blobs that no row names. What a failing backend keeps, the sweep removes later."""
    clean = True
    for blob in blobs:
        try:
            await backend.delete(blob)
        except ConnectionFailed:
            clean = False
    return clean
