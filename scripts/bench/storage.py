"""Storage: sealing and opening on one core, ranges of a large object, small objects; on SQLite and a local folder."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from creto.common.ids import TenantId, agent_id
from creto.common.limits import CHUNK_BYTES
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.security.storage.seal import HEADER_BYTES, SEALED_CHUNK_BYTES, Opener, Sealer, context_of, seal_bytes
from creto.store import open_store
from scripts.bench.measure import Row, each_async, latency

MIB = 1024 * 1024
DATA = random.Random(1).randbytes(64 * MIB)  # noqa: S311 - the same bytes in every run
KEY, CONTEXT = bytes(32), context_of("bench", "object", "blob")
OBJECT_MIB = 512
TENANT, AGENT = TenantId("bench"), agent_id(bytes(32))
PARTS = ("creto.platform.crypto", "creto.security.storage")


def rows() -> Iterator[Row]:
    yield rate("storage: seal, 64 KiB chunks, one core", seal, must=430, aim=450)
    yield rate("storage: open, 64 KiB chunks, one core", partial(open_all, seal_bytes(KEY, CONTEXT, DATA)), must=430)
    yield from asyncio.run(measured())


def seal() -> None:
    sealer, view = Sealer(KEY, CONTEXT), memoryview(DATA)
    for at in range(0, len(DATA), MIB):
        sealer.update(view[at : at + MIB])
    sealer.finish()


def open_all(sealed: bytes) -> None:
    opener, body = Opener(KEY, CONTEXT, sealed[:HEADER_BYTES]), memoryview(sealed)[HEADER_BYTES:]
    chunks = len(DATA) // CHUNK_BYTES
    for first in range(0, chunks, 16):
        opener.open(body[first * SEALED_CHUNK_BYTES : (first + 16) * SEALED_CHUNK_BYTES], first, chunks)


def rate(name: str, fn: Callable[[], Any], must: float, aim: float | None = None) -> Row:
    """MiB per second, the best of five: what the core can do when it is left alone."""
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        fn()
        best = max(best, len(DATA) / MIB / (time.perf_counter() - start))
    return Row(name=name, unit="MiB/s", value=best, rate=best, must=must, aim=aim, at_least=True)


async def measured() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/bench.db", parts=PARTS)
        keys = TenantKeys(Keystore(store, Kek.generate()), "storage")
        try:
            return await of(Storage(open_backend(f"file://{folder}/objects"), keys, store, ManualClock()))
        finally:
            store.close()


async def stream() -> AsyncIterator[bytes]:
    for at in range(OBJECT_MIB):
        yield DATA[at % 64 * MIB : (at % 64 + 1) * MIB]


async def of(storage: Storage) -> list[Row]:
    rng = random.Random(2)  # noqa: S311
    start = time.perf_counter()
    await storage.put(TENANT, "large", stream(), agent=AGENT)
    put_rate = OBJECT_MIB / (time.perf_counter() - start)
    start = time.perf_counter()
    size = sum([len(piece) async for piece in storage.stream(TENANT, "large")])
    get_rate = size / MIB / (time.perf_counter() - start)

    async def part() -> None:
        await storage.get_range(TENANT, "large", rng.randrange(OBJECT_MIB * MIB - CHUNK_BYTES), CHUNK_BYTES)

    async def put() -> None:
        await storage.put(TENANT, f"small/{rng.random()}", b"x" * 1_000, agent=AGENT)

    ranges, puts = await each_async(part, 500, 20), await each_async(put, 300, 20)
    return [
        Row(name="storage: put a stream, file", unit="MiB/s", value=put_rate, rate=put_rate, at_least=True),
        Row(name="storage: get a stream, file", unit="MiB/s", value=get_rate, rate=get_rate, at_least=True),
        latency("storage: 64 KiB at any offset, file", ranges),
        latency("storage: put 1 KB, durable", puts),
    ]
