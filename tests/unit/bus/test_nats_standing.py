"""What the relay makes of the stream it finds: the same, without its tail, with a gap, another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from creto.bus.nats_standing import ENROL, LEAD, Found, Mark, Standing, forget, reconciled, save, standing_of
from creto.common.errors import ConnectionFailed
from creto.store import Position, Store, Tx, open_store

STREAM, ME = "CRETO_BUS", "me"
LEFT = Standing(Mark(20, Position(0, 200)), "made on Monday", 5, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A relay that put three batches into the stream, of which the first is acked by everybody."""
    opened = open_store(f"sqlite:///{tmp_path}/creto.db", parts=("creto.bus",))

    def begin(tx: Tx) -> None:
        tx.run(ENROL, STREAM)
        tx.run(LEAD, ME, 2, STREAM, ME, 1)
        reconciled(tx, STREAM, Found("made on Monday", 0, 0))
        for seq in (5, 12, 20):
            save(tx, STREAM, ME, Mark(seq, Position(0, 10 * seq)))
        forget(tx, STREAM, ME, 7)

    opened.submit(begin).result(20)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Found("made on Monday", 1, 20), LEFT),
        (Found("made on Monday", 6, 24, deleted=(3, 5)), LEFT),  # what is acked may go
        (Found("made on Monday", 1, 15), Standing(Mark(12, Position(0, 120)), "made on Monday", 5, 0)),
        (Found("made on Monday", 1, 3), Standing(Mark(), "made on Monday", 3, 0)),
        (Found("made on Monday", 21, 20), Standing(Mark(), "made on Monday", 20, 1)),  # purged
        (Found("made on Monday", 7, 20), Standing(Mark(), "made on Monday", 20, 1)),
        (Found("made on Monday", 1, 20, deleted=(6,)), Standing(Mark(), "made on Monday", 20, 1)),
        (Found("made on Tuesday", 0, 0), Standing(Mark(), "made on Tuesday", 0, 0)),
        (Found("made on Tuesday", 1, 30), Standing(Mark(), "made on Tuesday", 30, 0)),
    ],
)
def test_what_is_missing_and_needed_is_published_again(store: Store, found: Found, expected: Standing) -> None:
    assert found.holds(LEFT) == (expected == LEFT)
    before, after = store.submit(lambda tx: reconciled(tx, STREAM, found)).result(20)
    assert (before, after) == (LEFT, expected)
    assert store.read_now(lambda tx: standing_of(tx, STREAM)) == expected
    assert found.holds(after)  # and so it is not published a third time


def test_who_no_longer_leads_neither_moves_on_nor_forgets(store: Store) -> None:
    store.submit(lambda tx: tx.run("UPDATE bus_relay SET owner = 'another'")).result(20)
    for late in (lambda tx: save(tx, STREAM, ME, Mark(30, Position(0, 300))), lambda tx: forget(tx, STREAM, ME, 20)):
        with pytest.raises(ConnectionFailed, match="another process"):
            store.submit(late).result(20)
    assert store.read_now(lambda tx: standing_of(tx, STREAM)) == LEFT
