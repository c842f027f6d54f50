"""The outbox of notifications, as the channels see it: take what is due, say how it went, find a card again.

    for one in await oversight.due_notifications(Channel.SLACK):
        …                                                     # send it; at least once, so the provider may see it twice
        await oversight.sent(one, reference="T1/A1/C1/1700000000.000100")

A channel that gives up says so, and the next address of that human is tried. What was never delivered shows in `health`.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from creto.common.errors import NotFound
from creto.common.ids import PolicyId, RequestId, TenantId, new_id
from creto.common.limits import OVERSIGHT_TIMER_BATCH, PAGE_ITEMS_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import store as sql
from creto.oversight.core import checked_text
from creto.oversight.emergency import Emergency
from creto.oversight.policies import refusal
from creto.oversight.types import Channel, DeliveryState, Notification
from creto.platform.audit.events import NotificationSent
from creto.store.types import Tx


class Health(msgspec.Struct, frozen=True):
    """What an operator should see before it hurts."""

    pending: int
    oldest_at: ConsensusTimestamp | None
    undelivered: tuple[Notification, ...]
    unreachable: dict[PolicyId, tuple[str, ...]]  # tiers in which nobody has an address
    unseen: tuple[RequestId, ...] = ()  # delivered, and nobody has looked


class Standing(msgspec.Struct, frozen=True):
    """How much waits, and how late the timer is."""

    pending: int
    queued: int  # notifications
    late_s: float


class Delivery(Emergency):
    async def due_notifications(self, channel: Channel, limit: int = OVERSIGHT_TIMER_BATCH) -> list[Notification]:
        now = self.clock.now()
        return await self.store.read(lambda tx: sql.due_notifications(tx, channel, now, limit))

    async def sent(self, one: Notification, *, reference: str | None = None) -> Notification:
        """The provider has it, under this name of its own; answers must come from there."""

        def mark(tx: Tx) -> Notification:
            known = self._notification(tx, one)
            done = replace(
                known, state=DeliveryState.SENT, attempts=known.attempts + 1, reference=reference, error=None
            )
            sql.put_notification(tx, done)
            record = self.locked(tx, one.tenant, one.request_id)
            event = NotificationSent(request_id=one.request_id, channel=str(one.channel), approver=one.person)
            self.record(tx, record, event, by=self.service_id, now=self.clock.now())
            return done

        return await self.write(mark)

    async def failed(self, one: Notification, error: str, *, retry_after_s: float | None) -> Notification:
        """It did not go through: tried again after so long, or, with None, never; then the human's other addresses are tried."""
        checked_text(error, "error")

        def mark(tx: Tx) -> Notification:
            known, now = self._notification(tx, one), self.clock.now()
            state = DeliveryState.FAILED if retry_after_s is None else DeliveryState.QUEUED
            next_at = ConsensusTimestamp(now + int((retry_after_s or 0) * SECOND))
            done = replace(known, state=state, attempts=known.attempts + 1, next_at=next_at, error=error)
            sql.put_notification(tx, done)
            if state is DeliveryState.FAILED:
                self._fall_back(tx, done, now)
            return done

        return await self.write(mark)

    async def seen(self, one: Notification) -> None:
        """The human has looked at it."""

        def mark(tx: Tx) -> None:
            known = self._notification(tx, one)
            if known.seen_at is None:
                sql.put_notification(tx, replace(known, seen_at=self.clock.now()))

        await self.write(mark)

    async def card(self, tenant: TenantId, channel: Channel, reference: str) -> Notification:
        """The notification behind a provider's message; OV-404 for one that we did not send."""
        found = await self.store.read(lambda tx: sql.by_reference(tx, tenant, channel, reference))
        if found is None:
            raise NotFound("OV-404", "there is no such approval request", field="reference", got=reference)
        return found

    async def notifications(self, tenant: TenantId, request_id: RequestId) -> list[Notification]:
        return await self.store.read(lambda tx: sql.notifications(tx, tenant, request_id))

    async def health(self, tenant: TenantId) -> Health:
        pending, undelivered, unseen = await self.store.read(
            lambda tx: (
                sql.count_open(tx, tenant),
                sql.undelivered(tx, tenant, PAGE_ITEMS_MAX),
                sql.unseen(tx, tenant, PAGE_ITEMS_MAX),
            )
        )
        return Health(pending[0], pending[1], tuple(undelivered), self.unreachable(tenant), tuple(unseen))

    async def standing(self) -> Standing:
        """Of all tenants, for who watches the installation."""
        pending, queued, due_at = await self.store.read(sql.standing)
        late_ns = max(0, self.clock.now() - due_at) if due_at is not None else 0
        return Standing(pending, queued, late_ns / SECOND)

    def _notification(self, tx: Tx, one: Notification) -> Notification:
        known = sql.locked_notification(tx, one.tenant, one.notification_id)
        if known is None:
            raise refusal("notification_id", one.notification_id, "a notification of ours")
        return known

    def _fall_back(self, tx: Tx, lost: Notification, now: ConsensusTimestamp) -> None:
        """Another way to the same human, if there is one that has not carried this already."""
        tried = {(n.channel, n.address) for n in sql.notifications(tx, lost.tenant, lost.request_id) if (n.kind, n.round, n.person) == (lost.kind, lost.round, lost.person)}  # fmt: skip
        for contact in self.contacts(lost.tenant).get(lost.person, []):
            if (contact.channel, contact.address) not in tried:
                other = replace(
                    lost, notification_id=new_id("ntf-"), channel=contact.channel, address=contact.address,
                    state=DeliveryState.QUEUED, attempts=0, next_at=now, reference=None, error=None,
                )  # fmt: skip
                sql.put_notification(tx, other)
                return
