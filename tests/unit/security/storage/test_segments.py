"""Streams become segments: any pieces, any limit, the same bytes; a failure leaves no blob."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import CryptoError, InvalidInput
from creto.common.limits import CHUNK_BYTES
from creto.security.storage import open_backend
from creto.security.storage.segments import SegmentReader, SegmentWriter
from tests.unit.security.storage.conftest import TENANT

VERSION = "0" * 36
KEY = bytes(range(32))


async def pieces(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for size in [*sizes, len(data)]:
        yield data[at : at + size]
        at += size


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(0, 4 * CHUNK_BYTES),
    sizes=st.lists(st.integers(0, CHUNK_BYTES), max_size=6),
    bytes_max=st.sampled_from([CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 10 * CHUNK_BYTES]),
    start=st.integers(0, 4 * CHUNK_BYTES),
    length=st.integers(1, 4 * CHUNK_BYTES),
)
async def test_whatever_the_pieces_and_the_segments(
    size: int, sizes: list[int], bytes_max: int, start: int, length: int
) -> None:
    backend, data = open_backend("memory://"), random.Random(size).randbytes(size)
    segments = await SegmentWriter(backend, TENANT, "o", VERSION, KEY).write(pieces(data, sizes), bytes_max=bytes_max)
    reader = SegmentReader(backend, TENANT, "o", KEY, segments)

    assert len(segments) == max(1, -(-size // bytes_max))
    assert b"".join([piece async for piece in reader.read(0, size)]) == data
    end = min(start + length, size)
    assert b"".join([piece async for piece in reader.read(start, end)]) == data[start:end]


async def test_segments_in_another_order_are_other_bytes_but_never_each_others_places() -> None:
    backend = open_backend("memory://")
    writer = SegmentWriter(backend, TENANT, "o", VERSION, KEY)
    one, two = await writer.write(pieces(bytes(2 * CHUNK_BYTES), []), bytes_max=CHUNK_BYTES)
    swapped = (type(one)(two.blob, one.size + 1, one.root), two)

    with pytest.raises(CryptoError):
        [piece async for piece in SegmentReader(backend, TENANT, "o", KEY, swapped).read(0, 3 * CHUNK_BYTES)]
    with pytest.raises(CryptoError):
        [piece async for piece in SegmentReader(backend, TENANT, "p", KEY, (one, two)).read(0, CHUNK_BYTES)]


async def test_a_failure_in_a_later_segment_removes_the_earlier_ones() -> None:
    backend = open_backend("memory://")

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3 * CHUNK_BYTES)
        raise InvalidInput("PL-400", "the sender went away")

    with pytest.raises(InvalidInput):
        await SegmentWriter(backend, TENANT, "o", VERSION, KEY).write(broken(), bytes_max=CHUNK_BYTES)

    assert [blob async for page in backend.list("") for blob in page] == []


async def test_a_stream_is_limited_and_made_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creto.security.storage.segments.OBJECT_BYTES_MAX", 10)
    writer = SegmentWriter(open_backend("memory://"), TENANT, "o", VERSION, KEY)

    with pytest.raises(InvalidInput) as caught:
        await writer.write(pieces(bytes(11), [5]))
    assert caught.value.code == "PL-413"

    async def words() -> AsyncIterator[bytes]:
        yield "text"  # type: ignore[misc]

    with pytest.raises(InvalidInput):
        await writer.write(words())
