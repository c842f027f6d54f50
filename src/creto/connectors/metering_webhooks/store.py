"""The rows: what endpoints want, and what is on its way to them."""

from __future__ import annotations

from typing import LiteralString

from msgspec.structs import replace

from creto.common import wire
from creto.common.ids import TenantId
from creto.connectors.metering_webhooks.types import Delivery, DeliveryState
from creto.store.types import ReadTx, Tx

DELIVERY: LiteralString = "SELECT body, state, next_at, changed_at FROM metering_webhook_delivery"
ONE: LiteralString = " WHERE tenant = ? AND endpoint_id = ? AND message_id = ?"


def put_wishes(tx: Tx, tenant: TenantId, endpoint_id: str, events: tuple[str, ...]) -> None:
    if not events:
        tx.run("DELETE FROM metering_webhook_wish WHERE tenant = ? AND endpoint_id = ?", tenant, endpoint_id)
        return
    tx.run(
        "INSERT INTO metering_webhook_wish (tenant, endpoint_id, events) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, endpoint_id) DO UPDATE SET events = excluded.events",
        tenant, endpoint_id, wire.encode(events),
    )  # fmt: skip


def wishes(tx: ReadTx, tenant: TenantId) -> dict[str, tuple[str, ...]]:
    """By endpoint."""
    found = tx.all("SELECT endpoint_id, events FROM metering_webhook_wish WHERE tenant = ?", tenant)
    return {endpoint_id: wire.decode(events, tuple[str, ...], what="events") for endpoint_id, events in found}


def forget(tx: Tx, tenant: TenantId, endpoint_id: str) -> None:
    tx.run("DELETE FROM metering_webhook_wish WHERE tenant = ? AND endpoint_id = ?", tenant, endpoint_id)
    tx.run("DELETE FROM metering_webhook_delivery WHERE tenant = ? AND endpoint_id = ?", tenant, endpoint_id)


def enqueue(tx: Tx, one: Delivery) -> None:
    """Once: the same message may come again from the bus."""
    tx.run(
        "INSERT INTO metering_webhook_delivery (tenant, endpoint_id, message_id, state, next_at, changed_at, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, endpoint_id, message_id) DO NOTHING",
        one.tenant, one.endpoint_id, one.message_id, one.state, one.next_at, one.changed_at, wire.encode(one),
    )  # fmt: skip


def put(tx: Tx, one: Delivery) -> None:
    tx.run(
        "UPDATE metering_webhook_delivery SET state = ?, next_at = ?, changed_at = ?, body = ?" + ONE,
        one.state, one.next_at, one.changed_at, wire.encode(one), one.tenant, one.endpoint_id, one.message_id,
    )  # fmt: skip


def find(tx: ReadTx, tenant: TenantId, endpoint_id: str, message_id: str) -> Delivery | None:
    row = tx.one(DELIVERY + ONE, tenant, endpoint_id, message_id)
    return None if row is None else delivery(*row)


def take_due(tx: Tx, now: int, until: int, limit: int) -> list[Delivery]:
    """What is due, taken: nobody else takes it before `until`."""
    tx.lock("metering.webhooks")
    due = [
        delivery(*row)
        for row in tx.all(f"{DELIVERY} WHERE state = 'queued' AND next_at <= ? ORDER BY next_at LIMIT ?", now, limit)
    ]
    for one in due:
        tx.run(
            "UPDATE metering_webhook_delivery SET next_at = ?" + ONE,
            until, one.tenant, one.endpoint_id, one.message_id,
        )  # fmt: skip
    return due


def hold_back(tx: Tx, tenant: TenantId, endpoint_id: str, until: int) -> None:
    """Nothing more goes to a busy endpoint before then."""
    tx.run(
        "UPDATE metering_webhook_delivery SET next_at = ? WHERE tenant = ? AND endpoint_id = ? AND state = 'queued' "
        "AND next_at < ?",
        until, tenant, endpoint_id, until,
    )  # fmt: skip


def give_up(tx: Tx, tenant: TenantId, endpoint_id: str, why: str, now: int) -> None:
    """All that waits for an endpoint that wants nothing more."""
    sql: LiteralString = f"{DELIVERY} WHERE tenant = ? AND endpoint_id = ? AND state = 'queued'"
    for row in tx.all(sql, tenant, endpoint_id):
        put(tx, replace(delivery(*row), state=DeliveryState.FAILED, detail=why, changed_at=now))


def of_endpoint(
    tx: ReadTx, tenant: TenantId, endpoint_id: str, state: DeliveryState | None, after: str, limit: int
) -> list[Delivery]:
    only: LiteralString = "" if state is None else " AND state = ?"
    sql: LiteralString = (
        f"{DELIVERY} WHERE tenant = ? AND endpoint_id = ? AND message_id > ?{only} ORDER BY message_id LIMIT ?"
    )
    asked = (tenant, endpoint_id, after) if state is None else (tenant, endpoint_id, after, state)
    return [delivery(*row) for row in tx.all(sql, *asked, limit)]


def standing(tx: ReadTx, tenant: TenantId, endpoint_id: str) -> dict[DeliveryState, int]:
    found = tx.all(
        "SELECT state, COUNT(*) FROM metering_webhook_delivery WHERE tenant = ? AND endpoint_id = ? GROUP BY state",
        tenant, endpoint_id,
    )  # fmt: skip
    return {DeliveryState(state): count for state, count in found}


def forget_old(tx: Tx, before: int, limit: int) -> int:
    old = tx.all(
        "SELECT tenant, endpoint_id, message_id FROM metering_webhook_delivery "
        "WHERE state <> 'queued' AND changed_at < ? ORDER BY changed_at LIMIT ?",
        before, limit,
    )  # fmt: skip
    tx.many("DELETE FROM metering_webhook_delivery" + ONE, old)
    return len(old)


def delivery(body: bytes, state: str, next_at: int, changed_at: int) -> Delivery:
    """The columns hold what is changed without reading the body."""
    one = wire.decode(body, Delivery, what="delivery")
    return replace(one, state=DeliveryState(state), next_at=next_at, changed_at=changed_at)
