"""Time and requests: the wall clock is set by an hour, a process is suspended, a timer is killed. Nothing ends that should not, and nothing twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from creto.common.ids import PolicyId
from creto.common.timestamps import HOUR, SECOND
from creto.oversight import RequestState
from creto.platform.consensus import EmbeddedClock
from creto.store import Store
from tests.contract.processes import line, python_module
from tests.contract.stores import MakeStore
from tests.unit.oversight.world import P1, PARTS, TENANT, World, id_of, tier
from tests.unit.platform.consensus.fakes import FakeLocal

SLEW = 0.1  # by which a clock that owes its wall clock an hour goes faster or slower (docs/concepts/time.md)
TIMEOUT_S = 3_600
SHORT_S, STOPPED_S = 2, 4.0


@pytest.fixture
async def local_world(store_of_world: Store) -> AsyncIterator[tuple[FakeLocal, World, EmbeddedClock]]:
    local = FakeLocal()
    clock = EmbeddedClock(store_of_world, local=local, pause=local.pause, background=False)
    yield local, await World.open(store_of_world, clock=clock), clock
    clock.close()


@pytest.fixture
def store_of_world(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["an hour on", "an hour back"])
async def test_no_step_of_the_wall_clock_ends_a_request(
    local_world: tuple[FakeLocal, World, EmbeddedClock], step: int
) -> None:
    """given a request of an hour / when the wall clock is set by one / then it ends after an hour of time, give or take the slew, and a vote till then counts."""
    local, world, clock = local_world
    policy = await world.policy(P1, policy_id=PolicyId("hour"), tiers=(tier("alice", "bob", timeout_s=TIMEOUT_S),))
    left, voted = await world.request(policy, {"n": 1}), await world.request(policy, {"n": 2})
    began = local.elapsed()

    async def until(share: float) -> RequestState:
        while local.elapsed() < began + share * TIMEOUT_S * SECOND:
            local.pass_time(10 * SECOND)
            clock.reserve()
        await world.timer.advance_once(clock.now())
        return (await world.now_of(left)).progress.state

    local.step_wall(step)
    assert await until(0.0) is RequestState.PENDING
    local.step_wall(-2 * step)
    local.step_wall(2 * step)
    assert await until(1 / (1 + SLEW) - 0.01) is RequestState.PENDING
    assert (await world.approve(voted, "alice")).state is RequestState.APPROVED
    assert await until(1 / (1 - SLEW) + 0.01) is RequestState.TIMED_OUT
    assert (await world.now_of(voted)).progress.state is RequestState.APPROVED


async def test_a_timer_that_stood_still_between_two_steps_ends_nothing_wrongly(make_store: MakeStore) -> None:
    """given a timer that has read what is due and is suspended there / when meanwhile one is extended, one approved / then it ends the third alone."""
    world = await World.open(make_store(parts=PARTS))
    there = world.twin(make_store(parts=PARTS))
    policy = await world.policy(P1, policy_id=PolicyId("one"), tiers=(tier("alice", timeout_s=300),))
    extended, approved, left = [await world.request(policy, {"n": n}) for n in range(3)]
    world.clock.advance(299 * SECOND)
    read, resumed, advance = asyncio.Event(), asyncio.Event(), there.oversight.advance

    async def suspended(*arguments: object) -> bool:
        read.set()
        await resumed.wait()
        return await advance(*arguments)  # type: ignore[arg-type]

    there.oversight.advance = suspended  # type: ignore[method-assign, assignment]
    looking = asyncio.create_task(there.timer.advance_once(left.progress.deadline_at))
    await asyncio.wait_for(read.wait(), 20)
    await world.oversight.extend(TENANT, extended.ask.request_id, by=id_of("alice"), by_s=300)
    await world.approve(approved, "alice")
    world.clock.advance(2 * SECOND)
    resumed.set()
    assert await looking == 1
    states = [(await world.now_of(one)).progress.state for one in (extended, approved, left)]
    assert states == [RequestState.PENDING, RequestState.APPROVED, RequestState.TIMED_OUT]


@pytest.fixture
async def real(make_store: MakeStore) -> AsyncIterator[World]:
    """On the clock that the other process has too."""
    store = make_store(parts=PARTS)
    with EmbeddedClock(store) as clock:
        yield await World.open(store, clock=clock)


async def until(done: Callable[[], object], what: str) -> None:
    for _ in range(1_500):
        if await done():  # type: ignore[misc]
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


async def test_a_suspended_process_ends_nothing_wrongly_when_it_goes_on(real: World, store_url: str) -> None:
    """SIGSTOP for longer than the requests last: one was extended meanwhile and one approved; only the third ends, once."""
    policy = await real.policy(P1, policy_id=PolicyId("short"), tiers=(tier("alice", timeout_s=SHORT_S),))
    with python_module("tests.integration.oversight.timer_process", store_url) as process:
        assert await asyncio.to_thread(line, process) == "ready"
        extended, approved, left = [await real.request(policy, {"n": n}) for n in range(3)]
        process.send_signal(signal.SIGSTOP)
        await real.oversight.extend(TENANT, extended.ask.request_id, by=id_of("alice"), by_s=300)
        await real.approve(approved, "alice")
        await asyncio.sleep(STOPPED_S)  # real time must pass for a process that is really stopped
        assert (await real.now_of(left)).progress.state is RequestState.PENDING
        process.send_signal(signal.SIGCONT)

        async def ended() -> bool:
            return (await real.now_of(left)).progress.state is RequestState.TIMED_OUT

        await until(ended, "the third did not end")
    states = [(await real.now_of(one)).progress.state for one in (extended, approved)]
    assert states == [RequestState.PENDING, RequestState.APPROVED]
    progress = (await real.now_of(left)).progress
    assert progress.decided_at is not None
    assert progress.decided_at >= progress.deadline_at
    assert len(await real.entries("StateTransition")) == 2


async def test_ov_043_what_a_killed_timer_had_begun_another_does_once(real: World, store_url: str) -> None:
    """kill -9 in the middle of fifty that are due."""
    tiers = (tier("alice", timeout_s=1), tier("bob", name="second"))
    policy = await real.policy(P1, policy_id=PolicyId("tiers"), tiers=tiers)
    records = [await real.request(policy, {"n": n}) for n in range(50)]

    async def some() -> int:
        return len(await real.entries("Escalated"))

    with python_module("tests.integration.oversight.timer_process", store_url) as process:
        await until(some, "nothing escalated")
        process.kill()
        await asyncio.to_thread(process.wait)
    await asyncio.sleep(1)  # the last of them is due now, and what the dead process had sent is done
    first = await some()
    moved = await real.twin().timer.advance_once(real.clock.now())
    assert first + moved == len(await real.entries("Escalated")) == 50
    assert {(await real.now_of(one)).progress.tier for one in records} == {1}
