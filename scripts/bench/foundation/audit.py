"""The log at a million entries: built by the real sequencer, then appended to, proved and asked."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from tests.unit.platform.audit.logs import PARTS, START, TENANT, entry, log

from creto.common.ids import agent_id
from creto.platform.audit import Audit, AuditQuery
from creto.store import Entry, EntryId, Store, Tx, open_store
from scripts.bench.beside import beside
from scripts.bench.measure import Row, Scale, each_async, latency, open_loop, precise_loop, throughput

AGENTS = [agent_id(n.to_bytes(32)) for n in range(1_000)]
EVENTS = (
    ("SandboxSpawned", "runtime:spawn", "runtime"),
    ("EgressAttempt", "runtime:egress", "runtime"),
    ("EventIngested", "metering:ingest", "metering"),
    ("RequestCreated", "oversight:request", "oversight"),
    ("MessageSent", "messaging:send", "messaging"),
)
TOGETHER = 2_000
KEPT = 64  # one in so many entries is remembered, to be asked for
PER_SECOND = 1_000
MS = 1_000.0
SECOND_NS = 1_000_000_000


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/log.db", parts=PARTS)
        try:
            audit = log(store)
            known = recorded(store, scale.leaves)
            started = time.perf_counter()
            sequenced = audit.sequencer.drain()
            rate = sequenced / (time.perf_counter() - started)
            assert sequenced == scale.leaves, sequenced
            audit.sequencer.checkpoint()
            yield throughput(f"audit, sequenced, signed, indexed: {millions(scale)}", rate)
            with asyncio.Runner(loop_factory=precise_loop) as runner:
                yield from runner.run(measured(audit, known, scale))
        finally:
            store.close()


def millions(scale: Scale) -> str:
    return f"{scale.leaves / 1e6:g} M leaves"


def happened(number: int) -> Entry:
    event, action, product = EVENTS[number % len(EVENTS)]
    return entry(
        number,
        agent_nhi=AGENTS[number * 7919 % len(AGENTS)],
        action=action,
        resource=f"{product}:thing:t-{number % 5_000}",
        event=event,
        product=product,
        metadata={"number": number, "host": f"api{number % 200}.example.com", "by": f"worker {number % 31}"},
    )


def recorded(store: Store, count: int) -> list[EntryId]:
    """Fill the ledger; some of its entries' ids."""
    known: list[EntryId] = []
    for begin in range(0, count, TOGETHER):
        some = [happened(n) for n in range(begin, min(begin + TOGETHER, count))]
        known += [one.event_id for one in some[::KEPT]]
        store.submit(partial(record_all, some)).result()
    return known


def record_all(entries: list[Entry], tx: Tx) -> None:
    for one in entries:
        tx.record(one)


async def measured(audit: Audit, known: list[EntryId], scale: Scale) -> list[Row]:
    dice = random.Random(1)  # noqa: S311
    size = millions(scale)
    proofs = await each_async(lambda: audit.prove(dice.choice(known), tenant=TENANT), scale.count(2_000), 20)
    kinds = queries(dice, scale.leaves)
    names = cycle(kinds)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(scale.count(1_500, 2 * len(kinds))):
        name = next(names)
        wanted = kinds[name]()
        taken[name] += await each_async(partial(audit.query, wanted), 1)
    asked = [one for samples in taken.values() for one in samples]
    by_kind = ", ".join(f"{name} {sorted(s)[int(0.99 * len(s))] / MS:.1f}" for name, s in taken.items())
    appended = await appends(audit, scale)
    return [
        beside(latency(f"audit, proof at {size}", proofs, must=10 * MS, aim=1 * MS), scale, "agt audit proof"),
        latency(f"audit, query at {size}", asked, must=50 * MS, aim=20 * MS, note=f"p99 by kind in ms: {by_kind}"),
        beside(latency("audit append, durable, 1,000/s, log being sequenced", appended, must=5 * MS, aim=5 * MS, rate=PER_SECOND), scale, "agt audit"),
    ]  # fmt: skip


def queries(dice: random.Random, leaves: int) -> dict[str, Any]:
    """Each asks for one page of a hundred, of something else every time."""

    def at(share: float) -> Any:
        return START + int(leaves * share) * SECOND_NS

    def ask(**fields: Any) -> AuditQuery:
        return AuditQuery(tenant=TENANT, limit=100, **fields)

    def between() -> AuditQuery:
        since = dice.random()
        return ask(since=at(since), until=at(since + 0.001))

    return {
        "newest": lambda: ask(),
        "agent": lambda: ask(agent=dice.choice(AGENTS)),
        "action": lambda: ask(action=dice.choice(EVENTS)[1]),
        "agent and action": lambda: ask(agent=dice.choice(AGENTS), action=dice.choice(EVENTS)[1]),
        "resource": lambda: ask(resource=f"runtime:thing:t-{dice.randrange(1_000) * 5}"),
        "time": between,
        "text": lambda: ask(text=f"api{dice.randrange(200)}.example.com worker"),
        "nothing found": lambda: ask(agent=dice.choice(AGENTS), outcome="denied"),
    }


async def appends(audit: Audit, scale: Scale) -> list[float]:
    audit.start()
    try:
        await open_loop(lambda n: audit.append(happened(n)), PER_SECOND, scale.count(500))
        return await open_loop(lambda n: audit.append(happened(n)), PER_SECOND, scale.count(5_000))
    finally:
        await asyncio.to_thread(audit.stop)
