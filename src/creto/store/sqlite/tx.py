"""A transaction on SQLite: one savepoint in the writer's group, or a reader's snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, ClassVar, LiteralString

import apsw

from creto.common.errors import EnablementError
from creto.store.sqlite.connection import FAULTS, fault, wall_ms
from creto.store.transaction import SqlTx
from creto.store.types import EngineName, Row

# A process that has not joined yet has nothing in memory that could be old, so where nobody else is there is nobody to tell.
OTHERS: LiteralString = "SELECT 1 FROM store_node WHERE instance <> ? LIMIT 1"
SIGNAL: LiteralString = "INSERT INTO store_signal (instance, channel, payload, at_ms) VALUES (?, ?, ?, ?)"

BULK_ROWS = 150  # of one statement: SQLite works on it without holding up the other threads, once for all of them


class SqliteTx(SqlTx):
    """A transaction, or a savepoint in a group of them."""

    engine: ClassVar[EngineName] = EngineName.SQLITE
    LEDGER_TAIL = "SELECT ?, seq, event_id, body FROM store_ledger WHERE seq > ? ORDER BY seq LIMIT ?"
    OUTBOX_TAIL = (
        "SELECT ?, seq, message_id, tenant, subject, agent, payload, headers FROM store_outbox"
        " WHERE seq > ? ORDER BY seq LIMIT ?"
    )
    FORGET = "DELETE FROM store_outbox WHERE ? = 0 AND seq = ?"
    FORGET_UPTO = "DELETE FROM store_outbox WHERE ? = 0 AND seq <= ?"

    def __init__(self, db: apsw.Connection, instance: str) -> None:
        super().__init__()
        self._db = db
        self._instance = instance

    def all(self, sql: LiteralString, *params: Any) -> list[Row]:
        try:
            return self._ready().execute(sql, params).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error

    def run(self, sql: LiteralString, *params: Any) -> int:
        try:
            self._ready().execute(sql, params).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error
        return self._db.changes()

    def push(self, sql: LiteralString, *params: Any) -> None:
        self.run(sql, *params)

    def suppose(self, sql: LiteralString, *params: Any) -> bool:
        """A look costs no round trip: it is taken here."""
        return self.run(sql, *params) > 0

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        try:
            self._ready().executemany(sql, rows).fetchall()
        except FAULTS as error:
            raise self._fail(error) from error

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        waiting = iter(rows)
        while chunk := list(islice(waiting, BULK_ROWS)):
            self.run(_insert(table, tuple(columns), len(chunk)), *chain.from_iterable(chunk))

    def send_signal(self, channel: str, payload: str) -> None:
        if self.all(OTHERS, self._instance):
            self.run(SIGNAL, self._instance, channel, payload, wall_ms())

    def lock(self, name: str) -> None:
        """The one writer is the lock."""

    def _ready(self) -> apsw.Connection:
        if self.failed is not None:
            raise self.failed
        return self._db

    def _fail(self, error: Exception) -> EnablementError:
        self.failed = fault(error)
        return self.failed


@lru_cache(maxsize=4 * BULK_ROWS)
def _insert(table: LiteralString, columns: tuple[LiteralString, ...], count: int) -> LiteralString:
    row = "(" + ", ".join(["?"] * len(columns)) + ")"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES " + ", ".join([row] * count)
