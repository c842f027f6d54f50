"""Events as they stood at an instant: what had come by then, without what was voided or corrected later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import LiteralString

from creto.common.ids import TenantId
from creto.metering.admission import unpacked
from creto.metering.event_store import CHUNK, COLUMNS, EventRow, event_row
from creto.metering.usage_types import EventState
from creto.store.types import ReadTx

COUNTING = frozenset(
    {None, "finalized"}
)  # the last act done by then: none, since it came; or it was held and let through


def counted_then(
    tx: ReadTx, tenant: TenantId, chains: Sequence[bytes], start: int, end: int, types: Sequence[str], known_at: int
) -> Iterator[EventRow]:
    """The events that counted at an instant, of some chains and types in a stretch of time."""
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        counted = int(EventState.COUNTED)
        for found in tx.all(
            _came(len(chunk), len(types)), tenant, known_at, counted, known_at, start, end, *chunk, *types
        ):
            row = event_row(found)
            if row.changed_at <= known_at or last_act(tx, tenant, row, known_at) in COUNTING:
                yield row


def last_act(tx: ReadTx, tenant: TenantId, row: EventRow, known_at: int) -> str | None:
    """What had been done to this version of an event last."""
    act = tx.value(
        "SELECT act FROM metering_act WHERE tenant = ? AND event_id = ? AND batch = ? AND place = ? AND done_at <= ? "
        "ORDER BY done_at DESC LIMIT 1",
        tenant, unpacked(row.event_id), row.at.batch, row.at.place, known_at,
    )  # fmt: skip
    return None if act is None else str(act)


@lru_cache(maxsize=CHUNK)
def _came(chains: int, types: int) -> LiteralString:
    of_chains, of_types = ", ".join(["?"] * chains), ", ".join(["?"] * types)
    return (
        f"SELECT {COLUMNS} FROM metering_event e JOIN metering_batch b ON b.batch = e.batch WHERE e.tenant = ?"
        " AND b.came_at <= ? AND (e.state = ? OR e.changed_at > ?) AND e.happened_at >= ? AND e.happened_at < ?"
        f" AND e.chain IN ({of_chains}) AND e.event_type IN ({of_types})"
    )
