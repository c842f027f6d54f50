"""Tidying is done by one worker; another takes over when it ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from creto.app import running
from creto.edge.upkeep import upkeep
from tests.layers import settings


class Rounds:
    """A pause that tells who is about to do a round, and lets it wait for ever."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def pause(self, _: float) -> None:
        self.begun.set()
        await asyncio.Event().wait()


async def test_a_second_worker_waits_and_takes_over(tmp_path: Path) -> None:
    first, second = Rounds(), Rounds()
    async with running(settings(tmp_path), work=False) as app, asyncio.timeout(30), AsyncExitStack() as stack:
        async with upkeep(app.parts, app.operator, pause=first.pause):
            await first.begun.wait()
            await stack.enter_async_context(upkeep(app.parts, app.operator, pause=second.pause))
            while not app.parts.leases._waiters:  # noqa: ASYNC110 - nothing tells when a waiter has come
                await asyncio.sleep(0)
            assert not second.begun.is_set()
        await second.begun.wait()
