"""Nodes that hold leases are killed: the limit is never exceeded, and what they had not spent comes back.

a run      a process spends one unit at a time and says so; it is killed -9 in the middle, with drawn units in its memory
the check  all that was said and all that is left make up the limit, but for the one act of each run that it could not say any more
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from creto.common.limits import QUOTA_COUNTERS_MAX
from creto.common.timestamps import SECOND
from creto.metering import Limit, Quota, Quotas, RedisLimits, Window, WindowUnit
from creto.metering.leases_journal import HEAD_BYTES, reclaim
from creto.metering.leases_store import StoreLimits
from creto.platform.consensus.testing import ManualClock
from creto.store import EngineName
from tests.contract.quota_node import AGENT, PARTS, TENANT
from tests.contract.store_examples import eventually
from tests.contract.stores import MakeStore
from tests.contract.test_quotas import HUMAN, passes
from tests.crash.killing import run_and_kill

LIMIT = 1_000_000
BUSY = """
    SELECT COUNT(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'
"""


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
    # What a killed node asked for last may still be under way: a draw that comes after this is lost.
    if store.engine is EngineName.POSTGRES:
        eventually(lambda: store.read_now(lambda tx: tx.value(BUSY)) == 0)
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
