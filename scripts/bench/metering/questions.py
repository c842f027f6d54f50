"""Usage out: questions to ten million events of a thousand agents, beside DuckDB that adds up the same rows in memory.

The rows are written as ingestion and folding would have left them; making them is not timed. All agents have their totals; every tenth
has its single events too, and it is such a one that is asked for more than totals tell.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

from tests.unit.metering.examples import HUMAN, JANUARY, TENANT, charge, meter, plan

from creto.common.ids import AgentId
from creto.common.timestamps import HOUR
from creto.metering import (
    Billing,
    BucketSize,
    Metering,
    PerUnit,
    StoredEvents,
    UnsafeTrustEverybody,
    UsageBy,
    UsageQuery,
    total_store,
)
from creto.metering import event_store as rows_of
from creto.metering.admission import agent_print, chain_print, coded
from creto.metering.totals import Cell, CellKey, Grain, Kept, Value, by_day
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, Tx, open_store
from scripts.bench.beside import complain
from scripts.bench.measure import Peer, Row, Scale, each_async, latency, settle

EVENTS = 10_000_000
AGENTS = 1_000
SINGLES = 10  # one agent of so many has single events
ASKED = 7  # the agent that is asked for
TOGETHER = 1_000  # events of one batch
PLACE_COLUMNS = ("chain", "happened_at", "batch", "place", "agent", "tenant")


def rows(scale: Scale) -> Iterator[Row]:
    each = scale.count(EVENTS, AGENTS) // AGENTS
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/usage.db", parts=("creto.store", "creto.metering"))
        try:
            for number in range(AGENTS):
                store.submit(partial(write_agent, number=number, each=each)).result()
            settle()
            yield from asyncio.run(measured(store, each, scale))
        finally:
            store.close()


def name(number: int) -> AgentId:
    return AgentId(f"agent-{number}")


def value(number: int) -> int:
    return number * 7_919 % 1_000


def write_agent(tx: Tx, number: int, each: int) -> None:
    """One agent's month, evenly spread."""
    agent = name(number)
    chain = chain_print(TENANT, agent, (HUMAN, agent))
    rows_of.add_chains(tx, TENANT, {chain: (agent, (HUMAN, agent))})
    moments = [JANUARY.start + n * (JANUARY.length_ns // each) for n in range(each)]
    write_totals(tx, chain, moments)
    if number % SINGLES == ASKED % SINGLES:
        write_events(tx, chain, agent, number * each, moments)


def write_events(tx: Tx, chain: bytes, agent: AgentId, first: int, moments: Sequence[int]) -> None:
    spread = agent_print(TENANT, agent)
    events, places = [], []
    for n, at in enumerate(moments):
        batch, place = divmod(first + n, TOGETHER)
        body = b'{"value":%d,"model":"m"}' % value(n)
        events.append(
            (batch + 1, place, spread, TENANT, chain, at, at, 0, 0, "use", coded(f"e{first + n}", "id"), b"", body)
        )
        places.append((chain, at, batch + 1, place, spread, TENANT))
    tx.bulk("metering_event", rows_of.EVENT_COLUMNS, events)
    tx.bulk("metering_place", PLACE_COLUMNS, places)


def write_totals(tx: Tx, chain: bytes, moments: Sequence[int]) -> None:
    hours: dict[int, list[int]] = {}
    for n, at in enumerate(moments):
        hours.setdefault(at // HOUR * HOUR, []).append(value(n))
    cells = {
        CellKey(chain, at, "use"): Kept(
            Cell(len(own), {"value": Value(len(own), Decimal(sum(own)), Decimal(max(own)))}), at
        )
        for at, own in hours.items()
    }
    total_store.put(tx, TENANT, Grain.HOUR, cells.items())
    total_store.put(tx, TENANT, Grain.DAY, by_day(cells.items()).items())


async def measured(store: Store, each: int, scale: Scale) -> list[Row]:
    clock = ManualClock(JANUARY.end)
    metering = Metering(store, clock, UnsafeTrustEverybody())
    billing = Billing(store, clock, StoredEvents())
    await billing.create_plan(TENANT, plan(charge(PerUnit(unit=Decimal(1)))), by=HUMAN)
    made = await billing.subscribe(
        TENANT, name(ASKED), plan().plan_id, key="k", by=HUMAN, starts_at=JANUARY.start, anchor=JANUARY.start
    )
    whole = f"of {each * AGENTS:,} events"
    largest = UsageQuery(meter=meter(), period=JANUARY, by=UsageBy.AGENT, top=10)
    of_one = UsageQuery(meter=meter(), period=JANUARY, agent=name(ASKED))
    days = UsageQuery(meter=meter(), period=JANUARY, bucket=BucketSize.DAY)
    groups = UsageQuery(meter=meter(group_by=("model",)), period=JANUARY, agent=name(ASKED))
    found = [
        await asked(metering, f"the ten agents that used most, {whole}", largest, scale.count(10, 2), duckdb(each)),
        await asked(metering, f"a month of the tenant by days, {whole}", days, scale.count(10, 2)),
        await asked(metering, f"a month of one agent, {whole}", of_one, scale.count(300)),
        await asked(metering, f"the same grouped by a property, {each:,} events looked at", groups, scale.count(20, 2)),
    ]
    bills = await each_async(
        lambda: billing.preview(TENANT, made.subscription_id, at=JANUARY.start), scale.count(10, 2), 1
    )
    return [*found, latency(f"the bill of one agent, {each:,} {whole}", bills)]


async def asked(metering: Metering, title: str, query: UsageQuery, count: int, peers: tuple[Peer, ...] = ()) -> Row:
    return latency(title, await each_async(lambda: metering.query_usage(TENANT, query), count, 1), peers=peers)


def duckdb(each: int) -> tuple[Peer, ...]:
    """DuckDB over the same numbers as bare columns in memory: no names, chains or decimals to read."""
    try:
        import duckdb as engine
    except ModuleNotFoundError:
        complain("no duckdb: the aggregate stands alone")
        return ()
    with engine.connect() as db:
        made = f"SELECT i // {each} AS agent, (i % {each}) * 7919 % 1000 AS value FROM range({each * AGENTS}) t(i)"
        db.execute(f"CREATE TABLE events AS {made}")
        samples = []
        for _ in range(5):
            started = time.perf_counter()
            db.execute("SELECT agent, SUM(value) s FROM events GROUP BY agent ORDER BY s DESC LIMIT 10").fetchall()
            samples.append((time.perf_counter() - started) * 1e6)
    return (Peer(f"duckdb {engine.__version__}, in memory", sorted(samples)[-1]),)
