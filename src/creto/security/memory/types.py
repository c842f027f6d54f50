"""What memory keeps and gives back."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.store.types import EntryId

REASONING = "reasoning"  # the kind of what an agent thought; what an approver is shown
TEXT = "text/plain"
BINARY = "application/octet-stream"


class Origin(msgspec.Struct, frozen=True):
    """Where a memory comes from: who wrote it, when, in which trace."""

    written_by: AgentId
    written_at: ConsensusTimestamp
    trace_id: str | None = None
    expires_at: ConsensusTimestamp | None = None


class Context(msgspec.Struct, frozen=True):
    """One remembered item of one agent."""

    tenant: TenantId
    agent: AgentId
    id: str
    kind: str
    action: str | None
    content: bytes
    content_type: str
    origin: Origin

    @property
    def text(self) -> str:
        """What a person reads; bytes that are no text are shown as their length."""
        return self.content.decode() if self.content_type == TEXT else f"[{len(self.content)} bytes]"


class Match(msgspec.Struct, frozen=True):
    """A memory and how near it is: the cosine or dot product. 1.0 is the same direction."""

    context: Context
    score: float


class ContextPage(msgspec.Struct, frozen=True):
    items: tuple[Context, ...]
    cursor: str | None = None


class Metric(StrEnum):
    COSINE = "cosine"
    DOT = "dot"


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class NewTurn(msgspec.Struct, frozen=True):
    role: Role
    content: str


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation; `seq` grows, with gaps."""

    tenant: TenantId
    agent: AgentId
    conversation: str
    seq: int
    role: Role
    content: str
    origin: Origin


class ConversationPage(msgspec.Struct, frozen=True):
    """Conversations by name."""

    items: tuple[str, ...]
    cursor: str | None = None


class TurnPage(msgspec.Struct, frozen=True):
    items: tuple[Turn, ...]
    cursor: str | None = None


class StateEntry(msgspec.Struct, frozen=True):
    """A value an agent keeps under a key. A version is never given twice, also not after a delete."""

    tenant: TenantId
    agent: AgentId
    key: str
    version: int
    value: bytes
    origin: Origin


class StateKey(msgspec.Struct, frozen=True):
    """A key under which something is kept."""

    key: str
    version: int


class StateKeys(msgspec.Struct, frozen=True):
    items: tuple[StateKey, ...]
    cursor: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """How much an agent has stored."""

    items: int
    turns: int
    states: int


class Erasure(msgspec.Struct, frozen=True):
    """What was erased; the ledger entry proves that and when it happened, without saying what it was."""

    entry: EntryId
    items: int = 0
    turns: int = 0
    states: int = 0
    key_destroyed: bool = False
