"""From the outbox of oversight to a channel's provider: take, send, say how it went, for as long as it matters.

    courier = Courier(oversight, SlackChannel(…))
    async with courier.running(bus):
        …
    await courier.deliver_once()                # what is due now, for tests and tools

The rows of oversight are the queue; a message on `oversight.notifications.<channel>` or a decision only wakes this process at once. What is taken by a
process that dies is due again a minute later: at least once, so what a channel sends twice must be recognisable.

While its request is open a message is tried again until it leaves: nobody's approval is lost because a provider was away for an hour.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

from creto.bus.types import Bus, Message
from creto.common.breaker import CircuitBreaker
from creto.common.errors import ConnectionFailed, EnablementError, QuotaExceeded
from creto.common.limits import (
    OVERSIGHT_CLOSING_ATTEMPTS,
    OVERSIGHT_COURIER_S,
    OVERSIGHT_RESEND_S_MAX,
    OVERSIGHT_TEXT_CHARS_MAX,
)
from creto.common.telemetry import fields, redacted_text
from creto.contracts import SUBJECT_NOTIFICATION
from creto.oversight import Channel, Notification, NotificationKind, Oversight
from creto.oversight.core import DECIDED
from creto.oversight.letters import Letter

log = logging.getLogger("creto.connectors")
Waits = Callable[[int, float | None], float | None]  # after so many attempts, asked to wait so long: None gives up


class Deliverer(Protocol):
    """A channel. An error that is retryable, or a quota, says later; any other says never."""

    @property
    def channel(self) -> Channel: ...

    async def deliver(self, letter: Letter) -> str | None:
        """The provider's own name of the message."""
        ...

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        """That message is one too many: another process had sent it. Make it harmless, if it can be pressed."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


def doubling(attempts: int, asked_s: float | None = None) -> float:
    """1, 2, 4 … seconds, at least what the provider asked for."""
    return max(min(2.0 ** min(attempts - 1, 30), OVERSIGHT_RESEND_S_MAX), asked_s or 0.0)


def durable_of(channel: Channel) -> str:
    """The name under which the bus wakes a channel."""
    return f"connectors-{channel}"


class Courier:
    """`waits` is the channel's own schedule, where it has one."""

    def __init__(
        self,
        oversight: Oversight,
        deliverer: Deliverer,
        *,
        waits: Waits = doubling,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.channel = deliverer.channel
        self.breaker = breaker or CircuitBreaker(str(deliverer.channel))
        self._oversight = oversight
        self._deliverer = deliverer
        self._waits = waits
        self._due = asyncio.Event()
        self._stopping = False

    async def deliver_once(self) -> int:
        """Everything that is due, one batch at a time; how many were taken."""
        total = 0
        while not self._stopping and (taken := await self._oversight.take_notifications(self.channel)):
            await asyncio.gather(*(self._deliver(one) for one in taken))
            total += len(taken)
        return total

    async def _deliver(self, one: Notification) -> None:
        """One attempt. A fault of ours is one too: the row says so, and comes again."""
        try:
            letter = await self._oversight.letter(one)
            if not letter.wanted:
                await self._oversight.drop(one)
                return
            reference = await self.breaker.call(lambda: self._deliverer.deliver(letter))
        except EnablementError as error:
            await self._failed(one, error)
            return
        except Exception as error:
            log.exception(
                "a notification could not be made", extra=fields(operation="oversight.notify", channel=self.channel)
            )
            await self._failed(
                one, ConnectionFailed("PL-503", f"the message could not be made: {type(error).__name__}")
            )
            return
        done = await self._oversight.sent(one, reference=reference)
        if done.reference != reference:
            await self._withdraw(letter, reference)

    async def _withdraw(self, letter: Letter, reference: str | None) -> None:
        try:
            await self._deliverer.withdraw(letter, reference)
        except EnablementError as error:
            log.warning(
                "A message that was sent twice stays: %s", error.message,
                extra=fields(operation="oversight.notify", channel=self.channel, reference=reference),
            )  # fmt: skip

    async def _failed(self, one: Notification, error: EnablementError) -> None:
        later = error.retryable or isinstance(error, QuotaExceeded)
        wait_s = self._waits(one.attempts + 1, error.retry_after_s) if later else None
        if one.kind is NotificationKind.CLOSED and one.attempts + 1 >= OVERSIGHT_CLOSING_ATTEMPTS:
            wait_s = None
        said = redacted_text(error.message)[:OVERSIGHT_TEXT_CHARS_MAX]
        await self._oversight.failed(one, said, retry_after_s=wait_s)
        log.warning(
            "A notification did not leave: %s", said,
            extra=fields(operation="oversight.notify", channel=self.channel, request_id=one.request_id, again_in_s=wait_s),
        )  # fmt: skip

    def close(self) -> None:
        self._deliverer.close()

    # In the background

    @asynccontextmanager
    async def running(self, bus: Bus) -> AsyncIterator[None]:
        """While the block lasts: deliver what comes; at its end, what is in hand is finished, which a channel's time-out bounds."""
        subscription = await bus.subscribe(
            f"{SUBJECT_NOTIFICATION}.{self.channel}", durable_of(self.channel), self._wake
        )
        self._oversight.store.on_signal(DECIDED, partial(self._decided, asyncio.get_running_loop()))
        task = asyncio.create_task(self._run(), name=f"creto-courier-{self.channel}")
        try:
            yield
        finally:
            self._stopping = True
            self._due.set()
            await subscription.close()
            await task

    async def _wake(self, _: Message) -> None:
        self._due.set()

    def _decided(self, loop: asyncio.AbstractEventLoop, _: str) -> None:
        """On any thread: there are cards to close."""
        if not self._stopping:
            with suppress(RuntimeError):  # the loop was closed before the store
                loop.call_soon_threadsafe(self._due.set)

    async def _run(self) -> None:
        while not self._stopping:
            self._due.clear()
            try:
                await self.deliver_once()
            except EnablementError:
                log.exception(
                    "the courier begins anew", extra=fields(operation="oversight.notify", channel=self.channel)
                )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), OVERSIGHT_COURIER_S)
