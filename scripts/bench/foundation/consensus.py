"""Timestamps: from a quorum of four time nodes, each a process of its own, and from the embedded clock."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.integration.platform.consensus.test_time_nodes import CLUSTER, NodeProcess

from creto.platform.consensus import EmbeddedClock, QuorumClock
from creto.store import open_store
from scripts.bench.measure import Row, Scale, amortised, each, latency

NODES = 4
MS = 1_000.0


def rows(scale: Scale) -> Iterator[Row]:
    yield from asyncio.run(quorum(scale))
    yield embedded(scale)


async def quorum(scale: Scale) -> list[Row]:
    nodes = [NodeProcess() for _ in range(NODES)]
    try:
        async with QuorumClock([(f"127.0.0.1:{n.port}", n.key.public) for n in nodes], CLUSTER, round_s=0.1) as clock:
            samples: list[float] = []
            for _ in range(10):  # rounds go on between and during these
                samples += await asyncio.to_thread(each, clock.now, scale.count(20_000))
                await asyncio.sleep(0.1)
            assert not clock.degraded, "the quorum was lost"
            value = amortised(lambda count: [clock.now() for _ in range(count)], scale.count(20_000))
            return [
                latency(f"timestamp, quorum of {NODES} time-node processes", samples, must=1 * MS, aim=20.0),
                Row(name="timestamp, quorum, amortised", value=value, p50=value, rate=1e6 / value),
            ]
    finally:
        for node in nodes:
            node.kill()


def embedded(scale: Scale) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/bench.db", parts=("creto.platform.consensus",))
        try:
            with EmbeddedClock(store) as clock:
                return latency("timestamp, embedded clock", each(clock.now, scale.count(100_000)))
        finally:
            store.close()
