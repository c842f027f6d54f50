"""Holding a lease for the length of a block: wait for it, renew it, stop when it is lost, give it back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from creto.common.errors import AlreadyExists, EnablementError, Unauthorized
from creto.common.timestamps import SECOND, Clock
from creto.platform.consensus.types import Lease, LeaseKeeper

Pause = Callable[[float], Awaitable[object]]
RENEWALS_PER_TTL = 3  # two may fail before the lease is in danger


async def acquire_when_free(keeper: LeaseKeeper, name: str, ttl_ns: int, pause: Pause, freed: asyncio.Event) -> Lease:
    """Tries again when a holder gives back (`freed`), and at the pace of renewals for holders that end without a word."""
    while True:
        freed.clear()
        with suppress(AlreadyExists):
            return await keeper.acquire(name, ttl_ns)
        await first_of(freed.wait(), pause(ttl_ns / SECOND / RENEWALS_PER_TTL))


@asynccontextmanager
async def kept(keeper: LeaseKeeper, lease: Lease, ttl_ns: int, clock: Clock, pause: Pause) -> AsyncIterator[None]:
    """Renew the lease while the block runs; cancel the block when it is lost; give it back at the end."""
    block = asyncio.current_task()
    assert block is not None
    lost: list[EnablementError] = []

    async def renewing() -> None:
        latest = lease
        while True:
            await pause(ttl_ns / SECOND / RENEWALS_PER_TTL)
            try:
                latest = await keeper.renew(latest, ttl_ns)
            except EnablementError as error:
                if error.code == "PL-304" or clock.now() >= latest.expires_at:
                    lost.append(error)
                    block.cancel()
                    return

    task = asyncio.create_task(renewing())
    try:
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            with suppress(EnablementError):  # it expires by itself
                await keeper.release(lease)
    except asyncio.CancelledError:
        if lost and block.uncancel() == 0:
            raise Unauthorized(
                "PL-304", f"the lease {lease.name} was lost while it was held", caused_by=lost[0]
            ) from lost[0]
        raise


async def first_of(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
