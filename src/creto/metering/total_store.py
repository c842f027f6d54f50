"""The rows of running totals, and the one way in which batches get into them.

INVARIANT: whoever changes totals holds their lock, and takes it before reading what they fold. So a batch is folded once, and a change of
an event's state is in the totals whenever its batch is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, LiteralString

from creto.common import wire
from creto.common.ids import TenantId
from creto.common.limits import USAGE_FOLD_EVENTS_MAX
from creto.common.timestamps import DAY, HOUR
from creto.metering.event_store import COLUMNS, EventRow, counted_events, event_row
from creto.metering.totals import Cell, CellKey, Grain, Kept, beginning, by_day, folded
from creto.metering.usage_types import EventState
from creto.store.types import ReadTx, Tx

LOCK: Final = "metering.totals"
CHUNK: Final = 100
BATCHES: Final = 500  # looked at in one step


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
        params = [part for key in chunk for part in (key.chain, key.begins_at, key.event_type)]
        for chain, begins_at, event_type, changed_at, body in tx.all(_find(len(chunk)), tenant, int(grain), *params):
            found[CellKey(bytes(chain), begins_at, event_type)] = kept(changed_at, body)
    return found


def put(tx: Tx, tenant: TenantId, grain: Grain, cells: Iterable[tuple[CellKey, Kept]]) -> None:
    tx.many(
        "INSERT INTO metering_total (tenant, grain, chain, begins_at, event_type, changed_at, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, grain, chain, begins_at, event_type) "
        "DO UPDATE SET changed_at = excluded.changed_at, body = excluded.body",
        [
            (tenant, int(grain), key.chain, key.begins_at, key.event_type, one.changed_at, wire.encode(one.cell))
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
        rows = tx.all(_all_cells(), tenant, int(grain), start, end, event_type)
        yield from (cell_row(row) for row in rows)
        return
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        rows = tx.all(_cells(len(chunk)), tenant, int(grain), start, end, event_type, *chunk)
        yield from (cell_row(row) for row in rows)


def cell_row(row: tuple[bytes, int, str, int, bytes]) -> tuple[CellKey, Kept]:
    chain, begins_at, event_type, changed_at, body = row
    return CellKey(bytes(chain), begins_at, event_type), kept(changed_at, body)


def kept(changed_at: int, body: bytes) -> Kept:
    return Kept(wire.decode(body, Cell, what="total"), changed_at)


def changed_since(tx: ReadTx, tenant: TenantId, chains: Sequence[bytes], start: int, end: int, since: int) -> bool:
    """Whether an event of these days came or was changed after an instant."""
    day = beginning(start, Grain.DAY)
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        params = (tenant, int(Grain.DAY), day, end, since, *chunk)
        if tx.one(_changed(len(chunk)), *params) is not None:
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


@lru_cache(maxsize=CHUNK)
def _find(count: int) -> LiteralString:
    marks = ", ".join(["(?, ?, ?)"] * count)
    return (
        "SELECT chain, begins_at, event_type, changed_at, body FROM metering_total"
        f" WHERE tenant = ? AND grain = ? AND (chain, begins_at, event_type) IN (VALUES {marks})"
    )


CELLS: LiteralString = (
    "SELECT chain, begins_at, event_type, changed_at, body FROM metering_total"
    " WHERE tenant = ? AND grain = ? AND begins_at >= ? AND begins_at < ? AND event_type = ?"
)


@lru_cache(maxsize=1)
def _all_cells() -> LiteralString:
    return CELLS


@lru_cache(maxsize=CHUNK)
def _cells(count: int) -> LiteralString:
    return CELLS + " AND chain IN (" + ", ".join(["?"] * count) + ")"


@lru_cache(maxsize=CHUNK)
def _changed(count: int) -> LiteralString:
    marks = ", ".join(["?"] * count)
    return (
        "SELECT 1 FROM metering_total WHERE tenant = ? AND grain = ? AND begins_at >= ? AND begins_at < ?"
        f" AND changed_at > ? AND chain IN ({marks}) LIMIT 1"
    )
