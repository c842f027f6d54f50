"""The SQL of removing many rows: erased generations and what has expired. Page by page, so that no transaction is long."""

from __future__ import annotations

from typing import LiteralString

from creto.common.ids import AgentId, TenantId
from creto.security.memory.store import Partition, delete_items, grow
from creto.store.types import EngineName, ReadTx, Tx

TABLES: tuple[LiteralString, ...] = ("memory_item", "memory_vector", "memory_turn", "memory_state")


def destroy_key(tx: Tx, at: Partition) -> bool:
    """From here on nothing of this generation can be found or opened."""
    removed = tx.run("DELETE FROM memory_agent WHERE tenant = ? AND agent = ? AND generation = ?", *at)
    if removed:
        tx.run("INSERT INTO memory_erasing (tenant, agent, generation) VALUES (?, ?, ?)", *at)
    return bool(removed)


def erasing(tx: ReadTx, limit: int) -> list[Partition]:
    rows = tx.all("SELECT tenant, agent, generation FROM memory_erasing LIMIT ?", limit)
    return [(TenantId(tenant), AgentId(agent), generation) for tenant, agent, generation in rows]


def remove_some(tx: Tx, at: Partition, limit: int) -> int:
    """Remove rows of an erased generation; when none is left, the note that it is being erased. How many went."""
    removed = 0
    if tx.engine is EngineName.SQLITE:
        tx.run(
            "DELETE FROM memory_words WHERE rowid IN (SELECT num FROM memory_item"
            " WHERE tenant = ? AND agent = ? AND generation = ? ORDER BY seq LIMIT ?)",
            *at,
            limit,
        )
    for table in TABLES:
        order: LiteralString = "state_key" if table == "memory_state" else "seq"
        removed += tx.run(
            f"DELETE FROM {table} WHERE tenant = ? AND agent = ? AND generation = ?"
            f" AND {order} IN (SELECT {order} FROM {table} WHERE tenant = ? AND agent = ? AND generation = ?"
            f" ORDER BY {order} LIMIT ?)",
            *at,
            *at,
            limit,
        )
    if not removed:
        tx.run("DELETE FROM memory_erasing WHERE tenant = ? AND agent = ? AND generation = ?", *at)
    return removed


def expired_partitions(tx: ReadTx, now: int, limit: int) -> list[Partition]:
    """Where something has expired, of generations that are alive."""
    rows = tx.all(
        "SELECT DISTINCT e.tenant, e.agent, e.generation FROM ("
        "SELECT tenant, agent, generation FROM memory_item WHERE expires_at > 0 AND expires_at <= ? UNION ALL "
        "SELECT tenant, agent, generation FROM memory_turn WHERE expires_at > 0 AND expires_at <= ? UNION ALL "
        "SELECT tenant, agent, generation FROM memory_state WHERE expires_at > 0 AND expires_at <= ?) e"
        " JOIN memory_agent a ON a.tenant = e.tenant AND a.agent = e.agent AND a.generation = e.generation LIMIT ?",
        now,
        now,
        now,
        limit,
    )
    return [(TenantId(tenant), AgentId(agent), generation) for tenant, agent, generation in rows]


def remove_expired(tx: Tx, at: Partition, now: int, limit: int) -> tuple[int, int, int]:
    """How many items, turns and states of one agent went."""
    ids = tx.all(
        "SELECT id FROM memory_item WHERE tenant = ? AND agent = ? AND generation = ?"
        " AND expires_at > 0 AND expires_at <= ? ORDER BY seq LIMIT ?",
        *at,
        now,
        limit,
    )
    items = delete_items(tx, at, [row[0] for row in ids])
    turns = tx.run(
        "DELETE FROM memory_turn WHERE tenant = ? AND agent = ? AND generation = ?"
        " AND expires_at > 0 AND expires_at <= ?",
        *at,
        now,
    )
    states = tx.run(
        "DELETE FROM memory_state WHERE tenant = ? AND agent = ? AND generation = ?"
        " AND expires_at > 0 AND expires_at <= ?",
        *at,
        now,
    )
    if turns or states:
        grow(tx, at, turns=-turns, states=-states)
    return items, turns, states
