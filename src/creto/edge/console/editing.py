"""Arguments as they are edited on a page: laid out to be read, secrets masked, and put back where they were left alone.

    text = editable(arguments)                       # '{\\n  "password": "***", …'
    restored(text.encode(), arguments)               # the bytes that are asked about next

INVARIANT: a page never holds a secret; one that was left masked keeps its value, and one that was changed is what was written.
INVARIANT: nothing hides in a text field: what is not plainly visible is written as its code point.
INVARIANT: numbers keep their spelling.
"""

from __future__ import annotations

import json

from creto.oversight.arguments import Number, Value, parsed, spelled, step_to, text
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
        kept = [
            unmasked(item, old, f"{path}[{index}]")
            for index, (item, old) in enumerate(zip(value, before, strict=False))
        ]
        return kept + value[len(kept) :]
    if isinstance(before, dict | list) and before:
        return value
    shown = redacted_leaf(path, before)
    return before if type(value) is type(shown) and value == shown and shown != before else value


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
