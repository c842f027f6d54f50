"""The rows of running totals, and the one way in which batches get into them.

INVARIANT: whoever changes totals holds their lock, and takes it before reading what they fold. So a batch is folded once, and a change of
an event's state is in the totals whenever its batch is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain as chained
from typing import Final, LiteralString

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import TenantId
from creto.common.limits import USAGE_FOLD_EVENTS
from creto.common.timestamps import DAY, HOUR
from creto.metering.admission import PRINT_BYTES
from creto.metering.arrays import bytes_array, number_array
from creto.metering.event_store import COLUMNS, EventRow, event_row, placed_events
from creto.metering.rounding import precise
from creto.metering.totals import (
    Cell,
    CellKey,
    Fact,
    Grain,
    Kept,
    Sum,
    SumPlace,
    beginning,
    by_day,
    facts,
    folded,
    summed,
    summed_by_day,
)
from creto.metering.usage_types import EventState
from creto.store.idempotency import SCOPE_BYTES, scope
from creto.store.types import EngineName, ReadTx, Tx

LOCK: Final = "metering.totals"
CHUNK: Final = 100
HEAD: Final = SCOPE_BYTES + 1
BATCHES: Final = 500  # looked at in one step

CellRow = tuple[bytes, int, bytes]  # its name, when it changed, its body

_cell = wire.decoder(Cell)


def lock(tx: Tx) -> None:
    tx.lock(LOCK)


@precise
def fold_step(tx: Tx) -> int:
    """Fold the oldest batches that wait; how many those were."""
    lock(tx)
    oldest = tx.all("SELECT batch, tenant, events FROM metering_batch WHERE folded = 0 ORDER BY batch LIMIT ?", BATCHES)
    batches: dict[TenantId, list[int]] = {}
    done, count = 0, 0
    for batch, tenant, events in oldest:
        count += events
        if done and count > USAGE_FOLD_EVENTS:
            break
        batches.setdefault(TenantId(tenant), []).append(batch)
        done += 1
    for tenant, own in batches.items():
        hours = summed(place_events(tx, tenant, own))
        days = summed_by_day(hours)
        add(tx, tenant, Grain.HOUR, hours)
        add(tx, tenant, Grain.DAY, days)
    return done


def place_events(tx: Tx, tenant: TenantId, batches: Sequence[int]) -> Iterator[Fact]:
    """Put these batches' events into their places, and tell of those that count."""
    for start in range(0, len(batches), CHUNK):
        chunk = batches[start : start + CHUNK]
        tx.push(_place(len(chunk)), tenant, *chunk)
        tx.push(_done(len(chunk)), tenant, *chunk)
        yield from tx.all(_facts(len(chunk)), int(EventState.COUNTED), tenant, *chunk)


def waiting(tx: ReadTx) -> tuple[int, int]:
    """How many batches wait, and how many events they have at most."""
    batches, events = tx.all("SELECT COUNT(*), COALESCE(SUM(events), 0) FROM metering_batch WHERE folded = 0")[0]
    return int(batches), int(events)


def add(tx: Tx, tenant: TenantId, grain: Grain, sums: dict[SumPlace, Sum]) -> None:
    prefix = begin_of(tenant, grain)
    named = {prefix + cell_end(*place): (place[1], own) for place, own in sums.items()}
    ordered = sorted(named)
    for cell, changed_at, body in found_cells(tx, ordered):
        named[cell][1].merge_body(changed_at, body)
    rows = []
    for cell in ordered:
        begins_at, own = named[cell]
        rows.append((cell, tenant, begins_at, own.changed_at, own.body()))
    put_cells(tx, rows)


def found_cells(tx: ReadTx, cells: Sequence[bytes]) -> Iterator[CellRow]:
    if tx.engine is EngineName.POSTGRES:
        yield from tx.all(FIND_ARRAY, bytes_array(cells))
        return
    for start in range(0, len(cells), CHUNK):
        chunk = cells[start : start + CHUNK]
        yield from tx.all(_find(len(chunk)), *chunk)


def begin_of(tenant: TenantId, grain: Grain, chain: bytes = b"", begins_at: int | None = None) -> bytes:
    """What the cells of a tenant, of a chain, of an instant begin with."""
    at = b"" if begins_at is None else begins_at.to_bytes(8)
    return scope(tenant, ProductId.METERING, "totals") + bytes((grain,)) + chain + at


def cell_end(chain: bytes, begins_at: int, event_type: str) -> bytes:
    """What distinguishes the cells of a tenant and a grain."""
    return chain + begins_at.to_bytes(8) + event_type.encode()


def cell_row(row: CellRow) -> tuple[CellKey, Kept]:
    cell, changed_at, body = row
    chain, at = cell[HEAD : HEAD + PRINT_BYTES], HEAD + PRINT_BYTES
    key = CellKey(chain, int.from_bytes(cell[at : at + 8]), cell[at + 8 :].decode())
    return key, Kept(_cell.decode(body), changed_at)


def put(tx: Tx, tenant: TenantId, grain: Grain, cells: Iterable[tuple[CellKey, Kept]]) -> None:
    prefix = begin_of(tenant, grain)
    rows = []
    for key, one in cells:
        name = prefix + cell_end(key.chain, key.begins_at, key.event_type)
        rows.append((name, tenant, key.begins_at, one.changed_at, wire.encode(one.cell)))
    put_cells(tx, rows)


def put_cells(tx: Tx, rows: Sequence[tuple[bytes, TenantId, int, int, bytes]]) -> None:
    if rows and tx.engine is EngineName.POSTGRES:
        cell, tenant, begins_at, changed_at, body = zip(*rows, strict=True)
        arrays = (bytes_array(cell), number_array(begins_at), number_array(changed_at), bytes_array(body))
        tx.run(PUT_ARRAYS, tenant[0], *arrays)
        return
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        tx.run(_put(len(chunk)), *chained.from_iterable(chunk))


def refold(tx: Tx, tenant: TenantId, chain: bytes, event_type: str, at: int, now: int) -> None:
    """Count the cells of an instant anew. The lock is held, and an event of theirs has just changed."""
    hour, day = beginning(at, Grain.HOUR), beginning(at, Grain.DAY)
    events = placed_events(tx, tenant, [chain], hour, hour + HOUR, [event_type])
    key = CellKey(chain, hour, event_type)
    again = folded(facts(events)).get(key, Kept(Cell(), now))
    put(tx, tenant, Grain.HOUR, [(key, Kept(again.cell, now))])
    hours = cells(tx, tenant, Grain.HOUR, [chain], day, day + DAY, event_type)
    for one, whole in by_day(hours).items():
        put(tx, tenant, Grain.DAY, [(one, Kept(whole.cell, now))])


def cells(
    tx: ReadTx, tenant: TenantId, grain: Grain, chains: Sequence[bytes] | None, start: int, end: int,
    event_type: str | None,
) -> Iterator[tuple[CellKey, Kept]]:  # fmt: skip
    """The cells that begin in a stretch of time, of some chains or of all, of one type or of every."""
    if chains is None:
        first = begin_of(tenant, grain)
        found = map(cell_row, tx.all(CELLS_BETWEEN, first, following(first), tenant, start, end))
        yield from (pair for pair in found if event_type in (None, pair[0].event_type))
        return
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        for pair in map(cell_row, tx.all(_cells(len(chunk)), *ranges(tenant, grain, chunk, start, end))):
            if event_type in (None, pair[0].event_type):
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
    waiting = waiting_events(tx, tenant, start, end, counted_only=False)
    return any(row.chain in wanted and row.changed_at > since for row in waiting)


def events_between(
    tx: ReadTx, tenant: TenantId, chains: Iterable[bytes], start: int, end: int, types: Sequence[str]
) -> Iterator[EventRow]:
    """The events that count, of some chains in a stretch of time and of some types, wherever they are by now."""
    wanted = set(chains)
    yield from placed_events(tx, tenant, sorted(wanted), start, end, types)
    for row in waiting_events(tx, tenant, start, end):
        if row.chain in wanted and row.event_type in types:
            yield row


def waiting_events(
    tx: ReadTx, tenant: TenantId, start: int, end: int, *, counted_only: bool = True
) -> Iterator[EventRow]:
    """The events of a stretch of time that no total holds yet."""
    for row in map(event_row, tx.all(_waiting(), tenant, tenant, start, end)):
        if row.state is EventState.COUNTED or not counted_only:
            yield row


# Statements


@lru_cache(maxsize=CHUNK)
def _place(batches: int) -> LiteralString:
    return (
        "INSERT INTO metering_place (chain, happened_at, batch, place, agent, tenant)"
        " SELECT chain, happened_at, batch, place, agent, tenant FROM metering_event"
        f" WHERE tenant = ? AND {_in_batches(batches)} ORDER BY chain, happened_at, batch, place"
    )


@lru_cache(maxsize=CHUNK)
def _done(batches: int) -> LiteralString:
    return f"UPDATE metering_batch SET folded = 1 WHERE tenant = ? AND {_in_batches(batches)}"


@lru_cache(maxsize=CHUNK)
def _facts(batches: int) -> LiteralString:
    return (
        "SELECT chain, happened_at, changed_at, event_type, properties FROM metering_event"
        f" WHERE state = ? AND tenant = ? AND {_in_batches(batches)}"
    )


def _in_batches(count: int) -> LiteralString:
    return "batch IN (" + ", ".join(["?"] * count) + ")"


@lru_cache(maxsize=1)
def _waiting() -> LiteralString:
    return (
        f"SELECT {COLUMNS} FROM metering_batch b JOIN metering_event e ON e.batch = b.batch"
        " WHERE b.tenant = ? AND b.folded = 0 AND e.tenant = ? AND e.happened_at >= ? AND e.happened_at < ?"
    )


CELLS: LiteralString = "SELECT cell, changed_at, body FROM metering_total WHERE "
CELLS_BETWEEN: LiteralString = CELLS + "cell >= ? AND cell < ? AND tenant = ? AND begins_at >= ? AND begins_at < ?"


FIND_ARRAY: LiteralString = CELLS + "cell = ANY(?::bytea[])"
COLUMNS_OF_CELL: LiteralString = "(cell, tenant, begins_at, changed_at, body)"
RENEW: LiteralString = " ON CONFLICT (cell) DO UPDATE SET changed_at = excluded.changed_at, body = excluded.body"
PUT_ARRAYS: LiteralString = (
    f"INSERT INTO metering_total {COLUMNS_OF_CELL} SELECT r.cell, ?, r.begins_at, r.changed_at, r.body"
    " FROM unnest(?::bytea[], ?::bigint[], ?::bigint[], ?::bytea[]) AS r (cell, begins_at, changed_at, body)"
    f"{RENEW}"
)


@lru_cache(maxsize=CHUNK)
def _put(count: int) -> LiteralString:
    return f"INSERT INTO metering_total {COLUMNS_OF_CELL} VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * count) + RENEW


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
