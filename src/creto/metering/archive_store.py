"""The rows of the archive, and events as it reads them: in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, LiteralString

from msgspec.structs import replace

from creto.common.ids import PLATFORM_TENANT, AgentId, TenantId
from creto.common.timestamps import DAY
from creto.metering import total_store
from creto.metering.archive import ArchivePart, Due, day_name
from creto.metering.event_store import CHUNK, COLUMNS, Behind, Place, behind_of, event_row
from creto.metering.usage_types import KeptEvent
from creto.store.types import EngineName, EntryId, ReadTx, Row, Tx

Where = tuple[int, int]  # batch and place of an event
PART: LiteralString = (
    "SELECT day, part, events, batches, size, digest, root, archived_at, object_key FROM metering_archive"
    " WHERE tenant = ? AND archived_at > 0"
)
NEVER: Final = -1


# The mark


def horizon(tx: Tx) -> int:
    """The last batch before which none can appear any more.

    INVARIANT: numbers are drawn inside the transactions that commit them. With one writer they are in order; on PostgreSQL the lock waits
    for every transaction that has drawn one.
    """
    if tx.engine is EngineName.POSTGRES:
        tx.run("LOCK TABLE metering_batch IN SHARE MODE")
    return int(tx.value("SELECT MAX(batch) FROM metering_batch") or 0)


def mark(tx: ReadTx) -> int:
    through = tx.value("SELECT through FROM metering_archive_mark WHERE tenant = ?", PLATFORM_TENANT)
    return NEVER if through is None else int(through)


def move_mark(tx: Tx, before: int, after: int) -> bool:
    """Whether nobody else moved it. The lock is what changes of state hold: each sees the mark, or is seen by whoever moved it."""
    total_store.lock(tx)
    if before == NEVER:
        sql: LiteralString = (
            "INSERT INTO metering_archive_mark (tenant, through) VALUES (?, ?) ON CONFLICT (tenant) DO NOTHING"
        )
        return bool(tx.run(sql, PLATFORM_TENANT, after))
    sql = "UPDATE metering_archive_mark SET through = ? WHERE tenant = ? AND through = ?"
    return bool(tx.run(sql, after, PLATFORM_TENANT, before))


def days_between(tx: ReadTx, after: int, through: int) -> list[Row]:
    """Tenant, day, first batch, last batch and number of the events of these batches."""
    return tx.all(
        "SELECT tenant, happened_at / ?, MIN(batch), MAX(batch), COUNT(*) FROM metering_event"
        " WHERE batch > ? AND batch <= ? GROUP BY 1, 2",
        DAY, after, through,
    )  # fmt: skip


def add_due(tx: Tx, found: Iterable[Row], now: int) -> None:
    tx.many(
        "INSERT INTO metering_archive_due (tenant, day, first_batch, last_batch, events, seen_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, day) DO UPDATE SET last_batch = excluded.last_batch,"
        " events = metering_archive_due.events + excluded.events",
        [(tenant, day * DAY, first, last, events, now) for tenant, day, first, last, events in found],
    )


# What is due


def note_change(tx: Tx, tenant: TenantId, at: Place, happened_at: int, now: int) -> None:
    """The state of an event changed: if the archive knows it already, it has to know that too."""
    tx.run(
        "INSERT INTO metering_archive_change (tenant, day, batch, place, changed_at) SELECT tenant, ?, ?, ?, ? FROM ("
        " SELECT CAST(? AS TEXT) AS tenant FROM metering_archive_mark WHERE through >= ?) AS seen WHERE 1 = 1"
        " ON CONFLICT (tenant, day, batch, place) DO UPDATE SET changed_at = excluded.changed_at",
        happened_at // DAY * DAY, at.batch, at.place, now, tenant, at.batch,
    )  # fmt: skip


def pending_days(tx: ReadTx, tenant: TenantId | None) -> list[tuple[TenantId, int, int, int]]:
    """Tenant, day, since when something of it is due, and how many parts it has; of one tenant or of all."""
    whose: LiteralString = "" if tenant is None else " WHERE p.tenant = ?"
    sql: LiteralString = (
        "SELECT p.tenant, p.day, MIN(p.since), (SELECT COUNT(*) FROM metering_archive a WHERE a.tenant = p.tenant"
        " AND a.day = p.day AND a.archived_at > 0) FROM ("
        " SELECT tenant, day, seen_at AS since FROM metering_archive_due"
        " UNION ALL SELECT tenant, day, changed_at FROM metering_archive_change"
        f") AS p{whose} GROUP BY p.tenant, p.day ORDER BY p.day, p.tenant"
    )
    found = tx.all(sql) if tenant is None else tx.all(sql, tenant)
    return [(TenantId(whose), day, since, parts) for whose, day, since, parts in found]


def find_due(tx: ReadTx, tenant: TenantId, day: int) -> Due:
    row = tx.one(
        "SELECT first_batch, last_batch, events FROM metering_archive_due WHERE tenant = ? AND day = ?", tenant, day
    )
    first, last, events = row or (0, NEVER, 0)
    changes = tx.all(
        "SELECT batch, place, changed_at FROM metering_archive_change WHERE tenant = ? AND day = ? ORDER BY batch, place",
        tenant, day,
    )  # fmt: skip
    return Due(
        tenant=tenant, day=day, first_batch=first, last_batch=last, events=events,
        changes=tuple((batch, place, at) for batch, place, at in changes),
    )  # fmt: skip


def drop_due(tx: Tx, due: Due) -> bool:
    """Whether it was as it is now; what changed meanwhile stays due."""
    gone = not due.events or tx.run(
        "DELETE FROM metering_archive_due WHERE tenant = ? AND day = ? AND last_batch = ? AND events = ?",
        due.tenant, due.day, due.last_batch, due.events,
    )  # fmt: skip
    tx.many(
        "DELETE FROM metering_archive_change WHERE tenant = ? AND day = ? AND batch = ? AND place = ? AND changed_at = ?",
        [(due.tenant, due.day, batch, place, at) for batch, place, at in due.changes],
    )
    return bool(gone)


# Parts


def next_part(tx: Tx, tenant: TenantId, day: int) -> int:
    sql: LiteralString = "SELECT COUNT(*) FROM metering_archive WHERE tenant = ? AND day = ? AND archived_at > 0"
    return 1 + int(tx.value(sql, tenant, day))


def put_attempt(tx: Tx, tenant: TenantId, day: int, part: int, key: str) -> None:
    tx.run(
        "INSERT INTO metering_archive (tenant, day, part, object_key, archived_at, events, batches, size, digest, root) "
        "VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?) ON CONFLICT (tenant, day, part) DO UPDATE SET object_key = excluded.object_key",
        tenant, day, part, key, b"", b"",
    )  # fmt: skip


def finish_part(tx: Tx, tenant: TenantId, day: int, made: ArchivePart) -> bool:
    """Whether this attempt was still the last one."""
    return bool(
        tx.run(
            "UPDATE metering_archive SET archived_at = ?, events = ?, batches = ?, size = ?, digest = ?, root = ?"
            " WHERE tenant = ? AND day = ? AND part = ? AND object_key = ? AND archived_at = 0",
            made.archived_at, made.events, made.batches, made.size, made.digest, made.root,
            tenant, day, made.part, made.key,
        )
    )  # fmt: skip


def parts(tx: ReadTx, tenant: TenantId, start: int, end: int, after: tuple[int, int], limit: int) -> list[ArchivePart]:
    sql: LiteralString = f"{PART} AND day >= ? AND day < ? AND (day, part) > (?, ?) ORDER BY day, part LIMIT ?"
    return [archive_part(row) for row in tx.all(sql, tenant, start, end, *after, limit)]


def find_part(tx: ReadTx, tenant: TenantId, day: int, part: int) -> ArchivePart | None:
    sql: LiteralString = f"{PART} AND day = ? AND part = ?"
    row = tx.one(sql, tenant, day, part)
    return None if row is None else archive_part(row)


def archive_part(row: Row) -> ArchivePart:
    day, part, events, batches, size, digest, root, archived_at, key = row
    return ArchivePart(
        day=day_name(day), part=part, events=events, batches=batches, size=size, digest=bytes(digest), root=bytes(root),
        archived_at=archived_at, key=key,
    )  # fmt: skip


# Events


def kept_events(
    tx: ReadTx, after: Where, through: int, start: int, end: int, limit: int, tenant: TenantId | None = None
) -> tuple[list[tuple[TenantId, bytes, KeptEvent]], Where | None]:
    """Events behind a place, up to a batch, of a stretch of time, with their tenant and chain; where to go on, if there may be more."""
    params: list[object] = [after[0], after[0], after[1], through, start, end]
    if tenant is not None:
        params.append(tenant)
    found = tx.all(_kept(tenant is not None), *params, limit)
    behind = chains_of_rows(tx, {(TenantId(row[0]), bytes(row[7])) for row in found})
    events = [kept_event(row, behind) for row in found]
    return events, (events[-1][2].batch, events[-1][2].place) if len(found) == limit else None


def kept_event(row: Row, behind: dict[tuple[TenantId, bytes], Behind]) -> tuple[TenantId, bytes, KeptEvent]:
    tenant, entry_id, came_at, signature, *rest = row
    tenant, read = TenantId(tenant), event_row(rest)
    event = read.event(tenant, behind[tenant, read.chain])
    if signature is not None:
        event = replace(event, signature=bytes(signature))
    return tenant, read.chain, KeptEvent(
        event=event, form=read.form, state=read.state, batch=read.at.batch, place=read.at.place, came_at=came_at,
        changed_at=read.changed_at, entry_id=EntryId(entry_id),
    )  # fmt: skip


def chains_of_rows(tx: ReadTx, wanted: set[tuple[TenantId, bytes]]) -> dict[tuple[TenantId, bytes], Behind]:
    found: dict[tuple[TenantId, bytes], Behind] = {}
    by_tenant: dict[TenantId, list[bytes]] = {}
    for tenant, chain in sorted(wanted):
        by_tenant.setdefault(tenant, []).append(chain)
    for tenant, chains in by_tenant.items():
        for begin in range(0, len(chains), CHUNK):
            chunk = chains[begin : begin + CHUNK]
            for chain, agents in tx.all(_chains(len(chunk)), tenant, *chunk):
                found[tenant, bytes(chain)] = behind_of(agents)
    return found


def batch_at(tx: ReadTx, came_at: int, last: int) -> int:
    """Some batch before all that came from an instant on: found by halves, as numbers grow with time."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        row = tx.one("SELECT batch, came_at FROM metering_batch WHERE batch > ? ORDER BY batch LIMIT 1", middle)
        if row is None or row[1] >= came_at:
            high = middle
        else:
            low = row[0]
    return low


def last_batch(tx: ReadTx) -> int:
    return int(tx.value("SELECT MAX(batch) FROM metering_batch") or 0)


def stands_in(tx: ReadTx, tenant: TenantId, agent: AgentId) -> set[bytes]:
    """The chains in which an agent stands."""
    return {
        bytes(c) for (c,) in tx.all("SELECT chain FROM metering_member WHERE tenant = ? AND agent = ?", tenant, agent)
    }


@lru_cache(maxsize=2)
def _kept(of_tenant: bool) -> LiteralString:
    whose: LiteralString = " AND e.tenant = ?" if of_tenant else ""
    return (
        f"SELECT e.tenant, b.entry, b.came_at, s.signature, {COLUMNS} FROM metering_event e"
        " JOIN metering_batch b ON b.batch = e.batch AND b.tenant = e.tenant"
        " LEFT JOIN metering_signature s ON s.batch = e.batch AND s.place = e.place AND s.tenant = e.tenant"
        " WHERE e.batch >= ? AND (e.batch, e.place) > (?, ?) AND e.batch <= ? AND e.happened_at >= ? AND e.happened_at < ?"
        f"{whose} ORDER BY e.batch, e.place LIMIT ?"
    )


@lru_cache(maxsize=CHUNK)
def _chains(count: int) -> LiteralString:
    marks = ", ".join(["?"] * count)
    return f"SELECT chain, agents FROM metering_chain WHERE tenant = ? AND chain IN ({marks})"
