"""What every keeper of leases promises: rows over both engines, and a JetStream bucket."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from creto.common.errors import AlreadyExists, EnablementError, InvalidInput, Unauthorized
from creto.common.ids import TenantId
from creto.common.limits import LEASE_TTL_S_MAX
from creto.common.timestamps import HOUR, SECOND
from creto.platform.consensus import KvLeases, Lease, LeaseKeeper, Leases
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests import engines
from tests.contract.stores import ENGINES

TTL = 10 * SECOND
CONTENDERS = 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with engines.nats() as (address, _):
        yield address


@pytest.fixture(params=[*ENGINES, "nats"])
async def leases(request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path) -> AsyncIterator[LeaseKeeper]:
    if request.param == "nats":
        kept = await KvLeases.open(request.getfixturevalue("nats_url"), clock, tenant=TenantId(tmp_path.name))
        yield kept
        await kept.close()
        return
    sqlite = f"sqlite:///{tmp_path}/creto.db"
    url = sqlite if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    store = open_store(url, parts=("creto.platform.consensus",))
    yield Leases(store, clock)
    store.close()


async def refused(code: str, waits: object) -> EnablementError:
    with pytest.raises(EnablementError) as error:
        await waits  # type: ignore[misc]
    assert error.value.code == code
    return error.value


async def test_one_holder(leases: LeaseKeeper) -> None:
    lease = await leases.acquire("sequencer", TTL)
    error = await refused("PL-303", leases.acquire("sequencer", TTL))
    assert isinstance(error, AlreadyExists)
    assert error.retry_after_s is not None
    assert 9 < error.retry_after_s <= 10
    assert await leases.current("sequencer") == lease


async def test_many_contenders_one_holder(leases: LeaseKeeper) -> None:
    for round in range(1, 4):
        outcomes = await asyncio.gather(
            *(leases.acquire("sequencer", TTL) for _ in range(CONTENDERS)), return_exceptions=True
        )
        holders = [lease for lease in outcomes if not isinstance(lease, BaseException)]
        assert len(holders) == 1
        assert holders[0].token == round
        assert {getattr(error, "code", error) for error in outcomes if isinstance(error, BaseException)} == {"PL-303"}
        assert await leases.release(holders[0])


async def test_after_its_time_another_takes_over_with_a_greater_token(leases: LeaseKeeper, clock: ManualClock) -> None:
    first = await leases.acquire("sequencer", TTL)
    clock.advance(TTL + 1)
    assert await leases.current("sequencer") is None
    second = await leases.acquire("sequencer", TTL)
    assert second.token == first.token + 1
    await refused("PL-304", leases.renew(first, TTL))
    assert not await leases.release(first)
    assert await leases.current("sequencer") == second


async def test_renewing_keeps_it(leases: LeaseKeeper, clock: ManualClock) -> None:
    lease = await leases.acquire("sequencer", TTL)
    for _ in range(5):
        clock.advance(TTL // 2)
        lease = await leases.renew(lease, TTL)
        await refused("PL-303", leases.acquire("sequencer", TTL))
    assert lease.token == 1


async def test_renewing_late_is_fine_while_nobody_took_it(leases: LeaseKeeper, clock: ManualClock) -> None:
    lease = await leases.acquire("sequencer", TTL)
    clock.advance(HOUR)
    assert (await leases.renew(lease, TTL)).expires_at > clock.now()
    await refused("PL-303", leases.acquire("sequencer", TTL))


async def test_given_back_it_is_free_and_the_token_still_grows(leases: LeaseKeeper) -> None:
    for token in (1, 2, 3):
        lease = await leases.acquire("sequencer", TTL)
        assert lease.token == token
        assert await leases.release(lease)
        assert not await leases.release(lease)
        await refused("PL-304", leases.renew(lease, TTL))


async def test_leases_do_not_mind_one_another(leases: LeaseKeeper) -> None:
    names = ["a", "b", "a.b", "räume/3 *", "x" * 200]
    held = [await leases.acquire(name, TTL) for name in names]
    assert {lease.token for lease in held} == {1}


@pytest.mark.parametrize("name", ["", " x", "x" * 201, "a\nb"])
async def test_a_name_is_a_name(leases: LeaseKeeper, name: str) -> None:
    with pytest.raises(InvalidInput):
        await leases.acquire(name, TTL)


@pytest.mark.parametrize("ttl", [0, -SECOND, LEASE_TTL_S_MAX * SECOND + 1])
async def test_a_time_has_bounds(leases: LeaseKeeper, ttl: int) -> None:
    with pytest.raises(InvalidInput, match="ttl_ns"):
        await leases.acquire("sequencer", ttl)
    lease = await leases.acquire("sequencer", TTL)
    with pytest.raises(InvalidInput, match="ttl_ns"):
        await leases.renew(lease, ttl)


class Pauses:
    """Pauses that end when the test says so."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._go = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.started.set()
        await self._go.wait()
        self._go.clear()

    async def finish_one(self) -> None:
        await self.started.wait()
        self.started.clear()
        self._go.set()


async def test_held_for_a_block_and_renewed(leases: Leases | KvLeases, clock: ManualClock) -> None:
    pauses = Pauses()
    async with leases.hold("sequencer", TTL, pause=pauses) as lease:
        clock.advance(TTL // 2)
        await pauses.finish_one()
        await pauses.started.wait()  # it has renewed and pauses again
        now = await leases.current("sequencer")
        assert now is not None
        assert now.expires_at > lease.expires_at
    assert await leases.current("sequencer") is None


async def test_a_block_that_lost_its_lease_is_cancelled(leases: Leases | KvLeases, clock: ManualClock) -> None:
    pauses = Pauses()
    stopped = asyncio.Event()

    async def work() -> None:
        async with leases.hold("sequencer", TTL, pause=pauses):
            clock.advance(TTL + 1)
            await leases.acquire("sequencer", TTL)
            await pauses.finish_one()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    with pytest.raises(Unauthorized) as error:
        await work()
    assert error.value.code == "PL-304"
    assert stopped.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await leases.current("sequencer") is not None, "the new holder keeps it"


async def test_an_error_in_the_block_gives_it_back(leases: Leases | KvLeases) -> None:
    with pytest.raises(ZeroDivisionError):
        async with leases.hold("sequencer", TTL):
            1 / 0
    assert await leases.current("sequencer") is None


async def test_not_waiting(leases: Leases | KvLeases) -> None:
    await leases.acquire("sequencer", TTL)
    with pytest.raises(AlreadyExists):
        async with leases.hold("sequencer", TTL, wait=False):
            raise AssertionError("it is held by another")


async def test_waiting_until_it_is_free(leases: Leases | KvLeases, clock: ManualClock) -> None:
    lease = await leases.acquire("sequencer", TTL)
    pauses = Pauses()

    async def wait_for_it() -> int:
        async with leases.hold("sequencer", TTL, pause=pauses) as mine:
            return mine.token

    waiting = asyncio.create_task(wait_for_it())
    await pauses.started.wait()
    await leases.release(lease)
    await pauses.finish_one()
    assert await asyncio.wait_for(waiting, 10) == 2


class Course:
    """What a cluster has done to one lease, and so what the rules allow next."""

    def __init__(self, leases: LeaseKeeper, clock: ManualClock, name: str) -> None:
        self.leases = leases
        self.clock = clock
        self.name = name
        self.taken: list[Lease] = []  # one for each token, as last renewed
        self.free = True  # never taken, or given back

    async def step(self, dice: random.Random) -> None:
        lease = dice.choice(self.taken[-3:]) if self.taken else None  # the holder, or a stale one
        match dice.randrange(5):
            case 0:
                self.clock.advance(dice.randrange(1, 2 * TTL))
            case 1 | 2:
                await self.take()
            case 3 if lease is not None:
                await self.renew(lease)
            case 4 if lease is not None:
                held = self.holds(lease)
                assert await self.leases.release(lease) == held
                self.free = self.free or held
        current = await self.leases.current(self.name)
        assert (current.token if current else None) == (self.taken[-1].token if self.busy else None)

    @property
    def busy(self) -> bool:
        return not self.free and self.taken[-1].expires_at > self.clock.now()

    def holds(self, lease: Lease) -> bool:
        return not self.free and lease.token == self.taken[-1].token

    async def take(self) -> None:
        if self.busy:
            await refused("PL-303", self.leases.acquire(self.name, TTL))
            return
        lease = await self.leases.acquire(self.name, TTL)
        assert lease.token == len(self.taken) + 1
        self.taken.append(lease)
        self.free = False

    async def renew(self, lease: Lease) -> None:
        if self.holds(lease):
            self.taken[-1] = await self.leases.renew(lease, TTL)
        else:
            await refused("PL-304", self.leases.renew(lease, TTL))


async def test_whatever_a_cluster_does_from_a_seed_the_rules_hold(
    leases: LeaseKeeper, clock: ManualClock, deep: bool
) -> None:
    tokens = 0
    for seed in range(200 if deep else 5):
        dice, course = random.Random(seed), Course(leases, clock, f"lease-{seed}")
        for _ in range(60):
            await course.step(dice)
        tokens += len(course.taken)
    assert tokens > (200 if deep else 5) * 5


async def test_a_bucket_that_cannot_be_had_leaves_no_connection(nats_url: str, clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    await refused("PL-503", KvLeases.open(nats_url, clock, bucket="not a name"))
    async with asyncio.timeout(30):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - they end by themselves
            await asyncio.sleep(0.001)
