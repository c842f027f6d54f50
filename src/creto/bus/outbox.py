"""What every bus has in common: publishing through the outbox, and the dead letters in the store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import ClassVar

from creto.bus import store as rows
from creto.bus.redelivery import Redelivery
from creto.bus.subjects import checked_agent, checked_subject
from creto.bus.types import Also, DeadLetter
from creto.bus.worker import Counts
from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.ids import TenantId, checked_tenant
from creto.common.limits import (
    BUS_HEADER_BYTES_MAX,
    BUS_LEASE_S,
    BUS_RETENTION_S,
    PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX,
)
from creto.common.timestamps import MILLISECOND
from creto.common.tracing import inject
from creto.store.types import Isolation, Store, Tx


def published_at(message_id: str) -> int:
    """The time in a UUIDv7, in nanoseconds."""
    return (uuid.UUID(message_id).int >> 80) * MILLISECOND


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    size = sum(len(name) + len(value) for name, value in headers.items())
    if size > BUS_HEADER_BYTES_MAX:
        raise InvalidInput.of("headers", got=f"{size} characters", expected=f"at most {BUS_HEADER_BYTES_MAX}")
    return headers


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
        self.counts = Counts()
        self.retention_s = retention_s
        self._store = store
        self._now = now
        self._rule = rule or Redelivery()
        self._lease_s = lease_s
        self._closed = False

    async def publish(
        self, subject: str, payload: bytes, *, tenant: TenantId, agent: str, headers: dict[str, str] | None = None
    ) -> str:
        checked_subject(subject)
        checked_tenant(tenant)
        checked_agent(agent)
        sent = checked_headers(inject(headers or {}))
        self.admit()
        message_id = await self._store.write(
            lambda tx: tx.publish(subject, payload, tenant=tenant, agent=agent, headers=sent),
            isolation=Isolation.READ_COMMITTED,
        )
        self.counts.published += 1
        self.wake()
        return message_id

    def admit(self) -> None:
        """Raises PL-503 when nothing more may be published: closed, or too much waits. For whoever uses `tx.publish`."""
        if self._closed:
            raise ConnectionFailed("PL-503", "the bus is closed")

    def wake(self) -> None:
        """Look at once: something was published in this process."""
        raise NotImplementedError

    async def dead_letters(
        self,
        tenant: TenantId,
        *,
        durable: str | None = None,
        after: tuple[str, str] = ("", ""),
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[DeadLetter]:
        checked_tenant(tenant)
        if not 1 <= limit <= PAGE_ITEMS_MAX:
            raise InvalidInput.of("limit", got=limit, expected=f"1 to {PAGE_ITEMS_MAX}")
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
