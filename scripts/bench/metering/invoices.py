"""An invoice run: from the events of a month to canonical invoices, customers spread over four processes.

What is timed is the way from events in memory to the digest of the finished invoice: counting, pricing, attribution along the chain,
the Merkle root of every line's events, taxes, sums. Making up the events is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context

from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, charge, event, heading, meter, plan, subscription

from creto.metering import (
    Aggregation,
    Bill,
    BillableEvent,
    Graduated,
    PerUnit,
    Plan,
    Tax,
    Terms,
    Tier,
    bill,
    draft,
    invoice_digest,
)
from scripts.bench.measure import Row, Scale

CUSTOMERS = 10_000
EVENTS = 100  # of each: a million in all
LINES = 20
PROCESSES = 4
TOGETHER = 50  # customers whose events are in memory at once
TERMS = Terms(taxes=(Tax(code="vat", percent=Decimal(20)),))


def rows(scale: Scale) -> Iterator[Row]:
    customers = scale.count(CUSTOMERS, PROCESSES)
    each = customers // PROCESSES
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        spent = list(pool.map(invoiced, range(PROCESSES), [each] * PROCESSES))
    slowest = max(seconds for seconds, _ in spent)
    cpu_ms = sum(cpu for _, cpu in spent) * 1_000 / (each * PROCESSES)
    yield Row(
        name=f"invoices: {each * PROCESSES:,} customers × {LINES} lines, {EVENTS} events each",
        unit="s",
        rate=each * PROCESSES / slowest,
        value=slowest,
        must=60,
        aim=10,
        note=f"{PROCESSES} processes, the slowest one's time; {cpu_ms:.1f} ms of CPU each",
    )


def invoiced(seed: int, customers: int) -> tuple[float, float]:
    """Seconds of billing that many customers, and of CPU."""
    chance = random.Random(seed)  # noqa: S311 - the same events in every run
    asked = Bill(plans=(twenty_lines(),), subscription=subscription(), period=JANUARY)
    spent = cpu = 0.0
    for begin in range(0, customers, TOGETHER):
        months = [month(chance) for _ in range(min(TOGETHER, customers - begin))]
        started, began = time.perf_counter(), time.process_time()
        for events in months:
            invoice = draft(heading(), bill(asked, events), TERMS)
            invoice_digest(invoice)
        spent += time.perf_counter() - started
        cpu += time.process_time() - began
        assert len(invoice.lines) == LINES
    return spent, cpu


def twenty_lines() -> Plan:
    kinds = (Aggregation.SUM, Aggregation.COUNT, Aggregation.MAX, Aggregation.UNIQUE_COUNT)
    tiers = Graduated(tiers=(Tier(up_to=Decimal(1_000), unit=Decimal("0.0123")), Tier(unit=Decimal("0.01"))))
    return plan(
        *(
            charge(
                tiers if n % 2 else PerUnit(unit=Decimal("0.0123")),
                charge_id=f"c{n}",
                meter=meter(kinds[n % 4], meter_id=f"m{n}", event_type=f"t{n}"),
            )
            for n in range(LINES)
        )
    )


def month(chance: random.Random) -> list[BillableEvent]:
    return [
        event(
            chance.randrange(JANUARY.start, JANUARY.end),
            id=f"e{n}",
            agent=CHILD if n % 3 else AGENT,
            chain=(HUMAN, AGENT, CHILD) if n % 3 else (HUMAN, AGENT),
            type=f"t{n % LINES}",
            value=str(chance.randrange(1_000)),
        )
        for n in range(EVENTS)
    ]
