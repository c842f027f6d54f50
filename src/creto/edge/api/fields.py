"""Types of fields that many endpoints share, with their limits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.ids import AgentId, SandboxId
from creto.common.limits import INTEGER_MAX, OBJECT_KEY_CHARS_MAX, PAGE_ITEMS_MAX, TENANT_CHARS_MAX, TOKEN_TTL_S_MAX

Agent = Annotated[AgentId, Meta(min_length=1, max_length=64, pattern="^[!-~]+$")]
Sandbox = Annotated[SandboxId, Meta(min_length=1, max_length=200)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_ITEMS_MAX)]
Cursor = Annotated[str, Meta(max_length=2_000)]
Tenant = Annotated[str, Meta(min_length=1, max_length=TENANT_CHARS_MAX)]
Reason = Annotated[str, Meta(max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=200)]
ObjectKey = Annotated[str, Meta(min_length=1, max_length=OBJECT_KEY_CHARS_MAX)]
KeyBytes = Annotated[bytes, Meta(max_length=4_096)]
SignatureBytes = Annotated[bytes, Meta(max_length=8_192)]
ChainBytes = Annotated[bytes, Meta(max_length=512 * 1024)]
Scopes = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=1, max_length=32)]
TokenSeconds = Annotated[int, Meta(ge=1, le=TOKEN_TTL_S_MAX)]
Count = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Nanos = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
