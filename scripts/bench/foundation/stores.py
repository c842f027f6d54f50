"""Durable transactions under many callers at once: the store commits them in groups."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path

from tests import engines
from tests.unit.platform.audit.logs import entry

from creto.store import Entry, Store, open_store
from scripts.bench.measure import Row, Scale, throughput

CALLERS = 512


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield throughput(
            "durable transactions with ledger entry, SQLite", committed(f"sqlite:///{Path(folder)}/txn.db", scale)
        )
    if engines.postgres_bin() is None:
        yield Row(
            name="durable transactions, PostgreSQL", value=0.0, note="NOT MEASURED: no PostgreSQL on this machine"
        )
        return
    with engines.postgres() as url:
        yield throughput("durable transactions with ledger entry, PostgreSQL", committed(url, scale))


def committed(url: str, scale: Scale) -> float:
    """Each caller commits one transaction after another: the store commits them in groups."""
    store = open_store(url)
    try:
        return asyncio.run(per_second(store, scale.count(30_000, CALLERS) // CALLERS))
    finally:
        store.close()


async def per_second(store: Store, each_caller: int) -> float:
    entries = [[entry(number) for number in range(each_caller)] for _ in range(CALLERS)]

    async def caller(mine: list[Entry]) -> None:
        for one in mine:
            await store.write(methodcaller("record", one))

    await asyncio.gather(*(caller([entry()]) for _ in range(CALLERS)))
    started = time.perf_counter()
    await asyncio.gather(*map(caller, entries))
    return CALLERS * each_caller / (time.perf_counter() - started)
