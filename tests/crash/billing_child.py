"""A process that bills: `python -m tests.crash.billing_child URL SEED` subscribes, grants, burns, invoices and voids until it is killed.

It says what was acknowledged: `burnt KEY`, `final ID NUMBER`, `void ID`.
"""

from __future__ import annotations

import asyncio
import random
import sys

from creto.common.timestamps import DAY
from creto.metering import BurnCredits, NewGrant
from creto.metering.types import PlanId
from creto.store import open_store
from tests.contract.billing_desk import Desk, set_clock
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D, plan

PARTS = ("creto.store", "creto.metering")


async def one_round(desk: Desk, name: str, chance: random.Random) -> None:
    set_clock(desk, JANUARY.start + chance.randrange(3) * DAY)
    wanted = NewGrant(agent=AGENT, amount=D(chance.randrange(5, 60)), currency="USD", priority=chance.randrange(3))
    await desk.billing.grant_credits(TENANT, wanted, key=name, by=HUMAN)
    made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key=name, by=HUMAN, starts_at=JANUARY.start)
    draft = await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=JANUARY.start)
    asked = BurnCredits(agent=AGENT, amount=D("0.37"), currency="USD", ref=f"job {name}")
    await desk.billing.burn_credits(TENANT, asked, key=name, by=AGENT)
    print(f"burnt {name}", flush=True)
    set_clock(desk, JANUARY.end)
    final = await desk.billing.finalize_invoice(TENANT, draft.invoice_id, by=HUMAN)
    print(f"final {final.invoice_id} {final.number}", flush=True)
    if chance.random() < 0.3:
        await desk.billing.void_invoice(TENANT, final.invoice_id, by=HUMAN)
        print(f"void {final.invoice_id}", flush=True)


async def main(url: str, seed: str) -> None:
    store = open_store(url, parts=PARTS)
    desk = Desk(store)
    chance = random.Random(seed)
    print("ready", flush=True)
    number = 0
    while True:
        await one_round(desk, f"{seed}-{number}", chance)
        number += 1


async def prepared(url: str) -> None:
    store = open_store(url, parts=PARTS)
    try:
        await Desk(store).billing.create_plan(TENANT, plan(fee="31"), by=HUMAN)
    finally:
        store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
