"""Endpoints of customers, what they want to hear, and the way there: from the bus into rows, from the rows out by their schedule.

The bus hands a message to this part once it is durable; a row for each endpoint that wants it is written before it is acked. A process
that dies with a delivery in hand leaves it due again: at least once, under the same id, by which a receiver knows it.

INVARIANT: a delivery ends: delivered, or failed when its schedule is over or its endpoint wants nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from msgspec.structs import replace

from creto.bus import Bus, Message, Start
from creto.common.errors import EnablementError, InvalidInput, NotFound, ProductId
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.limits import (
    PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX,
    WEBHOOK_BATCH,
    WEBHOOK_KEPT_S,
    WEBHOOK_LOOK_S,
    WEBHOOK_TAKEN_S,
)
from creto.common.logs import fields
from creto.common.telemetry import Metrics
from creto.common.timestamps import SECOND, Clock
from creto.connectors.metering_webhooks import store as rows
from creto.connectors.metering_webhooks.messages import FAMILIES, body_of, checked_wishes, wanted
from creto.connectors.metering_webhooks.types import Delivery, DeliveryState
from creto.connectors.webhook import Attempt, Outcome, next_wait_s
from creto.connectors.webhook_endpoints import Endpoint, Webhooks
from creto.store.entries import entry
from creto.store.types import Store, Tx

log = logging.getLogger("creto.connectors")
DURABLE = "metering-webhooks"


class MeteringWebhooks:
    def __init__(
        self, store: Store, bus: Bus, clock: Clock, webhooks: Webhooks, metrics: Metrics | None = None
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._webhooks = webhooks
        self._counts = (metrics or Metrics()).counter(
            "metering_webhooks_attempts_total", "Webhooks of metering, by how an attempt ended", "outcome"
        )
        self._due = asyncio.Event()
        self._stopping = False

    # Endpoints

    async def add(self, tenant: TenantId, url: str, events: Sequence[str], *, by: AgentId) -> tuple[Endpoint, str]:
        """A new endpoint with what it wants, and its secret, which is shown once. One that wants nothing is told by others of the layer."""
        wishes = checked_wishes(events)
        endpoint, secret = await self._webhooks.add(tenant, url, by=by)
        if wishes:
            await self.want(tenant, endpoint.endpoint_id, wishes, by=by)
        return endpoint, secret

    async def want(self, tenant: TenantId, endpoint_id: str, events: Sequence[str], *, by: AgentId) -> Endpoint:
        """What an endpoint hears of metering from now on; nothing, if nothing is named."""
        wishes = checked_wishes(events)
        endpoint = await self._webhooks.get(tenant, endpoint_id)

        def put(tx: Tx) -> None:
            rows.put_wishes(tx, tenant, endpoint_id, wishes)
            self._record(tx, tenant, endpoint_id, by, "wants", {"events": wishes})

        await self._store.write(put)
        return endpoint

    async def wishes(self, tenant: TenantId) -> dict[str, tuple[str, ...]]:
        """What each endpoint wants that wants anything."""
        return await self._store.read(lambda tx: rows.wishes(tx, checked_tenant(tenant)))

    async def wants(self, tenant: TenantId, endpoint_id: str) -> tuple[str, ...]:
        return (await self.wishes(tenant)).get(endpoint_id, ())

    async def remove(self, tenant: TenantId, endpoint_id: str, *, by: AgentId) -> None:
        """The endpoint, and what was on its way there."""
        await self._webhooks.remove(tenant, endpoint_id, by=by)
        await self._store.write(lambda tx: rows.forget(tx, tenant, endpoint_id))

    # Deliveries

    async def deliveries(
        self, tenant: TenantId, endpoint_id: str, *, state: DeliveryState | None = None, after: str = "",
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[Delivery]:  # fmt: skip
        """What went or goes to an endpoint, the oldest first."""
        if not 1 <= limit <= PAGE_ITEMS_MAX:
            raise InvalidInput.of("limit", got=limit, expected=f"1 to {PAGE_ITEMS_MAX}")
        await self._webhooks.get(tenant, endpoint_id)
        return await self._store.read(lambda tx: rows.of_endpoint(tx, tenant, endpoint_id, state, after, limit))

    async def delivery(self, tenant: TenantId, endpoint_id: str, message_id: str) -> Delivery:
        found = await self._store.read(lambda tx: rows.find(tx, checked_tenant(tenant), endpoint_id, message_id))
        if found is None:
            raise no_such_delivery(message_id)
        return found

    async def standing(self, tenant: TenantId, endpoint_id: str) -> dict[DeliveryState, int]:
        """How many deliveries to an endpoint wait, arrived and failed, of those that are still known."""
        return await self._store.read(lambda tx: rows.standing(tx, checked_tenant(tenant), endpoint_id))

    async def again(self, tenant: TenantId, endpoint_id: str, message_id: str, *, by: AgentId) -> Delivery:
        """Deliver once more, with the whole schedule before it; under the same id, so a receiver that has it drops it."""
        now = self._clock.now()

        def queue(tx: Tx) -> Delivery:
            found = rows.find(tx, checked_tenant(tenant), endpoint_id, message_id)
            if found is None:
                raise no_such_delivery(message_id)
            queued = replace(found, state=DeliveryState.QUEUED, attempts=0, next_at=now, changed_at=now)
            rows.put(tx, queued)
            self._record(tx, tenant, endpoint_id, by, "again", {"message": message_id})
            return queued

        queued = await self._store.write(queue)
        self._due.set()
        return queued

    async def forget_old(self, limit: int = PAGE_ITEMS_MAX) -> int:
        """Deliveries that ended long ago; how many were forgotten."""
        before = self._clock.now() - WEBHOOK_KEPT_S * SECOND
        return await self._store.write(lambda tx: rows.forget_old(tx, before, limit))

    async def take(self, message: Message) -> None:
        """A message of metering: a row for each endpoint that wants it."""
        now = self._clock.now()
        body = body_of(message)

        def queue(tx: Tx) -> None:
            for endpoint_id, wishes in rows.wishes(tx, message.tenant).items():
                if wanted(wishes, message.subject):
                    one = Delivery(
                        tenant=message.tenant, endpoint_id=endpoint_id, message_id=message.id,
                        event_type=message.subject, payload=body, next_at=now, changed_at=now,
                    )  # fmt: skip
                    rows.enqueue(tx, one)

        await self._store.write(queue)
        self._due.set()

    async def deliver_once(self) -> int:
        """Everything that is due, batch by batch; how many attempts that were."""
        total = 0
        while not self._stopping:
            now = self._clock.now()
            until = now + WEBHOOK_TAKEN_S * SECOND
            taken = await self._store.write(lambda tx, n=now, u=until: rows.take_due(tx, n, u, WEBHOOK_BATCH))  # type: ignore[misc]
            if not taken:
                break
            await asyncio.gather(*(self._deliver(one) for one in taken))
            total += len(taken)
        return total

    async def _deliver(self, one: Delivery) -> None:
        try:
            attempt = await self._webhooks.send(one.tenant, one.endpoint_id, one.message_id, one.payload)
        except NotFound:
            await self._store.write(lambda tx: rows.forget(tx, one.tenant, one.endpoint_id))
            return
        except EnablementError as error:  # a fault of ours: the keystore cannot be opened, say
            attempt = Attempt(Outcome.FAILED, error.message, retry_after_s=error.retry_after_s)
        self._counts.labels(str(attempt.outcome)).add()
        ended = self._judged(one, attempt)
        await self._store.write(lambda tx: self._settle(tx, ended, attempt))
        if attempt.outcome is not Outcome.DELIVERED:
            about = fields(operation="metering.webhook", endpoint_id=one.endpoint_id, message_id=one.message_id)
            log.warning("A webhook was not taken: %s", attempt.detail, extra=about)

    def _judged(self, one: Delivery, attempt: Attempt) -> Delivery:
        now, attempts = self._clock.now(), one.attempts + 1
        tried = replace(one, attempts=attempts, changed_at=now, detail=attempt.detail)
        if attempt.outcome is Outcome.DELIVERED:
            return replace(tried, state=DeliveryState.DELIVERED)
        wait_s = next_wait_s(attempts, attempt.retry_after_s)
        if wait_s is None or attempt.outcome in (Outcome.GONE, Outcome.REFUSED):
            return replace(tried, state=DeliveryState.FAILED)
        return replace(tried, next_at=now + int(wait_s * SECOND))

    def _settle(self, tx: Tx, ended: Delivery, attempt: Attempt) -> None:
        rows.put(tx, ended)
        if attempt.outcome is Outcome.GONE:
            rows.give_up(tx, ended.tenant, ended.endpoint_id, attempt.detail, ended.changed_at)
        if attempt.outcome is Outcome.THROTTLED and ended.state is DeliveryState.QUEUED:
            rows.hold_back(tx, ended.tenant, ended.endpoint_id, ended.next_at)

    # In the background

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block lasts: take what metering publishes, deliver what is due."""
        self._stopping = False
        taking = [
            await self._bus.subscribe(pattern, f"{DURABLE}-{name}", self.take, start=Start.NEW)
            for name, pattern in FAMILIES.items()
        ]
        task = asyncio.create_task(self._run(), name="creto-metering-webhooks")
        try:
            yield
        finally:
            self._stopping = True
            self._due.set()
            for subscription in taking:
                await subscription.close()
            await task

    async def _run(self) -> None:
        while not self._stopping:
            self._due.clear()
            try:
                await self.deliver_once()
            except EnablementError:
                log.exception("webhooks begin anew", extra=fields(operation="metering.webhook"))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), WEBHOOK_LOOK_S)

    def _record(
        self, tx: Tx, tenant: TenantId, endpoint_id: str, by: AgentId, change: str, more: dict[str, object]
    ) -> None:
        tx.record(
            entry(
                tenant=tenant, product=ProductId.METERING, agent=by, action="metering.webhook", event="WebhookChanged",
                resource=f"webhook:endpoint:{endpoint_id}", timestamp=self._clock.now(),
                facts={"change": change, **more}, degraded_clock=self._clock.degraded,
            )
        )  # fmt: skip


def no_such_delivery(message_id: str) -> NotFound:
    return NotFound("PL-404", "there is no such delivery", field="message_id", got=message_id)
