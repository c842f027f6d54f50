"""Types of fields that many endpoints share, with their limits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.ids import AgentId, SandboxId
from creto.common.limits import INTEGER_MAX, OBJECT_KEY_CHARS_MAX, PAGE_ITEMS_MAX, TENANT_CHARS_MAX, TOKEN_TTL_S_MAX


def within(bytes_max: int, bytes_min: int = 0) -> Meta:
    """Bounds of a field of bytes, widened to those that the length of its base64 can say: else the document allows what the reader refuses."""
    low, high = (bytes_min + 2) // 3, (bytes_max + 2) // 3  # groups of four characters, for one to three bytes each
    return Meta(min_length=3 * low - 2 if low else 0, max_length=3 * high)


Agent = Annotated[AgentId, Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
Sandbox = Annotated[SandboxId, Meta(min_length=1, max_length=200)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_ITEMS_MAX)]
Cursor = Annotated[str, Meta(max_length=2_000)]
Tenant = Annotated[str, Meta(min_length=1, max_length=TENANT_CHARS_MAX)]
Reason = Annotated[str, Meta(max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
ObjectKey = Annotated[str, Meta(min_length=1, max_length=OBJECT_KEY_CHARS_MAX)]
KeyBytes = Annotated[bytes, within(4_096)]
SignatureBytes = Annotated[bytes, within(8_192)]
ChainBytes = Annotated[bytes, within(512 * 1024)]
Scopes = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=1, max_length=32)]
TokenSeconds = Annotated[int, Meta(ge=1, le=TOKEN_TTL_S_MAX)]
Count = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Nanos = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
