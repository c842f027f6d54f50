"""Events in: durable ingestion with exact dedupe, repetitions, running totals.

Events are made before the clock runs; what is timed is the way from an event to the answer that says it is on disk: checking it, its hash
and its batch's root, its names, its row, the entry in the ledger. They come in bursts that may wait for the running totals, as they do where
a worker folds them beside; then in a stream, where those who ingest have to fold too.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace
from tests import engines
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT

from creto.common.ids import AgentId, EventId, new_id
from creto.common.timestamps import DAY, HOUR, ConsensusTimestamp
from creto.contracts import CostThreshold, CostThresholdType, RequireApproval
from creto.metering import BillableEvent, Costs, CostTriggers, Metering, Threshold, UnsafeTrustEverybody, Watch
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, open_store
from scripts.bench.measure import Row, Scale, settle, throughput

PARTS = ("creto.store", "creto.metering")
EVENTS = 200_000
COSTLY = 40_000
BURST = 100_000  # events: fewer than may wait
AGENTS = 1_000
TOGETHER = 1_000  # events of one batch
CALLERS = 8
TICKS = os.sysconf("SC_CLK_TCK")

Batches = list[list[BillableEvent]]


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
        metering = Metering(store, ManualClock(JANUARY.end), UnsafeTrustEverybody())
        yield from asyncio.run(measured(engine, url, metering, aim, scale))
        yield asyncio.run(judged(engine, store, scale))
    finally:
        store.close()


async def measured(engine: str, url: str, metering: Metering, aim: int, scale: Scale) -> list[Row]:
    count = scale.count(EVENTS, TOGETHER)
    batches, stream = stream_of(count, 1), stream_of(count, 2)
    settle()
    taken = folding = own = servers = 0.0
    for begin in range(0, len(batches), BURST // TOGETHER):
        own, servers = own - time.process_time(), servers - server_s(url)
        taken += await seconds(metering, batches[begin : begin + BURST // TOGETHER])
        own, servers = own + time.process_time(), servers + server_s(url)
        folding += await folded(metering)
    again = await seconds(metering, [batch[::-1] for batch in batches])
    kept_up = await seconds(metering, stream) + await folded(metering)
    cpu = f"{own * 1e6 / count:.1f} µs of CPU each" + (
        f", {servers * 1e6 / count:.1f} of the server's" if servers else ""
    )
    return [
        throughput(
            f"durable ingest with exact dedupe: {engine}",
            count / taken,
            must=50_000,
            aim=aim,
            note=f"{count:,} events of {AGENTS:,} agents; {cpu}",
        ),
        throughput(
            f"  with running totals kept up: {engine}", count / kept_up, note="by those who ingest, one process"
        ),
        throughput(f"  repetitions recognised: {engine}", count / again),
        throughput(f"  events folded into running totals: {engine}", count / folding),
    ]


async def judged(engine: str, store: Store, scale: Scale) -> Row:
    """Events that cost something, of a tenant with a limit for the month of each agent: what was spent is counted in the same transaction."""
    clock = ManualClock(JANUARY.end)
    triggers = CostTriggers(store, clock, Costs(store, clock), Watch())
    limit = CostThreshold(
        threshold_id="month", threshold_type=CostThresholdType.PER_MONTH, limit=Decimal(10**9), currency="USD",
        action=RequireApproval(approvers=()),
    )  # fmt: skip
    await triggers.put_threshold(TENANT, Threshold(threshold=limit), by=HUMAN)
    metering = Metering(store, clock, UnsafeTrustEverybody(), judge=triggers)
    count = scale.count(COSTLY, TOGETHER)
    batches = [[replace(one, properties={"cost_usd": "0.0123"}) for one in batch] for batch in stream_of(count, 3)]
    settle()
    taken = await seconds(metering, batches)
    return throughput(
        f"  of events with a cost, against a limit: {engine}",
        count / taken,
        note="totals of four periods, two agents each",
    )


def server_s(url: str) -> float:
    """Seconds of CPU that the processes of a PostgreSQL which are there now have used; 0 where there is no server."""
    if not url.startswith("postgres"):
        return 0.0
    import psycopg

    with psycopg.connect(url) as connection:
        pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")]
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / TICKS


async def folded(metering: Metering) -> float:
    started = time.perf_counter()
    await metering.fold()
    return time.perf_counter() - started


async def seconds(metering: Metering, batches: Sequence[Sequence[BillableEvent]]) -> float:
    """Several callers, each with one batch after the other."""
    waiting = list(batches)[::-1]

    async def caller() -> None:
        while waiting:
            await metering.ingest_batch(TENANT, waiting.pop(), by=HUMAN)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return time.perf_counter() - started


def stream_of(count: int, seed: int) -> Batches:
    events = day(count, random.Random(seed))  # noqa: S311 - the same events in every run
    return [events[n : n + TOGETHER] for n in range(0, count, TOGETHER)]


def day(count: int, chance: random.Random) -> list[BillableEvent]:
    """As they happen: in the order of time, one in twenty late by up to an hour."""
    names = [AgentId(f"agent-{n}") for n in range(AGENTS)]
    return [
        BillableEvent(
            event_id=(id := EventId(new_id())),
            tenant=TENANT,
            agent_nhi=(agent := names[chance.randrange(AGENTS)]),
            delegation_chain=(HUMAN, agent),
            event_type="use",
            timestamp=ConsensusTimestamp(
                JANUARY.start + HOUR + n * DAY // count - (chance.randrange(HOUR) if n % 20 == 0 else 0)
            ),
            idempotency_key=id,
            properties={"value": chance.randrange(1_000), "model": "m"},
        )
        for n in range(count)
    ]
