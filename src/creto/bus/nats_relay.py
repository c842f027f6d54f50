"""From the outbox to a JetStream stream, in order, at least once; and out of the outbox when every durable has acked.

One process relays at a time (a lease in the store). Each message names the sequence it expects to follow, so that nothing overtakes
when some of a batch are refused; its id lets the broker drop what it has already.

INVARIANT: a row leaves the outbox only when every durable of this bus has acked it; while there is no durable, when it is relayed and too
old to be replayed. A broker's ack means queued, not stored: if the stream is lost, or its tail is, or an operator takes messages out of
it, what is still in the outbox is published again. A consumer counts what was taken out as done, so its floor is believed only if the
stream is seen whole afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from creto.bus import store as rows
from creto.bus.nats_link import Link, failures
from creto.bus.nats_standing import ENROL, LEAD, Found, Mark, Standing, forget, forget_aged, reconciled, save
from creto.bus.nats_wire import EXPECTED_SEQ, packed, stream_subjects
from creto.common.errors import ConnectionFailed
from creto.common.ids import new_id
from creto.common.limits import BUS_FETCH_MAX, BUS_POLL_S
from creto.common.logs import fields
from creto.common.timestamps import SECOND
from creto.store.types import Isolation, OutboxRow, Store, Tx

if TYPE_CHECKING:
    from nats.js.api import PubAck, StreamInfo

log = logging.getLogger("creto.bus")

LEASE_S = 3.0
REAP_S = 0.5
ACK_S = 3.0
PURGE_S = 60.0
DUPLICATE_WINDOW_S = 120.0


class Lost(Exception):
    """What we relayed is not what the stream has: look again before going on."""


class Relay:
    def __init__(
        self,
        store: Store,
        link: Link,
        *,
        namespace: str,
        stream: str,
        lanes: int,
        kind: str,
        now: Callable[[], int],
        retention_s: float,
    ) -> None:
        self.relayed = self.republished = self.forgotten = 0
        self._store = store
        self._link = link
        self._namespace = namespace
        self._stream = stream
        self._lanes = lanes
        self._kind = kind
        self._now = now
        self.retention_s = retention_s
        self._owner = new_id()
        self._wake = asyncio.Event()
        self._standing = Standing()
        self._last_seq = 0
        self._sure = False  # the stream ends where our mark says

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        away: tuple[type[Exception], ...] = (*failures(), ConnectionFailed)
        while True:
            try:
                await self._link.up()
                if await self._lead():
                    await self._sync()
                    await self._work()
                else:
                    await asyncio.sleep(LEASE_S / 3)
            except Lost as error:
                log.info("The relay looks again: %s", error, extra=fields(operation="relay", stream=self._stream))
            except away as error:
                log.info("The relay waits: %r", error, extra=fields(operation="relay", stream=self._stream))
                await asyncio.sleep(0.1)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        lead_at = loop.time() + LEASE_S / 3
        reap_at, purge_at = loop.time(), loop.time() + PURGE_S
        while self._link.connected:
            self._wake.clear()
            sent = await self._relay_page()
            now = loop.time()
            if now >= lead_at:
                if not await self._lead():
                    return
                lead_at = now + LEASE_S / 3
            if now >= reap_at:
                await self._reap()
                reap_at = now + REAP_S
            if now >= purge_at:
                await self._purge()
                purge_at = now + PURGE_S
            if not sent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BUS_POLL_S):
                        await self._wake.wait()

    # --- who relays ---

    async def _lead(self) -> bool:
        """Take or keep the lease."""
        until = self._now() + int(LEASE_S * SECOND)

        def take(tx: Tx) -> bool:
            tx.run(ENROL, self._stream)
            changed = tx.run(LEAD, self._owner, until, self._stream, self._owner, self._now())
            return changed > 0

        return await self._store.write(take, isolation=Isolation.READ_COMMITTED)

    async def resign(self) -> None:
        await self._store.write(
            lambda tx: tx.run(
                "UPDATE bus_relay SET lease_until = 0 WHERE stream = ? AND owner = ?", self._stream, self._owner
            )
        )

    # --- where we stand ---

    async def _sync(self) -> None:
        """Compare our mark with the stream; go back where the stream has lost what we relayed."""
        await ensure_stream(self._link, self._stream, self._namespace)
        found = await found_in(self._link, self._stream)
        before, after = await self._store.write(
            lambda tx: reconciled(tx, self._stream, found), isolation=Isolation.READ_COMMITTED
        )
        if after.mark.position < before.mark.position:
            log.warning(
                "The stream lost messages: what is not acked is published again",
                extra=fields(
                    operation="relay", stream=self._stream, stream_seq=after.mark.stream_seq, was=before.mark.stream_seq
                ),
            )
            self.republished += 1
        self._standing, self._last_seq = after, found.last_seq
        self._sure = after.mark.stream_seq == found.last_seq

    # --- forward ---

    async def _relay_page(self) -> int:
        page = await self._store.read(lambda tx: tx.outbox_tail(self._standing.mark.position, BUS_FETCH_MAX))
        if not page:
            return 0
        seq = await self._publish_all(page) if self._sure else await self._publish_one_by_one(page)
        mark = Mark(seq, page[-1].position)
        await self._store.write(
            lambda tx: save(tx, self._stream, self._owner, mark), isolation=Isolation.READ_COMMITTED
        )
        self._standing, self._last_seq = msgspec.structs.replace(self._standing, mark=mark), seq
        self.relayed += len(page)
        return len(page)

    async def _publish_all(self, page: list[OutboxRow]) -> int:
        """All at once; each only if it follows the one before."""
        futures = []
        for index, row in enumerate(page):
            subject, payload, headers = self._packed(row)
            headers[EXPECTED_SEQ] = str(self._last_seq + index)
            futures.append(await self._link.js.publish_async(subject, payload, headers=headers, wait_stall=ACK_S))
        try:
            async with asyncio.timeout(ACK_S):
                results = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            for future in futures:
                future.cancel()
        for index, result in enumerate(results):
            if isinstance(result, BaseException) or result.duplicate or result.seq != self._last_seq + index + 1:
                raise Lost(f"the message after sequence {self._last_seq + index} was not taken: {result!r}")
        return self._last_seq + len(page)

    async def _publish_one_by_one(self, page: list[OutboxRow]) -> int:
        """After a restart some may be in the stream already: the broker tells them by their id."""
        highest = self._standing.mark.stream_seq
        for row in page:
            subject, payload, headers = self._packed(row)
            ack: PubAck = await self._link.js.publish(subject, payload, headers=headers, timeout=ACK_S)
            highest = max(highest, ack.seq)
            self._sure = not ack.duplicate
        return highest

    def _packed(self, row: OutboxRow) -> tuple[str, bytes, dict[str, Any]]:
        return packed(row, self._namespace, self._lanes, self._link.client.max_payload, self._standing.round)

    # --- out of the outbox ---

    async def _reap(self) -> None:
        """Forget what every durable has acked; without a durable, what is relayed and nobody may replay any more."""
        names = [info.name for info in await self._store.read(lambda tx: rows.durables(tx, self._kind))]
        floors = await consumer_floors(self._link, self._stream, self._last_seq)
        if not (await found_in(self._link, self._stream)).holds(self._standing):
            raise Lost("the stream is not what it was")
        floor = min((floors.get(f"{name}-{number}", 0) for name in names for number in range(self._lanes)), default=0)
        if floor > 0 or not names:
            let_go = (
                partial(forget, stream=self._stream, owner=self._owner, floor=floor)
                if names
                else partial(forget_aged, stream=self._stream, owner=self._owner, keep_from=self._keep_from())
            )
            count, needed_after = await self._store.write(let_go, isolation=Isolation.READ_COMMITTED)
            self.forgotten += count
            self._standing = msgspec.structs.replace(self._standing, needed_after=needed_after)

    def _keep_from(self) -> int:
        return self._now() - int(self.retention_s * SECOND)

    async def _purge(self) -> None:
        """Let the stream go of what every durable has acked and nobody may replay any more."""
        state = (await self._link.js._jsm.stream_info(self._stream)).state
        floors = await consumer_floors(self._link, self._stream, int(state.last_seq))
        done = min([self._standing.needed_after, *floors.values()])
        low = await seq_at(self._link, self._stream, self._keep_from(), int(state.first_seq), done + 1)
        if low > int(state.first_seq):
            await self._link.js.purge_stream(self._stream, seq=low)


async def seq_at(link: Link, stream: str, since: int, low: int, high: int) -> int:
    """The first sequence from `low` on whose message is of that time or later, at most `high`."""
    while low < high:
        middle = (low + high) // 2
        message = await link.js.get_msg(stream, seq=middle)
        assert message.time is not None
        if int(message.time.timestamp() * SECOND) < since:
            low = middle + 1
        else:
            high = middle
    return low


async def ensure_stream(link: Link, stream: str, namespace: str) -> StreamInfo:
    """The stream, made if it is missing. It keeps everything: only the relay purges."""
    from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
    from nats.js.errors import NotFoundError

    try:
        return await link.js.stream_info(stream)
    except NotFoundError:
        config = StreamConfig(
            name=stream,
            subjects=stream_subjects(namespace),
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            duplicate_window=DUPLICATE_WINDOW_S,
        )
        return await link.js.add_stream(config)


async def found_in(link: Link, stream: str) -> Found:
    info = await link.js.stream_info(stream)
    deleted: list[int] = []
    if info.state.num_deleted:
        details = await link.request(f"$JS.API.STREAM.INFO.{stream}", {"deleted_details": True})
        deleted = details["state"].get("deleted") or []
    return Found(identity_of(info), int(info.state.first_seq), int(info.state.last_seq), tuple(deleted))


def identity_of(info: StreamInfo) -> str:
    """Which stream of that name it is: one that was made again is another."""
    assert info.created is not None
    return info.created.isoformat()


def epoch_of(info: StreamInfo) -> int:
    """The stream's place among those of its name, as the epoch of its positions."""
    assert info.created is not None
    return int(info.created.timestamp() * 1000)


async def consumer_floors(link: Link, stream: str, last_seq: int) -> dict[str, int]:
    """Up to which sequence each consumer has acked everything that concerns it; `last_seq` was read before."""
    floors: dict[str, int] = {}
    offset = 0
    while True:
        answer = await link.request(f"$JS.API.CONSUMER.LIST.{stream}", {"offset": offset})
        found = answer.get("consumers") or []
        for one in found:
            done = not one.get("num_pending") and not one.get("num_ack_pending")
            floors[one["name"]] = last_seq if done else int(one["ack_floor"]["stream_seq"])
        offset += len(found)
        if not found or offset >= int(answer.get("total", 0)):
            return floors
