"""Asks and approves until it is killed, and says what was acknowledged.

python -m tests.crash.oversight_child URL SEED

`asked ID`, `voted ID NAME STATE` and `token ID` are said after the call has returned, never before.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from creto.common.errors import EnablementError
from creto.oversight import Channel, Verdict
from creto.store import open_store
from tests.unit.oversight.world import P2, PARTS, TENANT, World


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


async def one(world: World, seed: str, number: int) -> None:
    record = await world.request(P2, {"seed": seed, "n": number})
    request_id = record.ask.request_id
    say("asked", request_id)

    async def vote(name: str) -> None:
        receipt = await world.click(record, name, Verdict.APPROVE, delivery=f"{seed}-{number}-{name}")
        say("voted", request_id, name, str(receipt.state))

    await asyncio.gather(vote("alice"), vote("bob"))
    await world.oversight.await_decision(TENANT, request_id)
    say("token", request_id)


async def main() -> None:
    store = open_store(sys.argv[1], parts=PARTS)
    world = World(store)
    try:
        world.oversight.policy(TENANT, P2.policy_id)
    except EnablementError:
        world = await World.open(store)
        for name in ("alice", "bob", "carol"):
            await world.contact(name, f"U-{name}", Channel.SLACK)
    chance = random.Random(int(sys.argv[2]))
    say("ready")
    for number in range(10_000):
        await asyncio.gather(*(one(world, sys.argv[2], number * 10 + i) for i in range(chance.randrange(1, 5))))


if __name__ == "__main__":
    asyncio.run(main())
