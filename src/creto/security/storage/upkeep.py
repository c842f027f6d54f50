"""What keeps storage clean: unfinished uploads, blobs that no row names, and keys to wrap anew.

INVARIANT: a blob is removed only when no row names it and no put or read could still want it: a put that lasts longer than
PUT_S_MAX is refused when it commits, and an unnamed blob is left alone until it is twice as old.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from creto.common.errors import NotFound
from creto.common.ids import TenantId
from creto.common.limits import BLOB_ORPHAN_S, PAGE_ITEMS_MAX, UPLOAD_TTL_S
from creto.common.timestamps import SECOND
from creto.security.storage import envelope
from creto.security.storage import store as rows
from creto.security.storage.backends import Blob
from creto.security.storage.core import Act, Core
from creto.security.storage.segments import tenant_of
from creto.security.storage.types import Swept
from creto.security.storage.uploads import abort
from creto.store.types import ReadTx, Tx


async def rewrap(core: Core, tenant: TenantId, act: Act) -> int:
    """Seal every envelope of the tenant with the key in use. Page by page: an interruption leaves some old, none lost."""
    current, key = await core.keys.current(tenant)
    total = 0
    while True:
        objects, uploads = await core.store.read(
            lambda tx: (
                rows.stale_keys(tx, tenant, current, PAGE_ITEMS_MAX),
                rows.stale_uploads(tx, tenant, current, PAGE_ITEMS_MAX),
            )
        )
        if not objects and not uploads:
            return total
        stale: list[rows.ObjectRow | rows.UploadRow] = [*objects, *uploads]
        sealed = [(row, await rewrapped(core, row, current, key)) for row in stale]
        entry = core.entry(
            tenant, act, "StorageKeyRotated", "storage.rewrap", "*", key_version=current, wrapped=len(sealed)
        )

        def fn(tx: Tx, sealed: list[tuple[rows.ObjectRow | rows.UploadRow, bytes]] = sealed) -> None:
            for row, data in sealed:
                if isinstance(row, rows.ObjectRow):
                    rows.rewrap_object(tx, row, current, data)
                else:
                    rows.rewrap_upload(tx, row, current, data)
            tx.record(entry)  # noqa: B023 - the transaction ends before the next page

        await core.store.write(fn)
        total += len(sealed)


async def rewrapped(core: Core, row: rows.ObjectRow | rows.UploadRow, version: int, key: bytes) -> bytes:
    secret = await core.secret(row.key_version, row.envelope, row.binding())
    binding = msgspec.structs.replace(row.binding(), key_version=version)
    return envelope.wrapped(key, secret, binding, core.keys.suites.aead)


async def sweep(core: Core, act: Act, *, orphans: bool) -> Swept:
    now = core.clock.now()
    uploads = await sweep_uploads(core, now - UPLOAD_TTL_S * SECOND, act)
    blobs = await sweep_garbage(core, now)
    return Swept(uploads, blobs + await sweep_orphans(core, now - BLOB_ORPHAN_S * SECOND) if orphans else blobs)


async def sweep_uploads(core: Core, before: int, act: Act) -> int:
    stale = await core.store.read(lambda tx: rows.uploads_before(tx, before, PAGE_ITEMS_MAX))
    for tenant, upload in stale:
        with suppress(NotFound):  # completed or aborted meanwhile
            await abort(core, tenant, upload, act)
    return len(stale)


async def sweep_garbage(core: Core, now: int) -> int:
    due = await core.store.read(lambda tx: rows.due_garbage(tx, now, PAGE_ITEMS_MAX))
    for tenant, blob in due:
        await core.backend.delete(blob)
        await core.store.write(lambda tx, tenant=tenant, blob=blob: rows.discarded(tx, tenant, [blob]))  # type: ignore[misc]
    return len(due)


async def sweep_orphans(core: Core, before: int) -> int:
    removed = await core.backend.tidy(before)
    async for page in core.backend.list(""):
        old = [blob for blob in page if blob.modified_at < before]
        for blob in await core.store.read(lambda tx, old=old: [b for b in old if not named(tx, b)]) if old else []:  # type: ignore[misc]
            await core.backend.delete(blob.name)
            removed += 1
    return removed


def named(tx: ReadTx, blob: Blob) -> bool:
    """Whether a row names the blob. What is not a name of ours is not ours to remove."""
    folder, _, rest = blob.name.partition("/")
    version, tenant = rest[3:].partition(".")[0], tenant_of(folder)
    if tenant is None or rest[2:3] != "/" or len(version) != 36:
        return True
    row = rows.find_version(tx, TenantId(tenant), version)
    if row is not None and any(segment.blob == blob.name for segment in row.segments):
        return True
    return any(part.blob == blob.name for part in rows.parts(tx, TenantId(tenant), version))
