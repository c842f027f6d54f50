"""The bus over NATS JetStream: the outbox of the store is relayed to a stream, durables are JetStream consumers.

    bus = NatsBus(store, "nats://127.0.0.1:4222")
    await bus.subscribe("metering.events.>", "metering-ingest", consume)
    await bus.publish("metering.events.runtime", payload, tenant=tenant, agent=agent)

`publish` returns when the message is in the store. While the broker is away messages wait there, and beyond `buffer_max` of them
`publish` and `admit` refuse; what a transaction publishes with its change is taken all the same, for a revocation must not wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from creto.bus import store as rows
from creto.bus.home import at_home
from creto.bus.nats_lanes import Lane, Place, consumer_name
from creto.bus.nats_link import Link, failures
from creto.bus.nats_relay import Relay, consumer_floors, epoch_of, seq_at
from creto.bus.outbox import OutboxBus
from creto.bus.redelivery import Redelivery
from creto.bus.subjects import checked_durable, checked_pattern
from creto.bus.types import Consumer, DurableInfo, DurableName, Message, Start, Subscription
from creto.bus.worker import Worker, ended
from creto.common.errors import ConnectionFailed, InternalError, InvalidInput
from creto.common.limits import BUS_FETCH_MAX, BUS_LANES, BUS_LEASE_S, BUS_RETENTION_S, STORE_QUEUE_MAX
from creto.store.types import Isolation, Position, Store

log = logging.getLogger("creto.bus")

COUNT_S = 0.2


class Refused(InternalError):
    """What `nack` was told."""

    default_code = "PL-902"


class NatsSubscription:
    """A subscription: its lanes, and the worker for what is parked. Without a consumer function messages are handed out by `fetch`."""

    def __init__(self, durable: DurableName, pattern: str, consumer: Consumer | None) -> None:
        self.durable = durable
        self.pattern = pattern
        self.consumer: Consumer = consumer or self._offer
        self._by_hand = consumer is None
        self._offers: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: dict[Position, asyncio.Future[None]] = {}
        self.lanes: list[Lane] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.worker: Worker
        self.closed = False

    async def _offer(self, message: Message) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[message.position] = answer
        self._offers.put_nowait(message)
        try:
            await answer
        finally:
            self._answers.pop(message.position, None)

    async def fetch(self, limit: int, *, wait_s: float = 0.0) -> list[Message]:
        if not self._by_hand:
            raise InvalidInput.of("fetch", got="a subscription with a consumer", expected="one without")
        if not 1 <= limit <= BUS_FETCH_MAX:
            raise InvalidInput.of("limit", got=limit, expected=f"1 to {BUS_FETCH_MAX}")
        try:
            async with asyncio.timeout(max(wait_s, 0.001)):
                found = [await self._offers.get()]
        except TimeoutError:
            return []
        while len(found) < limit and not self._offers.empty():
            found.append(self._offers.get_nowait())
        return found

    async def ack(self, *messages: Message) -> None:
        for message in messages:
            answer = self._answers.get(message.position)
            if answer is not None and not answer.done():
                answer.set_result(None)
        await asyncio.sleep(0)

    async def nack(self, message: Message, reason: BaseException | str) -> None:
        answer = self._answers.get(message.position)
        if answer is not None and not answer.done():
            answer.set_exception(reason if isinstance(reason, Exception) else Refused("PL-902", str(reason)))
        await asyncio.sleep(0)

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._by_hand:  # nobody will answer: the broker gives them to another
            for answer in list(self._answers.values()):
                answer.cancel()
        for lane in self.lanes:
            await lane.close()
        _, late = await asyncio.wait(self.tasks, timeout=0 if self._by_hand else BUS_LEASE_S)
        if late and not self._by_hand:
            log.warning("A consumer of %s did not end in time", self.durable)
        await ended(*self.tasks)
        await self.worker.close()


class NatsBus(OutboxBus):
    KIND = "nats"

    def __init__(
        self,
        store: Store,
        url: str,
        *,
        token: str | None = None,
        namespace: str = "creto",
        lanes: int = BUS_LANES,
        buffer_max: int = STORE_QUEUE_MAX,
        now: Callable[[], int] = time.time_ns,
        rule: Redelivery | None = None,
        lease_s: float = BUS_LEASE_S,
        retention_s: float = BUS_RETENTION_S,
    ) -> None:
        super().__init__(store, now=now, rule=rule, lease_s=lease_s, retention_s=retention_s)
        self._place = Place(f"{namespace.upper()}_BUS", namespace, lanes)
        self.link = Link(url, token)
        self.relay = Relay(
            store, self.link, namespace=namespace, stream=self._place.stream, lanes=lanes, kind=self.KIND, now=now,
            retention_s=retention_s,
        )  # fmt: skip
        self._buffer_max = buffer_max
        self._waiting = 0
        self._subscriptions: list[NatsSubscription] = []
        self._loops: list[asyncio.Task[None]] = []

    @classmethod
    async def connect(cls, store: Store, url: str, **options: Any) -> NatsBus:
        """A bus that relays from now on, also before anybody subscribes or publishes in this process."""
        bus = cls(store, url, **options)
        bus.start()
        return bus

    def _begin(self) -> None:
        """Connect and relay in the background; a broker that is away is waited for."""
        if not self._loops:
            self.link.on_up(self._kick)
            self.link.start()
            self.listen()
            self._loops = [asyncio.create_task(loop) for loop in (self.relay.run(), self._keep(), self._count())]

    def configure(self, *, retention_s: float, buffer_max: int) -> None:
        super().configure(retention_s=retention_s, buffer_max=buffer_max)
        self.relay.retention_s, self._buffer_max = retention_s, buffer_max

    def admit(self) -> None:
        super().admit()
        self.start()
        if self.link.connected:
            return
        if self._waiting >= self._buffer_max:
            raise ConnectionFailed(
                "PL-503", f"the broker is away and {self._waiting} messages wait already", retry_after_s=1.0
            )
        self._waiting += 1

    @property
    def connected(self) -> bool:
        return self.link.connected

    def _look(self) -> None:
        self.relay.wake()

    def _kick(self) -> None:
        self._waiting = 0
        self.relay.wake()
        for subscription in self._subscriptions:
            for lane in subscription.lanes:
                task = asyncio.create_task(lane.kick())
                subscription.tasks.append(task)

    async def subscribe(
        self, pattern: str, durable: str, consumer: Consumer | None = None, *, start: Start = Start.FIRST
    ) -> Subscription:
        return await self.home.subscribed(lambda known: self._subscribe(pattern, durable, known, start), consumer)

    async def _subscribe(self, pattern: str, durable: str, consumer: Consumer | None, start: Start) -> Subscription:
        super().admit()
        self.start()
        checked_pattern(pattern)
        name = checked_durable(durable)
        await self._store.write(lambda tx: rows.make_durable(tx, name, pattern, self.KIND, Position(), self._now()))
        subscription = NatsSubscription(name, pattern, consumer)
        subscription.worker = Worker(
            self._store, name, pattern, subscription.consumer, now=self._now, rule=self._rule, counts=self.counts,
            tail=False, lease_s=self._lease_s,
        )  # fmt: skip
        subscription.lanes = [
            Lane(
                self._store, self.link, self._place, number, name, pattern, subscription.consumer, start=start,
                ack_wait_s=self._lease_s, now=self._now, rule=self._rule, counts=self.counts,
                wake_parked=subscription.worker.wake,
            )
            for number in range(self._place.lanes)
        ]  # fmt: skip
        subscription.worker.start()
        subscription.tasks = [asyncio.create_task(lane.run()) for lane in subscription.lanes]
        self._subscriptions = [s for s in self._subscriptions if not s.closed] + [subscription]
        return subscription

    @at_home
    async def durables(self) -> list[DurableInfo]:
        """With the cursor on the stream, as far as the broker can be asked."""
        infos = await self._store.read(lambda tx: rows.durables(tx, self.KIND))
        try:
            floors = await self._floors() if self.link.connected else {}
        except failures():
            floors = {}
        return [
            DurableInfo(i.name, i.pattern, Position(0, min(lane_floors(floors, i.name, self._place.lanes))), i.outstanding,
                        i.created_at)
            for i in infos
        ]  # fmt: skip

    async def _floors(self) -> dict[str, int]:
        info = await self.link.js.stream_info(self._place.stream)
        return await consumer_floors(self.link, self._place.stream, int(info.state.last_seq))

    @at_home
    async def drop(self, durable: str) -> None:
        name = checked_durable(durable)
        for subscription in [s for s in self._subscriptions if s.durable == name]:
            await subscription.close()
        await self._store.write(lambda tx: rows.drop(tx, name))
        await self._remove_consumers(name)

    @at_home
    async def replay(self, durable: str, *, after: Position | None = None, since: int | None = None) -> None:
        name = checked_durable(durable)
        if (after is None) == (since is None):
            raise InvalidInput.of("replay", got="both or none", expected="a position or a time")
        await self._store.read(lambda tx: rows.cursor(tx, name))
        self._demand_broker()
        info = await self.link.js.stream_info(self._place.stream)
        first, last = int(info.state.first_seq), int(info.state.last_seq)
        if since is not None:
            begin = await seq_at(self.link, self._place.stream, since, first, last + 1)
        else:
            begin = max(after.seq + 1 if after is not None else 0, first)
        place = Position(epoch_of(info), begin - 1)
        await self._store.write(lambda tx: rows.restart(tx, name, place), isolation=Isolation.READ_COMMITTED)
        await self._remove_consumers(name)
        self._kick()

    def _demand_broker(self) -> None:
        if not self.link.connected:
            raise ConnectionFailed("PL-503", "the broker is away", retry_after_s=1.0)

    async def _remove_consumers(self, name: DurableName) -> None:
        from nats.js.errors import NotFoundError

        self._demand_broker()
        for number in range(self._place.lanes):
            try:
                await self.link.js.delete_consumer(self._place.stream, consumer_name(name, number))
            except NotFoundError:
                continue

    @at_home
    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(subscription.close() for subscription in self._subscriptions))
        await ended(*self._loops)
        if self._loops:
            await self.relay.resign()
            await self.link.close()

    async def _keep(self) -> None:
        """Tell the broker that slow consumers still work."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            for subscription in self._subscriptions:
                for lane in subscription.lanes:
                    held = lane.held
                    if held is None:
                        continue
                    try:
                        await held.in_progress()
                    except failures() as error:
                        log.debug("A held message was not renewed: %r", error)

    async def _count(self) -> None:
        """How many messages wait for the broker, whoever published them; asked only while it is away."""
        while True:
            await asyncio.sleep(COUNT_S)
            try:
                if not self.link.connected:
                    self._waiting = await self._store.read(
                        lambda tx: rows.unrelayed(tx, self._place.stream, self._buffer_max)
                    )
            except ConnectionFailed as error:
                log.info("The outbox was not counted: %s", error)


def lane_floors(floors: dict[str, int], name: str, lanes: int) -> list[int]:
    return [floors.get(consumer_name(name, number), 0) for number in range(lanes)]
