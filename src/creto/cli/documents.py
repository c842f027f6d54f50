"""What a command reads from a file: a plan, a quota, events; written in TOML or JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from creto.cli.context import read
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import BODY_BYTES_MAX

T = TypeVar("T")


def document(path: Path, kind: type[T], what: str) -> T:
    data = read(path, bytes_max=BODY_BYTES_MAX)
    if data.lstrip().startswith(b"{"):
        return wire.decode(data, kind, what=what)
    try:
        return wire.convert(tomllib.loads(data.decode()), kind, what=what)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput.of(what, got=str(error), expected="TOML or JSON") from error


def events_in(path: Path) -> list[dict[str, Any]]:
    """A JSON list of events, or one event a line."""
    data = read(path, bytes_max=BODY_BYTES_MAX).strip()
    if data.startswith(b"["):
        return wire.decode(data, list[dict[str, Any]], what="events")
    return [wire.decode(line, dict[str, Any], what="event") for line in data.splitlines() if line.strip()]


def fields_of(asked: Any) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in asked.__struct_fields__}
