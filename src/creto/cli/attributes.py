"""NAME=VALUE on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from creto.common import wire
from creto.common.errors import InvalidInput


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InvalidInput.of(option, got=text, expected="NAME=VALUE")
        found[name] = value
    return found


def attributes(texts: Sequence[str], option: str = "--context") -> dict[str, Any]:
    """`amount=5` is a number, `note=hello` a text; a value that is JSON is taken as such."""
    return {name: json_or_text(value, name) for name, value in pairs(texts, option).items()}


def json_or_text(value: str, name: str) -> Any:
    try:
        return wire.decode(value, Any, what=name)
    except InvalidInput:
        return value
