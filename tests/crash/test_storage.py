"""kill -9 while objects are written: what was acknowledged is there and whole, and nothing is there by half."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from creto.common.errors import NotFound
from creto.common.limits import BLOB_GRACE_S, BLOB_ORPHAN_S
from creto.common.timestamps import SECOND
from creto.platform.consensus.testing import ManualClock
from creto.security.storage import Storage
from tests.crash.storage_writer import AGENT, KEYS, TENANT, content, opened

Seen = dict[str, tuple[int, str]]  # by key: the number and the kind of an act


def run_and_kill(folder: Path, seed: int) -> tuple[Seen, Seen]:
    """What was last acknowledged and what was last begun, per key."""
    lines_to_live = random.Random(seed).randrange(2, 120)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.storage_writer", str(folder), str(seed)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    done: Seen = {}
    begun: Seen = {}
    killer = threading.Timer(60, process.kill)  # only should it hang
    killer.start()
    try:
        for number, line in enumerate(process.stdout):
            word, key, act_number, act = line.split()
            (done if word == "done" else begun)[key] = (int(act_number), act)
            if number == lines_to_live:
                process.send_signal(signal.SIGKILL)
    finally:
        killer.cancel()
        process.stdout.close()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    return done, begun


async def judge(folder: Path, done: Seen, begun: Seen) -> None:
    store, storage = opened(folder)
    try:
        for key in KEYS:
            allowed = [state(key, done.get(key)), state(key, begun.get(key))]
            try:
                found: bytes | None = await storage.get(TENANT, key)
            except NotFound:
                found = None
            assert found in allowed, f"{key}: {done.get(key)} was acknowledged, {begun.get(key)} begun"
        await only_named_blobs_remain(storage, folder / "objects")
    finally:
        store.close()


def state(key: str, act: tuple[int, str] | None) -> bytes | None:
    return None if act is None or act[1] == "delete" else content(key, act[0])


async def only_named_blobs_remain(storage: Storage, objects: Path) -> None:
    """After the crash and the sweep, exactly the blobs of the objects are left on the disk."""
    clock = storage._core.clock
    assert isinstance(clock, ManualClock)
    clock.set(max([path.stat().st_mtime_ns for path in files(objects)], default=0))
    clock.advance((BLOB_GRACE_S + BLOB_ORPHAN_S + 8 * 86_400) * SECOND)
    await storage.sweep(agent=AGENT)
    named = set()
    for item in (await storage.list(TENANT)).items:
        stat = await storage.stat(TENANT, item.key)
        assert len(await storage.get(TENANT, item.key)) == stat.size
        named |= {segment.blob for segment in stat.segments}
    assert {str(path.relative_to(objects)) for path in files(objects)} == named


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_killed_at_any_moment(tmp_path: Path, deep: bool) -> None:
    for seed in range(200 if deep else 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        done, begun = run_and_kill(folder, seed)
        await judge(folder, done, begun)
