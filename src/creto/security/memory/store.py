"""The rows of memory. Every statement on content names the tenant, the agent and the generation."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import LiteralString

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CONTEXT_ITEMS_MAX
from creto.security.memory.types import StateKey, Usage
from creto.store.types import EngineName, ReadTx, Row, Tx

Partition = tuple[TenantId, AgentId, str]  # tenant, agent, generation

ITEM: LiteralString = (
    "SELECT i.seq, i.id, i.kind, i.action, i.content_type, i.written_by, i.written_at, i.expires_at, i.trace_id,"
    " i.content FROM memory_item i"
)
SEQ: LiteralString = "SELECT i.seq FROM memory_item i"
NUM_AND_SEQ: LiteralString = "SELECT i.num, i.seq FROM memory_item i"
NUM: LiteralString = "SELECT i.num FROM memory_item i"
WITHIN: LiteralString = " WHERE i.tenant = ? AND i.agent = ? AND i.generation = ?"
ALIVE: LiteralString = " AND (i.expires_at = 0 OR i.expires_at > ?)"
AMONG: LiteralString = " AND i.seq IN (SELECT value FROM json_each(?))"
AMONG_NUMS: LiteralString = " AND i.num IN (SELECT value FROM json_each(?))"
OF_KIND: LiteralString = " AND (i.kind = ? OR ? = '')"


class AgentRow(msgspec.Struct, frozen=True):
    tenant: TenantId
    agent: AgentId
    generation: str
    key_version: int
    sealed_key: bytes


class ItemRow(msgspec.Struct, frozen=True):
    seq: int
    id: str
    kind: str
    action: str
    content_type: str
    written_by: str
    written_at: int
    expires_at: int
    trace_id: str | None
    content: bytes


class VectorRow(msgspec.Struct, frozen=True):
    id: str  # of the item
    expires_at: int
    vector: bytes
    dimensions: int


class TurnRow(msgspec.Struct, frozen=True):
    seq: int
    id: str
    role: str
    written_by: str
    written_at: int
    expires_at: int
    trace_id: str | None
    content: bytes


class StateRow(msgspec.Struct, frozen=True):
    key: str
    version: int
    written_by: str
    written_at: int
    expires_at: int
    trace_id: str | None
    content: bytes


# Agents


def generation(tx: ReadTx, tenant: TenantId, agent: AgentId) -> str | None:
    found: str | None = tx.value("SELECT generation FROM memory_agent WHERE tenant = ? AND agent = ?", tenant, agent)
    return found


def agent_row(row: Row) -> AgentRow:
    return AgentRow(TenantId(row[0]), AgentId(row[1]), row[2], row[3], bytes(row[4]))


def find_agent(tx: ReadTx, tenant: TenantId, agent: AgentId) -> AgentRow | None:
    row = tx.one(
        "SELECT tenant, agent, generation, key_version, sealed_key FROM memory_agent WHERE tenant = ? AND agent = ?",
        tenant,
        agent,
    )
    return agent_row(row) if row else None


def insert_agent(tx: Tx, row: AgentRow) -> bool:
    return bool(
        tx.run(
            "INSERT INTO memory_agent (tenant, agent, generation, key_version, sealed_key, last_seq, items, turns,"
            " states, dimensions, erasures) VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0) ON CONFLICT (tenant, agent) DO NOTHING",
            row.tenant,
            row.agent,
            row.generation,
            row.key_version,
            row.sealed_key,
        )
    )


def stale_keys(tx: ReadTx, tenant: TenantId, version: int, limit: int) -> list[AgentRow]:
    rows = tx.all(
        "SELECT tenant, agent, generation, key_version, sealed_key FROM memory_agent"
        " WHERE tenant = ? AND key_version <> ? LIMIT ?",
        tenant,
        version,
        limit,
    )
    return [agent_row(row) for row in rows]


def rewrap_agent(tx: Tx, row: AgentRow, version: int, sealed: bytes) -> None:
    tx.run(
        "UPDATE memory_agent SET key_version = ?, sealed_key = ?"
        " WHERE tenant = ? AND agent = ? AND generation = ? AND key_version = ?",
        version,
        sealed,
        row.tenant,
        row.agent,
        row.generation,
        row.key_version,
    )


def grow(tx: Tx, at: Partition, *, items: int = 0, turns: int = 0, states: int = 0) -> int:
    """Count rows in or out and draw as many sequence numbers as come in (at least one); the last of them. PL-413 when full."""
    row = tx.one(
        "UPDATE memory_agent SET last_seq = last_seq + ?, items = items + ?, turns = turns + ?, states = states + ?"
        " WHERE tenant = ? AND agent = ? AND generation = ? RETURNING last_seq, items, turns, states",
        max(items + turns + states, 1),
        items,
        turns,
        states,
        *at,
    )
    if row is None:
        raise InvalidInput("PL-400", "the agent's memory is not there")
    for name, count, change in zip(("items", "turns", "states"), row[1:], (items, turns, states), strict=True):
        if change > 0 and count > CONTEXT_ITEMS_MAX:
            raise InvalidInput.of(name, got=count, expected=f"at most {CONTEXT_ITEMS_MAX} of one agent", code="PL-413")
    return int(row[0])


def usage(tx: ReadTx, at: Partition) -> Usage:
    row = tx.one("SELECT items, turns, states FROM memory_agent WHERE tenant = ? AND agent = ? AND generation = ?", *at)
    return Usage(*row) if row else Usage(0, 0, 0)


# Items


def insert_item(tx: Tx, at: Partition, row: ItemRow, words: str) -> None:
    values = (*at, *msgspec.structs.astuple(row))
    if tx.engine is EngineName.POSTGRES:
        tx.run(
            "INSERT INTO memory_item (tenant, agent, generation, seq, id, kind, action, content_type, written_by,"
            " written_at, expires_at, trace_id, content, words)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, to_tsvector('simple', ?))",
            *values,
            words,
        )
        return
    num = tx.value(
        "INSERT INTO memory_item (tenant, agent, generation, seq, id, kind, action, content_type, written_by,"
        " written_at, expires_at, trace_id, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING num",
        *values,
    )
    tx.run("INSERT INTO memory_words (rowid, words) VALUES (?, ?)", num, words)


def item_row(row: Row) -> ItemRow:
    seq, id, kind, action, content_type, written_by, written_at, expires_at, trace_id, content = row
    return ItemRow(seq, id, kind, action, content_type, written_by, written_at, expires_at, trace_id, bytes(content))


def item_rows(rows: Sequence[Row]) -> list[ItemRow]:
    return [item_row(row) for row in rows]


def item(tx: ReadTx, at: Partition, id: str, now: int) -> ItemRow | None:
    found = item_rows(tx.all(ITEM + WITHIN + ALIVE + " AND i.id = ?", *at, now, id))
    return found[0] if found else None


def items_by_seq(tx: ReadTx, at: Partition, seqs: Sequence[int], kind: str | None, now: int) -> list[ItemRow]:
    """Those of the items that are alive and of the kind (None: any), in the order asked for."""
    if tx.engine is EngineName.POSTGRES:
        sql = ITEM + WITHIN + ALIVE + OF_KIND + " AND i.seq = ANY(?)"
        found = item_rows(tx.all(sql, *at, now, kind or "", kind or "", list(seqs)))
    else:
        sql = ITEM + WITHIN + ALIVE + OF_KIND + AMONG
        found = item_rows(tx.all(sql, *at, now, kind or "", kind or "", wire.encode(seqs).decode()))
    rows = {row.seq: row for row in found}
    return [rows[seq] for seq in seqs if seq in rows]


def items_of_action(tx: ReadTx, at: Partition, action: str, now: int, limit: int) -> list[ItemRow]:
    return item_rows(
        tx.all(ITEM + WITHIN + ALIVE + " AND i.action = ? ORDER BY i.seq DESC LIMIT ?", *at, now, action, limit)
    )


def items_of_kind(tx: ReadTx, at: Partition, kind: str, now: int, limit: int, before: int) -> list[ItemRow]:
    sql = ITEM + WITHIN + ALIVE + " AND i.kind = ? AND i.seq < ? ORDER BY i.seq DESC LIMIT ?"
    return item_rows(tx.all(sql, *at, now, kind, before, limit))


def items(tx: ReadTx, at: Partition, now: int, limit: int, before: int) -> list[ItemRow]:
    sql = ITEM + WITHIN + ALIVE + " AND i.seq < ? ORDER BY i.seq DESC LIMIT ?"
    return item_rows(tx.all(sql, *at, now, before, limit))


def search(tx: ReadTx, at: Partition, words: Sequence[str], kind: str | None, now: int, limit: int) -> list[ItemRow]:
    """Items with any of the words. Rare words weigh more (inverse document frequency), of equals the newest comes first.

    The engines' own ranking counts documents of every agent; ours counts this agent's, so others neither show nor matter."""
    total = usage(tx, at).items
    scores: dict[int, float] = {}
    for word in words:
        found = postings(tx, at, word)
        weight = math.log(1 + max(total, len(found)) / len(found)) if found else 0.0
        for place in found:
            scores[place] = scores.get(place, 0.0) + weight
    wanted = 2 * limit
    while True:
        best = heapq.nlargest(wanted, zip(scores.values(), scores, strict=True))
        rows = items_by_seq(tx, at, seqs_of(tx, at, [place for _, place in best]), kind, now)[:limit]
        if len(rows) == limit or wanted >= len(scores):
            return rows
        wanted *= 8  # some had expired or were of another kind


def postings(tx: ReadTx, at: Partition, word: str) -> list[int]:
    """Where the word stands: sequence numbers, or on SQLite the row numbers that FTS5 knows, which grow alike.

    A word is a digest of letters only, so no query syntax can hide in it."""
    if tx.engine is EngineName.POSTGRES:
        sql = SEQ + WITHIN + " AND i.words @@ to_tsquery('simple', ?)"
        return [row[0] for row in tx.all(sql, *at, word)]
    return [row[0] for row in tx.all("SELECT rowid FROM memory_words WHERE memory_words MATCH ?", word)]


def seqs_of(tx: ReadTx, at: Partition, places: list[int]) -> list[int]:
    """Row numbers as the sequence numbers of this partition, in the same order; a row that is not the agent's drops out here."""
    if tx.engine is EngineName.POSTGRES:
        return places
    sql = NUM_AND_SEQ + WITHIN + AMONG_NUMS
    known: dict[int, int] = dict(tx.all(sql, *at, wire.encode(places).decode()))
    return [known[num] for num in places if num in known]


def delete_items(tx: Tx, at: Partition, ids: Sequence[str]) -> int:
    """Remove items, their words and their vectors."""
    removed = 0
    for id in ids:
        if tx.engine is EngineName.SQLITE:
            num = tx.value(NUM + WITHIN + " AND i.id = ?", *at, id)
            tx.run("DELETE FROM memory_words WHERE rowid = ?", num)
        seq = tx.value(
            "DELETE FROM memory_item WHERE tenant = ? AND agent = ? AND generation = ? AND id = ? RETURNING seq",
            *at,
            id,
        )
        if seq is not None:
            removed += 1
            tx.run("DELETE FROM memory_vector WHERE tenant = ? AND agent = ? AND generation = ? AND seq = ?", *at, seq)
    if removed:
        tx.run("UPDATE memory_agent SET erasures = erasures + 1 WHERE tenant = ? AND agent = ? AND generation = ?", *at)
        grow(tx, at, items=-removed)
    return removed


# Vectors


def insert_vector(tx: Tx, at: Partition, seq: int, row: VectorRow) -> None:
    """The first vector fixes the dimension of the agent's partition; PL-821 for another."""
    known = tx.value("SELECT dimensions FROM memory_agent WHERE tenant = ? AND agent = ? AND generation = ?", *at)
    if known not in (0, row.dimensions):
        raise InvalidInput.of("vector", got=f"{row.dimensions} numbers", expected=f"{known} numbers", code="PL-821")
    if known == 0:
        sql: LiteralString = "UPDATE memory_agent SET dimensions = ? WHERE tenant = ? AND agent = ? AND generation = ?"
        tx.run(sql, row.dimensions, *at)
    tx.run(
        "INSERT INTO memory_vector (tenant, agent, generation, seq, id, expires_at, vector)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *at,
        seq,
        row.id,
        row.expires_at,
        row.vector,
    )


def vector_mark(tx: ReadTx, at: Partition) -> tuple[int, int, int]:
    """Dimension, erasures, last sequence number: what says whether an index in memory is still whole."""
    row = tx.one(
        "SELECT dimensions, erasures, last_seq FROM memory_agent WHERE tenant = ? AND agent = ? AND generation = ?", *at
    )
    return (row[0], row[1], row[2]) if row else (0, 0, 0)


def vectors(tx: ReadTx, at: Partition, after: int) -> list[tuple[int, str, int, bytes]]:
    rows = tx.all(
        "SELECT seq, id, expires_at, vector FROM memory_vector"
        " WHERE tenant = ? AND agent = ? AND generation = ? AND seq > ? ORDER BY seq",
        *at,
        after,
    )
    return [(seq, id, expires_at, bytes(vector)) for seq, id, expires_at, vector in rows]


# Conversations


def insert_turns(tx: Tx, at: Partition, conversation: str, turns: Sequence[TurnRow]) -> None:
    tx.many(
        "INSERT INTO memory_turn (tenant, agent, generation, conversation, seq, id, role, written_by, written_at,"
        " expires_at, trace_id, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*at, conversation, *msgspec.structs.astuple(turn)) for turn in turns],
    )


def turn_row(row: Row) -> TurnRow:
    seq, id, role, written_by, written_at, expires_at, trace_id, content = row
    return TurnRow(seq, id, role, written_by, written_at, expires_at, trace_id, bytes(content))


def turns(
    tx: ReadTx, at: Partition, conversation: str, now: int, limit: int, edge: int, newest_first: bool
) -> list[TurnRow]:
    order: LiteralString = " AND seq < ? ORDER BY seq DESC" if newest_first else " AND seq > ? ORDER BY seq"
    sql = (
        "SELECT seq, id, role, written_by, written_at, expires_at, trace_id, content FROM memory_turn"
        " WHERE tenant = ? AND agent = ? AND generation = ? AND conversation = ?"
        " AND (expires_at = 0 OR expires_at > ?)" + order + " LIMIT ?"
    )
    return [turn_row(row) for row in tx.all(sql, *at, conversation, now, edge, limit)]


def conversations(tx: ReadTx, at: Partition, after: str, now: int, limit: int) -> list[str]:
    rows = tx.all(
        "SELECT DISTINCT conversation FROM memory_turn WHERE tenant = ? AND agent = ? AND generation = ?"
        " AND conversation > ? AND (expires_at = 0 OR expires_at > ?) ORDER BY conversation LIMIT ?",
        *at,
        after,
        now,
        limit,
    )
    return [row[0] for row in rows]


def delete_turns(tx: Tx, at: Partition, conversation: str) -> int:
    removed = tx.run(
        "DELETE FROM memory_turn WHERE tenant = ? AND agent = ? AND generation = ? AND conversation = ?",
        *at,
        conversation,
    )
    if removed:
        grow(tx, at, turns=-removed)
    return removed


# State


def state_row(row: Row) -> StateRow:
    key, version, written_by, written_at, expires_at, trace_id, content = row
    return StateRow(key, version, written_by, written_at, expires_at, trace_id, bytes(content))


def state(tx: ReadTx, at: Partition, key: str, now: int) -> StateRow | None:
    row = tx.one(
        "SELECT state_key, version, written_by, written_at, expires_at, trace_id, content FROM memory_state"
        " WHERE tenant = ? AND agent = ? AND generation = ? AND state_key = ? AND (expires_at = 0 OR expires_at > ?)",
        *at,
        key,
        now,
    )
    return state_row(row) if row else None


def state_stored(tx: ReadTx, at: Partition, key: str) -> bool:
    """Whether there is a row at all, also one that has expired."""
    sql: LiteralString = (
        "SELECT 1 FROM memory_state WHERE tenant = ? AND agent = ? AND generation = ? AND state_key = ?"
    )
    return tx.one(sql, *at, key) is not None


def save_state(tx: Tx, at: Partition, row: StateRow) -> None:
    tx.run(
        "INSERT INTO memory_state (tenant, agent, generation, state_key, version, written_by, written_at, expires_at,"
        " trace_id, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, agent, generation, state_key) DO UPDATE SET version = excluded.version,"
        " written_by = excluded.written_by, written_at = excluded.written_at, expires_at = excluded.expires_at,"
        " trace_id = excluded.trace_id, content = excluded.content",
        *at,
        *msgspec.structs.astuple(row),
    )


def state_keys(tx: ReadTx, at: Partition, prefix: str, after: str, now: int, limit: int) -> list[StateKey]:
    rows = tx.all(
        "SELECT state_key, version FROM memory_state WHERE tenant = ? AND agent = ? AND generation = ?"
        " AND state_key >= ? AND state_key > ? AND state_key < ? AND (expires_at = 0 OR expires_at > ?)"
        " ORDER BY state_key LIMIT ?",
        *at,
        prefix,
        after,
        prefix + "\U0010ffff",
        now,
        limit,
    )
    return [StateKey(*row) for row in rows]


def delete_state(tx: Tx, at: Partition, key: str) -> bool:
    removed = tx.run(
        "DELETE FROM memory_state WHERE tenant = ? AND agent = ? AND generation = ? AND state_key = ?", *at, key
    )
    if removed:
        grow(tx, at, states=-removed)
    return bool(removed)
