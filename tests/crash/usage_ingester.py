"""Ingests a stream of events until it is killed, and says which batches were acknowledged.

python -m tests.crash.usage_ingester URL SEED COUNT FIRST [REDIS|-]

The stream is made from the seed: COUNT events, a third of them twice, all shuffled, cut into batches. It begins at batch FIRST.
Totals are folded meanwhile; what the killed one had begun comes again. With a fifth argument events count on quotas too, there.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from creto.common.errors import ConnectionFailed
from creto.common.ids import AgentId, EventId
from creto.common.timestamps import DAY, ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering import Metering, Quotas, RedisLimits, UnsafeTrustEverybody
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT

PARTS = ("creto.store", "creto.metering")
AGENTS = 50
TOGETHER = 250
CALLERS = 4
REPEATED = 0.3 / 0.7  # so that three of ten arrivals are repetitions


def event(seed: int, number: int) -> BillableEvent:
    """The same for the same numbers, made by a few multiplications: a million of them are not kept."""
    mixed = (number + 1) * 2_654_435_761 * (2 * seed + 1) % 2**61
    agent = AgentId(f"agent-{mixed % AGENTS}")
    return BillableEvent(
        event_id=EventId(f"e{seed}-{number}"),
        tenant=TENANT,
        agent_nhi=agent,
        delegation_chain=(HUMAN, agent),
        event_type="use",
        timestamp=ConsensusTimestamp(JANUARY.start + mixed * 7_919 % (31 * DAY)),
        idempotency_key=f"e{seed}-{number}",
        properties={"value": f"{mixed % 999_983}.{mixed % 1_000_003 % 10**6:06}"},
    )


def batches(seed: int, count: int) -> list[list[int]]:
    """The numbers of the events that arrive together."""
    chance = random.Random(seed)
    arrivals = [*range(count), *chance.sample(range(count), int(count * REPEATED))]
    chance.shuffle(arrivals)
    return [arrivals[n : n + TOGETHER] for n in range(0, len(arrivals), TOGETHER)]


async def ingest(url: str, seed: int, count: int, first: int, place: str | None = None) -> None:
    store = open_store(url, parts=PARTS)
    metering = Metering(store, ManualClock(JANUARY.end + first), UnsafeTrustEverybody())
    if place is not None:
        limits = None if place == "-" else RedisLimits(place)
        metering.use_quotas(Quotas(store, ManualClock(JANUARY.end + first), limits=limits).events)
    waiting = list(enumerate(batches(seed, count)))[first:][::-1]
    os.write(1, b"ready\n")

    async def caller() -> None:
        while waiting:
            number, arrivals = waiting.pop()
            batch = [event(seed, n) for n in arrivals]
            await again(partial(metering.ingest_batch, TENANT, batch, by=HUMAN))
            os.write(1, b"%d\n" % number)
            if number % 5 == 0:
                await again(metering.fold)

    async def again(act: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await act()
            except ConnectionFailed:
                await asyncio.sleep(0.05)
            else:
                return

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    os.write(1, b"done\n")
    store.close()


if __name__ == "__main__":
    asyncio.run(ingest(sys.argv[1], *map(int, sys.argv[2:5]), *sys.argv[5:6]))
