"""What the use cases of storage share: the backend, the tenant's keys, the rows, the time, and how an act is written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from creto.common.errors import NotFound, Timeout
from creto.common.ids import AgentId, ResourceId, TenantId
from creto.common.limits import BLOB_GRACE_S, PUT_S_MAX
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.security.storage import envelope, rules
from creto.security.storage import store as rows
from creto.security.storage.backends import Backend
from creto.security.storage.envelope import Binding, Secret
from creto.security.storage.segments import SegmentReader, discard
from creto.security.storage.types import Attributes, ObjectInfo, ObjectStat, Segment
from creto.security.tenantkeys import TenantKeys
from creto.store.entries import entry
from creto.store.types import Entry, Store, Tx

BLOB_GRACE_NS = BLOB_GRACE_S * SECOND


class Act(msgspec.Struct, frozen=True):
    """Who does something, and in which trace."""

    agent: AgentId
    trace_id: str | None = None


class Core:
    def __init__(self, backend: Backend, keys: TenantKeys, store: Store, clock: Clock) -> None:
        self.backend = backend
        self.keys = keys
        self.store = store
        self.clock = clock

    def entry(self, tenant: TenantId, act: Act, event: str, action: str, key: str, **metadata: Any) -> Entry:
        return entry(
            tenant=tenant,
            agent=act.agent,
            action=action,
            resource=ResourceId("storage", "object", key).to_uri(),
            timestamp=self.clock.now(),
            event=event,
            facts=metadata,
            trace_id=act.trace_id,
            degraded_clock=self.clock.degraded,
        )

    async def secret(self, key_version: int, sealed: bytes, binding: Binding) -> Secret:
        return envelope.unwrapped(await self.keys.get(TenantId(binding.tenant), key_version), sealed, binding)

    async def row(self, tenant: TenantId, key: str) -> rows.ObjectRow:
        row = await self.store.read(lambda tx: rows.find(tx, tenant, key))
        if row is None:
            raise NotFound("PL-404", f"no object {key}")
        return row

    async def wrapped(self, info: ObjectInfo, segments: tuple[Segment, ...], secret: Secret) -> rows.ObjectRow:
        key_version, key = await self.keys.current(info.tenant)
        binding = Binding(info.tenant, info.key, info.version, key_version, info.size, segments, True)
        return rows.ObjectRow(
            info, segments, key_version, envelope.wrapped(key, secret, binding, self.keys.suites.aead)
        )

    def reader(self, row: rows.ObjectRow, secret: Secret) -> SegmentReader:
        return SegmentReader(self.backend, row.info.tenant, row.info.key, secret.data_key, row.segments)

    async def collect(self, tenant: TenantId, blobs: Iterable[str]) -> None:
        """Remove blobs that a transaction discarded. If the backend is away they stay in the garbage for the sweep."""
        names = list(blobs)
        if names and await discard(self.backend, names):
            await self.store.write(lambda tx: rows.discarded(tx, tenant, names))


def new_info(
    tenant: TenantId,
    key: str,
    version: str,
    segments: tuple[Segment, ...],
    act: Act,
    now: ConsensusTimestamp,
    attributes: Attributes,
) -> ObjectInfo:
    size = sum(segment.size for segment in segments)
    retain_until = ConsensusTimestamp(rules.checked_retention(key, 0, attributes.retain_until, now))
    digest = envelope.digest_of(segments)
    return ObjectInfo(tenant, key, version, size, digest, now, act.agent, retain_until or None)


def in_time(started: int, now: int) -> None:
    """A put that is too slow must not commit: the sweep may take its first blobs for orphans."""
    if now - started > PUT_S_MAX * SECOND:
        raise Timeout("PL-408", f"the content did not arrive within {PUT_S_MAX} s")


def commit(tx: Tx, row: rows.ObjectRow, condition: str, entry: Entry, now: int) -> None:
    """Put a new version in place; the old one's blobs become garbage, kept a while for those who read them."""
    info = row.info
    old = rows.lock(tx, info.tenant, info.key)
    rules.admit(info.key, condition, old.info.version if old else None)
    if old is not None:
        rules.release(info.key, old.info.retain_until or 0, old.info.legal_hold, now)
        rows.discard(tx, info.tenant, (segment.blob for segment in old.segments), now + BLOB_GRACE_NS)
    rows.save(tx, row)
    tx.record(entry)


def stat_of(row: rows.ObjectRow, secret: Secret) -> ObjectStat:
    return ObjectStat(
        **msgspec.structs.asdict(row.info),
        content_type=secret.content_type,
        metadata=secret.metadata,
        segments=row.segments,
    )
