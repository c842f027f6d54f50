"""A transaction worked out before it begins, by what was read a moment ago: in it no more is done than to write.

    work = drafted(lambda tx: decide(tx, seen), AsSeen(SAVE, " AND rev = ?", seen.rev), afresh, lambda: clock.now() < deadline)
    await store.write(work)

The first of its writes that is `SAVE` finds its row only as it was seen. That one is done first; if there is no such row, `afresh(tx)` runs.

INVARIANT: a draft that lacks an answer, or of which anything is not so by then, has written nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar, LiteralString, TypeVar

import msgspec

from creto.common.errors import EnablementError
from creto.common.tracing import current
from creto.store.transaction import ANOTHER, RECORD, SqlTx
from creto.store.types import EngineName, Row, Tx

T = TypeVar("T")
Write = tuple[Any, ...]  # a statement and its parameters


class AsSeen(msgspec.Struct, frozen=True):
    """What makes a draft safe: this UPDATE of it, and what its row must still be."""

    sql: LiteralString
    condition: LiteralString
    value: object


class Unanswered(BaseException):
    """It asks what only the database knows."""


class Draft(SqlTx):
    """What a function writes."""

    engine: ClassVar[EngineName] = EngineName.SQLITE  # of no matter: it asks nothing

    def __init__(self) -> None:
        super().__init__()
        self.span = current()
        self.writes: list[Write] = []

    def push(self, sql: LiteralString, *params: Any) -> None:
        self.writes.append((sql, *params))

    def send_signal(self, channel: str, payload: str) -> None:
        """It stands in `signals`."""

    def all(self, sql: LiteralString, *params: Any) -> list[Row]:
        raise Unanswered

    def run(self, sql: LiteralString, *params: Any) -> int:
        raise Unanswered

    def suppose(self, sql: LiteralString, *params: Any) -> bool:
        raise Unanswered

    def many(self, sql: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
        raise Unanswered

    def bulk(self, table: LiteralString, columns: Sequence[LiteralString], rows: Iterable[Sequence[Any]]) -> None:
        raise Unanswered

    def lock(self, name: str) -> None:
        raise Unanswered


def drafted(
    work: Callable[[Tx], T], seen: AsSeen, afresh: Callable[[Tx], T], holds: Callable[[], bool]
) -> Callable[[Tx], T]:
    """What `work` does, worked out now. `afresh` runs in its place if that cannot be, or if row or `holds` say by then that it is not so."""
    draft = Draft()
    try:
        result = work(draft)
    except (Unanswered, EnablementError):
        return afresh
    first = next((write for write in draft.writes if write[0] == seen.sql), None)
    if first is None:
        return afresh
    rest = recorded_at_once([write for write in draft.writes if write is not first])
    first = (seen.sql + seen.condition, *first[1:], seen.value)

    def played(tx: Tx) -> T:
        if not holds() or not tx.suppose(*first):
            return afresh(tx)
        for write in rest:
            tx.push(*write)
        for signal in draft.signals:
            tx.signal(*signal)
        tx.appended |= draft.appended
        return result

    return played


def recorded_at_once(writes: Sequence[Write]) -> list[Write]:
    """All entries of the ledger in one statement: on SQLite, which counts them in a table of its own, each costs 40 µs."""
    rows = [values for sql, *values in writes if sql == RECORD]
    others = [write for write in writes if write[0] != RECORD]
    return [*others, (RECORD + ANOTHER * (len(rows) - 1), *chain.from_iterable(rows))] if rows else others
