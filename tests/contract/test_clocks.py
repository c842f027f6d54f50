"""What every clock promises: the embedded one over both engines, the quorum's, and the one that tests use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.limits import CLOCK_SKEW_MS_MAX, TIMESTAMPS_MAX
from creto.common.timestamps import HOUR, MILLISECOND, SECOND, Clock
from creto.platform.consensus import ConsensusClient, EmbeddedClock, QuorumClock
from creto.platform.consensus.testing import MANUAL_START, ManualClock
from creto.store import open_store
from tests.contract.stores import ENGINES
from tests.unit.platform.consensus.fakes import FakeLocal
from tests.unit.platform.consensus.quorums import agree_now, cluster


class World:
    """One clock, and how to move the machine it runs on."""

    def __init__(
        self, clock: ConsensusClient, pass_time: Callable[[int], None], step_wall: Callable[[int], None]
    ) -> None:
        self.clock = clock
        self.pass_time = pass_time
        self.step_wall = step_wall


@pytest.fixture(params=["manual", "quorum", *ENGINES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "manual":
        manual = ManualClock()
        yield World(manual, manual.advance, lambda ns: manual.set(manual._reading + ns))
        return
    local = FakeLocal()
    if request.param in ENGINES:
        sqlite = f"sqlite:///{tmp_path}/creto.db"
        url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
        store = open_store(url, parts=("creto.platform.consensus",))
        with EmbeddedClock(store, local=local, background=False) as embedded:
            yield World(embedded, local.pass_time, local.step_wall)
        store.close()
        return
    nodes, peers = cluster(4, lambda: local.elapsed_ns - 10**12 + MANUAL_START)
    quorum = QuorumClock(peers, local=local)
    agree_now(quorum, nodes)
    yield World(quorum, local.pass_time, local.step_wall)


def test_is_a_clock(world: World) -> None:
    clock: Clock = world.clock
    assert isinstance(clock.now(), int)
    assert clock.degraded is False


def test_strictly_increases_while_the_machine_stands_still(world: World) -> None:
    times = [world.clock.now() for _ in range(1000)]
    assert all(a < b for a, b in pairwise(times))


def test_follows_time_that_passes(world: World) -> None:
    before = world.clock.now()
    world.pass_time(3 * SECOND)
    passed = world.clock.now() - before
    assert abs(passed - 3 * SECOND) <= SECOND // 2


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_never_goes_back_when_the_wall_clock_steps(world: World, step: int) -> None:
    before = world.clock.now()
    world.step_wall(step)
    times = [world.clock.now() for _ in range(100)]
    assert all(a < b for a, b in pairwise([before, *times]))


def test_one_order_over_all_threads(world: World) -> None:
    taken: list[list[int]] = [[] for _ in range(8)]

    def take(mine: list[int]) -> None:
        mine.extend(world.clock.now() for _ in range(2000))

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [time for mine in taken for time in mine]
    assert len(set(everything)) == len(everything)
    assert all(mine == sorted(mine) for mine in taken)


def test_batch_is_a_run_of_timestamps_of_its_own(world: World) -> None:
    before = world.clock.now()
    batch = world.clock.timestamps(1000)
    after = world.clock.now()
    assert [before, *batch, after] == sorted({before, *batch, after})


@pytest.mark.parametrize("n", [0, -1, TIMESTAMPS_MAX + 1])
def test_batch_has_a_limit(world: World, n: int) -> None:
    with pytest.raises(InvalidInput, match="n: expected"):
        world.clock.timestamps(n)


async def test_the_clients_name_for_it(world: World) -> None:
    assert world.clock.now() < await world.clock.get_timestamp() < world.clock.now()


def test_what_is_observed_lies_in_the_past(world: World) -> None:
    elsewhere = world.clock.now() + 50 * MILLISECOND
    world.clock.observe(elsewhere)
    assert world.clock.now() > elsewhere


def test_a_wrong_clocks_time_is_not_taken_over(world: World) -> None:
    before = world.clock.now()
    with pytest.raises(ConnectionFailed) as error:
        world.clock.observe(before + (CLOCK_SKEW_MS_MAX + 1) * MILLISECOND)
    assert error.value.code == "PL-302"
    assert world.clock.now() < before + MILLISECOND


def test_observing_in_small_steps_does_not_add_up(world: World) -> None:
    start = world.clock.now()
    world.clock.observe(world.clock.now() + 60 * MILLISECOND)
    with pytest.raises(ConnectionFailed):
        world.clock.observe(world.clock.now() + 60 * MILLISECOND)
    assert world.clock.now() - start <= (CLOCK_SKEW_MS_MAX + 1) * MILLISECOND
