"""What keeps storage clean: unfinished uploads, blobs that no row names, and keys to wrap anew.

INVARIANT: a blob is removed only when no row names it and it is older than any put or read that could still want it.
"""

from __future__ import annotations

from creto.common.errors import NotFound
from creto.common.ids import TenantId
from creto.common.limits import BLOB_GRACE_S, PAGE_ITEMS_MAX, UPLOAD_TTL_S
from creto.common.timestamps import SECOND
from creto.security.storage import envelope
from creto.security.storage import store as rows
from creto.security.storage.backends import Blob
from creto.security.storage.core import BLOB_GRACE_NS, Act, Core
from creto.security.storage.segments import discard, folder_of
from creto.security.storage.types import Swept
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
        sealed = [
            (row, await rewrapped(core, row, current, key)) for row in (*objects, *uploads)
        ]
        entry = core.entry(tenant, act, "StorageKeyRotated", "storage.rewrap", "*", key_id=current, wrapped=len(sealed))

        def fn(tx: Tx, sealed: list[tuple[rows.ObjectRow | rows.UploadRow, bytes]] = sealed) -> None:
            for row, data in sealed:
                if isinstance(row, rows.ObjectRow):
                    rows.rewrap_object(tx, row, current, data)
                else:
                    rows.rewrap_upload(tx, row, current, data)
            tx.record(entry)  # noqa: B023 - the transaction ends before the next page

        await core.store.write(fn)
        total += len(sealed)
