"""What the use cases of memory share: the rows, the agents' keys, the time, and how an act is written down."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, ResourceId, TenantId, checked_name, checked_tenant
from creto.common.limits import CONTEXT_BYTES_MAX, CONTEXT_TTL_S_MAX
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.platform.crypto import mac
from creto.security.memory.agentkeys import AgentKey, AgentKeys
from creto.security.memory.store import Partition
from creto.security.memory.types import Origin
from creto.security.tenantkeys import TenantKeys
from creto.store.entries import entry
from creto.store.types import Entry, Store


class Act(msgspec.Struct, frozen=True):
    """Who writes, when, in which trace, and until when it is kept."""

    by: AgentId
    now: ConsensusTimestamp
    trace_id: str | None
    expires_at: int

    def origin(self) -> Origin:
        return Origin(self.by, self.now, self.trace_id, ConsensusTimestamp(self.expires_at) or None)


class Core:
    def __init__(self, keys: TenantKeys, store: Store, clock: Clock) -> None:
        self.keys = AgentKeys(keys, store)
        self.store = store
        self.clock = clock

    def act(self, agent: AgentId, by: AgentId | None, trace_id: str | None, ttl_s: float | None = None) -> Act:
        now = self.clock.now()
        if ttl_s is None:
            return Act(by or agent, now, trace_id, 0)
        if not 0 < ttl_s <= CONTEXT_TTL_S_MAX:
            raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"more than 0, at most {CONTEXT_TTL_S_MAX}")
        return Act(by or agent, now, trace_id, now + int(ttl_s * SECOND))

    def entry(self, tenant: TenantId, agent: AgentId, act: Act, event: str, action: str, **metadata: Any) -> Entry:
        return entry(
            tenant=tenant,
            agent=act.by,
            action=action,
            resource=ResourceId("memory", "agent", agent).to_uri(),
            timestamp=act.now,
            event=event,
            facts=metadata,
            trace_id=act.trace_id,
            degraded_clock=self.clock.degraded,
        )


def nothing(key: AgentKey) -> None:
    """What a change prepares that seals nothing."""


def partition(key: AgentKey) -> Partition:
    return (key.tenant, key.agent, key.generation)


def commitment(key: AgentKey, content: bytes) -> str:
    """Stands for a content in the ledger. Keyed with the agent's key: short texts cannot be guessed, and erasing takes the key."""
    return mac(key.index, b"creto/memory/commitment/v1" + content).hex()


def checked(tenant: TenantId, agent: AgentId) -> tuple[TenantId, AgentId]:
    """Every call names both; a missing agent is never everybody."""
    return checked_tenant(tenant), AgentId(checked_name(agent, "agent"))


def checked_content(content: bytes, field: str = "content") -> bytes:
    if len(content) > CONTEXT_BYTES_MAX:
        raise InvalidInput.of(
            field, got=f"{len(content)} bytes", expected=f"at most {CONTEXT_BYTES_MAX} bytes", code="PL-413"
        )
    return content


def encoded(text: str, field: str = "content") -> bytes:
    try:
        return checked_content(text.encode(), field)
    except UnicodeEncodeError as error:
        raise InvalidInput.of(field, got="a lone surrogate", expected="text that UTF-8 can hold") from error


class Written(Protocol):
    """What every row says of who wrote it."""

    @property
    def written_by(self) -> str: ...

    @property
    def written_at(self) -> int: ...

    @property
    def trace_id(self) -> str | None: ...

    @property
    def expires_at(self) -> int: ...


def origin_of(row: Written) -> Origin:
    expires_at = ConsensusTimestamp(row.expires_at) if row.expires_at else None
    return Origin(AgentId(row.written_by), ConsensusTimestamp(row.written_at), row.trace_id, expires_at)
