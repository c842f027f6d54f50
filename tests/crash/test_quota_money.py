"""Processes die between letting an act beyond a quota and billing it, between buying a step and drawing it, and over the end of a reservation.

a run      a process dies at a point of the chance's choosing; the next one comes after it
the check  what was let through is counted and billed once, a step is paid once and used, and what a reservation took is on its counter
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from creto.metering import NewGrant, RedisLimits
from creto.metering.quota_charges import STALE_NS
from creto.store import Store, open_store
from creto.store.types import ReadTx
from tests.crash.killing import ROOT
from tests.crash.quota_spender import HELD, PARTS, POINTS, STEP, TOOK, desk, quotas_of, shared
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D

KILLS, KILLS_DEEP = 1, 25  # at each point
LATER = JANUARY.start + 2 * STALE_NS


def killed(*arguments: str) -> list[str]:
    """What it said, to the end that it made itself."""
    command = [sys.executable, "-m", "tests.crash.quota_spender", *arguments]
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=path, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -9
    return done.stdout.decode().split()


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
@pytest.mark.parametrize("place", ["store", "redis"])
def test_what_goes_beyond_is_billed_and_paid_once_whoever_dies(
    engine: str, place: str, tmp_path: Path, deep: bool, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/q.db" if engine == "sqlite" else str(request.getfixturevalue("postgres_url"))
    redis = str(request.getfixturevalue("redis_url")) if place == "redis" else "-"
    with ExitStack() as stack:
        store, limits = open_store(url, parts=PARTS), shared(redis)
        stack.callback(store.close)
        if limits is not None:
            stack.callback(limits.close)
        asyncio.run(prepared(store, limits, tmp_path))
        chance, said = random.Random(f"{engine} {place}"), Counter[str]()
        points = [*POINTS] * (KILLS_DEEP if deep else KILLS)
        chance.shuffle(points)
        for point in points:
            said.update(killed(url, redis, f"{tmp_path}/journals", point, str(chance.randint(1, 3))))
        asyncio.run(check(store, limits, tmp_path, said, Counter(points)))


async def prepared(store: Store, limits: RedisLimits | None, tmp_path: Path) -> None:
    quotas, _, billing = desk(store, limits, f"{tmp_path}/journals")
    for quota in quotas_of(tmp_path.name):
        await quotas.put_quota(TENANT, quota, by=HUMAN)
    await billing.grant_credits(TENANT, NewGrant(agent=AGENT, amount=D(1_000), currency="USD"), key="g", by=HUMAN)
    quotas.close()


async def check(
    store: Store, limits: RedisLimits | None, tmp_path: Path, said: Counter[str], died: Counter[str]
) -> None:
    quotas, _, billing = desk(store, limits, f"{tmp_path}/journals")
    for _ in range(2):  # the second finds nothing more
        await asyncio.to_thread(quotas.charges.book_left, LATER)
        await asyncio.to_thread(quotas.events.book_left, LATER)
    used = {one.quota_id.removesuffix(tmp_path.name): one for one in await quotas.usage(TENANT, [AGENT])}
    quotas.close()

    def rows(tx: ReadTx) -> tuple[int, int, int]:
        booked = "SELECT COUNT(*) FROM metering_event WHERE event_type = 'quota.beyond/call'"
        left = "SELECT COUNT(*) FROM metering_beyond"
        return tx.value(booked), tx.value(left), tx.value("SELECT COUNT(*) FROM metering_quota_step")

    booked, left, steps = await store.read(rows)
    assert (booked, left) == (used["call"].over, 0)
    assert used["call"].used == said["call"] + died["begun"] + died["settled"]

    assert (await billing.wallet(TENANT, AGENT, "USD")).balance.used == steps
    assert 0 <= steps * STEP - used["act"].over <= STEP
    assert used["act"].used == said["act"]

    assert used["hold"].used == TOOK * (said["hold"] + died["closed"])
    assert TOOK > HELD
