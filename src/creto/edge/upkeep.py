"""What the worker does beside its requests: old idempotency keys, expired memories, blobs that nobody names.

async with upkeep(parts, operator):
    ...

A round that fails is logged and tried again at the next; nothing here is needed for an answer to be right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from creto.common.ids import AgentId
from creto.common.limits import UPKEEP_S
from creto.common.telemetry import fields
from creto.edge.api.parts import Parts
from creto.store.idempotency import IdempotencyGuard

log = logging.getLogger("creto.upkeep")
Pause = Callable[[float], Awaitable[None]]


async def prune_keys(parts: Parts) -> int:
    """Look at every idempotency key once and drop those whose time is over."""
    guard, after, steps = IdempotencyGuard(), b"", 0
    while True:
        after = await parts.store.write(lambda tx, at=after: guard.prune(tx, parts.clock.now(), at))  # type: ignore[misc]
        steps += 1
        if not after:
            return steps


async def tidied(parts: Parts, actor: AgentId) -> list[str]:
    """One round; the names of what failed."""
    failed = []
    chores: dict[str, Callable[[], Awaitable[object]]] = {
        "idempotency": lambda: prune_keys(parts),
        "memory": lambda: parts.memory.sweep(agent=actor),
        "storage": lambda: parts.storage.sweep(agent=actor),
        "refusals": lambda: parts.gate.refusals.flush(parts.clock.now()),
    }
    for name, chore in chores.items():
        try:
            await chore()
        except Exception:
            failed.append(name)
            log.exception("upkeep of %s failed", name, extra=fields(operation=f"upkeep.{name}"))
    return failed


@asynccontextmanager
async def upkeep(
    parts: Parts, actor: AgentId, *, every_s: float = UPKEEP_S, pause: Pause = asyncio.sleep
) -> AsyncIterator[None]:
    """Rounds while the block lasts, the first after one interval: a start has other things to do."""

    async def rounds() -> None:
        while True:
            await pause(every_s)
            await tidied(parts, actor)

    task = asyncio.create_task(rounds(), name="creto-upkeep")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
