"""A crash at any moment of archiving: no event is missing from what is read again, none is there twice, and nothing useless stays in storage."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.ids import new_id
from creto.common.limits import PAGE_ITEMS_MAX
from creto.common.timestamps import DAY
from creto.platform.consensus.testing import ManualClock
from creto.security.storage import Backend, open_backend
from creto.store import open_store
from creto.store.types import Store
from tests.contract.processes import line, python_module
from tests.contract.stores import MakeStore
from tests.contract.test_archive import NOON, PARTS, Desk, used
from tests.crash.usage_archiver import EVENTS, filled, opened
from tests.failpoints import COMMIT, SEND, Crashed, Failpoints, Hub, Life
from tests.unit.metering.examples import HUMAN, TENANT

KILLS, KILLS_DEEP = 4, 100


class Mortal:
    """Storage as one life sees it: blobs are moments to die before and after."""

    def __init__(self, backend: Backend, life: Life) -> None:
        self._backend = backend
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def put(self, name: str, data: bytes | bytearray) -> None:
        self._life.at("send.before")
        await self._backend.put(name, data)
        self._life.at("provider.accepted")

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes | bytearray]) -> None:
        self._life.at("send.before")
        await self._backend.put_stream(name, chunks)
        self._life.at("provider.accepted")


async def test_dead_at_every_step(make_store: MakeStore, tmp_path: Path) -> None:
    """Each round has a new day, a late event for the day before, and one of that day that is void from now on."""
    hub, points = Hub(make_store(parts=PARTS)), Failpoints()
    clock, backend = ManualClock(NOON), open_backend(f"file://{tmp_path}/objects")
    sound = Desk(hub.store, backend, clock)

    async def day_passes() -> None:
        clock.advance(DAY)
        now = clock.now()
        await sound.take(used(1, now), used("0.1", now), used(2, now - DAY))
        old = await sound.kept(start=now - DAY, end=now - DAY + 1)
        await sound.usage.void_event(TENANT, old[0].event.event_id, by=HUMAN, reason="twice")

    def life() -> tuple[Life, Desk]:
        one = Life(points, hub)
        return one, Desk(one.store, Mortal(backend, one), clock)  # type: ignore[arg-type]

    for _ in range(5):
        await day_passes()
        alive, desk = life()
        before = points.passed.copy()
        made = await alive.run(desk.run())
    steps = [(point, nth) for point in (*COMMIT, *SEND) for nth in range(1, points.passed[point] - before[point] + 1)]
    assert made
    assert {point for point, _ in steps} == {*COMMIT, *SEND}
    for point, nth in steps:
        await day_passes()
        alive, desk = life()
        points.arm(point, nth)
        with pytest.raises(Crashed):
            await alive.run(desk.run())
        assert not points.disarm(), f"{point} did not come by {nth} times"
        alive, desk = life()
        await alive.run(desk.run())
        assert await desk.run() == []
    await check(sound, tmp_path / "parts")


async def check(desk: Desk, folder: Path) -> None:
    while await desk.run(0):
        desk.clock.advance(DAY)
    assert await desk.again(folder) == await desk.kept()
    listed = {part.key for part in (await desk.archive.parts(TENANT, limit=PAGE_ITEMS_MAX)).items}
    assert {info.key for info in (await desk.storage.list(TENANT, limit=PAGE_ITEMS_MAX)).items} == listed


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_killed_at_any_moment(engine: str, tmp_path: Path, deep: bool, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path}/usage.db" if engine == "sqlite" else str(request.getfixturevalue("postgres_url"))
    chance = random.Random(engine)
    store: Store = open_store(url, parts=PARTS)
    await filled(opened(store, tmp_path))
    store.close()
    for _ in range(KILLS_DEEP if deep else KILLS):
        with python_module("tests.crash.usage_archiver", url, str(tmp_path)) as process:
            assert line(process) == "ready"
            for _ in range(chance.randint(0, 3)):
                line(process)
            process.kill()
    store = open_store(url, parts=PARTS)
    try:
        desk = opened(store, tmp_path)
        late = replace(used(9, NOON), event_id=new_id())
        await desk.take(late)
        await check(desk, tmp_path / "parts")
        assert len(await desk.kept()) == EVENTS + 1
    finally:
        store.close()
