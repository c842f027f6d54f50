"""State: values under keys, with versions, changed by compare-and-set.

    entry = await memory.state.put(tenant, agent, "plan", b"...", expected=0)        # 0: there must be none
    await memory.state.put(tenant, agent, "plan", b"...", expected=entry.version)    # PL-412 if it changed

INVARIANT: versions grow and none is given twice within an agent's memory, so a deleted and rewritten key is not taken for the old one.
"""

from __future__ import annotations

from creto.common.errors import AlreadyExists, NotFound
from creto.common.ids import AgentId, TenantId, checked_name
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.paging import checked_limit, cut, place_of
from creto.security.memory import store as rows
from creto.security.memory.agentkeys import AgentKey
from creto.security.memory.core import (
    Act,
    Core,
    checked,
    checked_content,
    commitment,
    nothing,
    origin_of,
    partition,
)
from creto.security.memory.types import Erasure, StateEntry, StateKeys
from creto.store.types import ReadTx, Tx


class State:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def put(
        self,
        tenant: TenantId,
        agent: AgentId,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        ttl_s: float | None = None,
        written_by: AgentId | None = None,
        trace_id: str | None = None,
    ) -> StateEntry:
        """Set a value; with `expected` only if that is its version now (0: no value), else PL-412."""
        tenant, agent = checked(tenant, agent)
        checked_name(key, "key")
        checked_content(value, "value")
        act = self._core.act(agent, written_by, trace_id, ttl_s)

        def fn(secret: AgentKey, _: None, tx: Tx) -> StateEntry:
            at = partition(secret)
            check_version(tx, at, key, expected, act.now)
            version = rows.grow(tx, at, states=0 if rows.state_stored(tx, at, key) else 1)
            sealed = secret.seal(("state", key, str(version)), bytes(value))
            row = rows.StateRow(key, version, act.by, act.now, act.expires_at, trace_id, sealed)
            rows.save_state(tx, at, row)
            entry = self._core.entry(
                tenant, agent, act, "StateChanged", "memory.put",
                key=key, version=version, bytes=len(value), commitment=commitment(secret, bytes(value)),
            )  # fmt: skip
            tx.record(entry)
            return StateEntry(tenant, agent, key, version, bytes(value), act.origin())

        return await self._core.keys.write(tenant, agent, nothing, fn)

    async def get(self, tenant: TenantId, agent: AgentId, key: str) -> StateEntry | None:
        tenant, agent = checked(tenant, agent)
        now = self._core.clock.now()
        done = await self._core.keys.read(tenant, agent, lambda secret, tx: rows.state(tx, partition(secret), key, now))
        if done is None or done[1] is None:
            return None
        secret, row = done[0], done[1]
        value = secret.open(("state", key, str(row.version)), row.content)
        return StateEntry(tenant, agent, key, row.version, value, origin_of(row))

    async def keys(
        self,
        tenant: TenantId,
        agent: AgentId,
        prefix: str = "",
        *,
        cursor: str | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> StateKeys:
        """Keys that begin with `prefix` and their versions, in byte order."""
        tenant, agent = checked(tenant, agent)
        limit, after, now = checked_limit(limit), place_of(cursor, str, ""), self._core.clock.now()
        done = await self._core.keys.read(
            tenant, agent, lambda secret, tx: rows.state_keys(tx, partition(secret), prefix, after, now, limit + 1)
        )
        return StateKeys(*cut(done[1] if done else (), limit, lambda last: last.key))

    async def erase(
        self,
        tenant: TenantId,
        agent: AgentId,
        key: str,
        *,
        by: AgentId,
        expected: int | None = None,
        reason: str = "",
        trace_id: str | None = None,
    ) -> Erasure:
        """Remove a key and its value; with `expected` only that version. The ledger keeps that it was erased."""
        tenant, agent = checked(tenant, agent)
        act: Act = self._core.act(agent, by, trace_id)

        def fn(secret: AgentKey, _: None, tx: Tx) -> Erasure:
            at = partition(secret)
            check_version(tx, at, key, expected, act.now)
            if not rows.delete_state(tx, at, key):
                raise NotFound("PL-404", f"no state {key}")
            entry = self._core.entry(
                tenant, agent, act, "MemoryErased", "memory.erase", scope="state", key=key, reason=reason
            )
            return Erasure(tx.record(entry), states=1)

        if await self.get(tenant, agent, key) is None:
            raise NotFound("PL-404", f"no state {key}")
        return await self._core.keys.write(tenant, agent, nothing, fn)


def check_version(tx: ReadTx, at: rows.Partition, key: str, expected: int | None, now: int) -> None:
    if expected is None:
        return
    row = rows.state(tx, at, key, now)
    current = row.version if row else 0
    if current != expected:
        raise AlreadyExists.of(f"version of {key}", got=current, expected=expected, code="PL-412")
