"""Bytes in, frozen structs out, and back: JSON through msgspec, with errors that name the field.

>>> decode(b'{"limit": "x"}', Page)
InvalidInput: PL-400 $.limit: expected `int`, got `str`
"""

from __future__ import annotations

import re
import threading
from typing import Any, TypeVar

import msgspec

from creto.common.errors import InvalidInput

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")
_prepared: set[Any] = set()
_preparing = threading.RLock()

MISFIT = re.compile(r"Expected `?(?P<expected>.+?)`?(?:, got `?(?P<got>.+?)`?)?(?: - at `(?P<field>.+)`)?")


def encode(value: Any) -> bytes:
    """The one byte string of a value: keys sorted, no spaces. What is hashed and signed goes through here."""
    return _encoder.encode(value)


def prepare(type: Any) -> None:
    """msgspec reads a type's annotations at its first use; two threads that do so at once can end the process (0.22)."""
    if type not in _prepared:
        with _preparing:
            msgspec.json.Decoder(type)
            _prepared.add(type)


def decode(data: bytes | str, type: type[T], *, code: str = "PL-400", what: str = "body") -> T:
    prepare(type)
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise misfit(error, code, what) from error


def convert(value: Any, type: type[T], *, code: str = "PL-400", what: str = "value", strict: bool = True) -> T:
    prepare(type)
    try:
        return msgspec.convert(value, type, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise misfit(error, code, what) from error


def misfit(error: Exception, code: str, what: str) -> InvalidInput:
    """msgspec's message, taken apart into field, got and expected."""
    text = str(error)
    match = MISFIT.fullmatch(text)
    if match is None:
        return InvalidInput(code, f"{what}: {text}", field=what, got="input that cannot be read", expected=text)
    field = match["field"] or what
    return InvalidInput(code, f"{field}: {text}", field=field, got=match["got"], expected=match["expected"])
