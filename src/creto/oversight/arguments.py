"""Arguments as an approval is bound to them: one canonical spelling, so that two different calls never have the same hash.

    args_hash("funds.transfer", "account:7", b'{"to": "ann", "amount": 40}')

Only the order of keys is free. Numbers keep their spelling (1, 1.0 and 1e0 differ, and nothing is rounded), strings their code points.

INVARIANT: `canonical` is injective up to the order of keys; what a parser could read in two ways (a key twice, NaN) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import OVERSIGHT_ARGUMENTS_BYTES_MAX, OVERSIGHT_ARGUMENTS_DEPTH_MAX
from creto.oversight.types import ItemHash
from creto.platform.crypto import tagged_digest

LABEL = b"creto/oversight/arguments/v1\n"
BATCH_LABEL = b"creto/oversight/batch/v1\n"
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
EXPECTED = "JSON without double keys, NaN or Infinity, in UTF-8"


class Number(str):
    """A number as it was spelled."""

    __slots__ = ()


Value = str | Number | bool | None | list["Value"] | dict[str, "Value"]


def parsed(raw: bytes) -> Value:
    """The value of a JSON text; OV-400 for what has no one meaning."""
    if len(raw) > OVERSIGHT_ARGUMENTS_BYTES_MAX:
        raise InvalidInput.of(
            "arguments", got=f"{len(raw)} bytes", expected=f"{OVERSIGHT_ARGUMENTS_BYTES_MAX} bytes at most", code="OV-400"
        )  # fmt: skip
    try:
        value: Value = json.loads(
            raw.decode(), parse_int=Number, parse_float=Number, parse_constant=refused, object_pairs_hook=distinct
        )
    except json.JSONDecodeError as error:
        got = f"something else in line {error.lineno}, column {error.colno}"
        raise InvalidInput.of("arguments", got=got, expected=EXPECTED, code="OV-400") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of("arguments", got=str(error), expected=EXPECTED, code="OV-400") from error
    return value


def canonical(raw: bytes) -> bytes:
    """The one spelling: keys sorted, no spaces."""
    return spelled(parsed(raw))


def spelled(value: Value) -> bytes:
    try:
        return _spelled(value, 0).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput.of("arguments", got="half of a surrogate pair", expected=EXPECTED, code="OV-400") from error


def _spelled(value: Value, depth: int) -> str:
    if depth > OVERSIGHT_ARGUMENTS_DEPTH_MAX:
        raise InvalidInput.of(
            "arguments", got="deeper nesting", expected=f"{OVERSIGHT_ARGUMENTS_DEPTH_MAX} levels at most", code="OV-400"
        )
    if isinstance(value, Number):
        return str.__str__(value)
    if isinstance(value, list):
        return "[" + ",".join(_spelled(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{text(key)}:{_spelled(value[key], depth + 1)}" for key in sorted(value)) + "}"
    return text(value)


def args_hash(action: str, resource: str, raw: bytes) -> bytes:
    """What an approver's signature is bound to: the act, its resource and its arguments."""
    return tagged_digest(LABEL + wire.encode([action, resource]) + b"\n" + canonical(raw))


def batch_hash(action: str, resource: str, items: Sequence[ItemHash]) -> bytes:
    """The same of several acts in one request: made of the hash of each, so that a part of them is proved without its arguments."""
    return tagged_digest(BATCH_LABEL + wire.encode([action, resource, items]))


def of_call(args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
    """The arguments of a Python call, positional ones too."""
    try:
        return json.dumps({"args": list(args), "kwargs": dict(kwargs)}, allow_nan=False, default=repr).encode()
    except ValueError as error:
        raise InvalidInput.of("arguments", got=str(error), expected=EXPECTED, code="OV-400") from error


def leaves(value: Value, path: str = "") -> Iterator[tuple[str, Value]]:
    """Every argument with its place, as `to.name` and `items[2]`, in the canonical order; each place is named once."""
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from leaves(value[key], step_to(path, key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def step_to(path: str, key: str) -> str:
    """The place of a member of what is at `path`."""
    step = key if PLAIN_KEY.fullmatch(key) else f"[{text(key)}]"
    return f"{path}.{step}" if path and step == key else path + step


def number(value: Value) -> Decimal | None:
    """A JSON number, exactly."""
    if not isinstance(value, Number):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def keys(value: Value) -> Iterator[str]:
    """Every name in it, as it was given."""
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(item)


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def refused(constant: str) -> NoReturn:
    raise ValueError(constant)


def distinct(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found
