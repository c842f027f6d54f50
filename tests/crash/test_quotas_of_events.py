"""kill -9 while events come in and are counted on quotas: in the end each counter has each event once.

A killed process leaves events on disk that no counter has, and counters that have them while a row still says that they are due.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from creto.common.ids import AgentId
from creto.common.timestamps import MINUTE
from creto.metering import Limit, Measure, Quota, Quotas, RedisLimits, Window, WindowUnit
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, open_store
from tests.crash.test_usage import AGAIN, killed_at
from tests.crash.usage_ingester import PARTS, batches, event, ingest
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT

EVENTS, EVENTS_DEEP = 4_000, 200_000
KILLS, KILLS_DEEP = 3, 40


def measuring(name: str) -> Quota:
    limits = (Limit(1_000, Window(WindowUnit.LIFETIME)), Limit(10, Window(WindowUnit.YEAR, count=100)))
    return Quota(quota_id=name, limits=limits, measures=Measure.EVENTS)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize("place", ["store", "redis"])
def test_each_event_is_on_each_counter_once_whoever_dies(
    engine: str, place: str, tmp_path: Path, deep: bool, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/usage.db" if engine == "sqlite" else str(request.getfixturevalue("postgres_url"))
    where = str(request.getfixturevalue("redis_url")) if place == "redis" else "-"
    count, kills = (EVENTS_DEEP, KILLS_DEEP) if deep else (EVENTS, KILLS)
    name = f"q{tmp_path.name}"
    store = open_store(url, parts=PARTS)
    asyncio.run(Quotas(store, ManualClock(JANUARY.end)).put_quota(TENANT, measuring(name), by=HUMAN))
    store.close()

    chance, total, first = random.Random(count), len(batches(1, count)), 0
    for _ in range(kills):
        first = killed_at(url, count, max(0, first - AGAIN), chance.randint(1, max(2, total // kills)), where)
    asyncio.run(ingest(url, 1, count, max(0, first - AGAIN), where))

    store = open_store(url, parts=PARTS)
    try:
        asyncio.run(check(store, None if where == "-" else RedisLimits(where), name, count))
    finally:
        store.close()


async def check(store: Store, limits: RedisLimits | None, name: str, count: int) -> None:
    clock = ManualClock(JANUARY.end + MINUTE)
    quotas = Quotas(store, clock, limits=limits)
    while await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM metering_quota_due")):
        await asyncio.to_thread(quotas.events.book_left, clock.now())
        await quotas.put_quota(TENANT, measuring(name), by=HUMAN)  # behind what that wrote
    expected: dict[AgentId, int] = {HUMAN: count}
    for number in range(count):
        agent = event(1, number).agent_nhi
        expected[agent] = expected.get(agent, 0) + 1
    for agent, used in expected.items():
        found = await quotas.usage(TENANT, [agent])
        assert [one.used for one in found] == [used, used]
    quotas.close()
    if limits is not None:
        limits.close()
