"""Writes objects until it is killed: `python -m tests.crash.storage_writer FOLDER SEED`.

One line on standard output before each act and one after it: what was acknowledged is what was printed.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from creto.common.ids import TenantId, agent_id
from creto.common.limits import CHUNK_BYTES
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.store import Store, open_store

PARTS = ("creto.platform.crypto", "creto.security.storage")
TENANT, AGENT = TenantId("default"), agent_id(bytes(32))
KEYS = [f"key-{n}" for n in range(6)]


def opened(folder: Path) -> tuple[Store, Storage]:
    store = open_store(f"sqlite:///{folder}/creto.db", parts=PARTS)
    keys = TenantKeys(Keystore(store, Kek(bytes(range(32)))), "storage")
    return store, Storage(open_backend(f"file://{folder}/objects"), keys, store, ManualClock())


def content(key: str, number: int) -> bytes:
    """Any length, and every byte says whose it is."""
    rng = random.Random(f"{key}/{number}")
    return rng.randbytes(rng.choice([0, 10, CHUNK_BYTES, 3 * CHUNK_BYTES + 5, 12 * 1024 * 1024]))


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 300_000):
        yield data[at : at + 300_000]


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def write(storage: Storage, key: str, rng: random.Random) -> None:
    number = 0
    while True:
        number += 1
        act = rng.choice(["put", "put", "stream", "parts", "delete"])
        say("start", key, number, act)
        data = content(key, number)
        if act == "put":
            await storage.put(TENANT, key, data, agent=AGENT)
        elif act == "stream":
            await storage.put(TENANT, key, stream(data), agent=AGENT)
        elif act == "parts":
            upload = (await storage.uploads.create(TENANT, key, agent=AGENT)).upload
            middle = len(data) // 2
            await storage.uploads.put_part(TENANT, upload, 2, data[middle:])
            await storage.uploads.put_part(TENANT, upload, 1, data[:middle])
            await storage.uploads.complete(TENANT, upload, agent=AGENT)
        elif (await storage.list(TENANT, key)).items:
            await storage.delete(TENANT, key, agent=AGENT)
        say("done", key, number, act)


async def main(folder: Path, seed: int) -> None:
    _, storage = opened(folder)
    await asyncio.gather(*(write(storage, key, random.Random(f"{seed}/{key}")) for key in KEYS))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
