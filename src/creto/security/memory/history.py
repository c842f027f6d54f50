"""Conversations: turns with roles, appended and paged in either direction."""

from __future__ import annotations

from collections.abc import Sequence

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, TenantId, checked_name, new_id
from creto.common.limits import BATCH_ITEMS_MAX, INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.paging import checked_limit, cut, place_of
from creto.security.memory import store as rows
from creto.security.memory.agentkeys import AgentKey
from creto.security.memory.core import Core, checked, commitment, encoded, nothing, origin_of, partition
from creto.security.memory.types import ConversationPage, Erasure, NewTurn, Role, Turn, TurnPage
from creto.store.types import Tx


class History:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def append(
        self,
        tenant: TenantId,
        agent: AgentId,
        conversation: str,
        turns: Sequence[NewTurn],
        *,
        ttl_s: float | None = None,
        written_by: AgentId | None = None,
        trace_id: str | None = None,
    ) -> tuple[Turn, ...]:
        """Add turns at the end of a conversation, all or none."""
        tenant, agent = checked(tenant, agent)
        checked_name(conversation, "conversation")
        if not 1 <= len(turns) <= BATCH_ITEMS_MAX:
            raise InvalidInput.of("turns", got=len(turns), expected=f"1 to {BATCH_ITEMS_MAX}")
        ids = [new_id() for _ in turns]
        contents = [(Role(turn.role), encoded(turn.content)) for turn in turns]
        act = self._core.act(agent, written_by, trace_id, ttl_s)

        def prepare(key: AgentKey) -> tuple[list[bytes], str]:
            sealed = [
                key.seal(("turn", conversation, id, role), data) for id, (role, data) in zip(ids, contents, strict=True)
            ]
            return sealed, commitment(key, b"".join(len(data).to_bytes(8) + data for _, data in contents))

        def fn(key: AgentKey, prepared: tuple[list[bytes], str], tx: Tx) -> int:
            first = rows.grow(tx, partition(key), turns=len(turns)) - len(turns) + 1
            fresh = [
                rows.TurnRow(first + n, ids[n], contents[n][0], act.by, act.now, act.expires_at, trace_id, sealed)
                for n, sealed in enumerate(prepared[0])
            ]
            rows.insert_turns(tx, partition(key), conversation, fresh)
            tx.record(
                self._core.entry(
                    tenant, agent, act, "TurnsAppended", "memory.append",
                    conversation=conversation, first=first, turns=len(turns), commitment=prepared[1],
                )
            )  # fmt: skip
            return first

        first = await self._core.keys.write(tenant, agent, prepare, fn)
        return tuple(
            Turn(tenant, agent, conversation, first + n, Role(turn.role), turn.content, act.origin())
            for n, turn in enumerate(turns)
        )

    async def page(
        self,
        tenant: TenantId,
        agent: AgentId,
        conversation: str,
        *,
        newest_first: bool = False,
        cursor: str | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> TurnPage:
        """Turns in the order they were said, or from the last one back."""
        tenant, agent = checked(tenant, agent)
        limit, now = checked_limit(limit), self._core.clock.now()
        edge = place_of(cursor, int, INTEGER_MAX if newest_first else 0)
        done = await self._core.keys.read(
            tenant,
            agent,
            lambda key, tx: rows.turns(tx, partition(key), conversation, now, limit + 1, edge, newest_first),
        )
        if done is None:
            return TurnPage(())
        key, found = done
        page, more = cut(found, limit, lambda last: last.seq)
        return TurnPage(tuple(opened(key, conversation, row) for row in page), more)

    async def conversations(
        self, tenant: TenantId, agent: AgentId, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> ConversationPage:
        """The agent's conversations, by name."""
        tenant, agent = checked(tenant, agent)
        limit, after, now = checked_limit(limit), place_of(cursor, str, ""), self._core.clock.now()
        done = await self._core.keys.read(
            tenant, agent, lambda key, tx: rows.conversations(tx, partition(key), after, now, limit + 1)
        )
        return ConversationPage(*cut(done[1] if done else (), limit, lambda last: last))

    async def erase(
        self,
        tenant: TenantId,
        agent: AgentId,
        conversation: str,
        *,
        by: AgentId,
        reason: str = "",
        trace_id: str | None = None,
    ) -> Erasure:
        """Remove a whole conversation; the ledger keeps that it was erased."""
        tenant, agent = checked(tenant, agent)
        act = self._core.act(agent, by, trace_id)

        def fn(key: AgentKey, _: None, tx: Tx) -> Erasure:
            removed = rows.delete_turns(tx, partition(key), conversation)
            if not removed:
                raise NotFound("PL-404", "no such conversation")
            entry = self._core.entry(
                tenant, agent, act, "MemoryErased", "memory.erase",
                scope="conversation", conversation=conversation, turns=removed, reason=reason,
            )  # fmt: skip
            return Erasure(tx.record(entry), turns=removed)

        if not (await self.conversations(tenant, agent, limit=1)).items:
            raise NotFound("PL-404", "no such conversation")
        return await self._core.keys.write(tenant, agent, nothing, fn)


def opened(key: AgentKey, conversation: str, row: rows.TurnRow) -> Turn:
    content = key.open(("turn", conversation, row.id, row.role), row.content)
    return Turn(key.tenant, key.agent, conversation, row.seq, Role(row.role), content.decode(), origin_of(row))
