"""The rows of storage. Every statement names the tenant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.security.storage.envelope import Binding, segments_from
from creto.security.storage.types import ObjectInfo, Part, Segment, Upload
from creto.store.types import ReadTx, Row, Tx

OBJECT: LiteralString = (
    "SELECT tenant, object_key, version, size, segments, digest, key_version, envelope, created_at, created_by,"
    " retain_until, legal_hold FROM storage_object"
)
UPLOAD: LiteralString = (
    "SELECT tenant, upload, object_key, condition, retain_until, key_version, envelope, created_at, created_by"
    " FROM storage_upload"
)


class ObjectRow(msgspec.Struct, frozen=True):
    info: ObjectInfo
    segments: tuple[Segment, ...]
    key_version: int
    envelope: bytes

    def binding(self) -> Binding:
        info = self.info
        return Binding(info.tenant, info.key, info.version, self.key_version, info.size, self.segments, True)


class UploadRow(msgspec.Struct, frozen=True):
    upload: Upload
    condition: str
    retain_until: int
    key_version: int
    envelope: bytes

    def binding(self) -> Binding:
        return Binding(self.upload.tenant, self.upload.key, self.upload.upload, self.key_version)


def object_row(row: Row) -> ObjectRow:
    tenant, key, version, size, segments, digest, key_version, envelope, created_at, created_by, retain_until, hold = (
        row
    )
    info = ObjectInfo(
        TenantId(tenant),
        key,
        version,
        size,
        bytes(digest),
        ConsensusTimestamp(created_at),
        AgentId(created_by),
        ConsensusTimestamp(retain_until) if retain_until else None,
        bool(hold),
    )
    return ObjectRow(info, segments_from(bytes(segments), key), key_version, bytes(envelope))


def find(tx: ReadTx, tenant: TenantId, key: str) -> ObjectRow | None:
    row = tx.one(
        OBJECT + " WHERE tenant = ? AND object_key = ?",
        tenant,
        key,
    )
    return object_row(row) if row else None


def find_version(tx: ReadTx, tenant: TenantId, version: str) -> ObjectRow | None:
    row = tx.one(
        OBJECT + " WHERE tenant = ? AND version = ?",
        tenant,
        version,
    )
    return object_row(row) if row else None


def lock(tx: Tx, tenant: TenantId, key: str) -> ObjectRow | None:
    """The row, held until the transaction ends."""
    sql = "SELECT version FROM storage_object WHERE tenant = ? AND object_key = ?"
    tx.all(sql + tx.for_update, tenant, key)
    return find(tx, tenant, key)


def page(tx: ReadTx, tenant: TenantId, prefix: str, after: str, limit: int) -> list[ObjectRow]:
    """Rows in byte order. U+10FFFF stands in no key, so it is above every key with the prefix."""
    rows = tx.all(
        OBJECT
        + " WHERE tenant = ? AND object_key >= ? AND object_key > ? AND object_key < ? ORDER BY object_key LIMIT ?",
        tenant,
        prefix,
        after,
        prefix + "\U0010ffff",
        limit,
    )
    return [object_row(row) for row in rows]


def save(tx: Tx, row: ObjectRow) -> None:
    info = row.info
    tx.run(
        "INSERT INTO storage_object (tenant, object_key, version, size, segments, digest, key_version, envelope, created_at,"
        " created_by, retain_until, legal_hold) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, object_key) DO UPDATE SET version = excluded.version, size = excluded.size,"
        " segments = excluded.segments, digest = excluded.digest, key_version = excluded.key_version,"
        " envelope = excluded.envelope, created_at = excluded.created_at, created_by = excluded.created_by,"
        " retain_until = excluded.retain_until, legal_hold = excluded.legal_hold",
        info.tenant,
        info.key,
        info.version,
        info.size,
        wire.encode(row.segments),
        info.digest,
        row.key_version,
        row.envelope,
        info.created_at,
        info.created_by,
        info.retain_until or 0,
        int(info.legal_hold),
    )


def remove(tx: Tx, tenant: TenantId, key: str) -> None:
    tx.run("DELETE FROM storage_object WHERE tenant = ? AND object_key = ?", tenant, key)


def protect(tx: Tx, tenant: TenantId, key: str, retain_until: int, hold: bool) -> None:
    tx.run(
        "UPDATE storage_object SET retain_until = ?, legal_hold = ? WHERE tenant = ? AND object_key = ?",
        retain_until,
        int(hold),
        tenant,
        key,
    )


def discard(tx: Tx, tenant: TenantId, blobs: Iterable[str], due_at: int) -> None:
    tx.many(
        "INSERT INTO storage_garbage (tenant, blob, due_at) VALUES (?, ?, ?) ON CONFLICT (tenant, blob) DO NOTHING",
        [(tenant, blob, due_at) for blob in blobs],
    )


def discarded(tx: Tx, tenant: TenantId, blobs: Iterable[str]) -> None:
    tx.many("DELETE FROM storage_garbage WHERE tenant = ? AND blob = ?", [(tenant, blob) for blob in blobs])


def due_garbage(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, str]]:
    rows = tx.all("SELECT tenant, blob FROM storage_garbage WHERE due_at <= ? ORDER BY due_at LIMIT ?", now, limit)
    return [(TenantId(tenant), blob) for tenant, blob in rows]


def stale_keys(tx: ReadTx, tenant: TenantId, current: int, limit: int) -> list[ObjectRow]:
    rows = tx.all(
        OBJECT + " WHERE tenant = ? AND key_version <> ? LIMIT ?",
        tenant,
        current,
        limit,
    )
    return [object_row(row) for row in rows]


def rewrap_object(tx: Tx, row: ObjectRow, key_version: int, envelope: bytes) -> None:
    """Only the version and wrapping that were read: a row that moved on is left to the next round."""
    tx.run(
        "UPDATE storage_object SET key_version = ?, envelope = ?"
        " WHERE tenant = ? AND object_key = ? AND version = ? AND key_version = ?",
        key_version,
        envelope,
        row.info.tenant,
        row.info.key,
        row.info.version,
        row.key_version,
    )


# Uploads


def upload_row(row: Row) -> UploadRow:
    tenant, upload, key, condition, retain_until, key_version, envelope, created_at, created_by = row
    head = Upload(TenantId(tenant), upload, key, ConsensusTimestamp(created_at), AgentId(created_by))
    return UploadRow(head, condition, retain_until, key_version, bytes(envelope))


def find_upload(tx: ReadTx, tenant: TenantId, upload: str) -> UploadRow | None:
    row = tx.one(
        UPLOAD + " WHERE tenant = ? AND upload = ?",
        tenant,
        upload,
    )
    return upload_row(row) if row else None


def lock_upload(tx: Tx, tenant: TenantId, upload: str) -> UploadRow | None:
    sql = "SELECT upload FROM storage_upload WHERE tenant = ? AND upload = ?"
    tx.all(sql + tx.for_update, tenant, upload)
    return find_upload(tx, tenant, upload)


def count_uploads(tx: ReadTx, tenant: TenantId, limit: int) -> int:
    """How many are open; nobody counts beyond the limit."""
    sql = "SELECT COUNT(*) FROM (SELECT upload FROM storage_upload WHERE tenant = ? LIMIT ?) AS found"
    return int(tx.value(sql, tenant, limit) or 0)


def upload_page(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[UploadRow]:
    rows = tx.all(
        UPLOAD + " WHERE tenant = ? AND upload > ? ORDER BY upload LIMIT ?",
        tenant,
        after,
        limit,
    )
    return [upload_row(row) for row in rows]


def uploads_before(tx: ReadTx, before: int, limit: int) -> list[tuple[TenantId, str]]:
    rows = tx.all(
        "SELECT tenant, upload FROM storage_upload WHERE created_at < ? ORDER BY created_at LIMIT ?", before, limit
    )
    return [(TenantId(tenant), upload) for tenant, upload in rows]


def stale_uploads(tx: ReadTx, tenant: TenantId, current: int, limit: int) -> list[UploadRow]:
    rows = tx.all(
        UPLOAD + " WHERE tenant = ? AND key_version <> ? LIMIT ?",
        tenant,
        current,
        limit,
    )
    return [upload_row(row) for row in rows]


def rewrap_upload(tx: Tx, row: UploadRow, key_version: int, envelope: bytes) -> None:
    tx.run(
        "UPDATE storage_upload SET key_version = ?, envelope = ? WHERE tenant = ? AND upload = ? AND key_version = ?",
        key_version,
        envelope,
        row.upload.tenant,
        row.upload.upload,
        row.key_version,
    )


def save_upload(tx: Tx, row: UploadRow) -> None:
    tx.run(
        "INSERT INTO storage_upload (tenant, upload, object_key, condition, retain_until, key_version, envelope, created_at,"
        " created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.upload.tenant,
        row.upload.upload,
        row.upload.key,
        row.condition,
        row.retain_until,
        row.key_version,
        row.envelope,
        row.upload.created_at,
        row.upload.created_by,
    )


def remove_upload(tx: Tx, tenant: TenantId, upload: str) -> None:
    tx.run("DELETE FROM storage_part WHERE tenant = ? AND upload = ?", tenant, upload)
    tx.run("DELETE FROM storage_upload WHERE tenant = ? AND upload = ?", tenant, upload)


class PartRow(msgspec.Struct, frozen=True):
    part: Part
    blob: str

    def segment(self) -> Segment:
        return Segment(self.blob, self.part.size, self.part.root)


def parts(tx: ReadTx, tenant: TenantId, upload: str) -> list[PartRow]:
    rows = tx.all(
        "SELECT number, blob, size, root FROM storage_part WHERE tenant = ? AND upload = ? ORDER BY number",
        tenant,
        upload,
    )
    return [PartRow(Part(number, size, bytes(root)), blob) for number, blob, size, root in rows]


def save_part(tx: Tx, tenant: TenantId, upload: str, number: int, segment: Segment) -> str | None:
    """The blob of the part that this one replaces."""
    old = tx.value(
        "SELECT blob FROM storage_part WHERE tenant = ? AND upload = ? AND number = ?", tenant, upload, number
    )
    tx.run(
        "INSERT INTO storage_part (tenant, upload, number, blob, size, root) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, upload, number) DO UPDATE SET blob = excluded.blob, size = excluded.size,"
        " root = excluded.root",
        tenant,
        upload,
        number,
        segment.blob,
        segment.size,
        segment.root,
    )
    return None if old is None else str(old)
