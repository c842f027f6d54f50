"""A durable's consumers on JetStream: one per lane, one message out at a time, shared by every process that joins.

A message whose consumer failed is parked in the store, with its body, and the lane goes on; later messages of that agent are parked
behind it, so that their order holds and no other agent waits. A `Worker` delivers what is parked.

INVARIANT: while a message of an agent is parked, none of its later ones is handed out from the lane. Whoever has the lane's one
message knows: it looked at the store since another process last had the lane.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from creto.bus import store as rows
from creto.bus.nats_link import Link, failures
from creto.bus.nats_relay import ensure_stream, epoch_of
from creto.bus.nats_wire import unpacked, wire_subject
from creto.bus.redelivery import Redelivery, reason_of
from creto.bus.types import Consumer, Counts, DurableName, Message, Start
from creto.bus.worker import consumed
from creto.common.errors import ConnectionFailed, ErrorBody, InvalidInput, NotFound
from creto.common.limits import BUS_FETCH_MAX
from creto.common.logs import fields
from creto.common.timestamps import SECOND
from creto.store.types import Isolation, Position, Store

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger("creto.bus")

PULL_S = 20.0
HEARTBEAT_S = 2.0
HELD_BY_ANOTHER_S = 0.02


class Place(msgspec.Struct, frozen=True):
    """Which stream, and how it is divided."""

    stream: str
    namespace: str
    lanes: int


def consumer_name(durable: str, number: int) -> str:
    return f"{durable}-{number}"


async def make_consumer(
    link: Link, place: Place, durable: str, pattern: str, number: int, *, ack_wait_s: float, start: Start, from_seq: int
) -> None:
    """The lane's consumer, if it is not there yet; `from_seq` is where a replay begins, or 0."""
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
    from nats.js.errors import NotFoundError

    try:
        await link.js.consumer_info(place.stream, consumer_name(durable, number))
    except NotFoundError:
        policy = DeliverPolicy.ALL if start is Start.FIRST else DeliverPolicy.NEW
        config = ConsumerConfig(
            durable_name=consumer_name(durable, number),
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if from_seq else policy,
            opt_start_seq=from_seq or None,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_s,
            max_deliver=-1,
            max_ack_pending=1,
            filter_subject=wire_subject(place.namespace, number, pattern),
        )
        await link.js.add_consumer(place.stream, config)


class Lane:
    """One lane of one subscription."""

    def __init__(
        self,
        store: Store,
        link: Link,
        place: Place,
        number: int,
        name: DurableName,
        pattern: str,
        consumer: Consumer,
        *,
        start: Start,
        ack_wait_s: float,
        now: Callable[[], int],
        rule: Redelivery,
        counts: Counts,
        wake_parked: Callable[[], None],
    ) -> None:
        self._store = store
        self._link = link
        self._place = place
        self._number = number
        self._name = name
        self._pattern = pattern
        self._consumer = consumer
        self._start = start
        self._ack_wait_s = ack_wait_s
        self._now = now
        self._rule = rule
        self._counts = counts
        self._wake_parked = wake_parked
        self._epoch = 0
        self._parked: set[tuple[str, str]] = set()
        self._seen_seq = -1  # the consumer's sequence up to which `_parked` is sure
        self._inbox = ""
        self._closing = False
        self._unanswered: Msg | None = None
        self.held: Msg | None = None

    async def run(self) -> None:
        away: tuple[type[Exception], ...] = (*failures(), ConnectionFailed)
        while not self._closing:
            try:
                await self._link.up()
                await self._consume()
            except NotFound:
                log.info("The durable was dropped", extra=fields(operation="consume", durable=self._name))
                return
            except away as error:
                log.info("A lane waits: %r", error, extra=fields(operation="consume", durable=self._name))
                await asyncio.sleep(0.1)

    async def kick(self) -> None:
        """End the pull that the broker has forgotten, by a message to ourselves."""
        if self._inbox:
            try:
                await self._link.client.publish(self._inbox, b"", headers={"Status": "408", "Description": "again"})
            except failures() as error:
                log.debug("A lane was not woken: %r", error)

    async def close(self) -> None:
        self._closing = True
        await self.kick()

    async def _consume(self) -> None:
        self._epoch = epoch_of(await ensure_stream(self._link, self._place.stream, self._place.namespace))
        begins = await self._store.read(lambda tx: rows.cursor(tx, self._name))
        await make_consumer(
            self._link,
            self._place,
            self._name,
            self._pattern,
            self._number,
            ack_wait_s=self._ack_wait_s,
            start=self._start,
            from_seq=begins.seq + 1 if begins.epoch == self._epoch else 0,
        )
        self._start = Start.FIRST  # made again after a loss, it begins with everything
        self._inbox = self._link.client.new_inbox()
        subscription = await self._link.client.subscribe(self._inbox)
        try:
            while not self._closing:
                await self._pull()
                left = BUS_FETCH_MAX  # the broker says nothing when a pull has had its fill
                while left and not self._closing:
                    message = await subscription.next_msg(timeout=2 * HEARTBEAT_S + 1)
                    if message.reply and message.reply.startswith("$JS.ACK."):
                        await self._take(message)
                        left -= 1
                    elif not await self._status(message):
                        break
        finally:
            inbox, self._inbox = self._inbox, ""
            log.debug("lane %s leaves %s", self._number, inbox)
            if self._link.client.is_connected:
                await subscription.unsubscribe()
                if self._unanswered is not None:  # only now, or our own pull would get it again
                    await self._unanswered.nak()
            self._unanswered = None

    async def _pull(self) -> None:
        body = {"batch": BUS_FETCH_MAX, "expires": int(PULL_S * SECOND), "idle_heartbeat": int(HEARTBEAT_S * SECOND)}
        name = consumer_name(self._name, self._number)
        await self._link.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._place.stream}.{name}", msgspec.json.encode(body), reply=self._inbox
        )

    async def _status(self, message: Msg) -> bool:
        """Whether the pull goes on. A pull that ended is made again; a consumer that is gone is made again."""
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return True
        if status == "409" and "MaxAckPending" in text:  # another process has the lane's message
            await asyncio.sleep(HELD_BY_ANOTHER_S)
        elif status in ("409", "503"):
            raise ConnectionFailed("PL-503", f"the broker ended the pull: {text or status}")
        return False

    async def _take(self, raw: Msg) -> None:
        meta = raw.metadata
        position = Position(self._epoch, meta.sequence.stream)
        try:
            message, elsewhere = unpacked(raw.headers or {}, raw.data, meta.num_delivered, position)
        except InvalidInput as error:
            log.warning("Not a message of this bus: %s", error, extra=fields(operation="consume", subject=raw.subject))
            await raw.term()
            return
        self.held = raw
        try:
            if elsewhere is not None:
                bodies = await self._store.read(lambda tx: rows.outbox_bodies(tx, [elsewhere]))
                if elsewhere not in bodies:  # forgotten: every durable had acked it
                    await raw.ack()
                    return
                message = msgspec.structs.replace(message, payload=bodies[elsewhere].payload)
            await self._hand_out(message, meta.sequence.consumer)
        except ConnectionFailed:
            await raw.nak(delay=1.0)  # the store is away: the lane waits, so the order holds
            raise
        except asyncio.CancelledError:
            self._unanswered = raw
            raise
        finally:
            self.held = None
        await raw.ack()

    async def _hand_out(self, message: Message, consumer_seq: int) -> None:
        key = (message.tenant, message.agent)
        if consumer_seq != self._seen_seq + 1 or key in self._parked:
            self._parked = await self._store.read(lambda tx: rows.parked_agents(tx, self._name))
        self._seen_seq = consumer_seq
        if key in self._parked:
            await self._park(message, None)
            return
        if message.deliveries > self._rule.deliveries_max:
            last = msgspec.structs.replace(message, deliveries=message.deliveries - 1)
            await self._park(last, reason_of("its consumer ended without an answer"))
            return
        self._counts.delivered += 1
        error = await consumed(self._consumer, message)
        if error is None:
            self._counts.acked += 1
            return
        self._counts.nacked += 1
        await self._park(message, reason_of(error))
        self._parked.add(key)

    async def _park(self, message: Message, failure: ErrorBody | None) -> None:
        await self._store.write(
            lambda tx: rows.park(tx, self._name, message, failure, self._now(), self._rule),
            isolation=Isolation.READ_COMMITTED,
        )
        self._wake_parked()
