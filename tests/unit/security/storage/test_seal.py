"""The sealed segment: every byte counts, and no other bytes open."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import CryptoError, InvalidInput
from creto.common.limits import CHUNK_BYTES
from creto.platform.crypto import AeadSuite, merkle
from creto.security.storage import seal
from creto.security.storage.seal import HEADER_BYTES, SEALED_CHUNK_BYTES, Opener, Sealer, context_of

KEY = bytes(range(32))
CONTEXT = context_of("default", "a/b", "default/aa/blob")
SIZES = [0, 1, 15, 16, 17, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]
REFUSALS = {"PL-211", "PL-213", "PL-218", "PL-801"}


def text(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def refused(sealed: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> str:
    with pytest.raises(CryptoError) as caught:
        seal.open_bytes(key, context, sealed)
    assert caught.value.code in REFUSALS
    return caught.value.code


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens(size: int) -> None:
    sealed = seal.seal_bytes(KEY, CONTEXT, text(size))

    assert len(sealed) == seal.sealed_bytes(size)
    assert seal.plain_bytes(len(sealed)) == size
    assert seal.open_bytes(KEY, CONTEXT, sealed) == text(size)


@pytest.mark.parametrize("suite", list(AeadSuite))
def test_every_suite_opens_by_the_id_in_its_header(suite: AeadSuite) -> None:
    sealed = seal.seal_bytes(KEY, CONTEXT, b"hello", suite)

    assert sealed[5] == suite
    assert seal.open_bytes(KEY, CONTEXT, sealed) == b"hello"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=5))
def test_pieces_give_the_bytes_of_the_whole(sizes: list[int]) -> None:
    plain = text(sum(sizes))
    sealer = Sealer(KEY, CONTEXT, salt=b"s" * 24)
    whole = Sealer(KEY, CONTEXT, salt=b"s" * 24)
    out, at = b"", 0
    for size in sizes:
        out += sealer.update(plain[at : at + size])
        at += size
    out += sealer.finish()

    assert out == whole.update(plain) + whole.finish()
    assert sealer.root == whole.root
    assert sealer.size == len(plain)


def test_the_layout_is_the_documented_one() -> None:
    sealed = seal.seal_bytes(KEY, CONTEXT, text(CHUNK_BYTES + 1))

    assert sealed[:4] == b"CrSo"
    assert (sealed[4], sealed[5], sealed[6], sealed[7]) == (1, 0x22, 16, 0)
    assert len(sealed) == 64 + 65_536 + 16 + 1 + 16


def test_the_root_is_the_merkle_root_of_the_sealed_chunks() -> None:
    sealer = Sealer(KEY, CONTEXT)
    sealed = sealer.update(text(2 * CHUNK_BYTES + 5)) + sealer.finish()
    body = sealed[HEADER_BYTES:]
    leaves = [merkle.leaf_hash(body[at : at + SEALED_CHUNK_BYTES]) for at in range(0, len(body), SEALED_CHUNK_BYTES)]

    assert sealer.root == merkle.root(leaves)


# One flipped bit in every region: each byte of the header, and the ends and the middle of every chunk and tag.
SEALED = seal.seal_bytes(KEY, CONTEXT, text(2 * CHUNK_BYTES + 100))
PLACES = sorted(
    {*range(HEADER_BYTES)}
    | {
        HEADER_BYTES + chunk * SEALED_CHUNK_BYTES + at
        for chunk in (0, 1)
        for at in (0, 1, CHUNK_BYTES // 2, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 15)
    }
    | {len(SEALED) - 116, len(SEALED) - 17, len(SEALED) - 16, len(SEALED) - 1}
)


def test_a_flipped_bit_anywhere_is_refused() -> None:
    for place in PLACES:
        for bit in (0x01, 0x80):
            altered = bytearray(SEALED)
            altered[place] ^= bit
            code = refused(bytes(altered))
            assert (code == "PL-801") == (place >= HEADER_BYTES), place


def test_another_key_is_refused_before_any_chunk_is_opened() -> None:
    assert refused(SEALED[:HEADER_BYTES] + bytes(16), key=bytes(32)) == "PL-213"


@pytest.mark.parametrize(
    "context",
    [
        context_of("other", "a/b", "default/aa/blob"),
        context_of("default", "a/c", "default/aa/blob"),
        context_of("default", "a/b", "default/aa/other"),
        context_of("defaulta", "/b", "default/aa/blob"),
    ],
)
def test_another_tenant_key_or_blob_is_refused(context: bytes) -> None:
    assert refused(SEALED, context=context) == "PL-213"


def chunks(sealed: bytes) -> list[bytes]:
    body = sealed[HEADER_BYTES:]
    return [body[at : at + SEALED_CHUNK_BYTES] for at in range(0, len(body), SEALED_CHUNK_BYTES)]


def test_truncating_anywhere_is_refused() -> None:
    ends = {0, 1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 15, HEADER_BYTES + 16, len(SEALED) - 1}
    ends |= {HEADER_BYTES + SEALED_CHUNK_BYTES * n + d for n in (1, 2) for d in (-1, 0, 1, 16, 17)}
    for end in ends:
        refused(SEALED[:end])


def test_dropping_repeating_and_reordering_chunks_is_refused() -> None:
    head, (a, b, c) = SEALED[:HEADER_BYTES], chunks(SEALED)
    for order in ([b, a, c], [a, c], [b, c], [a, a, b, c], [a, b], [a, b, c, c], [c], [a, a, c]):
        refused(head + b"".join(order))


def test_extending_is_refused() -> None:
    for tail in (b"\0", bytes(16), bytes(17), SEALED[HEADER_BYTES:]):
        refused(SEALED + tail)


def test_splicing_chunks_or_headers_of_another_object_is_refused() -> None:
    other = seal.seal_bytes(
        bytes(range(1, 33)), context_of("default", "c", "default/aa/c"), text(2 * CHUNK_BYTES + 100)
    )
    twin = seal.seal_bytes(KEY, CONTEXT, text(2 * CHUNK_BYTES + 100))
    for foreign in (other, twin):
        (a, b, c), (x, y, z) = chunks(SEALED), chunks(foreign)
        for order in ([x, b, c], [a, y, c], [a, b, z]):
            refused(SEALED[:HEADER_BYTES] + b"".join(order))
        refused(foreign[:HEADER_BYTES] + SEALED[HEADER_BYTES:])
    assert refused(other) == "PL-213"


def test_a_range_opens_only_at_its_place() -> None:
    opener = Opener(KEY, CONTEXT, SEALED[:HEADER_BYTES])
    _, b, c = chunks(SEALED)

    assert opener.open(b + c, 1, 3) == text(2 * CHUNK_BYTES + 100)[CHUNK_BYTES:]
    for first, count, data in ((0, 3, b), (2, 3, b), (1, 2, b), (2, 4, c), (3, 3, c), (1, 3, b"")):
        with pytest.raises(CryptoError):
            opener.open(data, first, count)


def test_a_short_data_key_is_refused() -> None:
    with pytest.raises(InvalidInput):
        seal.seal_bytes(b"short", CONTEXT, b"")


@pytest.mark.parametrize("size", SIZES)
def test_a_64_kib_range_touches_at_most_two_chunks(size: int) -> None:
    for start in {0, 1, size // 2, max(0, size - 1)}:
        first, last, begin = seal.span(start, start + CHUNK_BYTES)
        assert last - first <= 1
        assert begin == HEADER_BYTES + first * SEALED_CHUNK_BYTES
        assert first * CHUNK_BYTES <= start < start + CHUNK_BYTES <= (last + 1) * CHUNK_BYTES


def test_any_bytes_give_a_documented_refusal(deep: bool) -> None:
    """Fuzz: random bytes, and mutations of a real segment. Nothing but the four codes, and never other plaintext."""
    rng = random.Random(11)
    small = seal.seal_bytes(KEY, CONTEXT, b"the plaintext")
    for _ in range(200_000 if deep else 3_000):
        data = bytearray(small if rng.random() < 0.7 else rng.randbytes(rng.randrange(200)))
        for _ in range(rng.randrange(1, 4)):
            move = rng.randrange(4)
            at = rng.randrange(len(data) + 1)
            if move == 0 and data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            elif move == 1:
                data[at:at] = rng.randbytes(rng.randrange(20))
            elif move == 2:
                del data[at : at + rng.randrange(1, 20)]
            else:
                data += rng.randbytes(rng.randrange(20))
        if bytes(data) != small:
            refused(bytes(data))
