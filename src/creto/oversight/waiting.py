"""Waiting for a decision: a coroutine each, no thread, no question to the store until there is something to learn.

    result = await oversight.await_decision("acme", request_id, timeout_s=60)

A decision wakes its waiters in this process at once and on other nodes by the store's signal. A decision that was made before anybody waited,
or while signals were lost, is found by looking: waiters look first, and again whenever signals may have been missed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from creto.common.errors import Timeout
from creto.common.ids import RequestId, TenantId
from creto.common.timestamps import SECOND
from creto.contracts import ApprovalResult
from creto.oversight.core import signal_of
from creto.oversight.outcome import Outcomes
from creto.oversight.store import Record
from creto.store.waiters import Waiters


class Waiting(Outcomes):
    _waiters: Waiters

    def send_away(self) -> None:
        """This process is about to end: who has only so much time is told now that nothing is decided, and asks another."""
        self._waiters.send_away()

    async def await_decision(
        self, tenant: TenantId, request_id: RequestId, timeout_s: float | None = None
    ) -> ApprovalResult:
        """The decision, whenever it comes. OV-504 when the caller's own time is over: the request stays open."""
        record = await self.decided(tenant, request_id, timeout_s)
        return await self.result(record)

    async def decided(self, tenant: TenantId, request_id: RequestId, timeout_s: float | None) -> Record:
        """The request, once it is decided or cancelled."""
        key = signal_of(tenant, request_id)
        waiter = self._waiters.add(key, brief=timeout_s is not None)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    waiter.event.clear()
                    record = await self.get(tenant, request_id)
                    if not record.progress.state.open:
                        return record
                    if waiter.sent_away:
                        raise TimeoutError
                    await self._change_of(record, waiter.event)
        except TimeoutError as error:
            raise Timeout("OV-504", field="timeout_s", got=timeout_s, expected="a decision") from error
        finally:
            self._waiters.remove(key, waiter)

    async def _change_of(self, record: Record, event: asyncio.Event) -> None:
        """Until something happens to it. What only has to settle is settled by who waits, so that it rests on no timer."""
        settles_at = record.progress.settles_at
        left_s = (settles_at - self.clock.now()) / SECOND if settles_at is not None else None
        if left_s is not None and left_s <= 0:
            await self.advance(record.ask.tenant, record.ask.request_id)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), left_s)
