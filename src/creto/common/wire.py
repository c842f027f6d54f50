"""Bytes in, frozen structs out, and back: JSON through msgspec, with errors that name the field.

>>> decode(b'{"limit": "x"}', Page)
InvalidInput: PL-400 $.limit: Expected `int`, got `str`
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from creto.common.errors import InvalidInput

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")
_prepared: set[Any] = set()
_preparing = threading.RLock()

MISFIT = re.compile(r"Expected (?P<expected>.+?)(?:, got `?(?P<got>.+?)`?)?")
ENUM = re.compile(r"Invalid (?:enum )?value (?P<got>.+)")
NAMED = re.compile(r"Object (?:contains (?P<unknown>unknown)|missing required) field `(?P<name>.+)`")
INVALID = re.compile(r"Invalid (?P<expected>.+)")
STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
NUMBER, NUMBERS = re.compile(r"-?\d{1,20}(\.\d{1,20})?"), ("`int`", "`float`")
WHOLE = ("body", "request", "value")  # what has no name of its own: its fields are named from `$`


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
        raise misfit(error, code, what, loose(data), type) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise misfit(error, code, what) from error


def convert(value: Any, type: type[T], *, code: str = "PL-400", what: str = "value", strict: bool = True) -> T:
    prepare(type)
    try:
        return msgspec.convert(value, type, strict=strict)
    except (msgspec.ValidationError, RecursionError) as error:
        raise misfit(error, code, what, value, type) from error


def misfit(error: Exception, code: str, what: str, whole: Any = None, type: Any = None) -> InvalidInput:
    """msgspec's message, taken apart into field, got and expected. Where it does not say what came, `whole` shows of what kind and size it
    was; where it does not say what may come, `type` does."""
    text, _, place = str(error).partition(" - at `")
    path = place.removesuffix("`")
    field = (path if what in WHOLE else f"{what}{path[1:]}") if path else what
    if match := MISFIT.fullmatch(text):
        got = match["got"] or kind_of(found_at(whole, path), match["expected"])
        said = text if match["got"] or got is None else f"{text}, got {got}"
        return InvalidInput(code, f"{field}: {said}", field=field, got=got, expected=match["expected"].replace("`", ""))
    if match := ENUM.fullmatch(text):
        values = [value for one in types_at(type, path) for value in values_of(one)]
        return InvalidInput.of(field, got=match["got"], expected=one_of(values) or "one of its values", code=code)
    if match := NAMED.fullmatch(text):
        names = [each.encode_name for one in types_at(type, path) for each in getattr(one, "fields", ())]
        return unnamed(
            field if path or what not in WHOLE else "$", match["name"], names, code, known=not match["unknown"]
        )
    if match := INVALID.fullmatch(text):
        got = kind_of(found_at(whole, path)) or "something else"
        return InvalidInput.of(field, got=got, expected=match["expected"], code=code)
    return InvalidInput.of(field, got=f"what cannot be read: {error}", expected="JSON", code=code)


def unnamed(at: str, name: str, names: Sequence[str], code: str, *, known: bool) -> InvalidInput:
    field = f"{at}.{name}"
    if known:
        return InvalidInput.of(field, got="nothing", expected="a value", code=code)
    return unknown_field(field, name, names, code=code)


def unknown_field(field: str, name: str, names: Sequence[str], *, code: str = "PL-400") -> InvalidInput:
    """With the nearest name, where one is near."""
    near = difflib.get_close_matches(name, names, n=1)
    error = InvalidInput.of(field, got="an unknown field", expected=one_of(names) or "no such field", code=code)
    error.hint = f"Did you mean {near[0]}?" if near else error.hint
    return error


def one_of(values: Sequence[str]) -> str:
    return f"one of {', '.join(dict.fromkeys(values))}" if values else ""


@lru_cache(maxsize=256)
def described(type: Any) -> inspect.Type:
    """It takes a millisecond, and who sends what does not fit sends it often."""
    return inspect.type_info(type)


def types_at(type: Any, path: str) -> list[inspect.Type]:
    """What may stand at a path such as `$.limits[0].amount`."""
    found = variants(described(type)) if type is not None else []
    for name, index in STEP.findall(path):
        found = [deeper for one in found for deeper in beneath(one, name, bool(index))]
    return found


def variants(one: inspect.Type) -> list[inspect.Type]:
    if isinstance(one, inspect.Metadata):
        return variants(one.type)
    return [each for part in one.types for each in variants(part)] if isinstance(one, inspect.UnionType) else [one]


def beneath(one: inspect.Type, name: str, indexed: bool) -> list[inspect.Type]:
    if isinstance(one, inspect.StructType):
        return [each for field in one.fields if field.encode_name == name for each in variants(field.type)]
    if isinstance(one, inspect.DictType):
        return variants(one.value_type)
    return variants(one.item_type) if indexed and isinstance(one, inspect.CollectionType) else []


def values_of(one: inspect.Type) -> list[str]:
    if isinstance(one, inspect.EnumType):
        return [str(value.value) for value in one.cls]
    return [str(value) for value in one.values] if isinstance(one, inspect.LiteralType) else []


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


def kind_of(value: Any, expected: str = "") -> str | None:
    """Never the text itself, which may be a secret; but a number that is written as one, where one was expected."""
    if isinstance(value, str) and expected.startswith(NUMBERS) and NUMBER.fullmatch(value):
        return value
    if isinstance(value, bool | None):
        return None
    if isinstance(value, int | float):
        return str(value)[:64]
    names = {str: "str", bytes: "bytes", list: "array", tuple: "array", dict: "object"}
    name = next((name for kind, name in names.items() if isinstance(value, kind)), None)
    return f"{name} of length {len(value)}" if name else None
