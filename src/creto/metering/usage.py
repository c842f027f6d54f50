"""Usage: events in, totals and costs out, in one object."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from creto.common.errors import ConnectionFailed
from creto.common.limits import USAGE_FOLD_S
from creto.metering import total_store
from creto.metering.consuming import Consuming
from creto.metering.exporting import Exporting
from creto.metering.querying import Querying
from creto.metering.restating import Restating
from creto.store.types import Isolation

log = logging.getLogger("creto.metering")


async def a_moment() -> None:
    await asyncio.sleep(USAGE_FOLD_S)


class Metering(Restating, Consuming, Querying, Exporting):
    """What is asked of usage. `trust` says who vouches for an event, `judge` which ones wait for a human.

    INVARIANT: what `ingest_…` accepted is in every total, cost and bill that is asked for afterwards.
    """

    async def fold(self) -> int:
        """Fold what has come into the running totals; how many batches that were. Any number of processes may do it at once."""
        batches = 0
        while done := await self._store.write(total_store.fold_step, isolation=Isolation.READ_COMMITTED):
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
