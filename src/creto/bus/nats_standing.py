"""How the relay and its stream stand to each other, kept in the store: which sequence holds which row, and what the stream must still have.

    found = Found(identity, first_seq=1, last_seq=40)
    before, after = reconciled(tx, stream, found)      # where to go on, if the stream is not what we left

INVARIANT: every row of the outbox up to the mark is in the stream after `needed_after`. Where it is not, the mark goes back.
"""

from __future__ import annotations

from typing import LiteralString

import msgspec

from creto.bus import store as rows
from creto.bus.outbox import aged
from creto.common.errors import ConnectionFailed
from creto.store.types import Position, Tx

ENROL: LiteralString = (
    "INSERT INTO bus_relay (stream, owner, lease_until, identity, stream_seq, epoch, seq)"
    " VALUES (?, '', 0, '', 0, 0, 0) ON CONFLICT (stream) DO NOTHING"
)
LEAD: LiteralString = (
    "UPDATE bus_relay SET owner = ?, lease_until = ? WHERE stream = ? AND (owner = ? OR lease_until < ?)"
)
FIND: LiteralString = "SELECT identity, stream_seq, epoch, seq, needed_after, round FROM bus_relay WHERE stream = ?"
SET: LiteralString = "UPDATE bus_relay SET identity = ?, stream_seq = ?, epoch = ?, seq = ?, needed_after = ?, round = ? WHERE stream = ?"
MOVE: LiteralString = "UPDATE bus_relay SET stream_seq = ?, epoch = ?, seq = ? WHERE stream = ? AND owner = ?"
NEWEST_UPTO: LiteralString = "SELECT stream_seq, epoch, seq FROM bus_relayed WHERE stream = ? AND stream_seq <= ? ORDER BY stream_seq DESC LIMIT 1"
NEWEST_BEFORE: LiteralString = (
    "SELECT stream_seq FROM bus_relayed WHERE stream = ? AND (epoch, seq) <= (?, ?) ORDER BY stream_seq DESC LIMIT 1"
)


class Mark(msgspec.Struct, frozen=True):
    """How far the relay is: this sequence of the stream holds the row at this position."""

    stream_seq: int = 0
    position: Position = Position()


class Standing(msgspec.Struct, frozen=True):
    mark: Mark = Mark()
    identity: str = ""  # which stream of that name
    needed_after: int = 0  # up to here every durable has acked, or it was published again further on
    round: int = (
        0  # how often the stream lost something in its middle: the broker would take a republished id for a duplicate
    )


class Found(msgspec.Struct, frozen=True):
    """What the stream has."""

    identity: str
    first_seq: int
    last_seq: int
    deleted: tuple[int, ...] = ()  # between the first and the last

    def lacks(self, after: int) -> bool:
        """Whether messages after this sequence were taken out."""
        return self.first_seq > after + 1 or any(seq > after for seq in self.deleted)

    def holds(self, standing: Standing) -> bool:
        """Whether it is the stream we left, with everything that is still needed."""
        same = self.identity == standing.identity and self.last_seq >= standing.mark.stream_seq
        return same and not self.lacks(standing.needed_after)


def standing_of(tx: Tx, stream: str) -> Standing:
    row = tx.one(FIND, stream)
    assert row is not None
    return Standing(Mark(row[1], Position(row[2], row[3])), row[0], row[4], row[5])


def newest_upto(tx: Tx, stream: str, stream_seq: int) -> Mark | None:
    row = tx.one(NEWEST_UPTO, stream, stream_seq)
    return None if row is None else Mark(row[0], Position(row[1], row[2]))


def reconciled(tx: Tx, stream: str, found: Found) -> tuple[Standing, Standing]:
    """Where we stood and where we stand: back before what the stream has lost."""
    before = standing_of(tx, stream)
    if found.holds(before):
        return before, before
    if found.identity == before.identity and not found.lacks(before.needed_after):  # only the tail is gone
        tx.run("DELETE FROM bus_relayed WHERE stream = ? AND stream_seq > ?", stream, found.last_seq)
        mark = newest_upto(tx, stream, found.last_seq) or Mark()
        after = Standing(mark, found.identity, min(before.needed_after, found.last_seq), before.round)
    else:
        tx.run("DELETE FROM bus_relayed WHERE stream = ?", stream)
        after = Standing(Mark(), found.identity, found.last_seq, before.round + (found.identity == before.identity))
    place = (after.mark.stream_seq, after.mark.position.epoch, after.mark.position.seq)
    tx.run(SET, after.identity, *place, after.needed_after, after.round, stream)
    return before, after


def save(tx: Tx, stream: str, owner: str, mark: Mark) -> None:
    place = (mark.stream_seq, mark.position.epoch, mark.position.seq)
    led(tx.run(MOVE, *place, stream, owner))
    tx.run(
        "INSERT INTO bus_relayed (stream, stream_seq, epoch, seq) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (stream, stream_seq) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
        stream, *place,
    )  # fmt: skip


def forget(tx: Tx, stream: str, owner: str, floor: int) -> tuple[int, int]:
    """Let go of the rows up to this sequence: how many, and what the stream needs from now on."""
    needed_after = standing_of(tx, stream).needed_after
    mark = newest_upto(tx, stream, floor)
    others = rows.low_water(tx, "embedded")  # durables from before the broker still need their rows
    if mark is None or (others is not None and others < mark.position):
        return 0, needed_after
    needed_after = mark.stream_seq
    led(tx.run("UPDATE bus_relay SET needed_after = ? WHERE stream = ? AND owner = ?", needed_after, stream, owner))
    tx.run("DELETE FROM bus_relayed WHERE stream = ? AND stream_seq <= ?", stream, needed_after)
    return tx.outbox_forget_upto(mark.position), needed_after


def forget_aged(tx: Tx, stream: str, owner: str, keep_from: int) -> tuple[int, int]:
    """Let go of one page of rows that are relayed and older than that time: how many, and what the stream needs from now on."""
    standing, others = standing_of(tx, stream), rows.low_water(tx, "embedded")
    relayed = standing.mark.position
    last = aged(tx, relayed if others is None else min(relayed, others), keep_from)
    if last is None:
        return 0, standing.needed_after
    row = tx.one(NEWEST_BEFORE, stream, last.epoch, last.seq)
    needed_after = standing.needed_after if row is None else max(standing.needed_after, row[0])
    led(tx.run("UPDATE bus_relay SET needed_after = ? WHERE stream = ? AND owner = ?", needed_after, stream, owner))
    tx.run("DELETE FROM bus_relayed WHERE stream = ? AND stream_seq <= ?", stream, needed_after)
    return tx.outbox_forget_upto(last), needed_after


def led(changed: int) -> None:
    if not changed:
        raise ConnectionFailed("PL-304", "another process relays now")
