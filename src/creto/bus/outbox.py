"""What every bus has in common: publishing through the outbox, and the dead letters in the store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar

from creto.bus import store as rows
from creto.bus.home import Home
from creto.bus.redelivery import Redelivery
from creto.bus.types import Also, BusStanding, Counts, DeadLetter
from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.ids import TenantId, checked_tenant
from creto.common.limits import (
    BUS_FETCH_MAX,
    BUS_LEASE_S,
    BUS_RETENTION_S,
    PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX,
)
from creto.common.paging import checked_limit
from creto.common.timestamps import MILLISECOND
from creto.store.types import Isolation, Position, ReadTx, Store, Tail, Tx


def published_at(message_id: str) -> int:
    """The time in a UUIDv7, in nanoseconds."""
    return (uuid.UUID(message_id).int >> 80) * MILLISECOND


def aged(tx: ReadTx, floor: Position | None, keep_from: int) -> Position | None:
    """The last row of one page of the outbox that is older than that time and not beyond `floor`; None if there is none."""
    last = None
    for row in tx.outbox_tail(Position(), BUS_FETCH_MAX):
        if (floor is not None and row.position > floor) or published_at(row.message_id) >= keep_from:
            break
        last = row.position
    return last


class OutboxBus:
    KIND: ClassVar[str]

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], int] = time.time_ns,
        rule: Redelivery | None = None,
        lease_s: float = BUS_LEASE_S,
        retention_s: float = BUS_RETENTION_S,
    ) -> None:
        self.home = Home()
        self._counts = Counts()
        self.retention_s = retention_s
        self._store = store
        self._now = now
        self._rule = rule or Redelivery()
        self._lease_s = lease_s
        self._closed = False

    def configure(self, *, retention_s: float, buffer_max: int) -> None:
        """What may change while it runs: how long messages can be replayed, and how many wait for a broker that is away."""
        self.retention_s = retention_s

    async def publish(
        self, subject: str, payload: bytes, *, tenant: TenantId, agent: str, headers: dict[str, str] | None = None
    ) -> str:
        self.admit()
        message_id = await self._store.write(
            lambda tx: tx.publish(subject, payload, tenant=tenant, agent=agent, headers=headers),
            isolation=Isolation.READ_COMMITTED,
        )
        self._counts.published += 1
        return message_id

    def admit(self) -> None:
        """Raises PL-503 when nothing more may be published: closed, or too much waits for the broker.

        For whoever takes work from outside and publishes it with `tx.publish`, which itself looks only at the message: what must
        happen at once, as a revocation, is not refused because a broker is away.
        """
        if self._closed:
            raise ConnectionFailed("PL-503", "the bus is closed")

    def start(self) -> None:
        self.home.soon(self._begin)

    def listen(self) -> None:
        """From here on, wake after each commit of this process that published, whoever made it."""
        self._store.on_appended(Tail.OUTBOX, self._published)

    def _published(self) -> None:
        if not self._closed:
            with suppress(RuntimeError):  # the loop was closed before the bus
                self.wake()

    def wake(self) -> None:
        """Look at once: there is something to hand out."""
        self.home.soon(self._look)

    def _begin(self) -> None:
        raise NotImplementedError

    def _look(self) -> None:
        raise NotImplementedError

    @property
    def counts(self) -> Counts:
        return self._counts

    @property
    def connected(self) -> bool:
        return True

    async def standing(self) -> BusStanding:
        return await self._store.read(lambda tx: rows.standing(tx, self.KIND))

    async def dead_letters(
        self,
        tenant: TenantId,
        *,
        durable: str | None = None,
        after: tuple[str, str] = ("", ""),
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[DeadLetter]:
        checked_tenant(tenant)
        limit = checked_limit(limit)
        return await self._store.read(lambda tx: rows.dead_letters(tx, tenant, durable, after, limit))

    async def dead_letter(self, tenant: TenantId, durable: str, message_id: str) -> DeadLetter:
        checked_tenant(tenant)
        return await self._store.read(lambda tx: rows.find_dead(tx, tenant, durable, message_id))

    async def replay_dead(
        self, tenant: TenantId, durable: str, ids: Sequence[str], *, also: Also | None = None
    ) -> list[str]:
        taken = await self._take_dead(tenant, durable, ids, also, again=True)
        self.wake()
        return taken

    async def discard_dead(
        self, tenant: TenantId, durable: str, ids: Sequence[str], *, also: Also | None = None
    ) -> list[str]:
        return await self._take_dead(tenant, durable, ids, also, again=False)

    async def _take_dead(
        self, tenant: TenantId, durable: str, ids: Sequence[str], also: Also | None, *, again: bool
    ) -> list[str]:
        checked_tenant(tenant)
        if len(ids) > PAGE_ITEMS_MAX:
            raise InvalidInput.of("ids", got=len(ids), expected=f"at most {PAGE_ITEMS_MAX}")

        def take(tx: Tx) -> list[str]:
            taken = rows.take_dead(tx, tenant, durable, ids, again=again)
            if taken and also is not None:
                also(tx, taken)
            return taken

        return await self._store.write(take)
