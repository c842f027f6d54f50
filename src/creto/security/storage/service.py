"""Objects, sealed before they leave this process.

Write: fresh blobs first, then one transaction that makes the row name them, with its ledger entry. Read: the row, then the blobs.

INVARIANT: an object is visible whole in one version or another; a crash between blob and row leaves an unnamed blob, never half an object.
INVARIANT: the backend sees random names, sizes and sealed bytes; the ledger sees keys, sizes and digests of sealed bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import msgspec

from creto.common.errors import AlreadyExists, CryptoError, InvalidInput, NotFound, Unauthorized
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.limits import OBJECT_KEY_CHARS_MAX, OBJECT_WHOLE_BYTES_MAX, PAGE_ITEMS_DEFAULT
from creto.common.paging import checked_limit, cut, place_of
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.crypto import random_bytes
from creto.security.storage import rules, upkeep
from creto.security.storage import store as rows
from creto.security.storage.backends import Backend
from creto.security.storage.core import Act, Core, commit, in_time, new_info, stat_of
from creto.security.storage.envelope import Secret
from creto.security.storage.segments import Content, SegmentWriter, discard
from creto.security.storage.types import Attributes, ObjectInfo, ObjectPage, ObjectStat, Swept
from creto.security.storage.uploads import Uploads
from creto.security.tenantkeys import TenantKeys
from creto.store.types import Store, Tx

PROBED = "ready/probe"  # a blob that nobody ever wrote
READ_TRIES_MAX = 3  # each time the object was replaced between its row and its blobs


class Storage:
    """Encrypted objects of many tenants. `uploads` is the multipart side."""

    def __init__(self, backend: Backend, keys: TenantKeys, store: Store, clock: Clock) -> None:
        self._core = Core(backend, keys, store, clock)
        self.uploads = Uploads(self._core)

    async def check(self, tenant: TenantId) -> None:
        """Whether the place of the blobs answers and the tenant's key opens: for readiness."""
        with suppress(NotFound):
            await self._core.backend.size(PROBED)
        await self._core.keys.check(tenant)

    # Write

    async def put(
        self,
        tenant: TenantId,
        key: str,
        content: Content,
        *,
        agent: AgentId,
        if_match: str | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        retain_until: ConsensusTimestamp | None = None,
        trace_id: str | None = None,
    ) -> ObjectStat:
        """Store an object, replacing what is there; with `if_match` only that version (PL-412).

        `content` is bytes or an async iterator of bytes of any length. An object under retention or hold is not replaced."""
        condition = rules.ANY if if_match is None else rules.version_of(if_match)
        attributes = Attributes(content_type, metadata or {}, retain_until)
        return await self._put(tenant, key, content, condition, attributes, Act(agent, trace_id))

    async def put_if_absent(
        self,
        tenant: TenantId,
        key: str,
        content: Content,
        *,
        agent: AgentId,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        retain_until: ConsensusTimestamp | None = None,
        trace_id: str | None = None,
    ) -> ObjectStat:
        """Store an object only if there is none under this key (PL-409)."""
        attributes = Attributes(content_type, metadata or {}, retain_until)
        return await self._put(tenant, key, content, rules.ABSENT, attributes, Act(agent, trace_id))

    async def _put(
        self, tenant: TenantId, key: str, content: Content, condition: str, attributes: Attributes, act: Act
    ) -> ObjectStat:
        core, tenant, key = self._core, checked_tenant(tenant), rules.checked_key(key)
        metadata = rules.checked_metadata(attributes.metadata, attributes.content_type)
        started = await self._foresee(tenant, key, condition, attributes)
        version, data_key = new_id(), random_bytes(32)
        segments = await SegmentWriter(core.backend, tenant, key, version, data_key, core.keys.suites.aead).write(
            content
        )
        now = core.clock.now()
        in_time(started, now)
        info = new_info(tenant, key, version, segments, act, now, attributes)
        secret = Secret(data_key, attributes.content_type, metadata)
        row = await core.wrapped(info, segments, secret)
        entry = core.entry(
            tenant, act, "ObjectStored", "storage.put", key, version=version, size=info.size, digest=info.digest.hex()
        )
        try:
            await core.store.write(lambda tx: commit(tx, row, condition, entry, now))
        except (AlreadyExists, Unauthorized):
            # Refused for certain. After any other failure the row may be there, so its blobs are left to the sweep.
            await discard(core.backend, (segment.blob for segment in segments))
            raise
        return stat_of(row, secret)

    async def _foresee(self, tenant: TenantId, key: str, condition: str, attributes: Attributes) -> ConsensusTimestamp:
        """Refuse before gigabytes are written what the commit would refuse after."""
        now = self._core.clock.now()
        rules.checked_retention(key, 0, attributes.retain_until, now)
        old = await self._core.store.read(lambda tx: rows.find(tx, tenant, key))
        rules.admit(key, condition, old.info.version if old else None)
        if old is not None:
            rules.release(key, old.info.retain_until or 0, old.info.legal_hold, now)
        return now

    # Read

    async def get(self, tenant: TenantId, key: str) -> bytes:
        """The whole object, up to 256 MiB; a larger one is read with `stream`."""
        pieces: list[bytes] = []
        async for piece in self._read(checked_tenant(tenant), key, 0, None, OBJECT_WHOLE_BYTES_MAX):
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def get_range(self, tenant: TenantId, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer at the end of the object; PL-805 if it starts beyond."""
        if length < 1 or length > OBJECT_WHOLE_BYTES_MAX:
            raise InvalidInput.of("length", got=length, expected=f"1 to {OBJECT_WHOLE_BYTES_MAX}", code="PL-805")
        return b"".join([piece async for piece in self._read(checked_tenant(tenant), key, start, start + length)])

    def stream(self, tenant: TenantId, key: str, start: int = 0) -> AsyncIterator[bytes]:
        """The object from `start` on, piece by piece, each authenticated before it is handed out."""
        return self._read(checked_tenant(tenant), key, start, None)

    async def _read(
        self, tenant: TenantId, key: str, start: int, end: int | None, size_max: int | None = None
    ) -> AsyncIterator[bytes]:
        for tries in range(1, READ_TRIES_MAX + 1):
            row = await self._core.row(tenant, key)
            size = row.info.size
            if not 0 <= start < max(size, 1):
                raise InvalidInput.of("start", got=start, expected=f"0 to {max(size, 1) - 1}", code="PL-805")
            if size_max is not None and size > size_max:
                raise InvalidInput.of(
                    "size", got=size, expected=f"at most {size_max} bytes in one piece", code="PL-413"
                )
            secret = await self._core.secret(row.key_version, row.envelope, row.binding())
            started = False
            try:
                async for piece in self._core.reader(row, secret).read(start, min(size, end or size)):
                    started = True
                    yield piece
                return
            except NotFound as error:
                if started or tries == READ_TRIES_MAX or (await self._core.row(tenant, key)).info == row.info:
                    raise CryptoError("PL-801", f"object {key}: its bytes are gone", caused_by=error) from error

    async def stat(self, tenant: TenantId, key: str) -> ObjectStat:
        row = await self._core.row(checked_tenant(tenant), key)
        return stat_of(row, await self._core.secret(row.key_version, row.envelope, row.binding()))

    async def list(
        self, tenant: TenantId, prefix: str = "", *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> ObjectPage:
        """Objects whose key begins with `prefix`, in the byte order of their keys."""
        tenant, limit, after = checked_tenant(tenant), checked_limit(limit), place_of(cursor, str, "")
        if len(prefix) > OBJECT_KEY_CHARS_MAX or (prefix and not prefix.isprintable()):
            raise InvalidInput.of("prefix", got=prefix, expected=f"at most {OBJECT_KEY_CHARS_MAX} printable characters")
        found = await self._core.store.read(lambda tx: rows.page(tx, tenant, prefix, after, limit + 1))
        return ObjectPage(*cut([row.info for row in found], limit, lambda last: last.key))

    # Remove and protect

    async def delete(
        self, tenant: TenantId, key: str, *, agent: AgentId, if_match: str | None = None, trace_id: str | None = None
    ) -> None:
        """Remove an object: its wrapped key at once, its blobs right after. PL-802 or PL-803 while it is protected."""
        core, tenant, act = self._core, checked_tenant(tenant), Act(agent, trace_id)
        now = core.clock.now()
        condition = rules.ANY if if_match is None else rules.version_of(if_match)

        def fn(tx: Tx) -> list[str]:
            row = rows.lock(tx, tenant, key)
            if row is None:
                raise NotFound("PL-404", f"no object {key}")
            rules.admit(key, condition, row.info.version)
            rules.release(key, row.info.retain_until or 0, row.info.legal_hold, now)
            blobs = [segment.blob for segment in row.segments]
            rows.remove(tx, tenant, key)
            rows.discard(tx, tenant, blobs, now)
            digest = row.info.digest.hex()
            tx.record(
                core.entry(tenant, act, "ObjectDeleted", "storage.delete", key, version=row.info.version, digest=digest)
            )
            return blobs

        await core.collect(tenant, await core.store.write(fn))

    async def retain(
        self, tenant: TenantId, key: str, until: ConsensusTimestamp, *, agent: AgentId, trace_id: str | None = None
    ) -> ObjectInfo:
        """Keep the object at least until then; retention can be lengthened, never shortened (PL-802)."""
        return await self._protect(tenant, key, Act(agent, trace_id), until=until)

    async def hold(
        self, tenant: TenantId, key: str, on: bool, *, agent: AgentId, reason: str, trace_id: str | None = None
    ) -> ObjectInfo:
        """Put the object under legal hold, or lift the hold."""
        return await self._protect(tenant, key, Act(agent, trace_id), hold=on, reason=reason)

    async def _protect(
        self,
        tenant: TenantId,
        key: str,
        act: Act,
        *,
        until: ConsensusTimestamp | None = None,
        hold: bool | None = None,
        reason: str = "",
    ) -> ObjectInfo:
        core, tenant = self._core, checked_tenant(tenant)
        now = core.clock.now()

        def fn(tx: Tx) -> ObjectInfo:
            row = rows.lock(tx, tenant, key)
            if row is None:
                raise NotFound("PL-404", f"no object {key}")
            kept = rules.checked_retention(key, row.info.retain_until or 0, until, now)
            held = row.info.legal_hold if hold is None else hold
            rows.protect(tx, tenant, key, kept, held)
            version = row.info.version
            if hold is None:
                entry = core.entry(
                    tenant, act, "ObjectRetained", "storage.retain", key, version=version, retain_until=kept
                )
            else:
                event = "ObjectHeld" if hold else "ObjectReleased"
                entry = core.entry(tenant, act, event, "storage.hold", key, version=version, reason=reason)
            tx.record(entry)
            return msgspec.structs.replace(
                row.info, retain_until=ConsensusTimestamp(kept) if kept else None, legal_hold=held
            )

        return await core.store.write(fn)

    # Upkeep

    async def rotate_key(self, tenant: TenantId, *, agent: AgentId) -> int:
        """Put a fresh storage key in use and wrap every data key of the tenant with it; no blob is touched. How many were wrapped."""
        tenant = checked_tenant(tenant)
        await self._core.keys.rotate(tenant)
        return await upkeep.rewrap(self._core, tenant, Act(agent))

    async def rewrap(self, tenant: TenantId, *, agent: AgentId) -> int:
        """Wrap what an older storage key still wraps: resumes a rotation that was interrupted."""
        return await upkeep.rewrap(self._core, checked_tenant(tenant), Act(agent))

    async def sweep(self, *, agent: AgentId, orphans: bool = True) -> Swept:
        """Remove uploads that nobody finished and blobs that no row names, of all tenants. Safe beside any work.

        `orphans=False` leaves out what costs a listing of the whole backend.
        """
        return await upkeep.sweep(self._core, Act(agent), orphans=orphans)
