"""Waiting for a decision: a coroutine each, no thread, no question to the store until there is something to learn.

    result = await oversight.await_decision("acme", request_id, timeout_s=60)

A decision wakes its waiters in this process at once and on other nodes by the store's signal. A decision that was made before anybody waited,
or while signals were lost, is found by looking: waiters look first, and again whenever signals may have been missed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from creto.common.errors import InternalError, Timeout
from creto.common.ids import RequestId, TenantId
from creto.common.limits import OVERSIGHT_WAITERS_MAX
from creto.common.timestamps import SECOND
from creto.contracts import ApprovalResult
from creto.oversight.core import DECIDED, signal_of
from creto.oversight.outcome import Outcomes
from creto.oversight.store import Record
from creto.store.types import Store


class Waiter:
    """One coroutine that waits."""

    def __init__(self, *, brief: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()
        self.brief = brief  # it has only so much time, and comes back
        self.sent_away = False

    def wake(self) -> None:
        """Called on any thread."""
        with suppress(RuntimeError):  # that loop has ended
            self.loop.call_soon_threadsafe(self.event.set)


class Waiters:
    """Who waits for which request."""

    def __init__(self, store: Store) -> None:
        self._waiting: dict[str, set[Waiter]] = {}
        self._count = 0
        store.on_signal(DECIDED, self.wake)
        store.on_signal_lost(self.wake_all)

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, *, brief: bool) -> Waiter:
        if self._count >= OVERSIGHT_WAITERS_MAX:
            raise InternalError("PL-503", "too many wait for decisions in this process", retry_after_s=1.0)
        waiter = Waiter(brief=brief)
        self._waiting.setdefault(key, set()).add(waiter)
        self._count += 1
        return waiter

    def remove(self, key: str, waiter: Waiter) -> None:
        there = self._waiting.get(key)
        if there is not None and waiter in there:
            there.discard(waiter)
            self._count -= 1
            if not there:
                self._waiting.pop(key, None)

    def wake(self, key: str) -> None:
        """Called on a thread of the store."""
        for waiter in tuple(self._waiting.get(key, ())):
            waiter.wake()

    def wake_all(self) -> None:
        for key in tuple(self._waiting):
            self.wake(key)

    def send_away(self) -> None:
        for waiters in tuple(self._waiting.values()):
            for waiter in tuple(waiters):
                if waiter.brief:
                    waiter.sent_away = True
                    waiter.wake()


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
