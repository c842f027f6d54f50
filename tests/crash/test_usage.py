"""kill -9 while events come in, a third of them twice and in any order: totals equal the oracle to the last micro.

What a killed process had not acknowledged is sent again, and so is a stretch of what it had. At the end the running totals, a count over
all events, and the bill say what a plain sum over the events says.
"""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from pathlib import Path

import pytest

from creto.common.ids import AgentId
from creto.metering import (
    Aggregation,
    Billing,
    Metering,
    PerUnit,
    StoredEvents,
    UnsafeTrustEverybody,
    UsageBy,
    UsageQuery,
)
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, open_store
from tests.contract.processes import line, python_module
from tests.crash.usage_ingester import PARTS, TOGETHER, batches, event, ingest
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT, D, charge, meter, plan

EVENTS, EVENTS_DEEP = 6_000, 1_000_000
KILLS, KILLS_DEEP = 4, 50
AGAIN = 8  # batches that are sent once more after a kill: they may have been acknowledged


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_totals_survive_any_death_of_their_writer(
    engine: str, tmp_path: Path, deep: bool, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/usage.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    count, kills = (EVENTS_DEEP, KILLS_DEEP) if deep else (EVENTS, KILLS)
    chance = random.Random(count)
    total = len(batches(1, count))
    first, killed = 0, 0
    while killed < kills:
        first = killed_at(url, count, max(0, first - AGAIN), chance.randint(1, max(2, total // kills)))
        killed += 1
    asyncio.run(ingest(url, 1, count, max(0, first - AGAIN)))
    check(url, count)


def killed_at(url: str, count: int, first: int, acknowledged: int, *place: str) -> int:
    """Start at a batch, kill after so many acknowledgements; up to which batch all were acknowledged."""
    done: set[int] = set()
    with python_module("tests.crash.usage_ingester", url, "1", str(count), str(first), *place) as process:
        assert line(process) == "ready"
        for _ in range(acknowledged):
            said = line(process)
            if said == "done":
                break
            done.add(int(said))
        process.kill()
    return next(number for number in range(first, first + len(done) + 1) if number not in done)


def check(url: str, count: int) -> None:
    oracle: dict[AgentId, list[Decimal]] = {}
    for one in (event(1, number) for number in range(count)):
        oracle.setdefault(one.agent_nhi, []).append(D(one.properties["value"]))
    store = open_store(url, parts=PARTS)
    try:
        asyncio.run(check_totals(store, oracle))
    finally:
        store.close()


async def check_totals(store: Store, oracle: dict[AgentId, list[Decimal]]) -> None:
    metering = Metering(store, ManualClock(JANUARY.end), UnsafeTrustEverybody())
    for _ in range(2):
        for aggregation, expected in ((Aggregation.SUM, sum), (Aggregation.COUNT, len), (Aggregation.MAX, max)):
            query = UsageQuery(meter=meter(aggregation), period=JANUARY, by=UsageBy.AGENT, limit=1_000)
            found = (await metering.query_usage(TENANT, query)).rows
            assert {row.agent: row.quantity for row in found} == {a: expected(v) for a, v in oracle.items()}
        await metering.fold()
    billing = Billing(store, ManualClock(JANUARY.end), StoredEvents())
    await billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    agent = min(oracle)
    made = await billing.subscribe(
        TENANT, agent, plan().plan_id, key="k", by=HUMAN, starts_at=JANUARY.start, anchor=JANUARY.start
    )
    (billed,) = (await billing.preview(TENANT, made.subscription_id, at=JANUARY.start)).lines
    assert (billed.exact, billed.events) == (sum(oracle[agent]), len(oracle[agent]))


def test_three_of_ten_arrivals_are_repetitions() -> None:
    arrivals = [number for batch in batches(1, EVENTS) for number in batch]
    assert len(set(arrivals)) == EVENTS
    assert abs(len(arrivals) * 7 - EVENTS * 10) <= 7 * TOGETHER
