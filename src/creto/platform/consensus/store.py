"""The rows of leases and fences."""

from __future__ import annotations

import msgspec

from creto.common.ids import TenantId
from creto.store.types import ReadTx, Tx


class LeaseRow(msgspec.Struct, frozen=True):
    holder: str  # empty: free
    token: int
    acquired_at: int
    expires_at: int


def find_lease(tx: ReadTx, tenant: TenantId, name: str) -> LeaseRow | None:
    row = tx.one(
        "SELECT holder, token, acquired_at, expires_at FROM consensus_lease WHERE tenant = ? AND name = ?", tenant, name
    )
    return None if row is None else LeaseRow(*row)


def locked_lease(tx: Tx, tenant: TenantId, name: str) -> LeaseRow | None:
    """The lease, which nobody else changes until the transaction ends; the name is locked too, for a row that is not there yet."""
    tx.lock(f"consensus.lease/{tenant}/{name}")
    return find_lease(tx, tenant, name)


def locked_token(tx: Tx, tenant: TenantId, name: str) -> int | None:
    sql = "SELECT token FROM consensus_lease WHERE tenant = ? AND name = ?" + tx.for_update
    token = tx.value(sql, tenant, name)
    return None if token is None else int(token)


def put_lease(tx: Tx, tenant: TenantId, name: str, row: LeaseRow) -> None:
    tx.run(
        "INSERT INTO consensus_lease (tenant, name, holder, token, acquired_at, expires_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, name) DO UPDATE SET holder = excluded.holder, token = excluded.token, "
        "acquired_at = excluded.acquired_at, expires_at = excluded.expires_at",
        tenant, name, row.holder, row.token, row.acquired_at, row.expires_at,
    )  # fmt: skip


def seen_token(tx: Tx, tenant: TenantId, name: str) -> int | None:
    token = tx.value("SELECT token FROM consensus_fence WHERE tenant = ? AND name = ?", tenant, name)
    return None if token is None else int(token)


def put_seen_token(tx: Tx, tenant: TenantId, name: str, token: int) -> None:
    tx.run(
        "INSERT INTO consensus_fence (tenant, name, token) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, name) DO UPDATE SET token = excluded.token",
        tenant, name, token,
    )  # fmt: skip
