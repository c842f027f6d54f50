"""What travels over the bus and the face of every bus: publish, subscribe, ack, nack.

    await bus.publish("metering.events.runtime", payload, tenant=tenant, agent=agent)

    async def consume(message: Message) -> None:
        ...                                              # returning acks, raising nacks

    await bus.subscribe("metering.events.>", "metering-ingest", consume)

INVARIANT: what `publish` returned for is delivered to every durable at least once, in order per agent within a durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import NewType, Protocol

import msgspec

from creto.common.errors import ErrorBody
from creto.common.ids import TenantId
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.store.types import Position, Tx

DurableName = NewType("DurableName", str)


class Message(msgspec.Struct, frozen=True):
    """One message in a consumer's hands. The same `id` may come again: consumers are idempotent."""

    id: str  # a UUIDv7; its time is when it was published
    subject: str
    tenant: TenantId
    agent: str  # the ordering key
    payload: bytes
    headers: dict[str, str]
    deliveries: int  # 1 at first; more says that an earlier consumer failed or went away
    position: Position


Consumer = Callable[[Message], Awaitable[None]]
Also = Callable[[Tx, Sequence[str]], None]  # what else belongs into the transaction that took these dead letters


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a durable could not take, with the reason of its last failure."""

    id: str
    durable: DurableName
    subject: str
    tenant: TenantId
    agent: str
    payload: bytes
    headers: dict[str, str]
    deliveries: int
    reason: ErrorBody
    died_at: int  # nanoseconds
    position: Position


class Start(StrEnum):
    """Where a durable begins when it is new."""

    FIRST = "first"  # with everything that is still kept
    NEW = "new"  # with what is published from then on


class DurableInfo(msgspec.Struct, frozen=True):
    """A durable and how far it is."""

    name: DurableName
    pattern: str
    cursor: Position  # everything up to here was handed out or is of no concern to it
    outstanding: int  # handed out or waiting for their next delivery
    created_at: int


class Counts:
    """Plain ints, read by a scrape."""

    def __init__(self) -> None:
        self.published = self.delivered = self.acked = self.nacked = self.given_back = 0


class BusStanding(msgspec.Struct, frozen=True):
    """What waits on a bus, over all tenants. `behind` counts rows of the outbox that a durable (or the relay) has not looked at."""

    behind: dict[str, int]
    outstanding: dict[str, int]
    dead: dict[str, int]


class Subscription(Protocol):
    """A consumer of a durable in this process. Without a consumer function, `fetch`, `ack` and `nack` are its hands."""

    @property
    def durable(self) -> DurableName: ...

    @property
    def pattern(self) -> str: ...

    async def fetch(self, limit: int, *, wait_s: float = 0.0) -> list[Message]:
        """Up to `limit` messages, each ours until its lease ends; waits up to `wait_s` for the first."""
        ...

    async def ack(self, *messages: Message) -> None: ...

    async def nack(self, message: Message, reason: BaseException | str) -> None:
        """It failed: deliver it again after its back-off; later messages of its agent wait behind it."""
        ...

    async def close(self) -> None:
        """Finish what is in hand, give back the rest. The durable stays."""
        ...


class Bus(Protocol):
    """Any loop may ask. A consumer runs on the loop that subscribed it, the bus's own work on the one that made the bus."""

    def start(self) -> None:
        """Do what the bus does by itself (relay, forget), also before anybody subscribes; `subscribe` starts it too."""
        ...

    async def publish(
        self, subject: str, payload: bytes, *, tenant: TenantId, agent: str, headers: dict[str, str] | None = None
    ) -> str:
        """Its id, once it is durable. Inside a transaction use `tx.publish`: the same rows, the same guarantee."""
        ...

    async def subscribe(
        self, pattern: str, durable: str, consumer: Consumer | None = None, *, start: Start = Start.FIRST
    ) -> Subscription:
        """Join the durable, making it if it is new. All who join share its messages; its pattern never changes."""
        ...

    def configure(self, *, retention_s: float, buffer_max: int) -> None:
        """What may change while it runs: how long messages can be replayed, and how many wait for a broker that is away."""
        ...

    async def durables(self) -> list[DurableInfo]: ...

    async def standing(self) -> BusStanding: ...

    @property
    def counts(self) -> Counts:
        """What went through this process."""
        ...

    @property
    def connected(self) -> bool:
        """Whether messages flow; False while they wait for a broker."""
        ...

    async def drop(self, durable: str) -> None:
        """Forget the durable: nothing is kept for it any more."""
        ...

    async def replay(self, durable: str, *, after: Position | None = None, since: int | None = None) -> None:
        """Deliver again to the durable what is still kept after a position or since a time (nanoseconds)."""
        ...

    async def dead_letters(
        self,
        tenant: TenantId,
        *,
        durable: str | None = None,
        after: tuple[str, str] = ("", ""),
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[DeadLetter]:
        """Oldest first; `after` is the id and the durable of the last one already seen."""
        ...

    async def dead_letter(self, tenant: TenantId, durable: str, message_id: str) -> DeadLetter: ...

    async def replay_dead(
        self, tenant: TenantId, durable: str, ids: Sequence[str], *, also: Also | None = None
    ) -> list[str]:
        """Deliver dead letters again, with a fresh count; which there were."""
        ...

    async def discard_dead(
        self, tenant: TenantId, durable: str, ids: Sequence[str], *, also: Also | None = None
    ) -> list[str]:
        """Forget dead letters for good; which there were."""
        ...

    async def close(self) -> None: ...
