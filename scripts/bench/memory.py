"""Memory: recalls in one agent's partition of 10,000 items with 384-dimensional vectors; on SQLite."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from creto.common.ids import TenantId, agent_id
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.memory import Memory, TenantKeys
from creto.store import open_store
from scripts.bench.measure import Row, each_async, latency

ITEMS, DIMENSIONS, WORDS_EACH, VOCABULARY = 10_000, 384, 60, 5_000
TENANT, AGENT = TenantId("bench"), agent_id(bytes(32))
PARTS = ("creto.platform.crypto", "creto.security.memory")
VOCABULARY_WORDS = [f"w{n}x" for n in range(VOCABULARY)]
FREQUENCIES = [1 / (n + 30) for n in range(VOCABULARY)]  # Zipf without the stop words
MUST_US = 10_000.0


def rows() -> Iterator[Row]:
    yield from asyncio.run(measured())


async def measured() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/bench.db", parts=PARTS)
        try:
            return await of(Memory(TenantKeys(Keystore(store, Kek.generate()), "memory"), store, ManualClock()))
        finally:
            store.close()


async def of(memory: Memory) -> list[Row]:
    rng = random.Random(3)  # noqa: S311 - the same numbers in every run

    def words(count: int) -> str:
        return " ".join(rng.choices(VOCABULARY_WORDS, FREQUENCIES, k=count))

    def vector() -> list[float]:
        return [rng.gauss(0, 1) for _ in range(DIMENSIONS)]

    async def store() -> None:
        action = f"act.{rng.randrange(50)}"
        await memory.store_context(TENANT, AGENT, "reasoning", words(WORDS_EACH), action=action, vector=vector())

    async def nearest() -> None:
        await memory.nearest(TENANT, AGENT, queries[rng.randrange(len(queries))], limit=10)

    async def search() -> None:
        await memory.search(TENANT, AGENT, words(3), limit=10)

    async def reasoning() -> None:
        await memory.fetch_reasoning_context(TENANT, AGENT, f"act.{rng.randrange(50)}", 10)

    for _ in range(ITEMS // 100):
        await asyncio.gather(*(store() for _ in range(100)))
    queries = [vector() for _ in range(50)]
    how = "numpy" if importlib.util.find_spec("numpy") else "plain Python"
    return [
        latency(f"memory: nearest 10 of 10 K, exact, {how}", await each_async(nearest, 300, 10), must=MUST_US),
        latency("memory: full text, 3 words, 10 K items", await each_async(search, 300, 10), must=MUST_US),
        latency("memory: reasoning for an action, 10 K items", await each_async(reasoning, 300, 10)),
        latency("memory: store an item, durable", await each_async(store, 200, 10)),
    ]
