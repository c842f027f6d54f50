"""The connector at work until all of it is done, or until the step at which it is told to die.

python -m tests.crash.stripe_child STORE STRIPE NOW STEP|-

A step is a moment before or after something lasting: a transaction of the store, a request to Stripe. It says how many there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from creto.bus import EmbeddedBus, Redelivery
from creto.common.config import Secret
from creto.common.settings import StripeConfig
from creto.connectors.stripe import Stripe
from creto.connectors.stripe.sdk import Transport
from creto.connectors.stripe.service import READS
from creto.metering import Billing
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests.contract.billing_desk import KeptInMemory
from tests.contract.stripe_world import METERS, PARTS

LEASE_S = 0.3


class Steps:
    def __init__(self, fatal: int | None) -> None:
        self.taken = 0
        self.fatal = fatal

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class Counted(Transport):
    def __init__(self, client: httpx2.AsyncClient, step: Steps) -> None:
        super().__init__(client)
        self._step = step

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        self._step()
        answer = await super().request_async(method, url, headers, post_data)
        self._step()
        return answer


def counted(write: Callable[..., Any], step: Steps) -> Callable[..., Any]:
    async def counting(*arguments: Any, **named: Any) -> Any:
        step()
        result = await write(*arguments, **named)
        step()
        return result

    return counting


async def main(store_url: str, stripe_url: str, now: str, fatal: str) -> None:
    step = Steps(None if fatal == "-" else int(fatal))
    store = open_store(store_url, parts=PARTS)
    store.write = counted(store.write, step)  # type: ignore[method-assign]
    bus = EmbeddedBus(store, lease_s=LEASE_S, rule=Redelivery(deliveries_max=1_000, initial_s=0.01, backoff_max_s=0.05))
    clock = ManualClock(int(now))
    config = StripeConfig(api_key=Secret("sk_test_local"), url=stripe_url, meters=METERS)
    transport = Counted(httpx2.AsyncClient(timeout=10), step)
    stripe = Stripe(store, bus, clock, Billing(store, clock, KeptInMemory()), config, transport=transport)
    await stripe.start()
    while True:
        standing = await bus.standing()
        if not any(counts[name] for counts in (standing.behind, standing.outstanding) for name in READS):
            break
        await asyncio.sleep(0.01)
    assert not standing.dead, standing
    await stripe.stop()
    await bus.close()
    store.close()
    sys.stdout.write(f"steps {step.taken}\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
