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

MISFIT = re.compile(r"Expected (?P<expected>.+?)(?:, got `?(?P<got>.+?)`?)?")
ENUM = re.compile(r"Invalid enum value (?P<got>.+)")
NAMED = re.compile(r"Object (?:contains (?P<unknown>unknown)|missing required) field `(?P<name>.+)`")
STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")


def encode(value: Any) -> bytes:
    """The one byte string of a value: keys sorted, no spaces. What is hashed and signed goes through here."""
    return _encoder.encode(value)


def prepare(type: Any) -> None:
    """msgspec reads a type's annotations at its first use; two threads that do so at once can end the process (0.22)."""
    if type not in _prepared:
        with _preparing:
            msgspec.json.Decoder(type)
            _prepared.add(type)


def decoder(type: type[T]) -> msgspec.json.Decoder[T]:
    """For what is decoded often, and is ours: msgspec's own errors."""
    prepare(type)
    return msgspec.json.Decoder(type)


def decode(data: bytes | str, type: type[T], *, code: str = "PL-400", what: str = "body") -> T:
    prepare(type)
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        raise misfit(error, code, what, loose(data)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise misfit(error, code, what) from error


def convert(value: Any, type: type[T], *, code: str = "PL-400", what: str = "value", strict: bool = True) -> T:
    prepare(type)
    try:
        return msgspec.convert(value, type, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise misfit(error, code, what, value) from error


def misfit(error: Exception, code: str, what: str, whole: Any = None) -> InvalidInput:
    """msgspec's message, taken apart into field, got and expected. Where it does not say what came, `whole` shows of what kind and size it was."""
    text, _, place = str(error).partition(" - at `")
    path = place.removesuffix("`")
    field = path or what
    if match := MISFIT.fullmatch(text):
        got = match["got"] or kind_of(found_at(whole, path))
        return InvalidInput(code, f"{field}: {text}", field=field, got=got, expected=match["expected"].replace("`", ""))
    if match := ENUM.fullmatch(text):
        return InvalidInput(code, f"{field}: {text}", field=field, got=match["got"], expected="one of its values")
    if match := NAMED.fullmatch(text):
        got, expected = ("it", "no such field") if match["unknown"] else ("nothing", "this field")
        return InvalidInput(
            code, f"{field}: {text}", field=f"{path or '$'}.{match['name']}", got=got, expected=expected
        )
    return InvalidInput(code, f"{what}: {error}", field=field, got="input that cannot be read", expected=str(error))


def loose(data: bytes | str) -> Any:
    """As it came, if it is JSON to its end."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def found_at(whole: Any, path: str) -> Any:
    """What lies at a path such as `$.limits[0].amount`; nothing, where it goes through the keys of a map."""
    for name, index in STEP.findall(path):
        try:
            whole = whole[int(index)] if index else whole[name]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return whole


def kind_of(value: Any) -> str | None:
    """Never the text itself, which may be a secret."""
    if isinstance(value, bool | None):
        return None
    if isinstance(value, int | float):
        return str(value)[:64]
    names = {str: "str", bytes: "bytes", list: "array", tuple: "array", dict: "object"}
    name = next((name for kind, name in names.items() if isinstance(value, kind)), None)
    return f"{name} of length {len(value)}" if name else None
