"""Many wait: threads and the share of a core that the whole layer takes in one process, while nobody decides anything."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.integration.oversight.test_waiting import idle_share, prepared, waits
from tests.layers import settings

from creto.app import running
from scripts.bench.measure import Row, Scale

WAITS = 10_000


def rows(scale: Scale) -> Iterator[Row]:
    yield from asyncio.run(measured(scale.count(WAITS)))


async def measured(count: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        async with running(settings(Path(folder))) as app:
            _, ids = await prepared(app, count)
            alone = await idle_share()
            tasks = [asyncio.create_task(app.parts.oversight.await_decision(app.tenant, one)) for one in ids]
            await waits(app, count)
            share, threads = await idle_share(), threading.active_count()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    note = f"the whole layer; {alone:.2%} when nobody waits"
    return [
        Row(name=f"{count:,} pending waits: threads", unit="threads", value=threads, peak=threads, must=49),
        Row(name=f"{count:,} pending waits: of a core", unit="%", value=share * 100, peak=share * 100, must=2, note=note),
    ]  # fmt: skip
