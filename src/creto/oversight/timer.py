"""The timer: escalates, warns, times out and expires what is due, and hands over what waits to who sits in for others.

    async with timer.running():           # in the worker: one process at a time holds the lease
        …
    await timer.advance_once(clock.now())

Nothing rests on it: votes, claims and who waits do by themselves what time demands. It is there for the requests at which nobody looks.

INVARIANT: each step locks its request and looks again, so two timers, or one that was killed in the middle, fire everything exactly once.
INVARIANT: what cannot be done for one request holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from creto.common.errors import EnablementError
from creto.common.limits import OVERSIGHT_RECOLLECT_BATCH, OVERSIGHT_TIMER_BATCH, OVERSIGHT_TIMER_S, STORE_RECHECK_S
from creto.common.telemetry import fields
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight import store_people as people_rows
from creto.oversight.service import Oversight
from creto.platform.consensus import Leases

log = logging.getLogger("creto.oversight")
LEASE = "oversight.timer"
RECHECK_NS = int(STORE_RECHECK_S * SECOND)
Pause = Callable[[float], Awaitable[None]]


class Timer:
    def __init__(self, oversight: Oversight, leases: Leases) -> None:
        self._oversight = oversight
        self._leases = leases
        self._changed = threading.Event()  # in the store, by whomever
        self._told = oversight.store.on_change(self._changed.set)
        self._due_at = 0

    async def advance_once(self, now: ConsensusTimestamp, limit: int = OVERSIGHT_TIMER_BATCH) -> int:
        """Do what is due at `now`; how many requests and grants moved."""
        store = self._oversight.store
        requests, grants, absences, unreasoned, due_at = await store.read(
            lambda tx: (
                sql.due(tx, now, limit),
                grant_rows.expired_grants(tx, now, limit),
                people_rows.beginning(tx, now, limit),
                sql.missing(tx, now, OVERSIGHT_RECOLLECT_BATCH),
                sql.next_due(tx),
            )
        )
        self._due_at = now + RECHECK_NS if due_at is None else due_at
        moved = [await done(self._oversight.advance(tenant, request_id)) for tenant, request_id in requests]
        moved += [await done(self._oversight.expire_grant(tenant, grant_id)) for tenant, grant_id in grants]
        for tenant, delegation in absences:
            await done(self._oversight.hand_over(tenant, delegation))
        for tenant, request_id in unreasoned:
            if not await done(self._oversight.recollect(tenant, request_id)):
                break  # memory is away still, or there was no need: the next look goes on
        return sum(moved)

    @asynccontextmanager
    async def running(self, pause: Pause = asyncio.sleep) -> AsyncIterator[None]:
        """While the block lasts: wait for the lease, then look ten times a second."""
        task = asyncio.create_task(self._run(pause), name="creto-oversight-timer")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _look(self, now: ConsensusTimestamp) -> None:
        """Nothing is read before something is due, or was changed by anybody, where that is told."""
        if self._told and not self._changed.is_set() and now < self._due_at:
            return
        self._changed.clear()
        await self.advance_once(now)

    async def _run(self, pause: Pause) -> None:
        while True:
            try:
                async with self._leases.hold(LEASE):
                    while True:
                        await self._look(self._oversight.clock.now())
                        await pause(OVERSIGHT_TIMER_S)
            except Exception:  # whatever it was, time goes on
                log.exception("the timer failed and begins anew", extra=fields(operation="oversight.timer"))
                await pause(OVERSIGHT_TIMER_S)


async def done(step: Awaitable[int]) -> int:
    """One step; a fault of its own is said, and comes again. Where the store is away there is nothing to go on with."""
    try:
        return await step
    except Exception as error:
        if isinstance(error, EnablementError) and error.retryable:
            raise
        log.exception("a step of the timer failed", extra=fields(operation="oversight.timer"))
        return 0
