"""Attributes on the command line: NAME=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from creto.common import wire
from creto.common.errors import InvalidInput


def attributes(pairs: Sequence[str], option: str = "--context") -> dict[str, Any]:
    """`amount=5` is a number, `note=hello` a text; a value that is JSON is taken as such."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InvalidInput.of(option, got=pair, expected="NAME=VALUE")
        try:
            found[name] = wire.decode(value, Any, what=name)
        except InvalidInput:
            found[name] = value
    return found
