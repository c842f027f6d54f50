"""Arguments as they are edited on a page: laid out to be read, secrets masked, and put back where they were left alone.

    text = editable(arguments)                       # '{\\n  "password": "***", …'
    restored(text.encode(), arguments)               # the bytes that are asked about next

INVARIANT: a page never holds a secret; one that was left masked keeps its value, and one that was changed is what was written.
INVARIANT: nothing hides in a text field: what is not plainly visible is written as its code point.
INVARIANT: numbers keep their spelling.
"""

from __future__ import annotations

import json

from creto.common.errors import InvalidInput
from creto.common.redact import MASK
from creto.oversight.arguments import Number, Value, leaves, parsed, spelled, step_to, text
from creto.oversight.display import redacted_leaf
from creto.oversight.hostile import visible

INDENT = "  "


def editable(arguments: bytes) -> str:
    return laid_out(masked(parsed(arguments), ""))


def restored(edited: bytes, arguments: bytes) -> bytes:
    """The edited arguments with each masked value that was not touched; OV-400 for what is no JSON."""
    return spelled(unmasked(parsed(edited), parsed(arguments), ""))


def masked(value: Value, path: str) -> Value:
    if isinstance(value, dict) and value:
        return {key: masked(item, step_to(path, key)) for key, item in value.items()}
    if isinstance(value, list) and value:
        return [masked(item, f"{path}[{index}]") for index, item in enumerate(value)]
    return redacted_leaf(path, value)


def unmasked(value: Value, before: Value, path: str) -> Value:
    """Where the same place shows what its mask shows, what is behind the mask stays."""
    if isinstance(value, dict) and isinstance(before, dict) and value:
        return {
            key: unmasked(item, before[key], step_to(path, key)) if key in before else item
            for key, item in value.items()
        }
    if isinstance(value, list) and isinstance(before, list) and value:
        return unmasked_list(value, before, path)
    if isinstance(before, dict | list) and before:
        return value
    shown = redacted_leaf(path, before)
    return before if type(value) is type(shown) and value == shown and shown != before else value


def unmasked_list(value: list[Value], before: list[Value], path: str) -> list[Value]:
    """In a list nobody knows which one a mask was of, unless all is where it was: else the secret has to be written again."""
    places = [f"{path}[{index}]" for index in range(len(value))]
    stay = len(value) == len(before)
    found = []
    for index, (item, place) in enumerate(zip(value, places, strict=True)):
        old = before[index] if index < len(before) else None
        if stay and item == masked(old, place):
            found.append(old)
        elif holds_mask(item):
            raise InvalidInput.of(
                f"arguments.{place}", got=f"a masked value ({MASK}) in a list that was changed",
                expected="the value itself, or the item as it was at its place", code="OV-400",
            )  # fmt: skip
        else:
            found.append(item)
    return found


def holds_mask(value: Value) -> bool:
    return any(isinstance(leaf, str) and MASK in leaf for _, leaf in leaves(value))


def laid_out(value: Value, depth: int = 0) -> str:
    """One member a line, keys in their order."""
    pad, end = "\n" + INDENT * (depth + 1), "\n" + INDENT * depth
    if isinstance(value, dict) and value:
        lines = (f"{pad}{quoted(key)}: {laid_out(item, depth + 1)}" for key, item in value.items())
        return "{" + ",".join(lines) + end + "}"
    if isinstance(value, list) and value:
        return "[" + ",".join(f"{pad}{laid_out(item, depth + 1)}" for item in value) + end + "]"
    return str.__str__(value) if isinstance(value, Number) else quoted(value)


def quoted(value: Value) -> str:
    """As JSON; a text in which anything is hidden or looks like something else is written in JSON's own escapes."""
    plain = not isinstance(value, str) or visible(value).text == value
    return text(value) if plain else json.dumps(value)
