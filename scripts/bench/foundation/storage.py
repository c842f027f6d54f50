"""Objects: sealing on one core, and ranges read from a sealed file."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from creto.common.ids import TenantId, agent_id
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.security.storage.seal import open_bytes, seal_bytes
from creto.store import open_store
from scripts.bench.measure import Row, Scale, each_async, latency

MIB = 1024 * 1024
PARTS = ("creto.platform.crypto", "creto.security.storage")
TENANT = TenantId("default")
AGENT = agent_id(bytes(32))


def rows(scale: Scale) -> Iterator[Row]:
    size = scale.count(16, 1) * MIB
    plain, key = os.urandom(size), os.urandom(32)
    sealed = seal_bytes(key, b"bench", plain)
    yield speed("storage, sealed, one core", size, lambda: seal_bytes(key, b"bench", plain))
    yield speed("storage, opened, one core", size, lambda: open_bytes(key, b"bench", sealed))
    yield asyncio.run(ranges(scale))


def speed(name: str, size: int, fn: Callable[[], bytes]) -> Row:
    taken = []
    for _ in range(9):
        started = time.perf_counter()
        fn()
        taken.append(time.perf_counter() - started)
    rate = size / MIB / median(taken)
    return Row(name=f"{name}, {size // MIB} MiB", unit="MiB/s", value=rate, p50=rate, at_least=True)


async def ranges(scale: Scale) -> Row:
    size, length = scale.count(64, 2) * MIB, 64 * 1024
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/objects.db", parts=PARTS)
        keys = TenantKeys(Keystore(store, Kek.generate()), "storage")
        storage = Storage(open_backend(f"file://{folder}/objects"), keys, store, ManualClock())
        try:
            await storage.put(TENANT, "big", os.urandom(size), agent=AGENT)
            samples = await each_async(
                lambda: storage.get_range(TENANT, "big", random.randrange(size - length), length),  # noqa: S311
                scale.count(500),
                10,
            )
        finally:
            store.close()
    return latency(f"storage, 64 KiB at any place of {size // MIB} MiB", samples)
