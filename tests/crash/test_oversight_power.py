"""The power goes: what was written and not synced is lost, torn, or there in any order; what was acknowledged is there.

SQLite runs on a disk of ours, which knows what has reached the platter. At random moments its power is cut: what lies there then is opened as a new
machine would, and every decision that had been acknowledged by that moment is looked for.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from creto.common.errors import NotFound
from creto.common.ids import RequestId
from creto.oversight import RequestState
from creto.store import open_store
from tests.unit.oversight.world import P2, PARTS, TENANT, World

SECTOR = 512
CUTS, CUTS_DEEP = 12, 200
TOGETHER = 4
Write = tuple[int, bytes | None]  # at this place these bytes; None: the file ends here


class Disk:
    """What is on the platter, and what is still in its cache."""

    def __init__(self, *, lies: bool = False) -> None:
        self.lock = threading.Lock()
        self.platter: dict[str, bytes] = {}
        self.cache: dict[str, list[Write]] = {}
        self.lies = lies  # it says that it has synced, and keeps everything in its cache
        self.syncs = 0

    def opened(self, name: str) -> None:
        with self.lock:
            if name not in self.platter:
                self.platter[name], self.cache[name] = Path(name).read_bytes(), []

    def write(self, name: str, at: int, data: bytes | None) -> None:
        with self.lock:
            self.cache[name].append((at, data))

    def sync(self, name: str) -> None:
        with self.lock:
            self.syncs += 1
            if not self.lies:
                self.platter[name], self.cache[name] = written(self.platter[name], self.cache[name]), []

    def deleted(self, name: str) -> None:
        with self.lock:
            self.platter.pop(name, None)
            self.cache.pop(name, None)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """What a new machine would find: of the cache any part, sector by sector, in any order."""
        with self.lock:
            for name, kept in self.platter.items():
                sectors = [one for write in self.cache[name] for one in torn(write)]
                lucky = [] if self.lies else chance.sample(sectors, chance.randint(0, len(sectors)))
                (folder / Path(name).name).write_bytes(written(kept, lucky))


def torn(write: Write) -> list[Write]:
    at, data = write
    if data is None:
        return [write]
    return [(at + n, data[n : n + SECTOR]) for n in range(0, len(data), SECTOR)]


def written(kept: bytes, writes: list[Write]) -> bytes:
    found = bytearray(kept)
    for at, data in writes:
        if data is None:
            del found[at:]
        else:
            found.extend(bytes(max(0, at - len(found))))
            found[at : at + len(data)] = data
    return bytes(found)


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk, self._name = disk, str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        disk.opened(self._name)

    def xWrite(self, data: Any, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.write(self._name, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._disk.write(self._name, newsize, None)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.sync(self._name)


class OnDisk(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("power", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._disk.deleted(filename)


@contextmanager
def on(disk: Disk) -> Iterator[None]:
    """What is opened meanwhile is opened there."""
    machine = OnDisk(disk)
    try:
        yield
    finally:
        apsw.set_default_vfs("unix")
        machine.unregister()


async def decide(world: World, done: list[RequestId], stop: asyncio.Event, caller: int) -> None:
    """Ask and approve for ever; what has been acknowledged is said after, never before."""
    number = 0
    while not stop.is_set():
        number += 1
        record = await world.request(P2, {"caller": caller, "n": number})
        await asyncio.gather(*(world.click(record, name, delivery=f"{caller}-{number}-{name}") for name in ("alice", "bob")))  # fmt: skip
        done.append(record.ask.request_id)


async def cuts(disk: Disk, folder: Path, count: int, chance: random.Random) -> list[tuple[Path, list[RequestId]]]:
    """Each what was found there, and what had been acknowledged before the power went."""
    store = open_store(f"sqlite:///{folder}/live.db", parts=PARTS)
    try:
        world = await World.open(store)
        done: list[RequestId] = []
        stop, found = asyncio.Event(), []
        callers = [asyncio.create_task(decide(world, done, stop, caller)) for caller in range(TOGETHER)]
        for number in range(count):
            target = len(done) + chance.randint(1, 4)
            async with asyncio.timeout(60):
                while len(done) < target:  # noqa: ASYNC110 - any moment will do, the odd ones above all
                    await asyncio.sleep(chance.random() / 500)
            there = folder / f"cut-{number}"
            there.mkdir()
            acknowledged = list(done)
            await asyncio.to_thread(disk.cut, there, chance)
            found.append((there, acknowledged))
        stop.set()
        await asyncio.gather(*callers)
        return found
    finally:
        store.close()


async def lost(folder: Path, acknowledged: list[RequestId]) -> int:
    """How many decisions are not there any more; the database itself has to be whole."""
    store = open_store(f"sqlite:///{folder}/live.db", parts=PARTS)
    try:
        assert store.submit(lambda tx: tx.value("PRAGMA integrity_check")).result() == "ok"
        return sum([await is_lost(World(store), one) for one in acknowledged])
    finally:
        store.close()


async def is_lost(world: World, request_id: RequestId) -> bool:
    try:
        return (await world.oversight.get(TENANT, request_id)).progress.state is not RequestState.APPROVED
    except NotFound:
        return True


@pytest.mark.timeout(900)
async def test_ov_129_no_acknowledged_decision_is_lost_with_the_power(tmp_path: Path, deep: bool) -> None:
    disk = Disk()
    with on(disk):
        found = await cuts(disk, tmp_path, CUTS_DEEP if deep else CUTS, random.Random(1))
    assert disk.syncs > len(found)
    for folder, acknowledged in found:
        assert await lost(folder, acknowledged) == 0


async def test_a_disk_that_lies_is_found_out(tmp_path: Path) -> None:
    """That the test above can fail: where nothing is synced nothing is there."""
    disk = Disk(lies=True)
    with on(disk):
        (*_, (folder, acknowledged)) = await cuts(disk, tmp_path, 2, random.Random(1))
    assert await lost(folder, acknowledged) == len(acknowledged) > 0
