"""What the worker does beside its requests: old idempotency keys, expired memories, blobs that nobody names.

async with upkeep(parts, operator):
    ...

A round that fails is logged and tried again at the next; nothing here is needed for an answer to be right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

from creto.common.errors import EnablementError
from creto.common.ids import AgentId
from creto.common.limits import UPKEEP_S
from creto.common.telemetry import fields
from creto.common.timestamps import SECOND
from creto.edge.api.parts import Parts
from creto.store.idempotency import IdempotencyGuard

log = logging.getLogger("creto.upkeep")
LEASE = "creto.upkeep"
LEASE_TTL_NS = 60 * SECOND
ORPHANS_EVERY = int(86_400 / UPKEEP_S)  # rounds: a blob that nobody names can wait a day, and listing a bucket costs
Pause = Callable[[float], Awaitable[None]]
Chores = Mapping[str, Callable[[], Awaitable[object]]]


async def prune_keys(parts: Parts) -> int:
    """Look at every idempotency key once and drop those whose time is over."""
    guard, after, steps = IdempotencyGuard(), b"", 0
    while True:
        after = await parts.store.write(lambda tx, at=after: guard.prune(tx, parts.clock.now(), at))  # type: ignore[misc]
        steps += 1
        if not after:
            return steps


async def tidied(parts: Parts, actor: AgentId, *, orphans: bool = True) -> list[str]:
    """One round; the names of what failed. `orphans` also goes through every blob of the storage."""
    chores: Chores = {
        "idempotency": lambda: prune_keys(parts),
        "memory": lambda: parts.memory.sweep(agent=actor),
        "storage": lambda: parts.storage.sweep(agent=actor, orphans=orphans),
        "refusals": lambda: parts.gate.refusals.flush(parts.clock.now()),
    }
    return await tried("upkeep", chores, log)


async def tried(what: str, chores: Chores, log: logging.Logger) -> list[str]:
    """All of them, whichever fail; the names of those that did."""
    failed = []
    for name, chore in chores.items():
        try:
            await chore()
        except Exception:
            failed.append(name)
            log.exception("%s of %s failed", what, name, extra=fields(operation=f"{what}.{name}"))
    return failed


@asynccontextmanager
async def upkeep(
    parts: Parts, actor: AgentId, *, every_s: float = UPKEEP_S, pause: Pause = asyncio.sleep
) -> AsyncIterator[None]:
    """Rounds while the block lasts, by one worker of all; the first after one interval, as a start has other things to do."""

    async def rounds() -> None:
        for number in count():
            await pause(every_s)
            await tidied(parts, actor, orphans=number % ORPHANS_EVERY == 0)

    async def led() -> None:
        """While another worker holds the lease this one waits to take over."""
        while True:
            try:
                async with parts.leases.hold(LEASE, LEASE_TTL_NS):
                    await rounds()
            except EnablementError as error:  # the lease or the store was lost
                log.warning("upkeep pauses: %s", error)
                await pause(every_s)

    task = asyncio.create_task(led(), name="creto-upkeep")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
