"""Nodes that hold leases are killed: the limit is never exceeded, and what they had not spent comes back.

a run      a process spends one unit at a time and says so; it is killed -9 in the middle, with drawn units in its memory
the check  all that was said and all that is left make up the limit, but for the one act of each run that it could not say any more
"""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from creto.common.limits import QUOTA_COUNTERS_MAX
from creto.common.timestamps import SECOND
from creto.metering import Limit, Quota, Quotas, RedisLimits, Window, WindowUnit
from creto.metering.leases import Wish
from creto.metering.leases_journal import HEAD_BYTES, reclaim
from creto.metering.leases_store import StoreLimits, draw_all, here
from creto.platform.consensus.testing import ManualClock
from creto.store.types import Isolation, Tx
from tests.contract.quota_node import AGENT, PARTS, TENANT
from tests.contract.stores import MakeStore
from tests.contract.test_quotas import HUMAN, passes
from tests.crash.killing import run_and_kill

LIMIT = 1_000_000


@pytest.mark.parametrize("place", ["store", "redis"])
async def test_killed_nodes_leave_the_limit_whole(
    place: str, make_store: MakeStore, store_url: str, tmp_path: Path, request: pytest.FixtureRequest, deep: bool
) -> None:
    redis = str(request.getfixturevalue("redis_url")) if place == "redis" else "-"
    folder = tmp_path / "journals"
    chance = random.Random(7)
    store = make_store(parts=PARTS)
    limits = StoreLimits(store) if redis == "-" else RedisLimits(redis)
    quotas = Quotas(store, ManualClock(time.time_ns()), limits=limits)
    name = f"q{tmp_path.name}"
    await quotas.put_quota(TENANT, Quota(quota_id=name, limits=(Limit(LIMIT, Window(WindowUnit.LIFETIME)),)), by=HUMAN)

    runs, said = (25, 0) if deep else (3, 0)
    for _ in range(runs):
        lines = await asyncio.to_thread(
            run_and_kill, "tests.contract.quota_node", store_url, redis, str(folder), "slow", "1", after_s=chance.random() / 3
        )  # fmt: skip
        said += lines.count("act")
        (before,) = await quotas.usage(TENANT, [AGENT])
        assert before.used <= said + runs  # it sees no journal: what the dead had when they last drew may be spent
        assert before.used + before.held >= said
    back = await asyncio.to_thread(reclaim, folder, limits)

    (usage,) = await quotas.usage(TENANT, [AGENT])
    assert back > 0 or not said  # a busy machine may kill every node before it has drawn anything
    assert said <= usage.used <= said + runs
    assert list(folder.glob("*.quota")) == []
    spent = passes(quotas, LIMIT - usage.used), passes(quotas, 1)
    assert spent == (True, False)
    quotas.close()
    if isinstance(limits, RedisLimits):
        limits.close()


async def test_a_process_that_stands_still_keeps_its_leases(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(parts=PARTS)
    clock = ManualClock()
    quotas = Quotas(store, clock, folder=tmp_path)
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(1_000, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(quotas, 1)

    assert await asyncio.to_thread(reclaim, tmp_path, StoreLimits(store)) == 0  # its journal is locked

    assert passes(quotas, 1)
    quotas.close()


async def test_after_the_machine_went_down_all_that_was_drawn_is_used(make_store: MakeStore, tmp_path: Path) -> None:
    """What stands in the journal may be older than what was spent: it is not believed."""
    store = make_store(parts=PARTS)
    quotas = Quotas(store, ManualClock(), folder=tmp_path / "live")
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(1_000, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(quotas, 1)
    (used,) = await quotas.usage(TENANT, [AGENT])
    (live,) = (tmp_path / "live").glob("*.quota")
    left = tmp_path / "left" / live.name
    left.parent.mkdir()
    with live.open("rb") as file:
        head = file.read(HEAD_BYTES).strip()
    text = head.replace(head.split(b'"boot":"')[1].split(b'"')[0], b"another run of the machine")
    left.write_bytes(text.ljust(HEAD_BYTES) + (10**6).to_bytes(8, "little"))

    assert await asyncio.to_thread(reclaim, left.parent, StoreLimits(store)) == 0

    (after,) = await quotas.usage(TENANT, [AGENT])
    assert ((used.used, used.held), (after.used, after.held)) == ((1, 62), (63, 0))
    assert not left.exists()
    quotas.close()


async def test_what_was_under_way_when_a_node_died_comes_back_too(make_store: MakeStore, tmp_path: Path) -> None:
    """given a draw whose answer, and a return whose departure, the node did not live to see / when it is reclaimed / then only acts are used"""
    store = make_store(parts=PARTS)
    quotas = Quotas(store, ManualClock(), folder=tmp_path / "live")
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(1_000, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(quotas, 1)
    (counter,) = quotas.book.counters.of(TENANT)
    unheard = Wish(TENANT, counter.key, counter.slot, 40, counter.limit, counter.resets_at)
    limits = StoreLimits(store)
    assert limits.draw(quotas.book.node, [unheard])[0].granted
    assert quotas.book.counters.take_back(counter) > 0
    left = tmp_path / "left"
    left.mkdir()
    (live,) = (tmp_path / "live").glob("*.quota")
    shutil.copy(live, left)

    await asyncio.to_thread(reclaim, left, limits)

    assert limits.taken(TENANT, [counter.key]) == [1]
    quotas.close()


async def test_a_draw_that_ends_after_its_node_is_waited_for_and_none_comes_later(make_store: MakeStore) -> None:
    """given a draw that the database has begun / when its node is reclaimed / then that waits, and has all of it; a later one is not done"""
    dying, other = make_store(parts=PARTS), make_store(parts=PARTS)
    StoreLimits(dying).join("dead")
    drew, end = threading.Event(), threading.Event()

    def under_way(tx: Tx) -> int:
        assert here(tx, "dead")
        (found,) = draw_all(tx, "dead", [Wish(TENANT, "c", 0, 60, 100, 1 << 62)])
        drew.set()
        assert end.wait(30)
        return found.granted

    with ThreadPoolExecutor(1) as pool:
        draw = dying.submit(under_way, isolation=Isolation.READ_COMMITTED)
        assert await asyncio.to_thread(drew.wait, 30)
        reclaiming = pool.submit(StoreLimits(other).reclaim, "dead", lambda _, drawn: drawn)
        assert not await asyncio.to_thread(lambda: futures.wait([reclaiming], 0.3).done)
        end.set()
        assert (await asyncio.to_thread(draw.result, 30), await asyncio.to_thread(reclaiming.result, 30)) == (60, 60)
    assert not await dying.write(lambda tx: here(tx, "dead"), isolation=Isolation.READ_COMMITTED)
    assert StoreLimits(other).taken(TENANT, ["c"]) == [0]


async def test_an_idle_lease_goes_back(make_store: MakeStore) -> None:
    """Nothing stays with a node that does not use it for longer than a lease."""
    clock = ManualClock()
    quotas = Quotas(make_store(parts=PARTS), clock, lease_s=lambda: 60, now=clock.now)
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(1_000, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(quotas, 1)
    for _ in range(3):
        clock.advance(60 * SECOND)
        await asyncio.to_thread(quotas.upkeep.once, clock.now())

    (usage,) = await quotas.usage(TENANT, [AGENT])
    assert usage.used == 1
    assert QUOTA_COUNTERS_MAX > len(quotas.book.counters) == 1
    quotas.close()
