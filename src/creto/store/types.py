"""What every engine offers: transactions, the ledger, the outbox and signals.

A transaction is a plain synchronous function. The store runs it, perhaps more than once, so it has no effect but
through its `tx`:

    def register(tx: Tx) -> None:
        tx.run("INSERT INTO nhi_identity (tenant, agent) VALUES (?, ?)", tenant, agent)
        tx.record(entry)                      # the ledger: what happened
        tx.publish("nhi.registered", body, agent=agent)  # the bus, at least once, in order per agent
        tx.signal("nhi.changed", agent)       # the caches of every node

    await store.write(register)

INVARIANT: when `write` returns, the change, its ledger entry and its publications are on disk, all of them or none.
INVARIANT: a statement that failed ends its transaction, also if the function catches the error.
SQL is portable: `?` for parameters, `RETURNING` and `ON CONFLICT` as both engines have them, integers for booleans,
`for_update` for locks. A double raises AlreadyExists (PL-409); to go on instead, say ON CONFLICT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, LiteralString, NewType, Protocol, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import AgentId, TenantId
from creto.common.metrics import Histogram
from creto.common.timestamps import ConsensusTimestamp

T = TypeVar("T")
Row = tuple[Any, ...]
Question = tuple[Any, ...]  # a SELECT and its parameters
EntryId = NewType("EntryId", str)  # a UUIDv7 as text


class EngineName(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Tail(StrEnum):
    """What grows at its end and is read from there."""

    LEDGER = "ledger"
    OUTBOX = "outbox"


class Outcome(StrEnum):
    """How an act ended. An act with effects outside the database has an INTENT entry before, and another after it."""

    INTENT = "intent"
    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"
    PENDING = "pending"  # it waits for a human


class Grade(StrEnum):
    """How strongly the gate held: what the agent could have done without us."""

    SANDBOXED = "sandboxed"  # the agent had no other way
    GATEWAY = "gateway"  # it came through our proxy or API
    COOPERATIVE = "cooperative"  # in-process SDK


UNRECORDED = msgspec.Raw()  # no bytes, which is no JSON: the field is left out


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened. Its `body()` is the byte string that is hashed into the Merkle log."""

    event_id: EntryId
    tenant: TenantId
    product: ProductId
    agent_nhi: AgentId  # who; humans and services have ids of the same form
    action: str  # what
    resource: str
    outcome: Outcome
    timestamp: ConsensusTimestamp
    event: str = ""  # the spec's audit event type, as SandboxSpawned
    metadata: msgspec.Raw = msgspec.Raw(b"{}")  # that type's fields
    delegation_chain: tuple[AgentId, ...] = ()
    why: str | None = None  # the reason of a failure or denial, in words
    code: str | None = None  # its error code
    grade: Grade | None = None
    context: msgspec.Raw = UNRECORDED  # the attributes on which the gate decided
    under: tuple[str, str] | None = None  # on a part's own entry: the action and resource that the gate let through
    intent_id: EntryId | None = None  # on what follows an intent, its outcome among it: that intent
    trace_id: str | None = None
    degraded_clock: bool = False  # the timestamp is local: the quorum was away

    def body(self) -> bytes:
        return wire.encode(self)


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """A place in the ledger or the outbox. Nothing ever appears before a position that was read."""

    epoch: int = 0
    seq: int = 0


class LedgerRow(msgspec.Struct, frozen=True, gc=False):
    position: Position
    event_id: EntryId
    body: bytes


class OutboxRow(msgspec.Struct, frozen=True):
    position: Position
    message_id: str  # a UUIDv7: consumers and brokers drop what they have seen
    tenant: TenantId
    subject: str
    agent: str  # the ordering key
    payload: bytes
    headers: dict[str, str]


class ReadTx(Protocol):
    """A consistent view."""

    @property
    def engine(self) -> EngineName: ...

    @property
    def for_update(self) -> LiteralString:
        """Appended to a SELECT to lock its rows; empty where one writer makes it needless."""
        ...

    def all(self, sql: LiteralString, *params: Any) -> list[Row]: ...

    def one(self, sql: LiteralString, *params: Any) -> Row | None: ...

    def value(self, sql: LiteralString, *params: Any) -> Any:
        """The first column of the first row, or None."""
        ...

    def together(self, *questions: Question) -> list[list[Row]]:
        """The rows of each, asked one after the other and waited for once: `tx.together((sql, a), (sql, b, c))`."""
        ...

    def ledger_tail(self, after: Position, limit: int) -> list[LedgerRow]:
        """The next rows of the ledger. It may come a moment after its `write` returned: once nothing can precede it."""
        ...

    def outbox_tail(self, after: Position, limit: int) -> list[OutboxRow]:
        """The next rows of the outbox, as `ledger_tail`."""
        ...


class Tx(ReadTx, Protocol):
    """A change, all or nothing."""

    appended: set[Tail]  # to these it has

    def run(self, sql: LiteralString, *params: Any) -> int:
        """Execute; the number of rows changed."""
        ...

    def push(self, sql: LiteralString, *params: Any) -> None:
        """Execute; nobody waits for the count. What fails is raised here, by a later statement or by the commit."""
        ...

    def suppose(self, sql: LiteralString, *params: Any) -> bool:
        """Execute an UPDATE; whether to go on as if it had found a row.

        It is checked at its place in the transaction, and no later than by the commit: if it finds none, nothing was changed, and the function
        is run again, where this says False. Where looking costs no round trip it is looked at once, and this says how it is.
        """
        ...

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        """The same statement for every row."""
        ...

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows the fastest way the engine knows (COPY on PostgreSQL)."""
        ...

    def record(self, entry: Entry) -> EntryId:
        """Append to the ledger."""
        ...

    def publish(
        self, subject: str, payload: bytes, *, tenant: TenantId, agent: str, headers: dict[str, str] | None = None
    ) -> str:
        """Append to the outbox, with the trace of whoever asked for the transaction; the id of the message.

        A message over a limit, or with a subject that is none, is refused here: before the commit.
        """
        ...

    def outbox_forget(self, positions: Sequence[Position]) -> None:
        """Delete these rows of the outbox: their consumers have them. They were read from `outbox_tail`."""
        ...

    def outbox_forget_upto(self, position: Position) -> int:
        """Delete every row of the outbox up to and including this position; how many there were."""
        ...

    def signal(self, channel: str, payload: str) -> None:
        """Tell every node of this store, once the change is durable, where to look again; a signal carries no state."""
        ...

    def lock(self, name: str) -> None:
        """Wait for the named lock, held until the transaction ends; free of cost where there is one writer."""
        ...


class Isolation(StrEnum):
    SERIALIZABLE = "serializable"  # the default: what holds with one writer holds everywhere
    READ_COMMITTED = "read_committed"  # for bulk paths that lock what they depend on


class Queue(Sized, Protocol):
    limit: int


class Store(Protocol):
    @property
    def engine(self) -> EngineName: ...

    @property
    def queue(self) -> Queue:
        """The transactions that wait, up to its `limit`."""
        ...

    @property
    def commits(self) -> int:
        """How many transactions this process has brought to disk."""
        ...

    @property
    def commit_times(self) -> Histogram:
        """How long groups of them took."""
        ...

    @property
    def node(self) -> str:
        """The name of this process among those that share the store."""
        ...

    def submit(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> Future[T]:
        """Queue a transaction; the future resolves when it is on disk. A full queue raises PL-503 at once."""
        ...

    async def write(self, fn: Callable[[Tx], T], *, isolation: Isolation = Isolation.SERIALIZABLE) -> T: ...

    async def read(self, fn: Callable[[ReadTx], T]) -> T: ...

    def read_now(self, fn: Callable[[ReadTx], T]) -> T:
        """Read on the calling thread: for small indexed look-ups and for threads without a loop."""
        ...

    def on_signal(self, channel: str, fn: Callable[[str], None]) -> None:
        """Call `fn(payload)` for each signal of any node, this one included, within 50 ms, on a thread of the store or a loop that wrote.

        In the process that wrote it has returned before `write` does. It may `read_now`; it must not await a write.
        """
        ...

    def on_signal_lost(self, fn: Callable[[], None]) -> None:
        """Call `fn` when signals may have been missed, and again when they flow: drop what you cached: fail closed."""
        ...

    def on_appended(self, tail: Tail, fn: Callable[[], None]) -> None:
        """Call `fn` after each commit of this process that appended to the tail, on a thread of the store or a loop that wrote; it must not wait.

        What other processes append is seen by looking, or told by `on_change`.
        """
        ...

    def on_change(self, fn: Callable[[], None]) -> bool:
        """Call `fn` soon after anything was committed, within 50 ms by another process, on a thread of the store; it must not wait.

        False where that is not known, as on PostgreSQL: who wants to know looks now and then.
        """
        ...

    @property
    def signals_alive(self) -> bool:
        """Whether signals flow. While False, keep nothing in memory: read through."""
        ...

    async def settled(self, timeout_s: float = 0.05) -> bool:
        """Wait until every live node has handled the signals sent so far, so that a revocation holds everywhere.

        False if one did not answer in time. A node that died is not waited for; one that lost touch drops its caches.
        """
        ...

    def close(self) -> None:
        """Finish what was accepted, then let go."""
        ...
