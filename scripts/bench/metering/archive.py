"""The archive: closed days to Parquet and storage, and what an export hands out."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.unit.metering.examples import HUMAN, JANUARY, TENANT

from creto.common.limits import PAGE_ITEMS_MAX
from creto.common.timestamps import DAY
from creto.metering import Archive, EventsQuery, Metering, UnsafeTrustEverybody
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.store import Store, open_store
from scripts.bench.measure import Row, Scale, settle, throughput
from scripts.bench.metering.usage import TOGETHER, day

PARTS = ("creto.store", "creto.platform.crypto", "creto.security.storage", "creto.metering")
EVENTS = 100_000


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/usage.db", parts=PARTS)
        try:
            yield from asyncio.run(measured(store, folder, scale.count(EVENTS, TOGETHER)))
        finally:
            store.close()


async def measured(store: Store, folder: str, count: int) -> list[Row]:
    clock = ManualClock(JANUARY.end)
    metering = Metering(store, clock, UnsafeTrustEverybody())
    keys = TenantKeys(Keystore(store, Kek(bytes(range(32)))), "storage")
    archive = Archive(store, clock, Storage(open_backend(f"file://{folder}/objects"), keys, store, clock))
    events = day(count, random.Random(1))  # noqa: S311 - the same events in every run
    for n in range(0, count, TOGETHER):
        await metering.ingest_batch(TENANT, events[n : n + TOGETHER], by=HUMAN)
    settle()
    started = time.perf_counter()
    made = await archive.run(DAY, by=HUMAN)
    archived = count / (time.perf_counter() - started)
    each = sum(part.size for part in made) / count
    started = time.perf_counter()
    cursor, read = None, 0
    while read < count:
        page = await metering.events(TENANT, EventsQuery(), cursor=cursor, limit=PAGE_ITEMS_MAX)
        read, cursor = read + len(page.items), page.cursor
    exported = count / (time.perf_counter() - started)
    return [
        throughput("events archived as Parquet, sealed", archived, note=f"{count:,} events, {each:.0f} bytes each"),
        throughput("events exported, page by page", exported),
    ]
