"""The rows of plans, subscriptions and invoices. Bodies are the structs as JSON; what is looked up stands in columns beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from creto.common import wire
from creto.common.ids import AgentId, SubscriptionId, TenantId
from creto.metering.invoices import Terms
from creto.metering.types import Invoice, InvoiceId, InvoiceKind, InvoiceStatus, Plan, PlanId, Subscription
from creto.store.types import EntryId, ReadTx, Tx

SUBSCRIBED = "metering.subscriptions"  # the signal that an agent has other subscriptions

INVOICE: LiteralString = "SELECT body, terms FROM metering_invoice WHERE tenant = ?"


def add_plan(tx: Tx, tenant: TenantId, plan: Plan, now: int) -> None:
    tx.run(
        "INSERT INTO metering_plan (tenant, plan_id, version, created_at, body) VALUES (?, ?, ?, ?, ?)",
        tenant, plan.plan_id, plan.version, now, wire.encode(plan),
    )  # fmt: skip


def versions(tx: ReadTx, tenant: TenantId, plan_id: PlanId) -> list[Plan]:
    """All versions of a plan, the oldest first."""
    sql: LiteralString = "SELECT body FROM metering_plan WHERE tenant = ? AND plan_id = ? ORDER BY version"
    return [wire.decode(body, Plan, what="plan") for (body,) in tx.all(sql, tenant, plan_id)]


def newest_plans(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Plan]:
    rows = tx.all(
        "SELECT p.body FROM metering_plan p WHERE p.tenant = ? AND p.plan_id > ? AND p.version = "
        "(SELECT MAX(v.version) FROM metering_plan v WHERE v.tenant = p.tenant AND v.plan_id = p.plan_id) "
        "ORDER BY p.plan_id LIMIT ?",
        tenant, after, limit,
    )  # fmt: skip
    return [wire.decode(body, Plan, what="plan") for (body,) in rows]


def put_subscription(tx: Tx, subscription: Subscription, now: int) -> None:
    tx.run(
        "INSERT INTO metering_subscription (tenant, subscription_id, agent, status, changed_at, body) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, subscription_id) DO UPDATE SET status = excluded.status, "
        "changed_at = excluded.changed_at, body = excluded.body",
        subscription.tenant, subscription.subscription_id, subscription.agent, subscription.status, now,
        wire.encode(subscription),
    )  # fmt: skip
    put_version(tx, subscription, wire.encode(subscription), now)


def all_versions(tx: ReadTx, tenant: TenantId) -> list[Plan]:
    """Of all plans."""
    sql: LiteralString = "SELECT body FROM metering_plan WHERE tenant = ? ORDER BY plan_id, version"
    return [wire.decode(body, Plan, what="plan") for (body,) in tx.all(sql, tenant)]


def put_version(tx: Tx, subscription: Subscription, body: bytes, now: int) -> None:
    tx.run(
        "INSERT INTO metering_subscription_version (tenant, subscription_id, changed_at, agent, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, subscription_id, changed_at) DO UPDATE SET body = excluded.body",
        subscription.tenant, subscription.subscription_id, now, subscription.agent, body,
    )  # fmt: skip
    tx.signal(SUBSCRIBED, wire.encode((subscription.tenant, subscription.agent)).decode())


def subscription_at(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId, at: int) -> Subscription | None:
    """As it was known at an instant."""
    body = tx.value(
        "SELECT body FROM metering_subscription_version WHERE tenant = ? AND subscription_id = ? AND changed_at <= ? "
        "ORDER BY changed_at DESC LIMIT 1",
        tenant, subscription_id, at,
    )  # fmt: skip
    return wire.decode(body, Subscription, what="subscription") if body else None


def subscriptions_at(tx: ReadTx, tenant: TenantId, agent: AgentId, at: int) -> list[Subscription]:
    """Those of an agent, as they were known at an instant."""
    rows = tx.all(
        "SELECT v.body FROM metering_subscription_version v WHERE v.tenant = ? AND v.agent = ? AND v.changed_at = "
        "(SELECT MAX(w.changed_at) FROM metering_subscription_version w "
        "WHERE w.tenant = v.tenant AND w.subscription_id = v.subscription_id AND w.changed_at <= ?) ORDER BY v.subscription_id",
        tenant, agent, at,
    )  # fmt: skip
    return [wire.decode(body, Subscription, what="subscription") for (body,) in rows if body]


def subscriptions_changed(
    tx: ReadTx, tenant: TenantId, agents: Sequence[AgentId], but: SubscriptionId, since: int
) -> bool:
    """Whether one of these agents' subscriptions came, changed or went after an instant."""
    sql: LiteralString = (
        "SELECT 1 FROM metering_subscription_version WHERE tenant = ? AND agent = ? AND changed_at > ? "
        "AND subscription_id <> ? LIMIT 1"
    )
    return any(tx.one(sql, tenant, agent, since, but) is not None for agent in agents)


def find_subscription(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId) -> Subscription | None:
    body = tx.value(
        "SELECT body FROM metering_subscription WHERE tenant = ? AND subscription_id = ?", tenant, subscription_id
    )
    return None if body is None else wire.decode(body, Subscription, what="subscription")


def locked_subscription(tx: Tx, tenant: TenantId, subscription_id: SubscriptionId) -> Subscription | None:
    """As it is and stays until the transaction ends; so do its invoices, which are changed under the same lock."""
    tx.lock(f"metering.subscription/{tenant}/{subscription_id}")
    return find_subscription(tx, tenant, subscription_id)


def subscriptions_of(tx: ReadTx, tenant: TenantId, agent: AgentId | None, after: str, limit: int) -> list[Subscription]:
    if agent is None:
        rows = tx.all(
            "SELECT body FROM metering_subscription WHERE tenant = ? AND subscription_id > ? "
            "ORDER BY subscription_id LIMIT ?",
            tenant, after, limit,
        )  # fmt: skip
    else:
        rows = tx.all(
            "SELECT body FROM metering_subscription WHERE tenant = ? AND agent = ? AND subscription_id > ? "
            "ORDER BY subscription_id LIMIT ?",
            tenant, agent, after, limit,
        )  # fmt: skip
    return [wire.decode(body, Subscription, what="subscription") for (body,) in rows]


def forget_subscription(tx: Tx, subscription: Subscription, now: int) -> None:
    """Not that it was known: what others were billed meanwhile rests on it."""
    tenant, subscription_id = subscription.tenant, subscription.subscription_id
    put_version(tx, subscription, b"", now)
    tx.run("DELETE FROM metering_invoice WHERE tenant = ? AND subscription_id = ?", tenant, subscription_id)
    tx.run("DELETE FROM metering_subscription WHERE tenant = ? AND subscription_id = ?", tenant, subscription_id)


def add_invoice(tx: Tx, invoice: Invoice, terms: Terms, now: int) -> None:
    """A second invoice for the same period is AlreadyExists (PL-409), unless the first is void."""
    tx.run(
        "INSERT INTO metering_invoice (tenant, invoice_id, subscription_id, kind, status, period_start, number, "
        "changed_at, terms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        invoice.tenant, invoice.invoice_id, invoice.subscription_id, invoice.kind, invoice.status,
        invoice.period.start, invoice.number, now, wire.encode(terms), wire.encode(invoice),
    )  # fmt: skip


def put_invoice(tx: Tx, invoice: Invoice, terms: Terms, now: int) -> None:
    tx.run(
        "UPDATE metering_invoice SET status = ?, number = ?, changed_at = ?, terms = ?, body = ? "
        "WHERE tenant = ? AND invoice_id = ?",
        invoice.status, invoice.number, now, wire.encode(terms), wire.encode(invoice), invoice.tenant, invoice.invoice_id,
    )  # fmt: skip


def find_invoice(tx: ReadTx, tenant: TenantId, invoice_id: InvoiceId) -> tuple[Invoice, Terms] | None:
    row = tx.one(INVOICE + " AND invoice_id = ?", tenant, invoice_id)
    return None if row is None else read_invoice(*row)


def invoices_of(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId) -> list[tuple[Invoice, Terms]]:
    """All invoices and credit notes of a subscription, by period."""
    sql: LiteralString = INVOICE + " AND subscription_id = ? ORDER BY period_start, invoice_id"
    return [read_invoice(*row) for row in tx.all(sql, tenant, subscription_id)]


def invoiced_periods(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId) -> frozenset[int]:
    """Where the periods begin that have an invoice, void or not."""
    found = tx.all(
        "SELECT period_start FROM metering_invoice WHERE tenant = ? AND subscription_id = ? AND kind = ?",
        tenant, subscription_id, InvoiceKind.INVOICE,
    )  # fmt: skip
    return frozenset(int(start) for (start,) in found)


def find_period(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId, start: int) -> Invoice | None:
    """The invoice of the period that begins there, if it has one that is not void."""
    sql: LiteralString = INVOICE + " AND subscription_id = ? AND period_start = ? AND kind = ? AND status <> ?"
    row = tx.one(sql, tenant, subscription_id, start, InvoiceKind.INVOICE, InvoiceStatus.VOID)
    return None if row is None else read_invoice(*row)[0]


def open_invoices(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId) -> list[Invoice]:
    """Those that are neither final nor void, by period."""
    sql: LiteralString = INVOICE + " AND subscription_id = ? AND status IN (?, ?) ORDER BY period_start, invoice_id"
    found = tx.all(sql, tenant, subscription_id, InvoiceStatus.DRAFT, InvoiceStatus.GRACE)
    return [read_invoice(*row)[0] for row in found]


def invoices_by_id(tx: ReadTx, tenant: TenantId, status: InvoiceStatus | None, after: str, limit: int) -> list[Invoice]:
    """By id, which is the order in which they were made."""
    if status is None:
        sql: LiteralString = INVOICE + " AND invoice_id > ? ORDER BY invoice_id LIMIT ?"
        found = tx.all(sql, tenant, after, limit)
    else:
        sql = INVOICE + " AND status = ? AND invoice_id > ? ORDER BY invoice_id LIMIT ?"
        found = tx.all(sql, tenant, status, after, limit)
    return [read_invoice(*row)[0] for row in found]


def invoice_numbered(tx: ReadTx, tenant: TenantId, number: str) -> Invoice | None:
    row = tx.one(INVOICE + " AND number = ?", tenant, number)
    return None if row is None else read_invoice(*row)[0]


def put_entry(tx: Tx, tenant: TenantId, invoice_id: InvoiceId, entry_id: EntryId) -> None:
    tx.run(
        "INSERT INTO metering_invoice_entry (tenant, invoice_id, entry_id) VALUES (?, ?, ?)",
        tenant, invoice_id, entry_id,
    )  # fmt: skip


def find_entry(tx: ReadTx, tenant: TenantId, invoice_id: InvoiceId) -> EntryId | None:
    sql: LiteralString = "SELECT entry_id FROM metering_invoice_entry WHERE tenant = ? AND invoice_id = ?"
    found = tx.value(sql, tenant, invoice_id)
    return None if found is None else EntryId(found)


def read_invoice(body: bytes, terms: bytes) -> tuple[Invoice, Terms]:
    return wire.decode(body, Invoice, what="invoice"), wire.decode(terms, Terms, what="terms")


def last_number(tx: Tx, tenant: TenantId, series: str) -> int:
    """The last number given; nobody else takes the next one until the transaction ends."""
    tx.lock(f"metering.series/{tenant}/{series}")
    last = tx.value("SELECT last FROM metering_series WHERE tenant = ? AND series = ?", tenant, series)
    return 0 if last is None else int(last)


def put_number(tx: Tx, tenant: TenantId, series: str, last: int) -> None:
    tx.run(
        "INSERT INTO metering_series (tenant, series, last) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, series) DO UPDATE SET last = excluded.last",
        tenant, series, last,
    )  # fmt: skip


def tenants(tx: ReadTx) -> list[TenantId]:
    return [
        TenantId(tenant) for (tenant,) in tx.all("SELECT DISTINCT tenant FROM metering_subscription ORDER BY tenant")
    ]
