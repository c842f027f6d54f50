"""Folding: the running totals follow what came in, whoever adds it to them.

A worker folds every second. Where there is none, or more comes in than it folds, those who ingest fold before they answer: so the number
of events that wait, which a question reads one by one, has a bound.

INVARIANT: at most USAGE_WAITING_MAX events wait, and of each process what it took in between two looks and at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from creto.common.errors import ConnectionFailed
from creto.common.limits import USAGE_FOLD_S, USAGE_LOOK_EVENTS, USAGE_WAITING_MAX
from creto.common.timestamps import Clock
from creto.metering import total_store
from creto.metering.core import Recording
from creto.store.types import Isolation, ReadTx, Store

log = logging.getLogger("creto.metering")

BATCH_EVENTS = 20  # what it costs to fold a batch, or to read it, beside its events: as much as so many of them


async def a_moment() -> None:
    await asyncio.sleep(USAGE_FOLD_S)


class Folding(Recording):
    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._unlooked = 0  # taken in since this process looked how many wait

    async def fold(self) -> int:
        """Fold what has come into the running totals; how many batches that were. Any number of processes may do it at once."""
        batches = 0
        while done := await self._fold_step():
            batches += done
        return batches

    async def keep_folding(self, pause: Callable[[], Awaitable[None]] = a_moment) -> None:
        """Fold until cancelled: what runs beside the service where work is done. An outage of the store is waited out."""
        while True:
            try:
                await self.fold()
            except ConnectionFailed as error:
                log.warning("Usage waits for the store: %s", error)
            await pause()

    async def _keep_up(self, events: int) -> None:
        """These have been taken in: fold until no more wait than may. Events that are on disk stay accepted if that fails."""
        self._unlooked += events + BATCH_EVENTS
        if self._unlooked < USAGE_LOOK_EVENTS:
            return
        self._unlooked = 0
        try:
            while await self._store.read(waiting) > USAGE_WAITING_MAX and await self._fold_step():
                pass
        except ConnectionFailed as error:
            self._unlooked = USAGE_LOOK_EVENTS
            log.warning("Usage waits for the store: %s", error)

    async def _fold_step(self) -> int:
        return await self._store.write(total_store.fold_step, isolation=Isolation.READ_COMMITTED)


def waiting(tx: ReadTx) -> int:
    """How many events no total holds yet, at most, and their batches as events."""
    batches, events = total_store.waiting(tx)
    return events + BATCH_EVENTS * batches
