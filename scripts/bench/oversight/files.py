"""`creto verify` on many decision files: the command itself, in a process of its own that has one core."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.unit.oversight.test_decisions import KEYS
from tests.unit.oversight.world import P2, PARTS, TENANT, World

from creto.common import wire
from creto.store import open_store
from scripts.bench.measure import Row, Scale

FILES = 10_000
PATIENCE_S = 300


def rows(scale: Scale) -> Iterator[Row]:
    count = scale.count(FILES)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(decided(Path(folder), count))
        taken = wall_s(Path(folder), count) * FILES / count
    times = "" if count == FILES else f", times {FILES / count:g}"
    note = f"{count:,} different files of two votes each, read and verified by the command{times}"
    yield Row(name=f"creto verify, {FILES:,} decision files, one core", unit="s", value=taken, peak=taken, must=60, aim=30, note=note)  # fmt: skip


async def decided(folder: Path, count: int) -> None:
    """Files of two votes each, one by the human's own key, one relayed; and the public keys."""
    store = open_store(f"sqlite:///{folder}/oversight.db", parts=PARTS)
    try:
        world = await World.open(store)
        for number in range(count):
            record = await world.request(P2, {"n": number})
            await world.approve(record, "alice")
            await world.click(record, "bob", delivery=f"d{number}")
            data = await world.oversight.decision_file(TENANT, record.ask.request_id)
            (folder / f"{number}.decision").write_bytes(data)
    finally:
        store.close()
    (folder / "agents.json").write_bytes(wire.encode(KEYS.agents))


def wall_s(folder: Path, count: int) -> float:
    files = [f"{number}.decision" for number in range(count)]
    command = [sys.executable, "-m", "creto", "verify", "--agents", "agents.json", *files]
    core = min(os.sched_getaffinity(0))
    started = time.perf_counter()
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )  # fmt: skip
    return time.perf_counter() - started
