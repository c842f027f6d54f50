"""The rows of quotas, rates, notices and reservations."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, ResourceId, TenantId
from creto.common.timestamps import Clock
from creto.metering import core
from creto.metering.quota_rules import Definitions
from creto.metering.quota_types import Quota, Rate
from creto.store.types import ReadTx, Tx

log = logging.getLogger("creto.metering")


def unattended(done: Future[Any], what: str) -> None:
    """Nobody waits for it: that it failed is said here."""
    error = done.exception()
    if error is not None:
        log.error("%s could not be written: %s", what, error)


def definitions(tx: ReadTx, tenant: TenantId) -> Definitions:
    return Definitions(tuple(quotas(tx, tenant)), tuple(rates(tx, tenant)))


def quotas(tx: ReadTx, tenant: TenantId) -> list[Quota]:
    rows = tx.all("SELECT body FROM metering_quota WHERE tenant = ? ORDER BY quota_id", tenant)
    return [wire.decode(body, Quota, what="quota") for (body,) in rows]


def find_quota(tx: ReadTx, tenant: TenantId, quota_id: str) -> Quota | None:
    body = tx.value("SELECT body FROM metering_quota WHERE tenant = ? AND quota_id = ?", tenant, quota_id)
    return None if body is None else wire.decode(body, Quota, what="quota")


def put_quota(tx: Tx, tenant: TenantId, quota: Quota, now: int) -> None:
    tx.run(
        "INSERT INTO metering_quota (tenant, quota_id, changed_at, body) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, quota_id) DO UPDATE SET changed_at = excluded.changed_at, body = excluded.body",
        tenant, quota.quota_id, now, wire.encode(quota),
    )  # fmt: skip


def delete_quota(tx: Tx, tenant: TenantId, quota_id: str) -> bool:
    return bool(tx.run("DELETE FROM metering_quota WHERE tenant = ? AND quota_id = ?", tenant, quota_id))


def rates(tx: ReadTx, tenant: TenantId) -> list[Rate]:
    rows = tx.all("SELECT body FROM metering_rate WHERE tenant = ? ORDER BY counts", tenant)
    return [wire.decode(body, Rate, what="rate") for (body,) in rows]


def put_rate(tx: Tx, tenant: TenantId, rate: Rate) -> None:
    tx.run(
        "INSERT INTO metering_rate (tenant, counts, body) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, counts) DO UPDATE SET body = excluded.body",
        tenant, rate.counts, wire.encode(rate),
    )  # fmt: skip


def delete_rate(tx: Tx, tenant: TenantId, counts: str) -> bool:
    return bool(tx.run("DELETE FROM metering_rate WHERE tenant = ? AND counts = ?", tenant, counts))


def notice_first(tx: Tx, tenant: TenantId, counter: str, mark: int, now: int, ends_at: int) -> bool:
    """Whether nobody was told of this mark before."""
    added = tx.run(
        "INSERT INTO metering_quota_notice (tenant, counter, mark, told_at, ends_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, counter, mark) DO NOTHING",
        tenant, counter, mark, now, ends_at,
    )  # fmt: skip
    return bool(added)


def add_hold(tx: Tx, tenant: TenantId, reservation_id: str, expires_at: int, body: bytes) -> None:
    tx.run(
        "INSERT INTO metering_quota_hold (tenant, reservation_id, expires_at, body) VALUES (?, ?, ?, ?)",
        tenant, reservation_id, expires_at, body,
    )  # fmt: skip


def find_hold(tx: ReadTx, tenant: TenantId, reservation_id: str) -> bytes | None:
    body: bytes | None = tx.value(
        "SELECT body FROM metering_quota_hold WHERE tenant = ? AND reservation_id = ?", tenant, reservation_id
    )
    return body


def take_hold(tx: Tx, tenant: TenantId, reservation_id: str) -> bytes | None:
    """Out of the table: whoever gets it closes it, and nobody else."""
    body: bytes | None = tx.value(
        "DELETE FROM metering_quota_hold WHERE tenant = ? AND reservation_id = ? RETURNING body", tenant, reservation_id
    )
    return body


def expired_holds(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, str]]:
    rows = tx.all(
        "SELECT tenant, reservation_id FROM metering_quota_hold WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), reservation_id) for tenant, reservation_id in rows]


def note(
    tx: Tx, clock: Clock, tenant: TenantId, act: str, event: str, by: AgentId, name: str, what: msgspec.Struct | None
) -> None:
    """One entry in the ledger about a quota."""
    core.note(tx, clock, tenant, act, event, by, ResourceId("metering", "quota", name), what)
