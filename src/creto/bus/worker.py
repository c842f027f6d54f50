"""A consumer of a durable in this process: takes turns with the store, and works on many agents at once, on each in order.

A turn is one transaction: it settles what ended since the last and takes what is next, so that a busy consumer pays one commit per
batch. Messages of one agent form a chain; when one fails, the rest of its chain is given back and waits behind it.

INVARIANT: a message is settled only by the subscription that took it, and only for that delivery; a late answer changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from creto.bus import store as rows
from creto.bus.redelivery import Redelivery, reason_of
from creto.bus.store import Durable, Result, Taken
from creto.bus.types import Consumer, Counts, DurableName, Message
from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput
from creto.common.ids import new_id
from creto.common.limits import BUS_FETCH_MAX, BUS_LEASE_S, BUS_PARALLEL_MAX
from creto.common.logs import fields
from creto.common.timestamps import SECOND
from creto.common.tracing import continued, extract
from creto.store.types import Isolation, Store

log = logging.getLogger("creto.bus")

STORE_AWAY_S = 0.1
RECHECK_S = 1.0  # a lease that another process let run out is noticed at the latest after this


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel and wait. A library may take a cancellation for a timeout of its own, so it is said until it is heard."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.2)


async def consumed(consumer: Consumer, message: Message) -> BaseException | None:
    """Run the consumer in the trace of the message; what it raised is its answer, not our fault."""
    try:
        with continued(extract(message.headers)):
            await consumer(message)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it raised means that it did not take the message
        level = logging.INFO if isinstance(error, EnablementError) else logging.WARNING
        about = fields(
            operation="consume", message_id=message.id, subject=message.subject, deliveries=message.deliveries
        )
        log.log(level, "A consumer refused a message: %s", error, extra=about)
        return error
    return None


def until_recheck_s() -> float:
    """All workers look again at the same moment: one commit and one wake-up for all of them."""
    return RECHECK_S * 1.5 - (asyncio.get_running_loop().time() + RECHECK_S / 2) % RECHECK_S


class Worker:
    """One subscription on rows of the store."""

    def __init__(
        self,
        store: Store,
        name: DurableName,
        pattern: str,
        consumer: Consumer | None,
        *,
        now: Callable[[], int],
        rule: Redelivery,
        counts: Counts,
        tail: bool = True,
        lease_s: float = BUS_LEASE_S,
    ) -> None:
        self.spec = Durable(name, pattern, new_id(), int(lease_s * SECOND), tail)
        self._store = store
        self._consumer = consumer
        self._now = now
        self._rule = rule
        self._counts = counts
        self._lease_s = lease_s
        self._look = True  # there may be something to take
        self._wake = asyncio.Event()  # something changed: look again at what to do
        self._changed = asyncio.Event()  # something came while `fetch` waits
        self._results: list[Result] = []
        self._chains: dict[tuple[str, str], deque[Message]] = {}
        self._broken: set[tuple[str, str]] = set()  # agents that failed since the last turn began
        self._in_hand = 0
        self._slots = asyncio.Semaphore(BUS_PARALLEL_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._loops: list[asyncio.Task[None]] = []

    @property
    def durable(self) -> DurableName:
        return self.spec.name

    @property
    def pattern(self) -> str:
        return self.spec.pattern

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def idle(self) -> bool:
        """Whether it waits to be woken."""
        return not self._look and not self._results

    def start(self) -> None:
        if self._consumer is not None:
            self._loops = [asyncio.create_task(self._run()), asyncio.create_task(self._renew())]
        self.wake()

    def wake(self) -> None:
        self._look = True
        self._wake.set()
        self._changed.set()

    # --- with a consumer ---

    async def _run(self) -> None:
        wait_s = until_recheck_s()
        while not (self._closing and not self._in_hand and not self._results):
            want = 0 if self._closing else BUS_FETCH_MAX - self._in_hand
            if not self._results and not (want > 0 and self._look):
                self._wake.clear()
                await self._until_woken(wait_s)
                continue
            taken = await self._turn(want)
            if taken is None:
                self._look = True
                await asyncio.sleep(STORE_AWAY_S)
                continue
            wait_s = self._wait_s(taken)
            self._look = self._look or taken.more or want <= 0
            for message in taken.messages:
                self._chain(message)

    async def _until_woken(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            self._look = True

    def _wait_s(self, taken: Taken) -> float:
        if taken.next_at is None:
            return until_recheck_s()
        return min(max((taken.next_at - self._now()) / SECOND, 0.001), RECHECK_S)

    async def _turn(self, want: int) -> Taken | None:
        """Settle and take; None if the store is away, and then nothing is lost: the results are kept for the next turn."""
        self._look = False
        results, self._results = self._results, []
        broken, self._broken = self._broken, set()
        try:
            return await self._store.write(
                lambda tx: rows.turn(tx, self.spec, results, want, self._now(), self._rule),
                isolation=Isolation.READ_COMMITTED,
            )
        except ConnectionFailed as error:
            self._results = results + self._results
            self._broken |= broken
            log.warning("The bus waits for the store: %s", error, extra=fields(operation="turn", durable=self.durable))
            return None

    def _chain(self, message: Message) -> None:
        self._in_hand += 1
        key = (message.tenant, message.agent)
        if key in self._broken:  # it was taken while an earlier one failed
            self._finish(Result(message, given_back=True))
            return
        chain = self._chains.get(key)
        if chain is not None:
            chain.append(message)
            return
        self._chains[key] = deque([message])
        task = asyncio.create_task(self._work(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, key: tuple[str, str]) -> None:
        """The messages of one agent, one after the other."""
        chain = self._chains[key]
        assert self._consumer is not None
        async with self._slots:
            while chain:
                message = chain[0]
                if self._closing:
                    break
                self._counts.delivered += 1
                try:
                    error = await consumed(self._consumer, message)
                except asyncio.CancelledError:  # the consumer was cancelled: somebody else shall have it
                    break
                chain.popleft()
                self._finish(Result(message, reason_of(error) if error is not None else None))
                if error is not None:
                    self._broken.add(key)
                    break
            del self._chains[key]
            for message in chain:
                self._finish(Result(message, given_back=True))

    def _finish(self, result: Result) -> None:
        self._in_hand -= 1
        self._results.append(result)
        self._counts.acked += result.failure is None and not result.given_back
        self._counts.nacked += result.failure is not None
        self._counts.given_back += result.given_back
        self._wake.set()

    async def _renew(self) -> None:
        """A slow consumer keeps what it holds."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            if not self._in_hand:
                continue
            try:
                await self._store.write(
                    lambda tx: rows.renew(tx, self.spec, self._now()), isolation=Isolation.READ_COMMITTED
                )
            except ConnectionFailed as error:
                log.warning("A lease was not renewed: %s", error, extra=fields(durable=self.durable))

    # --- by hand ---

    async def fetch(self, limit: int, *, wait_s: float = 0.0) -> list[Message]:
        if self._consumer is not None:
            raise InvalidInput.of("fetch", got="a subscription with a consumer", expected="one without")
        if not 1 <= limit <= BUS_FETCH_MAX:
            raise InvalidInput.of("limit", got=limit, expected=f"1 to {BUS_FETCH_MAX}")
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            self._changed.clear()
            taken = await self._settled(limit, [])
            self._counts.delivered += len(taken.messages)
            left_s = until - loop.time()
            if taken.messages or left_s <= 0:
                return taken.messages
            if not taken.more:
                try:
                    async with asyncio.timeout(min(left_s, self._wait_s(taken))):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def ack(self, *messages: Message) -> None:
        await self._settled(0, [Result(message) for message in messages])
        self._counts.acked += len(messages)
        self.wake()

    async def nack(self, message: Message, reason: BaseException | str) -> None:
        await self._settled(0, [Result(message, reason_of(reason))])
        self._counts.nacked += 1
        self.wake()

    async def _settled(self, want: int, results: list[Result]) -> Taken:
        return await self._store.write(
            lambda tx: rows.turn(tx, self.spec, results, want, self._now(), self._rule),
            isolation=Isolation.READ_COMMITTED,
        )

    async def close(self) -> None:
        """Let the running consumers finish, give back what they have not begun."""
        if self._closing:
            return
        self._closing = True
        self.wake()
        if self._loops:
            run, renew = self._loops
            await asyncio.gather(*self._tasks)
            self._wake.set()
            await run
            await ended(renew)
