"""The timer in a process of its own, on the machine's real clock: `python -m tests.integration.oversight.timer_process URL`.

It says `ready` when it holds the lease and has looked, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys

from creto.common.limits import OVERSIGHT_TIMER_S
from creto.platform.consensus import EmbeddedClock
from creto.store import open_store
from tests.unit.oversight.world import PARTS, World


async def main(url: str) -> None:
    store = open_store(url, parts=PARTS)
    world = World(store, EmbeddedClock(store))  # type: ignore[arg-type]
    looks = 0

    async def pause(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            print("ready", flush=True)
        await asyncio.sleep(OVERSIGHT_TIMER_S)

    async with world.timer.running(pause):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
