"""What a transaction is on every engine: the ledger, the outbox and signals, in SQL that both understand.

INVARIANT: a statement that failed ends its transaction, also when `fn` caught the error: PostgreSQL would not go on, so
SQLite does not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, LiteralString

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import BUS_HEADER_BYTES_MAX, BUS_PAYLOAD_BYTES_MAX, METADATA_BYTES_MAX, STORE_SIGNAL_BYTES_MAX
from creto.common.subjects import checked_subject
from creto.common.tracing import SpanContext, inject
from creto.store.types import EngineName, Entry, EntryId, LedgerRow, OutboxRow, Position, Question, Row, Tail

RECORD: LiteralString = "INSERT INTO store_ledger (agent, tenant, event_id, body) VALUES (?, ?, ?, ?)"
ANOTHER: LiteralString = ", (?, ?, ?, ?)"  # row of the same statement
PUBLISH: LiteralString = (
    "INSERT INTO store_outbox (agent, tenant, message_id, subject, payload, headers) VALUES (?, ?, ?, ?, ?, ?)"
)

_headers = msgspec.json.Decoder(dict[str, str])


class SqlTx:
    """The part of `Tx` that no engine does its own way."""

    engine: ClassVar[EngineName]
    for_update: ClassVar[LiteralString] = ""
    LEDGER_TAIL: ClassVar[LiteralString]
    OUTBOX_TAIL: ClassVar[LiteralString]
    FORGET: ClassVar[LiteralString]
    FORGET_UPTO: ClassVar[LiteralString]

    def __init__(self) -> None:
        self.signals: list[tuple[str, str]] = []
        self.appended: set[Tail] = set()
        self.failed: Exception | None = None
        self.span: SpanContext | None = (
            None  # of whoever asked for the transaction, which runs on a thread of the store
        )

    @abstractmethod
    def all(self, sql: LiteralString, *params: Any) -> list[Row]: ...

    def together(self, *questions: Question) -> list[list[Row]]:
        return [self.all(*question) for question in questions]

    @abstractmethod
    def run(self, sql: LiteralString, *params: Any) -> int: ...

    @abstractmethod
    def push(self, sql: LiteralString, *params: Any) -> None: ...

    @abstractmethod
    def suppose(self, sql: LiteralString, *params: Any) -> bool: ...

    @abstractmethod
    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None: ...

    def one(self, sql: LiteralString, *params: Any) -> Row | None:
        rows = self.all(sql, *params)
        return rows[0] if rows else None

    def value(self, sql: LiteralString, *params: Any) -> Any:
        rows = self.all(sql, *params)
        return rows[0][0] if rows else None

    def record(self, entry: Entry) -> EntryId:
        if len(bytes(entry.metadata)) > METADATA_BYTES_MAX:
            raise InvalidInput.of(
                "metadata", got=f"{len(bytes(entry.metadata))} bytes", expected=f"at most {METADATA_BYTES_MAX} bytes"
            )
        self.push(RECORD, entry.agent_nhi, checked_tenant(entry.tenant), entry.event_id, entry.body())
        self.appended.add(Tail.LEDGER)
        return entry.event_id

    def publish(
        self, subject: str, payload: bytes, *, tenant: TenantId, agent: str, headers: dict[str, str] | None = None
    ) -> str:
        checked_subject(subject)
        checked_name(agent, "agent")
        size = sum(len(name) + len(value) for name, value in headers.items()) if headers else 0
        if size > BUS_HEADER_BYTES_MAX:
            raise InvalidInput.of("headers", got=f"{size} characters", expected=f"at most {BUS_HEADER_BYTES_MAX}")
        if len(payload) > BUS_PAYLOAD_BYTES_MAX:
            raise InvalidInput.of(
                "payload", got=f"{len(payload)} bytes", expected=f"at most {BUS_PAYLOAD_BYTES_MAX} bytes"
            )
        message_id = new_id()
        packed = msgspec.json.encode(inject(headers or {}, self.span)).decode()
        self.push(PUBLISH, agent, checked_tenant(tenant), message_id, subject, payload, packed)
        self.appended.add(Tail.OUTBOX)
        return message_id

    def signal(self, channel: str, payload: str) -> None:
        size = len(payload.encode()) + len(channel.encode())
        if size > STORE_SIGNAL_BYTES_MAX:
            raise InvalidInput.of("signal", got=f"{size} bytes", expected=f"at most {STORE_SIGNAL_BYTES_MAX} bytes")
        self.send_signal(channel, payload)
        self.signals.append((channel, payload))

    @abstractmethod
    def send_signal(self, channel: str, payload: str) -> None:
        """What carries it to the other processes, within the transaction."""

    def ledger_tail(self, after: Position, limit: int) -> list[LedgerRow]:
        rows = self.all(self.LEDGER_TAIL, after.epoch, after.seq, limit)
        return [LedgerRow(Position(epoch, seq), event_id, body) for epoch, seq, event_id, body in rows]

    def outbox_tail(self, after: Position, limit: int) -> list[OutboxRow]:
        rows = self.all(self.OUTBOX_TAIL, after.epoch, after.seq, limit)
        return [
            OutboxRow(Position(epoch, seq), message_id, tenant, subject, agent, payload, _headers.decode(headers))
            for epoch, seq, message_id, tenant, subject, agent, payload, headers in rows
        ]

    def outbox_forget(self, positions: Sequence[Position]) -> None:
        self.many(self.FORGET, [(p.epoch, p.seq) for p in positions])

    def outbox_forget_upto(self, position: Position) -> int:
        return self.run(self.FORGET_UPTO, position.epoch, position.seq)
