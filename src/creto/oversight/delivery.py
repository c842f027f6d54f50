"""The outbox of notifications, as the channels see it: take what is due, say how it went, find a card again.

    for one in await oversight.take_notifications(Channel.SLACK):       # ours for a minute; then anybody's again
        letter = await oversight.letter(one)                            # unless `letter.wanted`: `drop` it
        …                                                     # send it; at least once, so the provider may see it twice
        await oversight.sent(one, reference="T1/A1/C1/1700000000.000100")

A channel that gives up says so, and the next address of that human is tried; so it is when several attempts have failed. What was never
delivered, what nobody has looked at, and tiers in which nobody can be told show in `health`.

INVARIANT: a notification is queued until it was sent, is not wanted any more, or is given up; whoever took it and died gives it back by that.
INVARIANT: what waits for a channel that is not configured is bounded by what is open, told in `health`, and leaves when the channel is there again.
INVARIANT: a card that left while its request was being decided is closed after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from creto.common.errors import NotFound
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId, new_id
from creto.common.limits import (
    COUNTED_MAX,
    OVERSIGHT_COURIER_BATCH,
    OVERSIGHT_FALLBACK_ATTEMPTS,
    OVERSIGHT_REACH_S,
    OVERSIGHT_TAKEN_S,
    OVERSIGHT_TIMER_BATCH,
    OVERSIGHT_UNSEEN_S,
    PAGE_ITEMS_MAX,
)
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import store as sql
from creto.oversight import store_messages as message_rows
from creto.oversight import store_people as people_rows
from creto.oversight.core import checked_text
from creto.oversight.letters import Letter, addressed, told_notes, vote_line
from creto.oversight.policies import refusal
from creto.oversight.reach import Reach
from creto.oversight.store import Record
from creto.oversight.types import Channel, DeliveryState, Notice, Notification, NotificationKind
from creto.platform.audit.events import NotificationSent
from creto.platform.consensus import PersonId
from creto.store.types import Tx

ASKING = (NotificationKind.ASKED, NotificationKind.ESCALATED, NotificationKind.EDITED, NotificationKind.WARNED)
LOOKED_AT = (
    Channel.SLACK,
    Channel.EMAIL,
)  # where a human's look comes back to us: a click, or the page that a mail leads to


class Dead(msgspec.Struct, frozen=True):
    """An address that did not take its last message: deactivated, gone, refused. The next message that it takes brings it back."""

    channel: Channel
    address: str
    person: PersonId
    error: str


class Health(msgspec.Struct, frozen=True):
    """What an operator should see before it hurts."""

    pending: int
    oldest_at: ConsensusTimestamp | None
    undelivered: tuple[Notification, ...]
    unreachable: dict[PolicyId, tuple[str, ...]]  # tiers in which nobody has an address that took its last message
    unseen: tuple[RequestId, ...] = ()  # open, told minutes ago, and nobody has looked
    dead: tuple[Dead, ...] = ()
    short: dict[PolicyId, str] = {}  # policies that everybody who can be told could not meet, and why
    idle: dict[Channel, int] = {}  # what waits for channels that this installation does not deliver on


class Standing(msgspec.Struct, frozen=True):
    """How much waits, and how late the timer is."""

    pending: int
    queued: int  # notifications
    late_s: float


def untold(told: Sequence[Notification], stuck: Callable[[Notification], bool]) -> tuple[Notice, ...]:
    """OV-202 where humans who are asked have no message that arrived, and one that something holds up."""
    asks = [one for one in told if one.kind in ASKING]
    arrived = {one.person for one in asks if one.state is DeliveryState.SENT}
    held = [
        one
        for one in asks
        if one.person not in arrived
        and (one.state is DeliveryState.FAILED or (one.state is DeliveryState.QUEUED and (one.attempts or stuck(one))))
    ]
    if not held:
        return ()
    count, everybody = len({one.person for one in held}), len({one.person for one in asks})
    channels = ", ".join(sorted({str(one.channel) for one in held}))
    waits = any(one.state is DeliveryState.QUEUED for one in held)
    then = "the notification is queued, and sent when that works again" if waits else "no address of theirs takes it"
    return (
        Notice(code="OV-202", message=f"{count} of {everybody} who are told could not be yet ({channels}): {then}"),
    )


class Delivery(Reach):
    async def due_notifications(self, channel: Channel, limit: int = OVERSIGHT_TIMER_BATCH) -> list[Notification]:
        now = self.clock.now()
        return await self.store.read(lambda tx: message_rows.due_notifications(tx, channel, now, limit))

    async def take_notifications(
        self, channel: Channel, limit: int = OVERSIGHT_COURIER_BATCH, *, taken_s: float = OVERSIGHT_TAKEN_S
    ) -> list[Notification]:
        """What is due, for this process alone; due again after `taken_s` unless it says how it went."""
        if not await self.due_notifications(channel, 1):
            return []

        def take(tx: Tx) -> list[Notification]:
            now = self.clock.now()
            found = message_rows.locked_due_notifications(tx, channel, now, limit)
            for one in found:
                message_rows.put_notification(tx, replace(one, next_at=ConsensusTimestamp(now + int(taken_s * SECOND))))
            return found

        return await self.write(take)

    async def letter(self, one: Notification) -> Letter:
        """What to say to whom, as things stand now."""
        record = await self.get(one.tenant, one.request_id)
        cast, notes, told = await self.store.read(
            lambda tx: (
                sql.votes(tx, one.tenant, one.request_id),
                sql.notes(tx, one.tenant, one.request_id),
                message_rows.notifications(tx, one.tenant, one.request_id),
            )
        )
        directory, now, every = self.directory(one.tenant, record.ask.policy), self.clock.now(), cast
        cast = self.counting(record, every, directory, now)
        counts = {vote.signed.ballot.nonce for vote in cast}
        cards = tuple(other for other in told if addressed(other, one))
        lines = tuple(
            vote_line(self._name(one.tenant, vote.signed.ballot.approver), vote, "" if vote.signed.ballot.nonce in counts else self.why_lost(record, vote, directory, now))
            for vote in every
            if vote.signed.ballot.round == record.ask.round
        )  # fmt: skip
        said = told_notes(notes, lambda author: self._name(one.tenant, author))
        return Letter.of(
            one, record, link=self.link_to(one.request_id), cards=cards, votes=lines, notes=said, cast=cast,
            name=lambda who: self._name(one.tenant, who),
        )  # fmt: skip

    def _name(self, tenant: TenantId, who: str) -> str:
        try:
            return self.nhi.get_now(tenant, AgentId(who)).name
        except NotFound:
            return who

    async def drop(self, one: Notification) -> None:
        """It never left, and nobody needs it any more."""

        def mark(tx: Tx) -> None:
            known = self._notification(tx, one)
            if known.state is not DeliveryState.SENT:
                message_rows.put_notification(tx, replace(known, state=DeliveryState.DROPPED))

        await self.write(mark)
        self._metrics.attempts.labels(str(one.channel), "dropped").add()

    async def sent(self, one: Notification, *, reference: str | None = None) -> Notification:
        """The provider has it, under this name of its own; answers must come from there.

        Whoever says so first stands: a process that slept through its time and comes late gets the name that stands, and takes its own back.
        """

        def mark(tx: Tx) -> Notification:
            record, now = self.locked(tx, one.tenant, one.request_id), self.clock.now()
            known = self._notification(tx, one)
            if known.state is DeliveryState.SENT:
                return known
            done = replace(
                known,
                state=DeliveryState.SENT,
                attempts=known.attempts + 1,
                reference=reference,
                sent_at=now,
                error=None,
            )
            message_rows.put_notification(tx, done)
            event = NotificationSent(request_id=one.request_id, channel=str(one.channel), approver=one.person)
            self.record(tx, record, event, by=self.service_id, now=now)
            if not record.progress.state.open and one.kind not in (NotificationKind.CLOSED, NotificationKind.ALARM):
                self.queue(tx, record, one.person, one.channel, one.address, NotificationKind.CLOSED, now)
            return done

        done = await self.write(mark)
        self._metrics.attempts.labels(str(one.channel), "sent").add()
        return done

    async def failed(self, one: Notification, error: str, *, retry_after_s: float | None) -> Notification:
        """It did not go through: tried again after so long, or, with None, never; then the human's other addresses are tried."""
        checked_text(error, "error")

        def mark(tx: Tx) -> Notification:
            known, now = self._notification(tx, one), self.clock.now()
            if known.state is DeliveryState.SENT:
                return known
            state = DeliveryState.FAILED if retry_after_s is None else DeliveryState.QUEUED
            next_at = ConsensusTimestamp(now + int((retry_after_s or 0) * SECOND))
            done = replace(known, state=state, attempts=known.attempts + 1, next_at=next_at, error=error)
            message_rows.put_notification(tx, done)
            if state is DeliveryState.FAILED or done.attempts == OVERSIGHT_FALLBACK_ATTEMPTS:
                self._fall_back(tx, done, now)
            return done

        done = await self.write(mark)
        self._metrics.attempts.labels(str(one.channel), "failed" if retry_after_s is None else "deferred").add()
        return done

    # Channels that are not configured, or not any more

    async def sweep_idle(self) -> int:
        """What is due on channels that this installation does not deliver on. Of a request that is over it is dropped; of an open one it
        waits for the channel to come back, and the human's other addresses are tried once: so no more waits than is open.
        """
        idle = [channel for channel in Channel if not self.delivers(channel)]
        return sum([await self._sweep(channel) for channel in idle])

    async def _sweep(self, channel: Channel) -> int:
        total = 0
        while await self.due_notifications(channel, 1):
            total += await self.write(lambda tx: self._swept(tx, channel))
        return total

    def _swept(self, tx: Tx, channel: Channel) -> int:
        now = self.clock.now()
        found = message_rows.locked_due_notifications(tx, channel, now, OVERSIGHT_TIMER_BATCH)
        for one in found:
            state = sql.state_of(tx, one.tenant, one.request_id)
            if state is None or not state.open:
                message_rows.put_notification(tx, replace(one, state=DeliveryState.DROPPED))
                continue
            next_at = ConsensusTimestamp(now + int(OVERSIGHT_REACH_S * SECOND))
            waits = replace(one, attempts=one.attempts + 1, next_at=next_at, error=f"{channel} is not configured")
            message_rows.put_notification(tx, waits)
            if one.attempts == 0:
                self._fall_back(tx, waits, now)
        return len(found)

    async def discard(self, tenant: TenantId, channel: Channel, *, by: AgentId) -> int:
        """The operator's word that what waits for a channel is not to be sent; how many messages that were."""

        def page(tx: Tx) -> int:
            found = message_rows.locked_queued(tx, tenant, channel, OVERSIGHT_TIMER_BATCH)
            for one in found:
                message_rows.put_notification(tx, replace(one, state=DeliveryState.DROPPED))
            if found:
                fields: dict[str, object] = {"channel": channel, "count": len(found)}
                self.note(tx, tenant, "oversight:discard", f"oversight:channel:{channel}", "NotificationsDiscarded", by, fields)  # fmt: skip
            return len(found)

        total = 0
        while count := await self.write(page):
            total += count
        return total

    async def seen(self, one: Notification) -> None:
        """The human has looked at it."""

        def mark(tx: Tx) -> None:
            known = self._notification(tx, one)
            if known.seen_at is None:
                message_rows.put_notification(tx, replace(known, seen_at=self.clock.now()))

        await self.write(mark)

    async def card(self, tenant: TenantId, channel: Channel, reference: str) -> Notification:
        """The notification behind a provider's message; OV-404 for one that we did not send."""
        found = await self.store.read(lambda tx: message_rows.by_reference(tx, tenant, channel, reference))
        if found is None:
            raise NotFound("OV-404", "there is no such approval request", field="reference", got=reference)
        return found

    async def notifications(self, tenant: TenantId, request_id: RequestId) -> list[Notification]:
        return await self.store.read(lambda tx: message_rows.notifications(tx, tenant, request_id))

    async def notices(self, record: Record) -> tuple[Notice, ...]:
        """What an open request waits in spite of: OV-202 while somebody who is asked could not be told, OV-503 without the agent's reasons."""
        ask = record.ask
        if not record.progress.state.open:
            return ()
        told, stuck = await self.store.read(
            lambda tx: (
                message_rows.notifications(tx, ask.tenant, ask.request_id),
                message_rows.unsettled(tx, ask.tenant, PAGE_ITEMS_MAX),
            )
        )
        down = {one.channel for one in stuck if one.error is not None and one.state is DeliveryState.QUEUED}
        found = untold(told, lambda one: one.channel in down or not self.delivers(one.channel, ask.tenant))
        missing = (Notice(code="OV-503", message="asked without the agent's reasons: they could not be fetched"),)
        return (*found, *(missing if ask.reasoning_code is not None else ()))

    async def health(self, tenant: TenantId) -> Health:
        pending, undelivered, ended, queued = await self.store.read(
            lambda tx: (
                sql.count_open(tx, tenant),
                message_rows.unsettled(tx, tenant, PAGE_ITEMS_MAX),
                message_rows.newest_ended(tx, tenant, PAGE_ITEMS_MAX),
                message_rows.queued_by_channel(tx, tenant),
            )
        )
        newest = {(one.channel, one.address): one for one in reversed(ended)}
        linked = {(c.channel, c.address) for contacts in self.contacts(tenant).values() for c in contacts}
        failed = {where: one for where, one in newest.items() if one.state is DeliveryState.FAILED and where in linked}
        dead = {where: Dead(one.channel, one.address, one.person, one.error or "") for where, one in failed.items()}
        dead |= await self._troubled(tenant)
        return Health(
            pending=pending[0], oldest_at=pending[1], undelivered=tuple(undelivered),
            unreachable=self.unreachable(tenant, dead), unseen=await self.unseen(tenant), dead=tuple(dead.values()),
            short=self.short(tenant, dead),
            idle={channel: count for channel, count in queued.items() if not self.delivers(channel, tenant)},
        )  # fmt: skip

    async def _troubled(self, tenant: TenantId) -> dict[tuple[Channel, str], Dead]:
        """Addresses of which their channel knows that they take nothing, before anything is sent there."""
        found = {}
        for person, contacts in self.contacts(tenant).items():
            for one in contacts:
                look = self.troubles.get(one.channel)
                trouble = await look(tenant, one.address) if look is not None else None
                if trouble is not None:
                    found[one.channel, one.address] = Dead(one.channel, one.address, person, trouble)
        return found

    async def unseen(self, tenant: TenantId) -> tuple[RequestId, ...]:
        """Open requests of which somebody was told a while ago, and at which nobody has looked."""
        before = self.clock.now() - int(OVERSIGHT_UNSEEN_S * SECOND)
        cards = await self.store.read(lambda tx: message_rows.of_open_requests(tx, tenant, COUNTED_MAX))
        told = {
            one.request_id
            for one in cards
            if one.sent_at is not None and one.sent_at <= before and one.channel in LOOKED_AT
        }
        seen = {one.request_id for one in cards if one.seen_at is not None}
        return tuple(sorted(told - seen))[:PAGE_ITEMS_MAX]

    async def reach(self) -> dict[TenantId, Health]:
        """How every tenant's policies stand that could not be met, or not be told of everywhere."""
        tenants = await self.store.read(people_rows.tenants)
        found = {tenant: await self.health(tenant) for tenant in tenants}
        silent = [tier for one in found.values() for tiers in one.unreachable.values() for tier in tiers]
        self._metrics.unreachable.labels().set(len(silent))
        return {tenant: one for tenant, one in found.items() if one.unreachable or one.short}

    async def standing(self) -> Standing:
        """Of all tenants, for who watches the installation."""
        pending, queued, due_at = await self.store.read(sql.standing)
        late_ns = max(0, self.clock.now() - due_at) if due_at is not None else 0
        return Standing(pending, queued, late_ns / SECOND)

    def _notification(self, tx: Tx, one: Notification) -> Notification:
        known = message_rows.locked_notification(tx, one.tenant, one.notification_id)
        if known is None:
            raise refusal("notification_id", one.notification_id, "a notification of ours")
        return known

    def _fall_back(self, tx: Tx, lost: Notification, now: ConsensusTimestamp) -> None:
        """Another way to the same human, if there is one that has not carried this already."""
        tried = {(n.channel, n.address) for n in message_rows.notifications(tx, lost.tenant, lost.request_id) if (n.kind, n.round, n.person) == (lost.kind, lost.round, lost.person)}  # fmt: skip
        for contact in self.contacts(lost.tenant).get(lost.person, []):
            if (contact.channel, contact.address) not in tried and self.delivers(contact.channel, lost.tenant):
                other = replace(
                    lost, notification_id=new_id("ntf-"), channel=contact.channel, address=contact.address,
                    state=DeliveryState.QUEUED, attempts=0, next_at=now, reference=None, error=None,
                )  # fmt: skip
                message_rows.put_notification(tx, other)
                sql.touch(tx, lost.tenant, lost.request_id)
                return
