"""What a callback of a provider is, and what it gets back: bytes as they came, because signatures are over bytes.

answer = await slack.interactions(headers, body)          # headers: (name, value) pairs of bytes, as ASGI has them
return Response(answer.body, answer.status, media_type=answer.content_type)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from creto.common import wire

RawHeaders = Sequence[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, wire.encode(value), "application/json")


def only(headers: RawHeaders, name: bytes) -> bytes | None:
    """The header's value; None if it is missing or there are two, of which each reader would take another."""
    found = [value for key, value in headers if key.lower() == name]
    return found[0] if len(found) == 1 else None
