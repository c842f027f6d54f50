"""Rows of what was approved in advance."""

from __future__ import annotations

from typing import LiteralString

from creto.common import wire
from creto.common.ids import TenantId
from creto.oversight.store import decoded
from creto.oversight.types import Ask, Grant
from creto.store.types import ReadTx, Tx

GRANTS_FOR: LiteralString = (
    "SELECT body FROM oversight_grant WHERE tenant = ? AND agent = ? AND action = ? AND resource = ?"
    " AND expires_at IS NOT NULL ORDER BY grant_id LIMIT 100"
)


def put_grant(tx: Tx, grant: Grant) -> None:
    """An ended grant has no expiry in its row: nobody looks for it any more."""
    expires_at = grant.expires_at if grant.ended_at is None else None
    tx.push(
        "INSERT INTO oversight_grant (tenant, grant_id, agent, action, resource, expires_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, grant_id) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body",
        grant.tenant, grant.grant_id, grant.agent, grant.action, grant.resource, expires_at, wire.encode(grant),
    )  # fmt: skip


def grants_for(tx: Tx, ask: Ask) -> list[Grant]:
    """The live grants of this agent for this act, held until the transaction ends: a use is counted once."""
    rows = tx.all(GRANTS_FOR + tx.for_update, ask.tenant, ask.agent, ask.action, ask.resource)
    return [decoded(row[0], Grant) for row in rows]


def live_grants(tx: ReadTx, ask: Ask) -> list[Grant]:
    """The same, to look at."""
    return [decoded(row[0], Grant) for row in tx.all(GRANTS_FOR, ask.tenant, ask.agent, ask.action, ask.resource)]


def grant(tx: ReadTx, tenant: TenantId, grant_id: str) -> Grant | None:
    row = tx.one("SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id = ?", tenant, grant_id)
    return decoded(row[0], Grant) if row else None


def locked_grant(tx: Tx, tenant: TenantId, grant_id: str) -> Grant | None:
    sql: LiteralString = "SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id = ?"
    row = tx.one(sql + tx.for_update, tenant, grant_id)
    return decoded(row[0], Grant) if row else None


def grants(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Grant]:
    rows = tx.all(
        "SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id > ? ORDER BY grant_id LIMIT ?",
        tenant,
        after,
        limit,
    )
    return [decoded(row[0], Grant) for row in rows]


def expired_grants(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, str]]:
    rows = tx.all(
        "SELECT tenant, grant_id FROM oversight_grant WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), grant_id) for tenant, grant_id in rows]
