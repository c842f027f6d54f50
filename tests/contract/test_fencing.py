"""A stale holder cannot write, whatever it believes, over both engines."""

from __future__ import annotations

import asyncio

import pytest

from creto.common.errors import AlreadyExists, Unauthorized
from creto.common.ids import DEFAULT_TENANT, TenantId
from creto.common.timestamps import SECOND
from creto.platform.consensus import FenceGuard, Leases, advance_fence, check_fence
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, Tx
from tests.contract.stores import MakeStore

TTL = 10 * SECOND


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=("creto.platform.consensus",))


def note(tx: Tx) -> str:
    """Some change: here, a fence row of another name."""
    tx.run("INSERT INTO consensus_fence (tenant, name, token) VALUES ('t', 'note', 1) ON CONFLICT DO NOTHING")
    return "noted"


def noted(store: Store) -> bool:
    return bool(store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM consensus_fence WHERE name = 'note'")))


async def test_the_holder_writes(store: Store) -> None:
    lease = await Leases(store, ManualClock()).acquire("sequencer", TTL)
    assert await store.write(lease.fenced(note)) == "noted"


async def test_a_stale_holder_does_not(store: Store) -> None:
    clock = ManualClock()
    leases = Leases(store, clock)
    stale = await leases.acquire("sequencer", TTL)
    clock.advance(TTL + 1)
    current = await leases.acquire("sequencer", TTL)
    with pytest.raises(Unauthorized) as error:
        await store.write(stale.fenced(note))
    assert error.value.code == "PL-304"
    assert not noted(store)
    await store.write(current.fenced(note))


async def test_a_holder_whose_time_is_over_still_writes_while_nobody_took_over(store: Store) -> None:
    clock = ManualClock()
    lease = await Leases(store, clock).acquire("sequencer", TTL)
    clock.advance(2 * TTL)
    await store.write(lease.fenced(note))


async def test_tokens_that_were_never_given(store: Store) -> None:
    lease = await Leases(store, ManualClock()).acquire("sequencer", TTL)
    for guard in (
        FenceGuard(DEFAULT_TENANT, "sequencer", lease.token + 1),
        FenceGuard(DEFAULT_TENANT, "another", lease.token),
        FenceGuard(TenantId("other"), "sequencer", lease.token),
    ):
        with pytest.raises(Unauthorized, match="stale"):
            await store.write(guard.around(note))


async def test_tenants_have_leases_of_their_own(store: Store) -> None:
    clock = ManualClock()
    ours = await Leases(store, clock, tenant=TenantId("ours")).acquire("sequencer", TTL)
    theirs = await Leases(store, clock, tenant=TenantId("theirs")).acquire("sequencer", TTL)
    assert ours.token == theirs.token == 1
    await store.write(ours.fenced(note))


async def test_every_write_is_under_the_token_of_its_time(store: Store, make_store: MakeStore) -> None:
    """Two nodes take turns and write as fast as they can, also when they are stale: the tokens in the order of writing never fall."""
    clock = ManualClock()
    nodes = [store, make_store(parts=("creto.platform.consensus",))]
    await store.write(lambda tx: tx.run("INSERT INTO consensus_fence (tenant, name, token) VALUES ('t', 'log', 0)"))
    fallen: list[tuple[int, int]] = []

    async def turn(node: Store) -> int:
        leases, written = Leases(node, clock), 0
        for _ in range(20):
            clock.advance(TTL + 1)
            try:
                lease = await leases.acquire("sequencer", TTL)
            except AlreadyExists:  # the other was first
                continue

            def write(tx: Tx, token: int = lease.token) -> None:
                check_fence(tx, "sequencer", token)
                before = int(tx.value("SELECT token FROM consensus_fence WHERE tenant = 't' AND name = 'log'"))
                if before > token:
                    fallen.append((before, token))
                tx.run("UPDATE consensus_fence SET token = ? WHERE tenant = 't' AND name = 'log'", token)

            for _ in range(3):
                try:
                    await node.write(write)
                    written += 1
                except Unauthorized:
                    break
        return written

    assert sum(await asyncio.gather(*(turn(node) for node in nodes))) > 0
    assert fallen == []


async def test_a_fence_for_leases_kept_elsewhere_only_rises(store: Store) -> None:
    await store.write(lambda tx: advance_fence(tx, "bucket", 5))
    await store.write(lambda tx: advance_fence(tx, "bucket", 5))
    await store.write(lambda tx: advance_fence(tx, "bucket", 7))
    with pytest.raises(Unauthorized, match="stale"):
        await store.write(lambda tx: advance_fence(tx, "bucket", 6))


async def test_waiting_ends_at_once_when_another_node_gives_back(store: Store, make_store: MakeStore) -> None:
    clock = ManualClock()
    other = Leases(make_store(parts=("creto.platform.consensus",)), clock)
    lease = await other.acquire("sequencer", 3600 * SECOND)
    pausing = asyncio.Event()

    async def forever(seconds: float) -> None:
        pausing.set()
        await asyncio.Event().wait()

    async def wait_for_it() -> int:
        async with Leases(store, clock).hold("sequencer", TTL, pause=forever) as mine:
            return mine.token

    waiting = asyncio.create_task(wait_for_it())
    await pausing.wait()
    await other.release(lease)
    assert await asyncio.wait_for(waiting, 10) == 2
