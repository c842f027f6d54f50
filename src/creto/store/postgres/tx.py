"""A transaction on one connection to PostgreSQL, in pipeline mode: what needs no answer travels with what does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, LiteralString

import msgspec
import psycopg
from psycopg import sql

from creto.common.errors import EnablementError
from creto.store.postgres.connection import Connection, fault, numbered
from creto.store.postgres.pipe import Answer, Piped
from creto.store.transaction import SqlTx
from creto.store.types import EngineName, Question, Row

# What finds no row divides by zero, and ends the transaction. A row that is locked is looked at once more when it is ours.
SUPPOSED: LiteralString = "WITH found AS ({} RETURNING 1) SELECT 1 / COUNT(*) FROM found"
CHANNEL = "creto_store"
NOT_ALONE = -1  # in the place of the count of those that had joined by the time this process was the only one
SIGNALLING: LiteralString = (
    "hashtextextended('store.signals', 0)"  # the lock of who signals, shared until the transaction ends
)
# Who is alone tells nobody. INVARIANT: the lock is taken before it is looked whether anybody has joined; CASE keeps that order.
SIGNAL: LiteralString = (
    f"SELECT CASE WHEN pg_advisory_xact_lock_shared({SIGNALLING})::text = '' THEN"
    " CASE WHEN (SELECT last_value FROM store_joined) <> ? THEN pg_notify(?, ?)::text END END"
)
# INVARIANT: every transaction with a lower id than the snapshot's xmin has ended; nothing can appear before these rows.
VISIBLE = "epoch < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + store_epoch_base()"


class MoreThanOne(BaseException):
    """A read that was tried without a transaction has a second statement: it needs a snapshot."""


class PostgresTx(SqlTx):
    """Within a transaction; `alone`, it is a read outside of any, which is one statement or none."""

    engine: ClassVar[EngineName] = EngineName.POSTGRES
    for_update: ClassVar[LiteralString] = " FOR UPDATE"
    LEDGER_TAIL = (
        "SELECT epoch, seq, event_id, body FROM store_ledger"
        f" WHERE (epoch, seq) > (?, ?) AND {VISIBLE} ORDER BY epoch, seq LIMIT ?"
    )
    OUTBOX_TAIL = (
        "SELECT epoch, seq, message_id, tenant, subject, agent, payload, headers FROM store_outbox"
        f" WHERE (epoch, seq) > (?, ?) AND {VISIBLE} ORDER BY epoch, seq LIMIT ?"
    )
    FORGET = "DELETE FROM store_outbox WHERE epoch = ? AND seq = ?"
    FORGET_UPTO = "DELETE FROM store_outbox WHERE (epoch, seq) <= (?, ?)"

    def __init__(
        self,
        db: Connection,
        piped: Piped,
        instance: str,
        alone_since: int = NOT_ALONE,
        *,
        alone: bool = False,
        refuted: bool = True,
    ) -> None:
        super().__init__()
        self.cause: Exception | None = None
        self._db = db
        self._piped = piped
        self._instance = instance
        self._alone_since = alone_since
        self.supposed = False
        self._refuted = refuted
        self._room = 1 if alone else None  # for statements

    def all(self, sql: LiteralString, *params: Any) -> list[Row]:
        return self.together((sql, *params))[0]

    def together(self, *questions: Question) -> list[list[Row]]:
        try:
            answers = [self._send(sql, params) for sql, *params in questions]
            self._piped.sync()
            return [answer.rows() for answer in answers]
        except psycopg.Error as error:
            raise self._fail(error) from error

    def run(self, sql: LiteralString, *params: Any) -> int:
        try:
            answer = self._send(sql, params)
            self._piped.sync()
            return answer.count
        except psycopg.Error as error:
            raise self._fail(error) from error

    def push(self, sql: LiteralString, *params: Any) -> None:
        try:
            self._send(sql, params)
        except psycopg.Error as error:
            raise self._fail(error) from error

    def suppose(self, sql: LiteralString, *params: Any) -> bool:
        if self._refuted:
            return self.run(sql, *params) > 0
        self.supposed = True
        self.push(SUPPOSED.format(sql), *params)
        return True

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        try:
            for row in rows:
                self._send(sql, row)
            self._piped.sync()
        except psycopg.Error as error:
            raise self._fail(error) from error

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
        self._check()
        try:
            self._piped.leave()  # COPY has a protocol of its own
            with self._db.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
            self._piped.enter()
        except psycopg.Error as error:
            raise self._fail(error) from error

    def send_signal(self, channel: str, payload: str) -> None:
        # The count keeps PostgreSQL from folding equal notifications of one transaction into one.
        body = msgspec.json.encode([self._instance, len(self.signals), channel, payload]).decode()
        self.push(SIGNAL, self._alone_since, CHANNEL, body)

    def lock(self, name: str) -> None:
        self.all("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", name)

    def _send(self, sql: LiteralString, params: Sequence[Any]) -> Answer:
        self._check()
        return self._piped.send(numbered(sql), params)

    def _check(self) -> None:
        if self.failed is not None:
            raise self.failed
        if self._room is not None:
            if not self._room:
                raise MoreThanOne
            self._room -= 1

    def _fail(self, error: Exception) -> EnablementError:
        self.cause = error
        self.failed = fault(error)
        return self.failed
