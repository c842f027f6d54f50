"""Multipart uploads: parts in any order, from any process, again after a failure; then all of them become one object at once.

    upload = await storage.uploads.create(tenant, "images/root.ext4", agent=agent)
    await storage.uploads.put_part(tenant, upload.upload, 1, first)
    stat = await storage.uploads.complete(tenant, upload.upload, agent=agent)

Each part is a sealed segment of its own, so a part that is sent twice never reuses a nonce, and completing copies nothing.

INVARIANT: before `complete` commits, no part can be read; after it, the upload is gone and its parts are the object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from creto.common.errors import InvalidInput, NotFound, QuotaExceeded
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.limits import OBJECT_BYTES_MAX, PAGE_ITEMS_DEFAULT, UPLOAD_PARTS_MAX, UPLOADS_OPEN_MAX
from creto.common.paging import checked_limit, cut, place_of
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import random_bytes
from creto.security.storage import envelope, rules
from creto.security.storage import store as rows
from creto.security.storage.core import BLOB_GRACE_NS, Act, Core, commit, in_time, new_info, stat_of
from creto.security.storage.envelope import Secret
from creto.security.storage.segments import Content, SegmentWriter, discard
from creto.security.storage.types import Attributes, ObjectStat, Part, Upload, UploadPage
from creto.store.types import ReadTx, Tx


class Uploads:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def create(
        self,
        tenant: TenantId,
        key: str,
        *,
        agent: AgentId,
        if_match: str | None = None,
        if_absent: bool = False,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        retain_until: ConsensusTimestamp | None = None,
    ) -> Upload:
        """Open an upload. Its conditions and the retention of an object in its place are checked when it completes."""
        core, tenant, key = self._core, checked_tenant(tenant), rules.checked_key(key)
        if if_absent and if_match is not None:
            raise InvalidInput.of("if_match", got=if_match, expected="either if_match or if_absent")
        condition = rules.ABSENT if if_absent else rules.ANY if if_match is None else rules.version_of(if_match)
        now = core.clock.now()
        kept = rules.checked_retention(key, 0, retain_until, now)
        secret = Secret(random_bytes(32), content_type, rules.checked_metadata(metadata or {}, content_type))
        key_version, wrapping = await core.keys.current(tenant)
        row = rows.UploadRow(Upload(tenant, new_id(), key, now, agent), condition, kept, key_version, b"")
        row = msgspec.structs.replace(
            row, envelope=envelope.wrapped(wrapping, secret, row.binding(), core.keys.suites.aead)
        )

        def fn(tx: Tx) -> None:
            if rows.count_uploads(tx, tenant, UPLOADS_OPEN_MAX) == UPLOADS_OPEN_MAX:
                raise QuotaExceeded(
                    "PL-429",
                    f"{UPLOADS_OPEN_MAX} uploads are open",
                    hint="Complete or abort some; what nobody finishes is removed after a week.",
                )
            rows.save_upload(tx, row)

        await core.store.write(fn)
        return row.upload

    async def key_of(self, tenant: TenantId, upload: str) -> str | None:
        """The key under which an open upload becomes an object."""
        row = await self._core.store.read(lambda tx: rows.find_upload(tx, checked_tenant(tenant), upload))
        return None if row is None else row.upload.key

    async def put_part(self, tenant: TenantId, upload: str, number: int, content: Content) -> Part:
        """Store a part, 1 to 10,000; a part sent again replaces the one before."""
        core, tenant = self._core, checked_tenant(tenant)
        if not 1 <= number <= UPLOAD_PARTS_MAX:
            raise InvalidInput.of("number", got=number, expected=f"1 to {UPLOAD_PARTS_MAX}")
        started = core.clock.now()
        row = await core.store.read(lambda tx: required(rows.find_upload(tx, tenant, upload)))
        secret = await core.secret(row.key_version, row.envelope, row.binding())
        segments = await SegmentWriter(
            core.backend, tenant, row.upload.key, upload, secret.data_key, core.keys.suites.aead
        ).write(content)
        blobs = [segment.blob for segment in segments]
        if len(segments) > 1:
            await discard(core.backend, blobs)
            raise InvalidInput.of("content", got="more", expected="at most 64 GiB in a part", code="PL-413")

        now = core.clock.now()
        in_time(started, now)

        def fn(tx: Tx) -> None:
            required(rows.lock_upload(tx, tenant, upload))
            old = rows.save_part(tx, tenant, upload, number, segments[0])
            if old is not None:
                rows.discard(tx, tenant, [old], now + BLOB_GRACE_NS)

        try:
            await core.store.write(fn)
        except NotFound:
            await discard(core.backend, blobs)
            raise
        return Part(number, segments[0].size, segments[0].root)

    async def parts(self, tenant: TenantId, upload: str) -> tuple[Part, ...]:
        """What has arrived: after a failure, send the rest."""
        tenant = checked_tenant(tenant)

        def fn(tx: ReadTx) -> tuple[Part, ...]:
            required(rows.find_upload(tx, tenant, upload))
            return tuple(row.part for row in rows.parts(tx, tenant, upload))

        return await self._core.store.read(fn)

    async def list(self, tenant: TenantId, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT) -> UploadPage:
        """Uploads that are open, oldest first."""
        tenant, limit, after = checked_tenant(tenant), checked_limit(limit), place_of(cursor, str, "")
        found = await self._core.store.read(lambda tx: rows.upload_page(tx, tenant, after, limit + 1))
        return UploadPage(*cut([row.upload for row in found], limit, lambda last: last.upload))

    async def complete(
        self,
        tenant: TenantId,
        upload: str,
        *,
        agent: AgentId,
        parts: Sequence[Part] | None = None,
        trace_id: str | None = None,
    ) -> ObjectStat:
        """Make the parts, in the order of their numbers, the object. With `parts`, only if they are exactly those.

        Completing again after a lost answer gives the same object."""
        core, tenant, act = self._core, checked_tenant(tenant), Act(agent, trace_id)
        row, found = await core.store.read(
            lambda tx: (rows.find_upload(tx, tenant, upload), rows.parts(tx, tenant, upload))
        )
        if row is None:
            return await self._completed(tenant, upload)
        if not found or (parts is not None and [part.part for part in found] != list(parts)):
            raise InvalidInput.of("parts", got=f"{len(found)} parts stored", expected="the parts that were sent")
        segments = tuple(part.segment() for part in found)
        if sum(segment.size for segment in segments) > OBJECT_BYTES_MAX:
            raise InvalidInput.of("parts", got="more", expected=f"at most {OBJECT_BYTES_MAX} bytes", code="PL-413")
        secret = await core.secret(row.key_version, row.envelope, row.binding())
        now, key = core.clock.now(), row.upload.key
        kept = ConsensusTimestamp(row.retain_until) if row.retain_until > now else None
        info = new_info(tenant, key, upload, segments, act, now, Attributes(retain_until=kept))
        done = await core.wrapped(info, segments, secret)
        entry = core.entry(
            tenant, act, "ObjectStored", "storage.put", key, version=upload, size=info.size, digest=info.digest.hex(),
            parts=len(segments),
        )  # fmt: skip

        def fn(tx: Tx) -> None:
            required(rows.lock_upload(tx, tenant, upload))
            if rows.parts(tx, tenant, upload) != found:
                raise InvalidInput.of("parts", got="a part that came meanwhile", expected="no part while completing")
            commit(tx, done, row.condition, entry, now)
            rows.remove_upload(tx, tenant, upload)

        await core.store.write(fn)
        return stat_of(done, secret)

    async def _completed(self, tenant: TenantId, upload: str) -> ObjectStat:
        row = await self._core.store.read(lambda tx: rows.find_version(tx, tenant, upload))
        if row is None:
            raise NotFound("PL-804")
        return stat_of(row, await self._core.secret(row.key_version, row.envelope, row.binding()))

    async def abort(self, tenant: TenantId, upload: str, *, agent: AgentId, trace_id: str | None = None) -> None:
        """Give up an upload and remove its parts."""
        await abort(self._core, checked_tenant(tenant), upload, Act(agent, trace_id))


async def abort(core: Core, tenant: TenantId, upload: str, act: Act) -> None:
    now = core.clock.now()

    def fn(tx: Tx) -> list[str]:
        row = required(rows.lock_upload(tx, tenant, upload))
        blobs = [part.blob for part in rows.parts(tx, tenant, upload)]
        rows.remove_upload(tx, tenant, upload)
        rows.discard(tx, tenant, blobs, now)
        tx.record(core.entry(tenant, act, "UploadAborted", "storage.abort", row.upload.key, upload=upload))
        return blobs

    await core.collect(tenant, await core.store.write(fn))


def required(row: rows.UploadRow | None) -> rows.UploadRow:
    if row is None:
        raise NotFound("PL-804")
    return row
