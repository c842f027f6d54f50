"""Types of fields that many endpoints share, with their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from creto.common.errors import InvalidInput
from creto.common.ids import AGENT_PREFIX, BASE58, AgentId, SandboxId, agent_key
from creto.common.limits import (
    AUTHZ_RESOURCE_CHARS_MAX,
    CURSOR_CHARS_MAX,
    INTEGER_MAX,
    OBJECT_KEY_CHARS_MAX,
    OVERSIGHT_JOINT_CHARS_MAX,
    PAGE_ITEMS_MAX,
    TENANT_CHARS_MAX,
    TOKEN_TTL_S_MAX,
)


@dataclass(frozen=True)
class OneOf:
    """Marks a JSON object that is one of several structs, told apart by what it holds; protocol buffers name them. `which` tells them apart."""

    name: str
    variants: tuple[type[msgspec.Struct], ...]
    which: Callable[[dict[str, Any]], type[msgspec.Struct]]


# What a pattern counts up to; a schema with larger counts is too large for the engines of some validators.
GROUPS_COUNTED_MAX = 64
GROUP, TWO_BYTES, ONE_BYTE = "(?:[A-Za-z0-9+/]{4})", "[A-Za-z0-9+/]{3}=", "[A-Za-z0-9+/]{2}=="
BASE64 = f"^{GROUP}*(?:{ONE_BYTE}|{TWO_BYTES})?$"


def octets(most: int, least: int = 0) -> Meta:
    """Limits of bytes that the document can state exactly.

    A length in base64 counts groups of three bytes, so a pattern says how the last group ends. Beyond what a pattern can count the limit
    is rounded down to whole groups, which a length alone says.
    """
    if most <= 3 * GROUPS_COUNTED_MAX:
        return Meta(min_length=least or None, max_length=most, extra_json_schema={"pattern": base64_of(most, least)})
    assert least == 0
    return Meta(max_length=most - most % 3, extra_json_schema={"pattern": BASE64})


def base64_of(most: int, least: int) -> str:
    """The base64 of `least` to `most` bytes, as a pattern."""
    forms = []
    for tail, end in enumerate(("", ONE_BYTE, TWO_BYTES)):
        fewest, groups = max(0, -(-(least - tail) // 3)), (most - tail) // 3
        if fewest <= groups:
            forms.append(f"{GROUP}{{{fewest},{groups}}}{end}")
    return f"^(?:{'|'.join(forms)})$"


# What the document says of an agent id; whether it is one is checked by `check_agents`, with a code of its own.
AGENT_FORM = {"pattern": f"^{AGENT_PREFIX}[{BASE58}]{{32,44}}$"}

Agent = Annotated[AgentId, Meta(max_length=64, extra_json_schema=AGENT_FORM)]
Sandbox = Annotated[SandboxId, Meta(min_length=1, max_length=200)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_ITEMS_MAX)]
Cursor = Annotated[str, Meta(max_length=CURSOR_CHARS_MAX)]
Tenant = Annotated[str, Meta(min_length=1, max_length=TENANT_CHARS_MAX)]
Reason = Annotated[str, Meta(max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
Policies = Annotated[
    str, Meta(min_length=1, max_length=OVERSIGHT_JOINT_CHARS_MAX)
]  # an oversight policy, or several that ask together
Resource = Annotated[str, Meta(min_length=1, max_length=AUTHZ_RESOURCE_CHARS_MAX)]
ObjectKey = Annotated[str, Meta(min_length=1, max_length=OBJECT_KEY_CHARS_MAX)]
KeyBytes = Annotated[bytes, octets(4_096)]
SignatureBytes = Annotated[bytes, octets(8_192)]
ChainBytes = Annotated[bytes, octets(512 * 1024)]
Scopes = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=1, max_length=32)]
TokenSeconds = Annotated[int, Meta(ge=1, le=TOKEN_TTL_S_MAX)]
Count = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Nanos = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]


@cache
def agent_fields(request: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields that hold an agent id."""
    hints = get_type_hints(request, include_extras=True)
    return tuple(name for name, hint in hints.items() if hint == Agent or Agent in get_args(hint))


def check_agents(request: msgspec.Struct) -> None:
    """PL-101 for what cannot be an agent id: nobody has anything under it, and to say "nothing found" would hide the slip."""
    for name in agent_fields(type(request)):
        agent = getattr(request, name)
        if agent is None:
            continue
        try:
            agent_key(agent)
        except InvalidInput as error:
            raise InvalidInput.of(name, got=agent, expected=error.expected, code=error.code) from error
