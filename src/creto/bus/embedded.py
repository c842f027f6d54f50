"""The bus inside the store: durables are cursors over its outbox. No broker; any number of processes that share the store.

bus = EmbeddedBus(store)
await bus.subscribe("metering.events.>", "metering-ingest", consume)
await bus.publish("metering.events.runtime", payload, tenant=tenant, agent=agent)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from creto.bus import store as rows
from creto.bus.home import at_home
from creto.bus.outbox import OutboxBus, aged, published_at
from creto.bus.redelivery import Redelivery
from creto.bus.subjects import checked_durable, checked_pattern
from creto.bus.types import Consumer, DurableInfo, Start, Subscription
from creto.bus.worker import Worker, ended
from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.limits import BUS_FETCH_MAX, BUS_LEASE_S, BUS_POLL_S, BUS_RETENTION_S, STORE_RECHECK_S
from creto.common.timestamps import MILLISECOND, SECOND
from creto.store.types import Isolation, OutboxRow, Position, ReadTx, Store, Tx

log = logging.getLogger("creto.bus")

SWEEP_S = 5.0  # how often what nobody needs any more leaves the outbox


class EmbeddedBus(OutboxBus):
    KIND = "embedded"

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], int] = time.time_ns,
        rule: Redelivery | None = None,
        lease_s: float = BUS_LEASE_S,
        poll_s: float = BUS_POLL_S,
        retention_s: float = BUS_RETENTION_S,
    ) -> None:
        super().__init__(store, now=now, rule=rule, lease_s=lease_s, retention_s=retention_s)
        self._poll_s = poll_s
        self._changed = asyncio.Event()  # in the store, by whomever
        self._told = False  # whether it is set then
        self._workers: list[Worker] = []
        self._loops: list[asyncio.Task[None]] = []

    def _begin(self) -> None:
        """Sweep the outbox from now on, also if nobody subscribes in this process or anywhere."""
        if not self._loops:
            self.listen()
            self._told = self._store.on_change(self._heard)
            self._loops = [asyncio.create_task(self._watch()), asyncio.create_task(self._sweep())]

    async def subscribe(
        self, pattern: str, durable: str, consumer: Consumer | None = None, *, start: Start = Start.FIRST
    ) -> Subscription:
        return await self.home.subscribed(lambda known: self._subscribe(pattern, durable, known, start), consumer)

    async def _subscribe(self, pattern: str, durable: str, consumer: Consumer | None, start: Start) -> Subscription:
        self.admit()
        checked_pattern(pattern)
        name = checked_durable(durable)
        after = Position() if start is Start.FIRST else await self._end()
        await self._store.write(lambda tx: rows.make_durable(tx, name, pattern, self.KIND, after, self._now()))
        worker = Worker(
            self._store,
            name,
            pattern,
            consumer,
            now=self._now,
            rule=self._rule,
            counts=self.counts,
            lease_s=self._lease_s,
        )
        self._workers = [w for w in self._workers if not w.closed] + [worker]
        worker.start()
        self.start()
        return worker

    def _look(self) -> None:
        for worker in self._workers:
            worker.wake()

    async def durables(self) -> list[DurableInfo]:
        return await self._store.read(lambda tx: rows.durables(tx, self.KIND))

    @at_home
    async def drop(self, durable: str) -> None:
        name = checked_durable(durable)
        for worker in [w for w in self._workers if w.durable == name]:
            await worker.close()
        await self._store.write(lambda tx: rows.drop(tx, name))

    async def replay(self, durable: str, *, after: Position | None = None, since: int | None = None) -> None:
        name = checked_durable(durable)
        if (after is None) == (since is None):
            raise InvalidInput.of("replay", got="both or none", expected="a position or a time")
        place = after if after is not None else await self._before(since or 0)
        await self._store.write(lambda tx: rows.rewind(tx, name, place), isolation=Isolation.READ_COMMITTED)
        self.wake()

    @at_home
    async def close(self) -> None:
        self._closed = True
        await ended(*self._loops)
        await asyncio.gather(*(worker.close() for worker in self._workers))

    # --- what other processes publish ---

    def _heard(self) -> None:
        if not self._closed:
            with suppress(RuntimeError):  # the loop was closed before the bus
                self.home.soon(self._changed.set)

    async def _watch(self) -> None:
        """One small read for all subscriptions that wait, at most so often; none while nobody commits, where that is known."""
        while True:
            await asyncio.sleep(self._poll_s)
            if self._told:
                with suppress(TimeoutError):
                    async with asyncio.timeout(STORE_RECHECK_S):
                        await self._changed.wait()
                self._changed.clear()
            waiting = [worker for worker in self._workers if worker.idle and not worker.closed]
            if not waiting:
                continue
            try:
                late = await self._store.read(partial(behind, names=[worker.durable for worker in waiting]))
            except ConnectionFailed:
                continue  # the workers say so in the log
            for worker in waiting:
                if worker.durable in late:
                    worker.wake()

    # --- retention ---

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                while await self.sweep():
                    pass
            except ConnectionFailed as error:
                log.warning("The outbox was not swept: %s", error)

    async def sweep(self) -> int:
        """Forget one page of what every durable there is has acked and nobody may replay any more; how many rows."""
        keep_from = self._now() - int(self.retention_s * SECOND)
        return await self._store.write(lambda tx: swept(tx, self.KIND, keep_from), isolation=Isolation.READ_COMMITTED)

    async def _end(self) -> Position:
        last = Position()
        while page := await self._store.read(partial(page_after, last=last)):
            last = page[-1].position
        return last

    async def _before(self, since: int) -> Position:
        """The last position before the first message of that time or later."""
        last = Position()
        while page := await self._store.read(partial(page_after, last=last)):
            for row in page:
                if published_at(row.message_id) + MILLISECOND > since:
                    return last
                last = row.position
        return last


def page_after(tx: ReadTx, last: Position) -> list[OutboxRow]:
    return tx.outbox_tail(last, BUS_FETCH_MAX)


def behind(tx: ReadTx, names: Sequence[str]) -> set[str]:
    """Which of these durables have something to take from the outbox."""
    cursors = {name: rows.position_of(tx, name) for name in set(names)}
    known = {name: position for name, position in cursors.items() if position is not None}
    if not known:
        return set()
    newest = tx.outbox_tail(min(known.values()), 1)
    if not newest:
        return set()
    return {name for name, position in known.items() if position == min(known.values()) or tx.outbox_tail(position, 1)}


def swept(tx: Tx, kind: str, keep_from: int) -> int:
    last = aged(tx, rows.low_water(tx, kind), keep_from)
    return tx.outbox_forget_upto(last) if last is not None else 0
