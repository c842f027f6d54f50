"""Schemas of arguments: what an oversight policy says a call of an action has to look like, when it is asked and after an edit.

    checked('{"type": "object", "properties": {"amount": {"type": "number", "maximum": 500}}, "required": ["amount"]}')
    check(ask)                                    # OV-400 with the place that does not fit

A small part of JSON Schema: `type`, `properties`, `required`, `additionalProperties`, `items`, `maxItems`, `enum`, `minimum`, `maximum`,
`maxLength`, `pattern`; `title` and `description` are for readers. A pattern has to fit the whole text.

INVARIANT: a keyword that is not checked here is refused when the policy is put, never passed over.
"""

from __future__ import annotations

import re
from functools import lru_cache

from creto.common.errors import InvalidInput
from creto.common.limits import OVERSIGHT_PATTERN_CHARS_MAX, OVERSIGHT_PATTERN_TEXT_CHARS_MAX
from creto.oversight.arguments import Number, Value, number, parsed, spelled, step_to
from creto.oversight.types import Ask

ANY = "*"  # for actions without a schema of their own
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
READERS = ("title", "description", "$schema")
Schema = dict[str, Value]


def check(ask: Ask) -> None:
    """Whether the arguments are as the policy says; of a batch those of each act."""
    acts = [(item.arguments, item.item_id) for item in ask.items] or [(ask.arguments, "")]
    for policy in ask.policy.joint or (ask.policy,):
        text = policy.arguments_schemas.get(ask.action, policy.arguments_schemas.get(ANY))
        if text is not None:
            for raw, place in acts:
                fit(read(text), parsed(raw), place)


@lru_cache(maxsize=256)
def read(text: str) -> Schema:
    return as_schema(parsed(text.encode()), "schema")


def checked(text: str) -> str:
    """The same text, if every word of it can be kept to."""
    known(read(text), "schema")
    return text


def known(schema: Schema, place: str) -> None:
    for word, said in schema.items():
        at = step_to(place, word)
        if word == "type":
            if not isinstance(said, str | list) or not set(names(said, at)) <= {*TYPES}:
                raise misfit(at, said, f"of {', '.join(TYPES)}")
        elif word == "properties":
            for name, inner in as_schema(said, at).items():
                known(as_schema(inner, step_to(at, name)), step_to(at, name))
        elif word == "items" or (word == "additionalProperties" and not isinstance(said, bool)):
            known(as_schema(said, at), at)
        elif word == "required":
            names(said, at)
        elif word == "enum" and not isinstance(said, list):
            raise misfit(at, said, "a list")
        elif word in ("minimum", "maximum", "maxLength", "maxItems") and number(said) is None:
            raise misfit(at, said, "a number")
        elif word == "pattern":
            compiled(said, at)
        elif word not in (*READERS, "enum", "minimum", "maximum", "maxLength", "maxItems", "additionalProperties"):
            raise misfit(at, word, "a keyword that is checked")


def fit(schema: Schema, value: Value, place: str) -> None:
    """OV-400 with the first place that does not fit."""
    if "type" in schema and not any(is_a(value, name) for name in names(schema["type"], place)):
        raise misfit(place, kind(value), " or ".join(names(schema["type"], place)))
    if "enum" in schema and spelled(value) not in [spelled(one) for one in as_list(schema["enum"])]:
        raise misfit(place, value, f"one of {spelled(schema['enum']).decode()}")
    if isinstance(value, dict):
        fit_object(schema, value, place)
    elif isinstance(value, list):
        fit_limit(schema, "maxItems", len(value), place)
        for index, item in enumerate(value if "items" in schema else ()):
            fit(as_schema(schema["items"], place), item, f"{place}[{index}]")
    elif isinstance(value, Number):
        amount, low, high = number(value), number(schema.get("minimum")), number(schema.get("maximum"))
        if amount is None or (low is not None and amount < low) or (high is not None and amount > high):
            raise misfit(
                place, value, f"{low if low is not None else ''} to {high if high is not None else ''}".strip()
            )
    elif isinstance(value, str):
        fit_limit(schema, "maxLength", len(value), place)
        if "pattern" in schema:
            short = len(value) <= OVERSIGHT_PATTERN_TEXT_CHARS_MAX
            if not short or compiled(schema["pattern"], place).fullmatch(value) is None:
                raise misfit(place, value, f"a text that fits {schema['pattern']}")


def fit_object(schema: Schema, value: Schema, place: str) -> None:
    for name in names(schema.get("required", []), place):
        if name not in value:
            raise misfit(step_to(place, name), "nothing", "a value")
    inner = as_schema(schema.get("properties", {}), place)
    for name, item in value.items():
        more = inner.get(name, schema.get("additionalProperties", True))
        if more is False:
            raise misfit(step_to(place, name), "an argument", "none of this name")
        if isinstance(more, dict):
            fit(more, item, step_to(place, name))


def fit_limit(schema: Schema, word: str, count: int, place: str) -> None:
    most = number(schema.get(word))
    if most is not None and count > most:
        raise misfit(place, count, f"{word} {most}")


def is_a(value: Value, name: str) -> bool:
    if name == "integer":
        amount = number(value)
        return amount is not None and amount == amount.to_integral_value()
    return kind(value) == name


def kind(value: Value) -> str:
    if isinstance(value, Number):
        return "number"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "array" if isinstance(value, list) else "object"


def names(said: Value, place: str) -> list[str]:
    found = [said] if isinstance(said, str) and not isinstance(said, Number) else as_list(said)
    if not all(isinstance(one, str) and not isinstance(one, Number) for one in found):
        raise misfit(place, said, "names")
    return [str(one) for one in found]


def as_list(said: Value) -> list[Value]:
    return said if isinstance(said, list) else []


def as_schema(said: Value, place: str) -> Schema:
    if not isinstance(said, dict):
        raise misfit(place, said, "an object")
    return said


def compiled(said: Value, place: str) -> re.Pattern[str]:
    if not isinstance(said, str) or isinstance(said, Number) or len(said) > OVERSIGHT_PATTERN_CHARS_MAX:
        raise misfit(place, said, f"a pattern of {OVERSIGHT_PATTERN_CHARS_MAX} characters at most")
    try:
        return re.compile(said)
    except re.error as error:
        raise misfit(place, said, f"a pattern: {error}") from error


def misfit(place: str, got: object, expected: str) -> InvalidInput:
    return InvalidInput.of(f"arguments.{place}" if place else "arguments", got=got, expected=expected, code="OV-400")
