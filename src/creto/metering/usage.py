"""Usage: events in, totals and costs out, in one object."""

from __future__ import annotations

from creto.metering import total_store
from creto.metering.querying import Querying
from creto.metering.restating import Restating
from creto.store.types import Isolation


class Metering(Restating, Querying):
    """What is asked of usage. `trust` says who vouches for an event, `judge` which ones wait for a human.

    INVARIANT: what `ingest_…` accepted is in every total, cost and bill that is asked for afterwards.
    """

    async def fold(self) -> int:
        """Fold what has come into the running totals; how many steps that took. Any number of processes may do it at once."""
        steps = 0
        while await self._store.write(total_store.fold_step, isolation=Isolation.READ_COMMITTED):
            steps += 1
        return steps
