"""The SQL of key bundles. Who changes a bundle holds its lock, so a one-time key is taken by one transaction only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from creto.common.errors import AlreadyExists
from creto.common.ids import AgentId, TenantId
from creto.platform.crypto import SealedRoot, SealProof
from creto.platform.nhi.prekeys import Prekey, PrekeyKind, SealedPrekey
from creto.store.types import ReadTx, Row, Tx

HASH_BYTES = 32
SELECT: LiteralString = (
    "SELECT k.kind, k.id, k.public, k.batch, k.leaf, k.path, b.size, b.signature FROM nhi_prekey k "
    "JOIN nhi_key_batch b ON b.tenant = k.tenant AND b.agent = k.agent AND b.batch = k.batch "
    "WHERE k.tenant = ? AND k.agent = ? AND k.kind = ? ORDER BY k.id LIMIT 1"
)


def next_batch(tx: Tx, tenant: TenantId, agent: AgentId, batch: int) -> None:
    """Move on to this number; PL-412 unless it is higher than the last."""
    moved = tx.run(
        "INSERT INTO nhi_bundle (tenant, agent, batch_last) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, agent) DO UPDATE SET batch_last = excluded.batch_last "
        "WHERE nhi_bundle.batch_last < excluded.batch_last",
        tenant, agent, batch,
    )  # fmt: skip
    if not moved:
        last = tx.value("SELECT batch_last FROM nhi_bundle WHERE tenant = ? AND agent = ?", tenant, agent)
        raise AlreadyExists(
            "PL-412", "the upload is not newer than the last", field="batch", got=batch, expected=f"over {last}"
        )


def add(
    tx: Tx,
    tenant: TenantId,
    agent: AgentId,
    batch: int,
    root: SealedRoot,
    keys: Sequence[Prekey],
    paths: Sequence[Sequence[bytes]],
) -> None:
    tx.run(
        "INSERT INTO nhi_key_batch (tenant, agent, batch, size, signature) VALUES (?, ?, ?, ?, ?)",
        tenant, agent, batch, root.size, root.signature,
    )  # fmt: skip
    for key in keys:
        if not key.kind.one_time:
            tx.run("DELETE FROM nhi_prekey WHERE tenant = ? AND agent = ? AND kind = ?", tenant, agent, key.kind)
    rows = [
        (tenant, agent, int(key.kind), key.id, key.public, batch, leaf, b"".join(paths[leaf]))
        for leaf, key in enumerate(keys)
    ]
    tx.many(
        "INSERT INTO nhi_prekey (tenant, agent, kind, id, public, batch, leaf, path) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, agent, kind, id) DO UPDATE SET public = excluded.public, batch = excluded.batch, "
        "leaf = excluded.leaf, path = excluded.path",
        rows,
    )
    drop_empty_batches(tx, tenant, agent)


def drop_empty_batches(tx: Tx, tenant: TenantId, agent: AgentId) -> None:
    tx.run(
        "DELETE FROM nhi_key_batch WHERE tenant = ? AND agent = ? AND NOT EXISTS (SELECT 1 FROM nhi_prekey k "
        "WHERE k.tenant = nhi_key_batch.tenant AND k.agent = nhi_key_batch.agent AND k.batch = nhi_key_batch.batch)",
        tenant, agent,
    )  # fmt: skip


def lasting(tx: ReadTx, tenant: TenantId, agent: AgentId, kind: PrekeyKind) -> SealedPrekey | None:
    row = tx.one(SELECT, tenant, agent, int(kind))
    return from_row(row) if row else None


def take(tx: Tx, tenant: TenantId, agent: AgentId, kind: PrekeyKind) -> SealedPrekey | None:
    """The oldest one-time key of this kind, which then is no more."""
    row = tx.one(SELECT, tenant, agent, int(kind))
    if row is None:
        return None
    tx.run(
        "DELETE FROM nhi_prekey WHERE tenant = ? AND agent = ? AND kind = ? AND id = ?", tenant, agent, row[0], row[1]
    )
    return from_row(row)


def counts(tx: ReadTx, tenant: TenantId, agent: AgentId) -> dict[int, int]:
    sql: LiteralString = "SELECT kind, COUNT(*) FROM nhi_prekey WHERE tenant = ? AND agent = ? GROUP BY kind"
    return dict(tx.all(sql, tenant, agent))


def from_row(row: Row) -> SealedPrekey:
    kind, id, public, batch, leaf, joined, size, signature = row
    path = bytes(joined)
    hashes = tuple(path[i : i + HASH_BYTES] for i in range(0, len(path), HASH_BYTES))
    proof = SealProof(leaf, size, hashes, bytes(signature)).to_bytes()
    return SealedPrekey(Prekey(PrekeyKind(kind), id, bytes(public)), batch, proof)
