"""Events in and usage out: durable ingestion with exact dedupe, repetitions, and questions to ten million events.

Events are made before the clock runs; what is timed is the way from an event to the answer that says it is on disk: checking it, its hash
and its batch's root, its names, its row, the entry in the ledger.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import engines
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT, meter

from creto.common.ids import AgentId, EventId, new_id
from creto.common.timestamps import DAY, ConsensusTimestamp
from creto.metering import BillableEvent, Metering, UnsafeTrustEverybody, UsageBy, UsageQuery
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from scripts.bench.measure import Row, Scale, each_async, latency, settle, throughput

PARTS = ("creto.store", "creto.metering")
EVENTS = 200_000
AGENTS = 1_000
TOGETHER = 1_000  # events of one batch
CALLERS = 8


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield from engine_rows("SQLite", f"sqlite:///{Path(folder)}/usage.db", 150_000, scale)
    if engines.postgres_bin() is None:
        yield Row(name="usage, PostgreSQL", value=0.0, note="NOT MEASURED: no PostgreSQL on this machine")
        return
    with engines.postgres() as url:
        yield from engine_rows("PostgreSQL", url, 120_000, scale)


def engine_rows(engine: str, url: str, aim: int, scale: Scale) -> Iterator[Row]:
    store = open_store(url, parts=PARTS)
    try:
        yield from asyncio.run(
            measured(engine, Metering(store, ManualClock(JANUARY.end), UnsafeTrustEverybody()), aim, scale)
        )
    finally:
        store.close()


async def measured(engine: str, metering: Metering, aim: int, scale: Scale) -> list[Row]:
    events = month(scale.count(EVENTS, TOGETHER), random.Random(1))  # noqa: S311 - the same events in every run
    batches = [events[n : n + TOGETHER] for n in range(0, len(events), TOGETHER)]
    settle()
    first = await per_second(metering, batches)
    again = await per_second(metering, [batch[::-1] for batch in batches])
    started = time.perf_counter()
    await metering.fold()
    folded = len(events) / (time.perf_counter() - started)
    found = [
        throughput(
            f"durable ingest with exact dedupe: {engine}",
            first,
            must=50_000,
            aim=aim,
            note=f"{len(events):,} events of {AGENTS:,} agents",
        ),
        throughput(f"repetitions recognised: {engine}", again),
        throughput(f"events folded into running totals: {engine}", folded),
    ]
    return [*found, *await questions(engine, metering, scale)]


async def per_second(metering: Metering, batches: Sequence[Sequence[BillableEvent]]) -> float:
    """Several callers, each with one batch after the other."""
    waiting = list(batches)

    async def caller() -> None:
        while waiting:
            await metering.ingest_batch(TENANT, waiting.pop(), by=HUMAN)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return sum(map(len, batches)) / (time.perf_counter() - started)


async def questions(engine: str, metering: Metering, scale: Scale) -> list[Row]:
    of_one = UsageQuery(meter=meter(), period=JANUARY, agent=AgentId("agent-7"))
    largest = UsageQuery(meter=meter(), period=JANUARY, by=UsageBy.AGENT, top=10)
    one = await each_async(lambda: metering.query_usage(TENANT, of_one), scale.count(500), 5)
    top = await each_async(lambda: metering.query_usage(TENANT, largest), scale.count(20, 3), 1)
    return [
        latency(f"a month of one agent: {engine}", one),
        latency(f"the ten agents that used most in a month: {engine}", top),
    ]


def month(count: int, chance: random.Random) -> list[BillableEvent]:
    names = [AgentId(f"agent-{n}") for n in range(AGENTS)]
    return [
        BillableEvent(
            event_id=(id := EventId(new_id())),
            tenant=TENANT,
            agent_nhi=(agent := names[chance.randrange(AGENTS)]),
            delegation_chain=(HUMAN, agent),
            event_type="use",
            timestamp=ConsensusTimestamp(JANUARY.start + chance.randrange(31 * DAY)),
            idempotency_key=id,
            properties={"value": chance.randrange(1_000), "model": "m"},
        )
        for _ in range(count)
    ]
