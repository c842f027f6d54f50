"""The SQL of authorization. Every function takes a transaction and a tenant."""

from __future__ import annotations

from typing import LiteralString

from creto.common.errors import NotFound
from creto.common.ids import AgentId, TenantId
from creto.security.authz.cedar.values import Uid
from creto.security.authz.types import PolicyVersion, RoleAssignment
from creto.store.types import ReadTx, Row, Tx

SELECT_VERSION: LiteralString = (
    "SELECT v.tenant, v.version, v.text, v.schema, v.with_defaults, v.digest, v.policies, v.note, v.uploaded_by, v.uploaded_at, "
    "CASE WHEN a.version IS NULL THEN 0 ELSE 1 END FROM authz_version v "
    "LEFT JOIN authz_active a ON a.tenant = v.tenant AND a.version = v.version WHERE v.tenant = ?"
)


def version_of(row: Row) -> PolicyVersion:
    return PolicyVersion(
        tenant=row[0],
        version=row[1],
        text=row[2],
        schema=row[3],
        with_defaults=bool(row[4]),
        digest=bytes(row[5]),
        policies=row[6],
        note=row[7],
        uploaded_by=row[8],
        uploaded_at=row[9],
        active=bool(row[10]),
    )


def next_version(tx: ReadTx, tenant: TenantId) -> int:
    last: int | None = tx.value("SELECT MAX(version) FROM authz_version WHERE tenant = ?", tenant)
    return (last or 0) + 1


def add_version(tx: Tx, v: PolicyVersion) -> None:
    tx.run(
        "INSERT INTO authz_version (tenant, version, text, schema, with_defaults, digest, policies, note, uploaded_by, uploaded_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        v.tenant, v.version, v.text, v.schema, int(v.with_defaults), v.digest, v.policies, v.note, v.uploaded_by,
        v.uploaded_at,
    )  # fmt: skip


def version(tx: ReadTx, tenant: TenantId, number: int) -> PolicyVersion:
    row = tx.one(SELECT_VERSION + " AND v.version = ?", tenant, number)
    if row is None:
        raise NotFound(message="no such version of the policies", field="version", got=number)
    return version_of(row)


def versions(tx: ReadTx, tenant: TenantId, before: int, limit: int) -> list[PolicyVersion]:
    rows = tx.all(SELECT_VERSION + " AND v.version < ? ORDER BY v.version DESC LIMIT ?", tenant, before, limit)
    return [version_of(row) for row in rows]


def active_number(tx: ReadTx, tenant: TenantId) -> int:
    """The version that holds; 0 is the shipped policies alone."""
    found: int | None = tx.value("SELECT version FROM authz_active WHERE tenant = ?", tenant)
    return found or 0


def active(tx: ReadTx, tenant: TenantId) -> PolicyVersion | None:
    row = tx.one(SELECT_VERSION + " AND a.version IS NOT NULL", tenant)
    return version_of(row) if row else None


def activate(tx: Tx, tenant: TenantId, number: int, by: str, now: int) -> None:
    tx.run(
        "INSERT INTO authz_active (tenant, version, activated_by, activated_at) VALUES (?, ?, ?, ?) ON CONFLICT (tenant) "
        "DO UPDATE SET version = excluded.version, activated_by = excluded.activated_by, activated_at = excluded.activated_at",
        tenant, number, by, now,
    )  # fmt: skip


def assign(tx: Tx, role: RoleAssignment) -> bool:
    """Whether it is new."""
    added = tx.run(
        "INSERT INTO authz_role (tenant, agent, role, assigned_by, assigned_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, agent, role) DO NOTHING",
        role.tenant, role.agent, role.role, role.assigned_by, role.assigned_at,
    )  # fmt: skip
    return added > 0


def unassign(tx: Tx, tenant: TenantId, agent: AgentId, role: str) -> bool:
    return tx.run("DELETE FROM authz_role WHERE tenant = ? AND agent = ? AND role = ?", tenant, agent, role) > 0


def roles(tx: ReadTx, tenant: TenantId, agent: AgentId) -> tuple[str, ...]:
    rows = tx.all("SELECT role FROM authz_role WHERE tenant = ? AND agent = ? ORDER BY role", tenant, agent)
    return tuple(row[0] for row in rows)


def members(tx: ReadTx, tenant: TenantId, role: str, after: str, limit: int) -> list[RoleAssignment]:
    rows = tx.all(
        "SELECT tenant, agent, role, assigned_by, assigned_at FROM authz_role WHERE tenant = ? AND role = ? AND agent > ? "
        "ORDER BY agent LIMIT ?",
        tenant, role, after, limit,
    )  # fmt: skip
    return [RoleAssignment(*row) for row in rows]


def holders(tx: ReadTx, tenant: TenantId, role: str) -> list[AgentId]:
    return [row[0] for row in tx.all("SELECT agent FROM authz_role WHERE tenant = ? AND role = ?", tenant, role)]


def put_entity(tx: Tx, tenant: TenantId, uid: Uid, attrs: bytes, parents: bytes, now: int) -> None:
    tx.run(
        "INSERT INTO authz_entity (tenant, type, id, attrs, parents, changed_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, type, id) DO UPDATE SET attrs = excluded.attrs, parents = excluded.parents, "
        "changed_at = excluded.changed_at",
        tenant, uid.type, uid.id, attrs, parents, now,
    )  # fmt: skip


def drop_entity(tx: Tx, tenant: TenantId, uid: Uid) -> bool:
    return tx.run("DELETE FROM authz_entity WHERE tenant = ? AND type = ? AND id = ?", tenant, uid.type, uid.id) > 0


def entity(tx: ReadTx, tenant: TenantId, uid: Uid) -> tuple[bytes, bytes] | None:
    row = tx.one("SELECT attrs, parents FROM authz_entity WHERE tenant = ? AND type = ? AND id = ?", tenant, *uid)
    return (bytes(row[0]), bytes(row[1])) if row else None


def entities(tx: ReadTx, tenant: TenantId, after: tuple[str, str], limit: int) -> list[Row]:
    sql: LiteralString = (
        "SELECT type, id, attrs, parents FROM authz_entity WHERE tenant = ? AND (type, id) > (?, ?) "
        "ORDER BY type, id LIMIT ?"
    )
    return tx.all(sql, tenant, *after, limit)


def add_override(tx: Tx, tenant: TenantId, token_id: str, agent: AgentId, expires_at: int) -> None:
    tx.run(
        "INSERT INTO authz_override (tenant, token_id, agent, expires_at) VALUES (?, ?, ?, ?)",
        tenant, token_id, agent, expires_at,
    )  # fmt: skip


def override(tx: ReadTx, tenant: TenantId, token_id: str) -> Row | None:
    """(agent, expires_at, revoked_at)."""
    sql: LiteralString = "SELECT agent, expires_at, revoked_at FROM authz_override WHERE tenant = ? AND token_id = ?"
    return tx.one(sql + tx.for_update, tenant, token_id)


def revoke_override(tx: Tx, tenant: TenantId, token_id: str, now: int) -> bool:
    sql: LiteralString = (
        "UPDATE authz_override SET revoked_at = ? WHERE tenant = ? AND token_id = ? AND revoked_at IS NULL"
    )
    return tx.run(sql, now, tenant, token_id) > 0


def mark_used(tx: Tx, tenant: TenantId, token_id: str, by: str, now: int, expires_at: int) -> bool:
    """The mark that makes it once; False if it is there."""
    added = tx.run(
        "INSERT INTO authz_override_used (tenant, token_id, used_at, used_by, expires_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, token_id) DO NOTHING",
        tenant, token_id, now, by, expires_at,
    )  # fmt: skip
    return added > 0


def is_used(tx: ReadTx, tenant: TenantId, token_id: str) -> bool:
    found = tx.value("SELECT 1 FROM authz_override_used WHERE tenant = ? AND token_id = ?", tenant, token_id)
    return found is not None


def all_entities(tx: ReadTx, tenant: TenantId, limit: int) -> list[Row]:
    return tx.all("SELECT type, id, attrs, parents FROM authz_entity WHERE tenant = ? LIMIT ?", tenant, limit)


def all_roles(tx: ReadTx, tenant: TenantId, limit: int) -> list[Row]:
    return tx.all("SELECT agent, role FROM authz_role WHERE tenant = ? ORDER BY agent, role LIMIT ?", tenant, limit)


def prune_overrides(tx: Tx, tenant: TenantId, expired_before: int) -> None:
    tx.run("DELETE FROM authz_override WHERE tenant = ? AND expires_at < ?", tenant, expired_before)
    tx.run("DELETE FROM authz_override_used WHERE tenant = ? AND expires_at < ?", tenant, expired_before)
