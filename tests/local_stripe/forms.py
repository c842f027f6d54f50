"""Form bodies with brackets, as Stripe reads them: `lines[0][period][start]=1`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

PART = re.compile(r"[^\[\]]+")


def read(text: str) -> dict[str, Any]:
    """Nested dicts; those whose keys are 0, 1, … are lists."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *way, last = PART.findall(name)
        place = found
        for part in way:
            place = place.setdefault(part, {})
        place[last] = value
    return {name: listed(value) for name, value in found.items()}


def listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: listed(part) for name, part in value.items()}
    if inner and all(name.isdecimal() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner
