"""What the worker does for metering beside its requests: totals folded, credits tended, invoices made, days archived, old records forgotten.

async with accounting(parts, operator):
    ...

Folding goes on all the time, by any number of workers at once. A round of the rest is turned by the one worker that holds the lease, every
`metering.aggregation_interval_seconds`; one that fails is logged and tried again at the next. The archive has rounds and a lease of its
own: a day of many events takes a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from creto.common.errors import EnablementError
from creto.common.ids import AgentId
from creto.common.limits import COSTS_KEPT_NS, PAGE_ITEMS_MAX
from creto.common.settings import MeteringConfig
from creto.common.telemetry import fields
from creto.common.timestamps import SECOND
from creto.edge.api.parts import Parts
from creto.edge.upkeep import LEASE_TTL_NS, Chores, Pause, tried

log = logging.getLogger("creto.metering")
LEASE, ARCHIVE_LEASE = "creto.metering", "creto.metering.archive"


async def invoiced(parts: Parts, actor: AgentId) -> int:
    """Draft, close and finalise what is due, of every tenant; how many became final."""
    config, final = parts.config[MeteringConfig], 0
    if not config.invoices:
        return final
    for tenant in await parts.billing.tenants():
        cursor: str | None = ""
        while cursor is not None:
            run = await parts.billing.run_invoices(
                tenant, by=actor, grace_ns=config.invoice_grace_seconds * SECOND, series=config.invoice_series,
                after=cursor, limit=PAGE_ITEMS_MAX,
            )  # fmt: skip
            final += len(run.final)
            for subscription_id, error in run.failed.items():
                log.warning(
                    "No invoice for %s: %s %s", subscription_id, error.code, error.message, extra=fields(tenant=tenant)
                )
            cursor = run.cursor
    return final


async def forgotten(forget: Callable[[], Awaitable[int]]) -> int:
    """Batch by batch, until nothing is left that is old enough."""
    total = 0
    while batch := await forget():
        total += batch
    return total


async def accounted(parts: Parts, actor: AgentId) -> list[str]:
    """One round; the names of what failed."""
    costs = parts.triggers.costs
    chores: Chores = {
        "credits": parts.billing.tend_credits,
        "invoices": lambda: invoiced(parts, actor),
        "costs": lambda: forgotten(
            lambda: parts.store.write(lambda tx: costs.prune(tx, parts.clock.now() - COSTS_KEPT_NS))
        ),
        "notices": lambda: forgotten(parts.quotas.notices.forget_old),
        "webhooks": lambda: forgotten(parts.hooks.forget_old),
        "receipts": lambda: forgotten(parts.receipts.forget_old),
    }
    return await tried("accounting", chores, log)


async def archived(parts: Parts, actor: AgentId) -> list[str]:
    """One round of the archive; the names of what failed."""
    terms = parts.metering_terms
    if not terms.archives:
        return []
    try:
        await parts.archive.run(terms.archive_grace_s * SECOND, by=actor)
    except Exception:
        log.exception("archiving failed", extra=fields(operation="accounting.archive"))
        return ["archive"]
    return []


@asynccontextmanager
async def accounting(parts: Parts, actor: AgentId, *, pause: Pause = asyncio.sleep) -> AsyncIterator[None]:
    """While the block lasts; the first round after one interval, as a start has other things to do."""

    async def led(lease: str, turn: Callable[[Parts, AgentId], Awaitable[object]]) -> None:
        while True:
            try:
                async with parts.leases.hold(lease, LEASE_TTL_NS):
                    while True:
                        await pause(parts.metering_terms.interval_s)
                        await turn(parts, actor)
            except EnablementError as error:  # the lease or the store was lost
                log.warning("accounting pauses: %s", error)
                await pause(parts.metering_terms.interval_s)

    tasks = [
        asyncio.create_task(led(LEASE, accounted), name="creto-accounting"),
        asyncio.create_task(led(ARCHIVE_LEASE, archived), name="creto-archive"),
        asyncio.create_task(parts.metering.keep_folding(), name="creto-folding"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
