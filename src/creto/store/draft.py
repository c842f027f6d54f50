"""A transaction worked out before it begins, by what was read a moment ago: in it no more is done than to write.

    work = drafted(lambda tx: decide(tx, seen), AsSeen(SAVE, " AND rev = ?", seen.rev), afresh, lambda: clock.now() < deadline)
    await store.write(work)

The first of its writes that is `SAVE` finds its row only as it was seen. That one is done first; if there is no such row, `afresh(tx)` runs.

INVARIANT: a draft that lacks an answer, or of which anything is not so by then, has written nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar, Generic, LiteralString, TypeVar

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


class Drafted(Generic[T]):
    """A transaction that only writes, unless it has to run afresh."""

    def __init__(
        self, draft: Draft, first: Write, result: T, afresh: Callable[[Tx], T], holds: Callable[[], bool]
    ) -> None:
        self.result = result
        self._writes = [first, *recorded_at_once(draft.writes)]
        self._signals = draft.signals
        self._appended = draft.appended
        self._afresh = afresh
        self._holds = holds

    def __call__(self, tx: Tx) -> T:
        return self.result if self.written(tx) else self._afresh(tx)

    @property
    def size(self) -> int:
        """Of all that it writes, in characters and bytes."""
        return sum(len(value) for write in self._writes for value in write if isinstance(value, bytes | str))

    def written(self, tx: Tx) -> bool:
        """Write it, if everything is still so; nothing is waited for on the way where looking costs a round trip."""
        first, *rest = self._writes
        if not self._holds() or not tx.suppose(*first):
            return False
        for write in rest:
            tx.push(*write)
        for signal in self._signals:
            tx.signal(*signal)
        tx.appended |= self._appended
        return True


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
    draft.writes.remove(first)
    return Drafted(draft, (seen.sql + seen.condition, *first[1:], seen.value), result, afresh, holds)


def recorded_at_once(writes: Sequence[Write]) -> list[Write]:
    """All entries of the ledger in one statement: on SQLite, which counts them in a table of its own, each costs 40 µs."""
    rows = [values for sql, *values in writes if sql == RECORD]
    others = [write for write in writes if write[0] != RECORD]
    return [*others, (RECORD + ANOTHER * (len(rows) - 1), *chain.from_iterable(rows))] if rows else others
