"""What a worker runs beside its requests: the log's sequencer, timers, couriers, accounting, and what takes messages from the bus.

async with working(parts, operator):
    ...

Many processes serve requests. Of these chores each finds by itself whether it is its turn: by a lease, or because whoever takes a message has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from creto.common.ids import AgentId
from creto.edge.accounting import accounting
from creto.edge.api.parts import Parts
from creto.edge.costs import CostApprovals
from creto.edge.upkeep import upkeep
from creto.metered import paying_out
from creto.oversight import Timer
from creto.platform.audit import rotate_log_key
from creto.platform.audit.service import log_key


@asynccontextmanager
async def working(parts: Parts, operator: AgentId) -> AsyncIterator[None]:
    """All of it while the block lasts; ended in reverse, the log last."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(sequencing(parts))
        await stack.enter_async_context(upkeep(parts, operator))
        await stack.enter_async_context(Timer(parts.oversight, parts.leases).running())
        await stack.enter_async_context(parts.channels.running(parts.bus))
        await stack.enter_async_context(
            CostApprovals(parts.bus, parts.triggers, parts.quotas, parts.oversight).running()
        )
        await stack.enter_async_context(accounting(parts, operator))
        await stack.enter_async_context(paying_out(parts.stripe, parts.hooks))
        taking = await parts.metering.consume_from(parts.bus)
        stack.push_async_callback(taking.close)
        yield


@asynccontextmanager
async def sequencing(parts: Parts) -> AsyncIterator[None]:
    """The log grows, under a key of the suite that signs now."""
    if (await log_key(parts.keystore, parts.audit.origin)).suite is not parts.keystore.suites.signature:
        await rotate_log_key(parts.audit, parts.keystore)
    await asyncio.to_thread(parts.audit.start)
    try:
        yield
    finally:
        await asyncio.to_thread(parts.audit.stop)
