"""The rows of what events count on quotas: what is still to be booked, and by which quotas each batch was counted.

INVARIANT: a row of what is due commits with the events that it counts, and goes when its counters have them.
INVARIANT: what an event was counted on is known as long as the event is: who voids it takes back just that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from creto.common import wire
from creto.common.fingerprint import fingerprint
from creto.common.ids import TenantId
from creto.metering.quota_types import Quota
from creto.store.types import ReadTx, Tx

WHOLE: Final = -1  # in the place of an event: all of the batch that counted when it came
NOTHING: Final = b""
PRINT_BYTES: Final = 16


def print_of(quotas: Sequence[Quota]) -> bytes:
    """What names these quotas, just as they are."""
    return fingerprint(wire.encode(quotas))[1 : PRINT_BYTES + 1] if quotas else NOTHING


def put_counted(tx: Tx, tenant: TenantId, batch: int, place: int, known: bytes, quotas: Sequence[Quota]) -> None:
    """By which quotas a batch, or one event of it, was counted."""
    if quotas:
        tx.push(
            "INSERT INTO metering_quota_known (tenant, known, body) VALUES (?, ?, ?) ON CONFLICT (tenant, known) DO NOTHING",
            tenant, known, wire.encode(quotas),
        )  # fmt: skip
    tx.push(
        "INSERT INTO metering_quota_counted (batch, place, tenant, known) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (batch, place) DO UPDATE SET known = excluded.known",
        batch, place, tenant, known,
    )  # fmt: skip


def counted_by(tx: ReadTx, tenant: TenantId, batch: int, place: int) -> tuple[Quota, ...]:
    """The quotas, as they were, that an event was counted by."""
    body = tx.value(
        "SELECT k.body FROM (SELECT known FROM metering_quota_counted WHERE batch = ? AND tenant = ? AND place IN (?, ?)"
        " ORDER BY place DESC LIMIT 1) c JOIN metering_quota_known k ON k.tenant = ? AND k.known = c.known",
        batch, tenant, place, WHOLE, tenant,
    )  # fmt: skip
    return () if body is None else wire.decode(body, tuple[Quota, ...], what="quotas")


def add_due(tx: Tx, tenant: TenantId, name: str, body: bytes, now: int) -> None:
    tx.push(
        "INSERT INTO metering_quota_due (tenant, due, booked, came_at, body) VALUES (?, ?, 0, ?, ?)",
        tenant, name, now, body,
    )  # fmt: skip


def take_due(tx: Tx, tenant: TenantId, name: str) -> bool:
    """Whether nobody has booked it before."""
    return bool(
        tx.run("UPDATE metering_quota_due SET booked = 1 WHERE tenant = ? AND due = ? AND booked = 0", tenant, name)
    )


def drop_due(tx: Tx, tenant: TenantId, name: str) -> None:
    tx.run("DELETE FROM metering_quota_due WHERE tenant = ? AND due = ?", tenant, name)


def left(tx: ReadTx, before: int, limit: int) -> list[tuple[TenantId, str, bytes]]:
    """What whoever took it in has not dealt with, the oldest first."""
    rows = tx.all(
        "SELECT tenant, due, body FROM metering_quota_due WHERE came_at <= ? ORDER BY came_at LIMIT ?", before, limit
    )
    return [(TenantId(tenant), name, bytes(body)) for tenant, name, body in rows]
