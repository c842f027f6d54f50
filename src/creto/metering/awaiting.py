"""Waiting for what becomes of an event that waits for a human: it counts, or it never will.

stored = await metering.decided_event("acme", event_id, 20 * SECOND)     # its state says which; HELD if nobody has decided yet
"""

from __future__ import annotations

import asyncio

from creto.common.ids import EventId, TenantId, checked_tenant
from creto.common.limits import EVENT_WAITERS_MAX
from creto.common.timestamps import SECOND
from creto.metering.restating import EVENT_ENDED, Restating, ended_key
from creto.metering.usage_types import EventState, StoredEvent
from creto.store.waiters import Waiters


class Awaiting(Restating):
    _waiters: Waiters | None = None

    def send_away(self) -> None:
        """This process is about to end: whoever waits here asks another."""
        if self._waiters is not None:
            self._waiters.send_away()

    async def decided_event(self, tenant: TenantId, event_id: EventId, wait_ns: int) -> StoredEvent:
        """The event as soon as it waits no more; as it is then, when the time is over."""
        if self._waiters is None:
            self._waiters = Waiters(self._store, EVENT_ENDED, most=EVENT_WAITERS_MAX)
        key = ended_key(checked_tenant(tenant), event_id)
        waiter = self._waiters.add(key, brief=True)
        ends_at = asyncio.get_running_loop().time() + wait_ns / SECOND
        try:
            while True:
                waiter.event.clear()
                found = await self.event(tenant, event_id)
                left_s = ends_at - asyncio.get_running_loop().time()
                if found.state is not EventState.HELD or waiter.sent_away or left_s <= 0:
                    return found
                try:
                    await asyncio.wait_for(waiter.event.wait(), left_s)
                except TimeoutError:
                    return await self.event(tenant, event_id)
        finally:
            self._waiters.remove(key, waiter)
