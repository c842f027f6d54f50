"""What agents remember, each agent for itself.

INVARIANT: a recall for an agent can never return what was written for another, under any ranking: the rows, the words, the vectors and
the keys are the agent's own, and nothing is ranked across agents.
INVARIANT: contents are sealed at rest, the index holds keyed digests, the ledger holds commitments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from creto.common import wire
from creto.common.errors import NotFound
from creto.common.ids import AgentId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import INTEGER_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from creto.common.paging import checked_limit, cut, place_of
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.security.memory import removal, words
from creto.security.memory import store as rows
from creto.security.memory.agentkeys import ERASED, AgentKey
from creto.security.memory.core import (
    Core,
    checked,
    checked_content,
    commitment,
    encoded,
    nothing,
    origin_of,
    partition,
)
from creto.security.memory.history import History
from creto.security.memory.recall import Recall
from creto.security.memory.relevance import ranked
from creto.security.memory.state import State
from creto.security.memory.types import (
    BINARY,
    REASONING,
    TEXT,
    Context,
    ContextPage,
    Erasure,
    Match,
    Metric,
    Usage,
)
from creto.security.memory.vectors import checked_vector
from creto.security.tenantkeys import TenantKeys
from creto.store.types import ReadTx, Store, Tx


class Memory:
    """The memories of all agents of all tenants. `history` are conversations, `state` are versioned values."""

    def __init__(self, keys: TenantKeys, store: Store, clock: Clock) -> None:
        self._core = Core(keys, store, clock)
        self._recall = Recall()
        self.history = History(self._core)
        self.state = State(self._core)
        store.on_signal(ERASED, self._forget)

    async def check(self, tenant: TenantId) -> None:
        """Whether memories can be read and opened: for readiness. Raises PL-215 for a key that does not open."""
        await self._core.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM memory_agent WHERE tenant = ''"))
        await self._core.keys.check(tenant)

    # Write

    async def store_context(
        self,
        tenant: TenantId,
        agent: AgentId,
        kind: str,
        content: str | bytes,
        *,
        action: str | None = None,
        vector: Sequence[float] | None = None,
        ttl_s: float | None = None,
        written_by: AgentId | None = None,
        trace_id: str | None = None,
    ) -> Context:
        """Remember something for an agent. `kind` says what it is, `action` which act it is about; text is searchable, bytes are not."""
        tenant, agent = checked(tenant, agent)
        checked_name(kind, "kind")
        about = checked_name(action, "action") if action is not None else ""
        data = encoded(content) if isinstance(content, str) else checked_content(bytes(content))
        floats = checked_vector(vector) if vector is not None else None
        act, id = self._core.act(agent, written_by, trace_id, ttl_s), new_id()
        content_type = TEXT if isinstance(content, str) else BINARY

        def prepare(key: AgentKey) -> tuple[bytes, str, bytes, str]:
            text = words.indexed(key.index, content) if isinstance(content, str) else ""
            sealed = key.seal(("item", id, kind, about, content_type), data)
            vectors = key.seal(("vector", id), floats.tobytes()) if floats is not None else b""
            return sealed, text, vectors, commitment(key, data)

        def fn(key: AgentKey, prepared: tuple[bytes, str, bytes, str], tx: Tx) -> None:
            (sealed, text, sealed_vector, committed), at = prepared, partition(key)
            seq = rows.grow(tx, at, items=1)
            row = rows.ItemRow(
                seq, id, kind, about, content_type, act.by, act.now, act.expires_at, trace_id, sealed
            )  # fmt: skip
            rows.insert_item(tx, at, row, text)
            if floats is not None:
                rows.insert_vector(tx, at, seq, rows.VectorRow(id, act.expires_at, sealed_vector, len(floats)))
            tx.record(
                self._core.entry(
                    tenant, agent, act, "ContextStored", "memory.store",
                    id=id, kind=kind, bytes=len(data), commitment=committed,
                )
            )  # fmt: skip

        await self._core.keys.write(tenant, agent, prepare, fn)
        return Context(tenant, agent, id, kind, action, data, content_type, act.origin())

    # Read

    async def fetch_reasoning_context(
        self, tenant: TenantId, agent: AgentId, action: str, limit: int = 10
    ) -> list[Context]:
        """What an approver should read about this act: written for it, then speaking of it, then thought last; newest first in each."""
        tenant, agent = checked(tenant, agent)
        checked_name(action, "action")
        limit, now = checked_limit(limit), self._core.clock.now()

        def fn(key: AgentKey, tx: ReadTx) -> list[rows.ItemRow]:
            at = partition(key)
            exact = rows.items_of_action(tx, at, action, now, limit)
            exact += rows.items_of_kind(tx, at, action, now, limit, INTEGER_MAX)
            speaking = rows.search(tx, at, words.queried(key.index, action), REASONING, now, limit)
            recent = rows.items_of_kind(tx, at, REASONING, now, limit, INTEGER_MAX)
            return ranked((exact, speaking, recent), lambda row: row.seq, limit)

        return await self._contexts(tenant, agent, fn)

    async def search(
        self, tenant: TenantId, agent: AgentId, query: str, *, kind: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Context]:
        """Full text within the agent's memory: items with any of the words, the best first. A query without words finds nothing."""
        tenant, agent = checked(tenant, agent)
        limit, now = checked_limit(limit), self._core.clock.now()
        encoded(query, "query")

        def fn(key: AgentKey, tx: ReadTx) -> list[rows.ItemRow]:
            return rows.search(tx, partition(key), words.queried(key.index, query), kind, now, limit)

        return await self._contexts(tenant, agent, fn)

    async def nearest(
        self,
        tenant: TenantId,
        agent: AgentId,
        vector: Sequence[float],
        *,
        limit: int = 10,
        metric: Metric = Metric.COSINE,
    ) -> list[Match]:
        """The items whose vectors are nearest, exactly. PL-821 if the vector has another dimension than the agent's others."""
        tenant, agent = checked(tenant, agent)
        limit, now, query = checked_limit(limit), self._core.clock.now(), checked_vector(vector)

        def fn(key: AgentKey, tx: ReadTx) -> list[tuple[rows.ItemRow, float]]:
            found = dict(self._recall.search(tx, key, query, limit, metric, now))
            return [(row, found[row.seq]) for row in rows.items_by_seq(tx, partition(key), list(found), None, now)]

        done = await self._core.keys.read(tenant, agent, fn)
        return [Match(opened(done[0], row), score) for row, score in done[1]] if done else []

    async def recent(
        self,
        tenant: TenantId,
        agent: AgentId,
        *,
        kind: str | None = None,
        cursor: str | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> ContextPage:
        """Everything the agent remembers, newest first."""
        tenant, agent = checked(tenant, agent)
        limit, now, before = checked_limit(limit), self._core.clock.now(), place_of(cursor, int, INTEGER_MAX)

        def fn(key: AgentKey, tx: ReadTx) -> list[rows.ItemRow]:
            at = partition(key)
            if kind is None:
                return rows.items(tx, at, now, limit + 1, before)
            return rows.items_of_kind(tx, at, kind, now, limit + 1, before)

        done = await self._core.keys.read(tenant, agent, fn)
        if done is None:
            return ContextPage(())
        key, found = done
        page, more = cut(found, limit, lambda last: last.seq)
        return ContextPage(tuple(opened(key, row) for row in page), more)

    async def get(self, tenant: TenantId, agent: AgentId, id: str) -> Context:
        """One item of this agent; PL-404 also if it is another's."""
        tenant, agent = checked(tenant, agent)
        now = self._core.clock.now()
        done = await self._core.keys.read(tenant, agent, lambda key, tx: rows.item(tx, partition(key), id, now))
        if done is None or done[1] is None:
            raise NotFound("PL-404", "no such memory")
        return opened(done[0], done[1])

    async def usage(self, tenant: TenantId, agent: AgentId) -> Usage:
        tenant, agent = checked(tenant, agent)
        done = await self._core.keys.read(tenant, agent, lambda key, tx: rows.usage(tx, partition(key)))
        return done[1] if done else Usage(0, 0, 0)

    async def _contexts(self, tenant: TenantId, agent: AgentId, fn: Any) -> list[Context]:
        done = await self._core.keys.read(tenant, agent, fn)
        return [opened(done[0], row) for row in done[1]] if done else []

    # Erase

    async def erase(
        self,
        tenant: TenantId,
        agent: AgentId,
        id: str,
        *,
        by: AgentId,
        reason: str = "",
        trace_id: str | None = None,
    ) -> Erasure:
        """Remove one item, its words and its vector; the ledger keeps that it was erased."""
        tenant, agent = checked(tenant, agent)
        act = self._core.act(agent, by, trace_id)

        def fn(key: AgentKey, _: None, tx: Tx) -> Erasure:
            if not rows.delete_items(tx, partition(key), [id]):
                raise NotFound("PL-404", "no such memory")
            entry = self._core.entry(
                tenant, agent, act, "MemoryErased", "memory.erase", scope="item", id=id, reason=reason
            )
            return Erasure(tx.record(entry), items=1)

        await self._required(tenant, agent)
        return await self._core.keys.write(tenant, agent, nothing, fn)

    async def erase_agent(
        self, tenant: TenantId, agent: AgentId, *, by: AgentId, reason: str = "", trace_id: str | None = None
    ) -> Erasure:
        """Forget an agent whole: its key in one transaction, from when nothing can be opened, then every row."""
        tenant, agent = checked(tenant, agent)
        act = self._core.act(agent, by, trace_id)

        def fn(key: AgentKey, _: None, tx: Tx) -> tuple[Erasure, rows.Partition]:
            at = partition(key)
            used = rows.usage(tx, at)
            removal.destroy_key(tx, at)
            tx.signal(ERASED, wire.encode((tenant, agent)).decode())
            entry = self._core.entry(
                tenant, agent, act, "MemoryErased", "memory.erase", scope="agent", generation=key.generation,
                items=used.items, turns=used.turns, states=used.states, key_destroyed=True, reason=reason,
            )  # fmt: skip
            return Erasure(tx.record(entry), used.items, used.turns, used.states, True), at

        await self._required(tenant, agent)
        erasure, at = await self._core.keys.write(tenant, agent, nothing, fn)
        self._forget(wire.encode((tenant, agent)).decode())
        await self._remove(at)
        return erasure

    async def _required(self, tenant: TenantId, agent: AgentId) -> None:
        """Erasing must not make a key for an agent that never remembered anything."""
        if await self._core.keys.read(tenant, agent, lambda key, tx: None) is None:
            raise NotFound("PL-404", "no such memory")

    async def _remove(self, at: rows.Partition) -> int:
        total = 0
        while removed := await self._core.store.write(lambda tx: removal.remove_some(tx, at, PAGE_ITEMS_MAX)):
            total += removed
        return total

    def _forget(self, payload: str) -> None:
        tenant, agent = wire.decode(payload, tuple[str, str], what="signal")
        self._recall.forget(TenantId(tenant), AgentId(agent))
        self._core.keys.drop(TenantId(tenant), AgentId(agent))

    # Upkeep

    async def sweep(self, *, agent: AgentId) -> int:
        """Remove what has expired and finish erasures that a crash interrupted. How many rows went."""
        now = self._core.clock.now()
        total = 0
        for at in await self._core.store.read(lambda tx: removal.erasing(tx, PAGE_ITEMS_MAX)):
            total += await self._remove(at)
        for at in await self._core.store.read(lambda tx: removal.expired_partitions(tx, now, PAGE_ITEMS_MAX)):
            total += await self._core.store.write(self._expiring(at, agent, now))
        return total

    def _expiring(self, at: rows.Partition, by: AgentId, now: ConsensusTimestamp) -> Any:
        def fn(tx: Tx) -> int:
            items, turns, states = removal.remove_expired(tx, at, now, PAGE_ITEMS_MAX)
            if items + turns + states:
                act = self._core.act(at[1], by, None)
                tx.record(
                    self._core.entry(
                        at[0], at[1], act, "MemoryExpired", "memory.expire", items=items, turns=turns, states=states
                    )
                )
            return items + turns + states

        return fn

    async def rotate_key(self, tenant: TenantId) -> int:
        """Put a fresh memory key of the tenant in use and wrap every agent's key with it; no content is touched."""
        tenant = checked_tenant(tenant)
        await self._core.keys.rotate(tenant)
        return await self.rewrap(tenant)

    async def rewrap(self, tenant: TenantId) -> int:
        """Wrap what an older memory key still wraps: resumes a rotation that was interrupted."""
        tenant, total = checked_tenant(tenant), 0
        while wrapped := await self._core.keys.rewrap(tenant, PAGE_ITEMS_MAX):
            total += wrapped
        return total


MemoryClient = Memory  # the client's name


def opened(key: AgentKey, row: rows.ItemRow) -> Context:
    content = key.open(("item", row.id, row.kind, row.action, row.content_type), row.content)
    return Context(
        key.tenant, key.agent, row.id, row.kind, row.action or None, content, row.content_type, origin_of(row)
    )
