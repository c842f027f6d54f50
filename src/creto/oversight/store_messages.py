"""Rows of messages to approvers, whatever became of them."""

from __future__ import annotations

from typing import LiteralString

from creto.common import wire
from creto.common.ids import RequestId, TenantId
from creto.oversight.store import NOTIFICATIONS, decoded
from creto.oversight.types import Channel, Notification
from creto.store.types import ReadTx, Tx


def put_notification(tx: Tx, one: Notification) -> None:
    next_at = one.next_at if one.state == "queued" else None
    tx.push(
        "INSERT INTO oversight_notification (tenant, notification_id, request_id, person, channel, state, next_at, reference, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, notification_id) DO UPDATE SET state = excluded.state,"
        " next_at = excluded.next_at, reference = excluded.reference, body = excluded.body",
        one.tenant, one.notification_id, one.request_id, one.person, str(one.channel), str(one.state), next_at,
        one.reference, wire.encode(one),
    )  # fmt: skip


def notifications(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> list[Notification]:
    return [decoded(row[0], Notification) for row in tx.all(NOTIFICATIONS, tenant, request_id)]


def locked_notification(tx: Tx, tenant: TenantId, notification_id: str) -> Notification | None:
    sql: LiteralString = "SELECT body FROM oversight_notification WHERE tenant = ? AND notification_id = ?"
    row = tx.one(sql + tx.for_update, tenant, notification_id)
    return decoded(row[0], Notification) if row else None


def due_notifications(tx: ReadTx, channel: Channel, now: int, limit: int) -> list[Notification]:
    rows = tx.all(
        "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND next_at <= ?"
        " ORDER BY next_at LIMIT ?",
        str(channel), now, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def locked_due_notifications(tx: Tx, channel: Channel, now: int, limit: int) -> list[Notification]:
    """As `due_notifications`, held until the transaction ends."""
    sql: LiteralString = (
        "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND next_at <= ?"
        " ORDER BY next_at LIMIT ?"
    )
    return [decoded(row[0], Notification) for row in tx.all(sql + tx.for_update, str(channel), now, limit)]


def of_open_requests(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    rows = tx.all(
        "SELECT n.body FROM oversight_request r JOIN oversight_notification n ON n.tenant = r.tenant AND n.request_id = r.request_id"
        " WHERE r.tenant = ? AND r.due_at IS NOT NULL ORDER BY n.request_id LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def newest_ended(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    """The last messages that arrived or were given up, the newest first."""
    rows = tx.all(
        "SELECT body FROM oversight_notification WHERE tenant = ? AND state IN ('sent', 'failed')"
        " ORDER BY notification_id DESC LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def by_reference(tx: ReadTx, tenant: TenantId, channel: Channel, reference: str) -> Notification | None:
    row = tx.one(
        "SELECT body FROM oversight_notification WHERE tenant = ? AND channel = ? AND reference = ? LIMIT 1",
        tenant, str(channel), reference,
    )  # fmt: skip
    return decoded(row[0], Notification) if row else None


def unsettled(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    """What has not left; and what was given up, as long as its request is open. The newest first: old trouble hides no new one."""
    rows = tx.all(
        "SELECT n.body FROM oversight_notification n JOIN oversight_request r ON r.tenant = n.tenant AND r.request_id = n.request_id"
        " WHERE n.tenant = ? AND (n.state = 'queued' OR (n.state = 'failed' AND r.due_at IS NOT NULL))"
        " ORDER BY n.notification_id DESC LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def queued_by_channel(tx: ReadTx, tenant: TenantId) -> dict[Channel, int]:
    """How many messages wait for each channel."""
    rows = tx.all(
        "SELECT channel, COUNT(*) FROM oversight_notification WHERE tenant = ? AND next_at IS NOT NULL GROUP BY channel ORDER BY channel",
        tenant,
    )  # fmt: skip
    return {Channel(row[0]): int(row[1]) for row in rows}


def locked_queued(tx: Tx, tenant: TenantId, channel: Channel, limit: int) -> list[Notification]:
    """What waits for a channel, due or not; held until the transaction ends."""
    sql: LiteralString = "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND tenant = ? ORDER BY next_at LIMIT ?"
    return [decoded(row[0], Notification) for row in tx.all(sql + tx.for_update, str(channel), tenant, limit)]
