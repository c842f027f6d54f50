"""The rows of running totals, and the one way in which batches get into them.

INVARIANT: whoever changes totals holds their lock, and takes it before reading what they fold. So a batch is folded once, and a change of
an event's state is in the totals whenever its batch is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, LiteralString

import msgspec

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import TenantId
from creto.common.limits import USAGE_FOLD_EVENTS_MAX
from creto.common.timestamps import DAY, HOUR
from creto.metering.admission import PRINT_BYTES
from creto.metering.event_store import COLUMNS, EventRow, counted_events, event_row
from creto.metering.totals import Cell, CellKey, Grain, Kept, beginning, by_day, folded
from creto.metering.usage_types import EventState
from creto.store.idempotency import SCOPE_BYTES, scope
from creto.store.types import ReadTx, Tx

LOCK: Final = "metering.totals"
CHUNK: Final = 100
HEAD: Final = SCOPE_BYTES + 1
BATCHES: Final = 500  # looked at in one step

_cell = msgspec.json.Decoder(Cell)


def lock(tx: Tx) -> None:
    tx.lock(LOCK)


def fold_step(tx: Tx) -> int:
    """Fold the oldest batches that wait; how many events that were."""
    lock(tx)
    waiting = tx.all("SELECT batch, tenant FROM metering_batch WHERE folded = 0 ORDER BY batch LIMIT ?", BATCHES)
    rows: dict[TenantId, list[EventRow]] = {}
    done: list[tuple[int]] = []
    count = 0
    for batch, tenant in waiting:
        found = rows.setdefault(TenantId(tenant), [])
        before = len(found)
        found += (event_row(row) for row in tx.all(_of_batch(), batch, tenant, int(EventState.COUNTED)))
        done.append((batch,))
        count += len(found) - before + 1
        if count >= USAGE_FOLD_EVENTS_MAX:
            break
    for tenant, events in rows.items():
        hours = folded(events)
        add(tx, tenant, Grain.HOUR, hours)
        add(tx, tenant, Grain.DAY, by_day(hours.items()))
    tx.many("UPDATE metering_batch SET folded = 1 WHERE batch = ?", done)
    return count


def add(tx: Tx, tenant: TenantId, grain: Grain, cells: dict[CellKey, Kept]) -> None:
    known = find(tx, tenant, grain, sorted(cells))
    put(
        tx,
        tenant,
        grain,
        [(key, known[key].merged(kept) if key in known else kept) for key, kept in sorted(cells.items(), key=first)],
    )


def first(pair: tuple[CellKey, Kept]) -> CellKey:
    return pair[0]


def find(tx: ReadTx, tenant: TenantId, grain: Grain, keys: Sequence[CellKey]) -> dict[CellKey, Kept]:
    found: dict[CellKey, Kept] = {}
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        found.update(map(cell_row, tx.all(_find(len(chunk)), *(cell_of(tenant, grain, key) for key in chunk))))
    return found


def cell_of(tenant: TenantId, grain: Grain, key: CellKey) -> bytes:
    return begin_of(tenant, grain, key.chain, key.begins_at) + key.event_type.encode()


def begin_of(tenant: TenantId, grain: Grain, chain: bytes = b"", begins_at: int | None = None) -> bytes:
    """What the cells of a tenant, of a chain, of an instant begin with."""
    at = b"" if begins_at is None else begins_at.to_bytes(8)
    return scope(tenant, ProductId.METERING, "totals") + bytes((grain,)) + chain + at


def cell_row(row: tuple[bytes, int, bytes]) -> tuple[CellKey, Kept]:
    cell, changed_at, body = row
    chain, at = cell[HEAD : HEAD + PRINT_BYTES], HEAD + PRINT_BYTES
    key = CellKey(bytes(chain), int.from_bytes(cell[at : at + 8]), bytes(cell[at + 8 :]).decode())
    return key, Kept(_cell.decode(body), changed_at)


def put(tx: Tx, tenant: TenantId, grain: Grain, cells: Iterable[tuple[CellKey, Kept]]) -> None:
    tx.many(
        "INSERT INTO metering_total (cell, tenant, begins_at, changed_at, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (cell) DO UPDATE SET changed_at = excluded.changed_at, body = excluded.body",
        [
            (cell_of(tenant, grain, key), tenant, key.begins_at, one.changed_at, wire.encode(one.cell))
            for key, one in cells
        ],
    )


def refold(tx: Tx, tenant: TenantId, chain: bytes, event_type: str, at: int, now: int) -> None:
    """Count the cells of an instant anew. The lock is held, and an event of theirs has just changed."""
    hour, day = beginning(at, Grain.HOUR), beginning(at, Grain.DAY)
    events = list(counted_events(tx, tenant, [chain], hour, hour + HOUR, [event_type]))
    # Asked for after the events: a batch that comes meanwhile waits, too.
    waiting = {batch for (batch,) in tx.all("SELECT batch FROM metering_batch WHERE tenant = ? AND folded = 0", tenant)}
    events = [row for row in events if row.at.batch not in waiting]
    key = CellKey(chain, hour, event_type)
    again = folded(events).get(key, Kept(Cell(), now))
    put(tx, tenant, Grain.HOUR, [(key, Kept(again.cell, now))])
    hours = cells(tx, tenant, Grain.HOUR, [chain], day, day + DAY, event_type)
    for one, whole in by_day(hours).items():
        put(tx, tenant, Grain.DAY, [(one, Kept(whole.cell, now))])


def cells(
    tx: ReadTx, tenant: TenantId, grain: Grain, chains: Sequence[bytes] | None, start: int, end: int, event_type: str
) -> Iterator[tuple[CellKey, Kept]]:
    """The cells that begin in a stretch of time, of some chains or of all."""
    if chains is None:
        first = begin_of(tenant, grain)
        found = map(cell_row, tx.all(CELLS_BETWEEN, first, following(first), tenant, start, end))
        yield from (pair for pair in found if pair[0].event_type == event_type)
        return
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        for pair in map(cell_row, tx.all(_cells(len(chunk)), *ranges(tenant, grain, chunk, start, end))):
            if pair[0].event_type == event_type:
                yield pair


def ranges(tenant: TenantId, grain: Grain, chains: Sequence[bytes], start: int, end: int) -> list[bytes]:
    return [begin_of(tenant, grain, chain, at) for chain in chains for at in (start, end)]


def following(prefix: bytes) -> bytes:
    """The least key behind all that begin so; the last byte is a grain, which is small."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def changed_since(tx: ReadTx, tenant: TenantId, chains: Sequence[bytes], start: int, end: int, since: int) -> bool:
    """Whether an event of these days came or was changed after an instant."""
    day = beginning(start, Grain.DAY)
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        if tx.one(_changed(len(chunk)), since, *ranges(tenant, Grain.DAY, chunk, day, end)) is not None:
            return True
    wanted = set(chains)
    return any(
        row.chain in wanted and row.changed_at > since
        for row in waiting_events(tx, tenant, start, end, None, counted_only=False)
    )


def waiting_events(
    tx: ReadTx, tenant: TenantId, start: int, end: int, event_type: str | None, *, counted_only: bool = True
) -> Iterator[EventRow]:
    """The events of a stretch of time that no total holds yet."""
    of_type: LiteralString = "" if event_type is None else " AND e.event_type = ?"
    state: LiteralString = " AND e.state = 0" if counted_only else ""
    sql = _waiting() + of_type + state
    for row in tx.all(sql, tenant, tenant, start, end, *(() if event_type is None else (event_type,))):
        yield event_row(row)


# Statements


@lru_cache(maxsize=1)
def _of_batch() -> LiteralString:
    return f"SELECT {COLUMNS} FROM metering_event e WHERE e.batch = ? AND e.tenant = ? AND e.state = ?"


@lru_cache(maxsize=1)
def _waiting() -> LiteralString:
    return (
        f"SELECT {COLUMNS} FROM metering_batch b JOIN metering_event e ON e.batch = b.batch"
        " WHERE b.tenant = ? AND b.folded = 0 AND e.tenant = ? AND e.happened_at >= ? AND e.happened_at < ?"
    )


CELLS: LiteralString = "SELECT cell, changed_at, body FROM metering_total WHERE "
CELLS_BETWEEN: LiteralString = CELLS + "cell >= ? AND cell < ? AND tenant = ? AND begins_at >= ? AND begins_at < ?"


@lru_cache(maxsize=CHUNK)
def _find(count: int) -> LiteralString:
    return CELLS + "cell IN (" + ", ".join(["?"] * count) + ")"


@lru_cache(maxsize=CHUNK)
def _cells(count: int) -> LiteralString:
    return CELLS + " OR ".join(["(cell >= ? AND cell < ?)"] * count)


@lru_cache(maxsize=CHUNK)
def _changed(count: int) -> LiteralString:
    within = " OR ".join(["(cell >= ? AND cell < ?)"] * count)
    return f"SELECT 1 FROM metering_total WHERE changed_at > ? AND ({within}) LIMIT 1"
