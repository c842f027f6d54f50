"""The SQL of the keystore."""

from __future__ import annotations

from creto.common.ids import KeyId, TenantId
from creto.platform.crypto.types import KeyKind, KeyRecord
from creto.store.types import ReadTx, Tx

Sealed = tuple[KeyRecord, bytes]


def insert(tx: Tx, record: KeyRecord, sealed: bytes) -> None:
    tx.run(
        "INSERT INTO crypto_key (tenant, key_id, version, kind, suite, public, kek_id, sealed, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        record.tenant,
        record.key_id,
        record.version,
        record.kind.value,
        record.suite,
        record.public,
        record.kek_id,
        sealed,
        record.created_at,
    )


def latest(tx: ReadTx, tenant: TenantId, key_id: KeyId) -> Sealed | None:
    row = tx.one(
        "SELECT tenant, key_id, version, kind, suite, public, kek_id, created_at, sealed FROM crypto_key"
        " WHERE tenant = ? AND key_id = ? ORDER BY version DESC LIMIT 1",
        tenant,
        key_id,
    )
    return None if row is None else (to_record(row), bytes(row[8]))


def one(tx: ReadTx, tenant: TenantId, key_id: KeyId, version: int) -> Sealed | None:
    row = tx.one(
        "SELECT tenant, key_id, version, kind, suite, public, kek_id, created_at, sealed FROM crypto_key"
        " WHERE tenant = ? AND key_id = ? AND version = ?",
        tenant,
        key_id,
        version,
    )
    return None if row is None else (to_record(row), bytes(row[8]))


def page(tx: ReadTx, tenant: TenantId, after: tuple[str, int], limit: int) -> list[KeyRecord]:
    rows = tx.all(
        "SELECT tenant, key_id, version, kind, suite, public, kek_id, created_at FROM crypto_key"
        " WHERE tenant = ? AND (key_id > ? OR (key_id = ? AND version > ?)) ORDER BY key_id, version LIMIT ?",
        tenant,
        after[0],
        after[0],
        after[1],
        limit,
    )
    return [to_record(row) for row in rows]


def sealed_by_others(tx: ReadTx, kek_id: str, limit: int) -> list[Sealed]:
    """Keys of any tenant that another key-encryption key seals: re-wrapping is the installation's, not a tenant's."""
    rows = tx.all(
        "SELECT tenant, key_id, version, kind, suite, public, kek_id, created_at, sealed FROM crypto_key"
        " WHERE kek_id <> ? ORDER BY tenant, key_id, version LIMIT ?",
        kek_id,
        limit,
    )
    return [(to_record(row), bytes(row[8])) for row in rows]


def kek_ids(tx: ReadTx) -> list[str]:
    return [row[0] for row in tx.all("SELECT DISTINCT kek_id FROM crypto_key")]


def rewrap(tx: Tx, record: KeyRecord, kek_id: str, sealed: bytes) -> None:
    tx.run(
        "UPDATE crypto_key SET kek_id = ?, sealed = ? WHERE tenant = ? AND key_id = ? AND version = ?",
        kek_id,
        sealed,
        record.tenant,
        record.key_id,
        record.version,
    )


def delete(tx: Tx, tenant: TenantId, key_id: KeyId, version: int | None) -> int:
    if version is None:
        return tx.run("DELETE FROM crypto_key WHERE tenant = ? AND key_id = ?", tenant, key_id)
    return tx.run("DELETE FROM crypto_key WHERE tenant = ? AND key_id = ? AND version = ?", tenant, key_id, version)


def to_record(row: tuple[object, ...]) -> KeyRecord:
    tenant, key_id, version, kind, suite, public, kek_id, created_at = row[:8]
    assert isinstance(version, int)
    assert isinstance(suite, int)
    assert isinstance(public, bytes | bytearray | memoryview)
    return KeyRecord(
        TenantId(str(tenant)),
        KeyId(str(key_id)),
        version,
        KeyKind(str(kind)),
        suite,
        bytes(public),
        str(kek_id),
        created_at if isinstance(created_at, int) else None,
    )
