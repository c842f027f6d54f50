"""Sealed objects: what lies on the disk is unreadable, a part can be read alone, and a legal hold outlives a delete.

python examples/sealed_objects.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from creto import Creto
from creto.common.errors import EnablementError

CONTRACT = b"The parties agree as follows. " * 10_000
KEY = "contracts/2026/acme.txt"


def story(folder: Path) -> None:
    with Creto.local(folder / "creto.db") as creto:
        stored = creto.objects.put(key=KEY, content=CONTRACT, content_type="text/plain")
        print(f"stored {stored.key}, {stored.size} bytes")

        blobs = [p for p in (folder / "creto-objects").rglob("*") if p.is_file()]
        print("readable on disk:", any(b"parties" in blob.read_bytes() for blob in blobs))

        part = creto.objects.get(key=KEY, start=4, length=7)  # opens one chunk of 64 KiB, not the object
        print("bytes 4 to 11:", part.data.decode())

        creto.objects.hold(key=KEY, on=True, reason="case 17")
        try:
            creto.objects.delete(key=KEY)
        except EnablementError as refused:
            print("delete:", refused.code, refused.message)

        creto.objects.hold(key=KEY, on=False, reason="case 17 is closed")
        creto.objects.delete(key=KEY)
        print("left:", [item.key for item in creto.objects.list().items])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        story(Path(folder))
