"""Storage: objects sealed before they leave this process, on a local folder, in memory or on S3.

backend = open_backend("file:///var/lib/creto/objects")
storage = Storage(backend, TenantKeys(keystore, "storage"), store, clock)

stat = await storage.put("default", "invoices/2026-11.pdf", content, agent=agent)
page = await storage.list("default", "invoices/")
head = await storage.get_range("default", "invoices/2026-11.pdf", 0, 1024)   # reads one chunk, not the object
await storage.hold("default", "invoices/2026-11.pdf", True, agent=agent, reason="case 17")

`seal` documents the format byte by byte.
"""

from creto.security.storage.backends import Backend, Blob
from creto.security.storage.guarded import GuardedBackend
from creto.security.storage.opening import open_backend
from creto.security.storage.seal import open_bytes, seal_bytes
from creto.security.storage.service import Storage
from creto.security.storage.types import (
    ObjectInfo,
    ObjectPage,
    ObjectStat,
    Part,
    Segment,
    Swept,
    Upload,
    UploadPage,
)
from creto.security.storage.uploads import Uploads
from creto.security.tenantkeys import TenantKeys

__all__ = [
    "Backend",
    "Blob",
    "GuardedBackend",
    "ObjectInfo",
    "ObjectPage",
    "ObjectStat",
    "Part",
    "Segment",
    "Storage",
    "Swept",
    "TenantKeys",
    "Upload",
    "UploadPage",
    "Uploads",
    "open_backend",
    "open_bytes",
    "seal_bytes",
]
