"""CBOR (RFC 8949) as authenticators write it, read.

>>> decode(bytes.fromhex("a1616101"))
{'a': 1}

INVARIANT: any bytes give a value or InvalidInput PL-216; depth and size are bounded before anything is kept.
"""

from __future__ import annotations

from creto.common.errors import InvalidInput

DEPTH_MAX = 8  # an attestation object nests four deep
UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)

Cbor = int | bytes | str | bool | None | list["Cbor"] | dict["int | str", "Cbor"]


def decode(data: bytes) -> Cbor:
    """The one value that the bytes hold."""
    value, end = decode_at(data, 0)
    if end != len(data):
        raise unreadable(f"{len(data) - end} bytes after the end")
    return value


def decode_at(data: bytes, at: int, depth: int = 0) -> tuple[Cbor, int]:
    """The value that begins here, and where it ends."""
    if depth > DEPTH_MAX:
        raise unreadable("deeper nesting")
    kind, size, at = head(data, at)
    if kind == UNSIGNED:
        return size, at
    if kind == NEGATIVE:
        return -1 - size, at
    if kind in (BYTES, TEXT):
        raw = data[at : at + size]
        if len(raw) != size:
            raise unreadable("an early end")
        return (raw if kind == BYTES else text(raw)), at + size
    if kind == ARRAY:
        items: list[Cbor] = []
        for _ in range(bounded(size, data, at)):
            item, at = decode_at(data, at, depth + 1)
            items.append(item)
        return items, at
    if kind == MAP:
        return decode_map(data, at, bounded(size, data, at), depth)
    if kind == SIMPLE and size in (20, 21, 22):
        return {20: False, 21: True, 22: None}[size], at
    raise unreadable("a tag or a float")


def decode_map(data: bytes, at: int, size: int, depth: int) -> tuple[Cbor, int]:
    found: dict[int | str, Cbor] = {}
    for _ in range(size):
        key, at = decode_at(data, at, depth + 1)
        if isinstance(key, bool) or not isinstance(key, int | str) or key in found:
            raise unreadable("a key twice, or one that is no number or text")
        found[key], at = decode_at(data, at, depth + 1)
    return found, at


def head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument and the place behind both (RFC 8949 3); lengths that are not known in advance are refused."""
    if at >= len(data):
        raise unreadable("an early end")
    kind, short = data[at] >> 5, data[at] & 0x1F
    at += 1
    if short < 24:
        return kind, short, at
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(short)
    if width is None or kind == SIMPLE or at + width > len(data):
        raise unreadable("an indefinite length, a float or an early end")
    return kind, int.from_bytes(data[at : at + width], "big"), at + width


def bounded(size: int, data: bytes, at: int) -> int:
    """Each item takes a byte at least: a larger count is a lie."""
    if size > len(data) - at:
        raise unreadable("an early end")
    return size


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise unreadable("text that is not UTF-8") from None


def unreadable(got: str) -> InvalidInput:
    return InvalidInput.of("cbor", got=got, expected="one CBOR value of known length", code="PL-216")
