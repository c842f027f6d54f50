"""Events as they stood at an instant: what had come by then, without what was voided or corrected later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import LiteralString

from creto.common.ids import TenantId
from creto.metering.admission import unpacked
from creto.metering.event_store import CHUNK, COLUMNS, EventRow, Place, event_row, find_event
from creto.metering.total_store import waiting_events
from creto.metering.usage_types import EventState
from creto.store.types import ReadTx

COUNTING = frozenset(
    {None, "finalized", "reinstated"}
)  # the last act done by then: none, since it came; or it was held and let through


def counted_then(
    tx: ReadTx, tenant: TenantId, chains: Iterable[bytes], start: int, end: int, types: Sequence[str], known_at: int
) -> Iterator[EventRow]:
    """The events that counted at an instant, of some chains in a stretch of time and of some types, wherever they are by now."""
    wanted = set(chains)
    folded = placed(tx, tenant, sorted(wanted), start, end, types)
    for row in chain(folded, waiting_events(tx, tenant, start, end, counted_only=False)):
        if row.chain in wanted and row.event_type in types and stood(tx, tenant, row, known_at):
            yield row


def stood(tx: ReadTx, tenant: TenantId, row: EventRow, known_at: int) -> bool:
    """Whether this version of an event counted at an instant. Its first change is its coming; most have no other."""
    if row.changed_at <= known_at:
        return row.state is EventState.COUNTED
    came_at = tx.value("SELECT came_at FROM metering_batch WHERE batch = ?", row.at.batch)
    return came_at <= known_at and last_act(tx, tenant, row, known_at) in COUNTING


def versions_of(tx: ReadTx, tenant: TenantId, row: EventRow) -> list[EventRow]:
    """An event as it stands, and as it was before each correction."""
    found = tx.all(
        "SELECT DISTINCT batch, place FROM metering_act WHERE tenant = ? AND event_id = ? AND act = 'corrected'",
        tenant, unpacked(row.event_id),
    )  # fmt: skip
    return [row, *(find_event(tx, tenant, Place(row.at.agent, batch, place)) for batch, place in found)]


def last_version(tx: ReadTx, tenant: TenantId, row: EventRow) -> EventRow | None:
    """As an event was before its last correction."""
    found = tx.one(
        "SELECT batch, place FROM metering_act WHERE tenant = ? AND event_id = ? AND act = 'corrected' "
        "ORDER BY done_at DESC LIMIT 1",
        tenant, unpacked(row.event_id),
    )  # fmt: skip
    return None if found is None else find_event(tx, tenant, Place(row.at.agent, *found))


def last_act(tx: ReadTx, tenant: TenantId, row: EventRow, known_at: int) -> str | None:
    """What had been done to this version of an event last."""
    act = tx.value(
        "SELECT act FROM metering_act WHERE tenant = ? AND event_id = ? AND batch = ? AND place = ? AND done_at <= ? "
        "ORDER BY done_at DESC LIMIT 1",
        tenant, unpacked(row.event_id), row.at.batch, row.at.place, known_at,
    )  # fmt: skip
    return None if act is None else str(act)


def placed(
    tx: ReadTx, tenant: TenantId, chains: Sequence[bytes], start: int, end: int, types: Sequence[str]
) -> Iterator[EventRow]:
    """The events of folded batches, in whatever state they are."""
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        for row in tx.all(_placed(len(chunk), len(types)), tenant, start, end, *chunk, *types):
            yield event_row(row)


@lru_cache(maxsize=CHUNK)
def _placed(chains: int, types: int) -> LiteralString:
    in_chains, of_types = ", ".join(["?"] * chains), ", ".join(["?"] * types)
    return (
        f"SELECT {COLUMNS} FROM metering_place p JOIN metering_event e"
        " ON e.batch = p.batch AND e.place = p.place AND e.agent = p.agent"
        f" WHERE p.tenant = ? AND p.happened_at >= ? AND p.happened_at < ? AND p.chain IN ({in_chains})"
        f" AND e.event_type IN ({of_types})"
    )
