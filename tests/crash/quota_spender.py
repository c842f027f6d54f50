"""A process that dies over a quota: `python -m tests.crash.quota_spender URL REDIS|- FOLDER POINT TIMES`.

It spends until it has come to POINT so often, and kills itself right there. It says each act, by its quota, once that is settled.

begun    an act beyond a quota is written down, and not let through yet
settled  an act has ended, and is not billed yet
bought   a step is paid, and nothing is drawn of it yet
closed   the row of a reservation is gone, and what it took above it is not booked yet
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from creto.metering import (
    Billing,
    ChargeBeyond,
    Limit,
    Metering,
    Quota,
    Quotas,
    RedisLimits,
    StoredEvents,
    TopUpLimit,
    UnsafeTrustEverybody,
    Window,
    WindowUnit,
)
from creto.metering.quota import Taken
from creto.platform.consensus.testing import ManualClock
from creto.store import Store, open_store
from tests.unit.metering.examples import AGENT, JANUARY, TENANT, D

PARTS = ("creto.store", "creto.metering")
EVER = Window(WindowUnit.LIFETIME)
STEP, HELD, TOOK = 10, 5, 12


def quotas_of(test: str) -> tuple[Quota, ...]:
    """Their names are of one test, for whom the shared limit is in Redis."""
    return (
        Quota(quota_id=f"call{test}", counts=("call",), limits=(Limit(3, EVER),), overflow=ChargeBeyond(factor=D(2))),
        Quota(
            quota_id=f"act{test}", counts=("act",), limits=(Limit(3, EVER),), overflow=TopUpLimit(STEP, 100, price=D(1))
        ),
        Quota(quota_id=f"hold{test}", counts=("hold",), limits=(Limit(1_000_000, EVER),)),
    )


def shared(redis: str) -> RedisLimits | None:
    return None if redis == "-" else RedisLimits(redis)


def desk(store: Store, limits: RedisLimits | None, folder: str) -> tuple[Quotas, Metering, Billing]:
    clock = ManualClock(JANUARY.start)
    metering, billing = Metering(store, clock, UnsafeTrustEverybody()), Billing(store, clock, StoredEvents())
    quotas = Quotas(store, clock, limits=limits, folder=Path(folder))
    quotas.charges.bill_by(metering.enter)
    quotas.steps.buy_from(billing.burning, billing.burnable)
    return quotas, metering, billing


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(owner: Any, name: str, times: int, *, before: bool) -> None:
    """At its so manieth call, before that does anything or after."""
    calls, real = 0, getattr(owner, name)

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == times:
            die()
        found = real(*args)
        if not before and calls == times:
            die()
        return found

    setattr(owner, name, counted)


POINTS: dict[str, Callable[[Quotas, int], None]] = {
    "begun": lambda quotas, times: dies(quotas.charges, "begin", times, before=False),
    "settled": lambda quotas, times: dies(quotas.charges, "end", times, before=True),
    "bought": lambda quotas, times: dies(quotas.steps, "buy", times, before=False),
    "closed": lambda quotas, times: dies(quotas, "_book_hold", times, before=True),
}


async def main(url: str, redis: str, folder: str, point: str, times: str) -> None:
    quotas, _, _ = desk(open_store(url, parts=PARTS), shared(redis), folder)
    POINTS[point](quotas, int(times))
    while True:
        for kind in ("call", "act"):
            held = await asyncio.to_thread(quotas.book.reserve, TENANT, AGENT, None, kind, "model", 1)
            assert isinstance(held, Taken)
            quotas.book.settle(held)
            print(kind, flush=True)
        hold = await quotas.reserve(TENANT, AGENT, "hold", HELD)
        await quotas.settle(TENANT, hold.reservation_id, TOOK)
        print("hold", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
