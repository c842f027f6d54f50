"""What an agent remembers: recall by action, by words and by vector among many memories."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from creto.common.ids import TenantId, agent_id
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.memory import Memory, TenantKeys
from creto.store import open_store
from scripts.bench.measure import Row, Scale, each_async, latency

PARTS = ("creto.platform.crypto", "creto.security.memory")
TENANT = TenantId("default")
AGENT = agent_id(bytes(32))
DIMENSIONS = 384
TOGETHER = 200
WORDS = [f"w{n}x" for n in range(5_000)]
COMMONNESS = [1 / (n + 30) for n in range(5_000)]


def rows(scale: Scale) -> Iterator[Row]:
    yield from asyncio.run(measured(scale))


async def measured(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/memory.db", parts=PARTS)
        try:
            memory = Memory(TenantKeys(Keystore(store, Kek.generate()), "memory"), store, ManualClock())
            return await recall(memory, scale)
        finally:
            store.close()


async def recall(memory: Memory, scale: Scale) -> list[Row]:
    dice = random.Random(1)  # noqa: S311

    def vector() -> list[float]:
        return [dice.gauss(0, 1) for _ in range(DIMENSIONS)]

    def words(count: int) -> str:
        return " ".join(dice.choices(WORDS, COMMONNESS, k=count))

    for begin in range(0, scale.memories, TOGETHER):
        some = range(begin, min(begin + TOGETHER, scale.memories))
        await asyncio.gather(
            *(
                memory.store_context(TENANT, AGENT, "reasoning", words(40), action=f"act.{n % 50}", vector=vector())
                for n in some
            )
        )
    asked, size, count = vector(), f"{scale.memories:,} memories", scale.count(300)
    by_action = await each_async(
        lambda: memory.fetch_reasoning_context(TENANT, AGENT, f"act.{dice.randrange(50)}", 10), count, 5
    )
    by_words = await each_async(lambda: memory.search(TENANT, AGENT, words(3), limit=10), count, 5)
    by_vector = await each_async(lambda: memory.nearest(TENANT, AGENT, asked, limit=10), count, 2)
    return [
        latency(f"memory, recall by action, {size}", by_action),
        latency(f"memory, full-text search, {size}", by_words),
        latency(f"memory, nearest of {DIMENSIONS} dimensions, {size}", by_vector),
    ]
