"""Archives days until it is killed, and says which parts it has made: `python -m tests.crash.usage_archiver URL FOLDER`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from creto.common.timestamps import DAY, HOUR
from creto.platform.consensus.testing import ManualClock
from creto.security.storage import open_backend
from creto.store import Store, open_store
from tests.contract.test_archive import NOON, PARTS, Desk, used

DAYS, EACH = 30, 40
EVENTS = DAYS * EACH


def opened(store: Store, folder: Path) -> Desk:
    return Desk(store, open_backend(f"file://{folder}/objects"), ManualClock(NOON + DAYS * DAY))


async def filled(desk: Desk) -> None:
    for start in range(EACH):
        await desk.take(*(used(f"{day}.{start}", NOON + day * DAY - start * HOUR) for day in range(DAYS)))


async def main(url: str, folder: Path) -> None:
    """One day at a time, so that there is something to kill."""
    store = open_store(url, parts=PARTS)
    desk = opened(store, folder)
    os.write(1, b"ready\n")
    for day in range(DAYS, -3, -1):
        for made in await desk.run((day + 1) * DAY // 2):
            os.write(1, f"{made.day}/{made.part}\n".encode())
    store.close()
    os.write(1, b"done\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
