"""The log's rows. Every function takes the transaction it is part of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, LiteralString

import msgspec

from creto.common import wire
from creto.common.errors import AuditError, NotFound
from creto.common.ids import TenantId
from creto.common.limits import COUNTED_MAX, WORD_MERGE_LEAVES, WORD_MERGE_PAGES
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.index import indexed
from creto.platform.audit.tiles import Tile, TileReader, TilesReader
from creto.platform.audit.types import LoggedEntry, decoded_entry
from creto.store.types import EngineName, EntryId, Position, ReadTx, Row, Tx

LOCK = "audit.log"
ONLY_ROW = 1
TAIL_LOOKED_AT = 1_000  # unsequenced rows searched for an entry that is not in the tree
LEAF_COLUMNS: tuple[LiteralString, ...] = (
    "log_index", "epoch", "seq", "event_id", "tenant", "product", "agent", "action", "resource", "outcome", "event", "time",
)  # fmt: skip


STATEMENT_CHARS_MAX = 16_000  # longer ones are not kept prepared
ROW_MARKS: dict[int, LiteralString] = {2: "(?,?)", 12: "(?,?,?,?,?,?,?,?,?,?,?,?)"}


class LogState(msgspec.Struct, frozen=True):
    """How far the sequencer got."""

    size: int = 0
    position: Position = Position()


class LeafRow(msgspec.Struct, frozen=True, array_like=True):
    log_index: int
    epoch: int
    seq: int
    event_id: str
    tenant: str
    product: str
    agent: str
    action: str
    resource: str
    outcome: str
    event: str
    time: int


class CheckpointRow(msgspec.Struct, frozen=True):
    checkpoint: Checkpoint
    time: int
    witnessed: bool


class KeyRow(msgspec.Struct, frozen=True):
    generation: int
    vkeys: tuple[str, ...]
    since: int


def log_state(tx: ReadTx, origin: str) -> LogState:
    """The state of this log; another log's database is refused."""
    row = tx.one("SELECT origin, size, epoch, seq FROM audit_log WHERE id = ?", ONLY_ROW)
    if row is None:
        return LogState()
    if row[0] != origin:
        raise AuditError(
            "PL-604", "the database holds another log", got=row[0], expected=origin, hint="Check audit.origin."
        )
    return LogState(row[1], Position(row[2], row[3]))


WAITING: dict[EngineName, LiteralString] = {
    EngineName.SQLITE: "SELECT count(*) FROM (SELECT 1 FROM store_ledger WHERE ? = 0 AND seq > ? LIMIT ?) AS waiting",
    EngineName.POSTGRES: "SELECT count(*) FROM (SELECT 1 FROM store_ledger WHERE (epoch, seq) > (?, ?) LIMIT ?) AS waiting",
}


def waiting(tx: ReadTx, after: Position) -> int:
    """Ledger rows that are not in the tree yet; counted up to a limit, beyond which the number says enough."""
    return int(tx.value(WAITING[tx.engine], after.epoch, after.seq, COUNTED_MAX))


def unsigned_since(tx: ReadTx, state: LogState, signed_size: int) -> int | None:
    """The time of the oldest entry that no checkpoint covers."""
    if state.size > signed_size:
        return int(tx.value("SELECT time FROM audit_leaf WHERE log_index = ?", signed_size))
    first = tx.ledger_tail(state.position, 1)
    return indexed(first[0].body).timestamp if first else None


def put_log_state(tx: Tx, origin: str, state: LogState) -> None:
    tx.run(
        "INSERT INTO audit_log (id, origin, size, epoch, seq) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET size = excluded.size, epoch = excluded.epoch, seq = excluded.seq",
        ONLY_ROW, origin, state.size, state.position.epoch, state.position.seq,
    )  # fmt: skip


def put_tiles(tx: Tx, tiles: dict[tuple[int, int], bytes]) -> None:
    tx.many(
        "INSERT INTO audit_tile (level, tile, hashes) VALUES (?, ?, ?)"
        " ON CONFLICT (level, tile) DO UPDATE SET hashes = excluded.hashes",
        [(level, tile, hashes) for (level, tile), hashes in tiles.items()],
    )


def tile_reader(tx: ReadTx) -> TileReader:
    def read(level: int, tile: int) -> bytes:
        return bytes(tx.value("SELECT hashes FROM audit_tile WHERE level = ? AND tile = ?", level, tile) or b"")

    return read


TILES: dict[EngineName, LiteralString] = {
    EngineName.SQLITE: "SELECT t.level, t.tile, t.hashes FROM json_each(?) AS p"
    " JOIN audit_tile t ON t.level = p.value ->> 0 AND t.tile = p.value ->> 1",
    EngineName.POSTGRES: "SELECT t.level, t.tile, t.hashes FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) AS p (level, tile)"
    " JOIN audit_tile t ON t.level = p.level AND t.tile = p.tile",
}


def tiles_reader(tx: ReadTx) -> TilesReader:
    """Many tiles in one question."""

    def read(tiles: Collection[Tile]) -> dict[Tile, bytes]:
        if not tiles:
            return {}
        levels, indexes = [level for level, _ in tiles], [index for _, index in tiles]
        params = (wire.encode(list(tiles)).decode(),) if tx.engine is EngineName.SQLITE else (levels, indexes)
        return {(level, index): bytes(hashes) for level, index, hashes in tx.all(TILES[tx.engine], *params)}

    return read


def put_spans(tx: Tx, spans: dict[int, tuple[int, int]]) -> None:
    """Widen the spans (first and last time) of these tiles."""
    tx.many(
        "INSERT INTO audit_span (tile, time_min, time_max) VALUES (?, ?, ?) ON CONFLICT (tile) DO UPDATE SET"
        " time_min = CASE WHEN excluded.time_min < audit_span.time_min THEN excluded.time_min ELSE audit_span.time_min END,"
        " time_max = CASE WHEN excluded.time_max > audit_span.time_max THEN excluded.time_max ELSE audit_span.time_max END",
        [(tile, low, high) for tile, (low, high) in spans.items()],
    )


def put_leaves(tx: Tx, rows: Sequence[Row], texts: Sequence[Row]) -> None:
    if tx.engine is EngineName.SQLITE:
        # Hundreds of rows in a statement: SQLite then works without Python's lock, and whoever computes meanwhile does not slow it down.
        put_rows(tx, "INSERT INTO audit_leaf (" + ", ".join(LEAF_COLUMNS) + ") VALUES ", rows)
        put_rows(tx, "INSERT INTO audit_text (rowid, words) VALUES ", texts)
        pages = max(WORD_MERGE_PAGES, len(texts) // WORD_MERGE_LEAVES)
        tx.run("INSERT INTO audit_text (audit_text, rank) VALUES ('merge', ?)", pages)
    else:
        tx.bulk("audit_leaf", LEAF_COLUMNS, rows)
        tx.bulk("audit_text", ("log_index", "words"), texts)


def put_rows(tx: Tx, insert: LiteralString, rows: Sequence[Row]) -> None:
    marks: LiteralString = ROW_MARKS[len(rows[0])]
    step = (STATEMENT_CHARS_MAX - len(insert)) // (len(marks) + 1)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        tx.run(insert + ",".join([marks] * len(some)), *chain.from_iterable(some))


def leaf_rows(tx: ReadTx, low: int, high: int) -> list[LeafRow]:
    rows = tx.all(
        "SELECT log_index, epoch, seq, event_id, tenant, product, agent, action, resource, outcome, event, time"
        " FROM audit_leaf WHERE log_index >= ? AND log_index < ? ORDER BY log_index",
        low, high,
    )  # fmt: skip
    return [LeafRow(*row) for row in rows]


def index_of(tx: ReadTx, tenant: TenantId, event_id: EntryId) -> int:
    """Where an entry stands. PL-609 while it is only in the ledger's tail, PL-601 if it is nowhere."""
    # The tenant is compared here: a planner without statistics would walk all the tenant has.
    found = tx.all("SELECT log_index, tenant FROM audit_leaf WHERE event_id = ?", event_id)
    indexes = [index for index, owner in found if owner == tenant]
    if indexes:
        return int(min(indexes))
    after = tx.one("SELECT epoch, seq FROM audit_log WHERE id = ?", ONLY_ROW)
    waiting = tx.ledger_tail(Position(*after) if after else Position(), TAIL_LOOKED_AT)
    if any(row.event_id == event_id and decoded_entry(row.body).tenant == tenant for row in waiting):
        raise AuditError("PL-609", f"entry {event_id} is stored but not in the tree yet")
    raise NotFound("PL-601", f"no log entry {event_id}")


# The bytes of a leaf stand in the ledger, at the leaf's position. Looked up by position, never by a join: a planner without statistics
# would read the whole ledger for it.
BODIES: dict[EngineName, LiteralString] = {
    EngineName.SQLITE: "SELECT 0, seq, body FROM store_ledger WHERE seq IN (SELECT value FROM json_each(?))",
    EngineName.POSTGRES: "SELECT l.epoch, l.seq, l.body FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) AS p (epoch, seq)"
    " JOIN store_ledger l ON l.epoch = p.epoch AND l.seq = p.seq",
}


def bodies(tx: ReadTx, places: Sequence[Row]) -> list[tuple[int, bytes]]:
    """Index and bytes of the leaves at these places (index, epoch, seq), in their order; what is missing is left out."""
    epochs, seqs = [place[1] for place in places], [place[2] for place in places]
    params = (wire.encode(seqs).decode(),) if tx.engine is EngineName.SQLITE else (epochs, seqs)
    found = {(epoch, seq): bytes(body) for epoch, seq, body in tx.all(BODIES[tx.engine], *params)}
    return [(index, found[epoch, seq]) for index, epoch, seq in places if (epoch, seq) in found]


def entry_at(tx: ReadTx, tenant: TenantId, index: int) -> LoggedEntry:
    places = tx.all("SELECT log_index, epoch, seq FROM audit_leaf WHERE log_index = ? AND tenant = ?", index, tenant)
    if not places:
        raise NotFound("PL-601", f"no log entry {index}")
    return logged(tx, places)[0]


def logged(tx: ReadTx, places: Sequence[Row]) -> list[LoggedEntry]:
    found = [LoggedEntry(index, decoded_entry(body), body) for index, body in bodies(tx, places)]
    if len(found) < len(places):
        lost = {place[0] for place in places} - {entry.index for entry in found}
        raise AuditError("PL-602", f"entry {min(lost)} is missing", got="nothing", expected="an entry")
    return found


def bodies_at(tx: ReadTx, low: int, high: int) -> list[tuple[int, bytes]]:
    """The logged bytes of every tenant, unread: for whoever verifies or exports the whole log."""
    return bodies(
        tx,
        tx.all(
            "SELECT log_index, epoch, seq FROM audit_leaf WHERE log_index >= ? AND log_index < ? ORDER BY log_index",
            low,
            high,
        ),
    )


def put_checkpoint(tx: Tx, checkpoint: Checkpoint, now: int, *, witnessed: bool = False) -> None:
    """Keep a checkpoint; one of the same size gathers the new signatures."""
    tx.lock(LOCK)
    row = tx.one("SELECT root, note FROM audit_checkpoint WHERE size = ?", checkpoint.size)
    if row is None:
        tx.run(
            "INSERT INTO audit_checkpoint (size, root, time, witnessed, note) VALUES (?, ?, ?, ?, ?)",
            checkpoint.size, checkpoint.root, now, int(witnessed), checkpoint.encode(),
        )  # fmt: skip
        return
    if bytes(row[0]) != checkpoint.root:
        raise AuditError("PL-605", f"the log has signed another root at size {checkpoint.size}")
    merged = Checkpoint.parse(bytes(row[1])).signed(*checkpoint.signatures)
    tx.run(
        "UPDATE audit_checkpoint SET note = ?, witnessed = CASE WHEN witnessed > ? THEN witnessed ELSE ? END WHERE size = ?",
        merged.encode(), int(witnessed), int(witnessed), checkpoint.size,
    )  # fmt: skip


CHECKPOINT: LiteralString = "SELECT note, time, witnessed FROM audit_checkpoint"


def checkpoint_row(row: tuple[Any, ...] | None) -> CheckpointRow | None:
    return None if row is None else CheckpointRow(Checkpoint.parse(bytes(row[0])), row[1], bool(row[2]))


def latest_checkpoint(tx: ReadTx, *, witnessed: bool = False) -> CheckpointRow | None:
    return checkpoint_row(tx.one(CHECKPOINT + " WHERE witnessed >= ? ORDER BY size DESC LIMIT 1", int(witnessed)))


def checkpoint_at(tx: ReadTx, size: int) -> CheckpointRow | None:
    return checkpoint_row(tx.one(CHECKPOINT + " WHERE size = ?", size))


def checkpoints(tx: ReadTx, after: int, limit: int) -> list[CheckpointRow]:
    rows = tx.all(CHECKPOINT + " WHERE size > ? ORDER BY size LIMIT ?", after, limit)
    return [found for row in rows if (found := checkpoint_row(row))]


def key_rows(tx: ReadTx) -> list[KeyRow]:
    rows = tx.all("SELECT generation, vkeys, since FROM audit_key ORDER BY generation")
    return [KeyRow(generation, tuple(vkeys.split("\n")), since) for generation, vkeys, since in rows]


def put_key(tx: Tx, row: KeyRow) -> None:
    tx.run(
        "INSERT INTO audit_key (generation, vkeys, since) VALUES (?, ?, ?)",
        row.generation, "\n".join(row.vkeys), row.since,
    )  # fmt: skip
