"""Durable transactions under many callers at once, and the bus from publish to delivery."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from creto.bus import EmbeddedBus, Message
from creto.store import Store, open_store
from scripts.bench.measure import Row, Scale, latency, open_loop, precise_loop, throughput
from tests import engines
from tests.unit.platform.audit.logs import AGENT, TENANT, entry

CALLERS = 512
BUS_PARTS = ("creto.store", "creto.bus")


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield throughput(
            "durable transactions with ledger entry, SQLite", committed(f"sqlite:///{Path(folder)}/txn.db", scale)
        )
        with asyncio.Runner(loop_factory=precise_loop) as runner:
            samples = runner.run(delivered(f"sqlite:///{Path(folder)}/bus.db", scale))
        yield latency("bus, embedded: publish → delivered, 200/s", samples, rate=200)
    if engines.postgres_bin() is None:
        yield Row(name="durable transactions, PostgreSQL", value=0.0, note="NOT MEASURED: no PostgreSQL on this machine")
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

    async def caller(mine: list) -> None:  # type: ignore[type-arg]
        for one in mine:
            await store.write(lambda tx, one=one: tx.record(one))

    await asyncio.gather(*(caller([entry()]) for _ in range(CALLERS)))
    started = time.perf_counter()
    await asyncio.gather(*map(caller, entries))
    return CALLERS * each_caller / (time.perf_counter() - started)


async def delivered(url: str, scale: Scale) -> list[float]:
    store = open_store(url, parts=BUS_PARTS)
    bus = EmbeddedBus(store)
    arrived: dict[bytes, asyncio.Event] = {}

    async def consumer(message: Message) -> None:
        arrived[message.payload].set()

    async def there_and_back(number: int) -> None:
        payload = str(number).encode()
        arrived[payload] = asyncio.Event()
        await bus.publish("bench.event", payload, tenant=TENANT, agent=AGENT)
        await arrived[payload].wait()

    try:
        await bus.subscribe("bench.>", "bench", consumer)
        return await open_loop(there_and_back, 200, scale.count(600))
    finally:
        await bus.close()
        store.close()
