"""The rows of coupons, taxes and exchange rates."""

from __future__ import annotations

from decimal import Decimal
from typing import LiteralString

from creto.common import wire
from creto.common.ids import SubscriptionId, TenantId
from creto.common.limits import INTEGER_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.metering.currencies import ExchangeRate
from creto.metering.parties import Party
from creto.metering.presets import BillingRules
from creto.metering.types import Coupon, CouponId, InvoiceId, Tax
from creto.store.types import ReadTx, Tx


def add_coupon(tx: Tx, tenant: TenantId, coupon: Coupon) -> None:
    """A second one of its id is AlreadyExists (PL-409)."""
    tx.run(
        "INSERT INTO metering_coupon (tenant, coupon_id, redeemed, body) VALUES (?, ?, 0, ?)",
        tenant, coupon.coupon_id, wire.encode(coupon),
    )  # fmt: skip


def put_coupon(tx: Tx, tenant: TenantId, coupon: Coupon) -> None:
    tx.run(
        "UPDATE metering_coupon SET body = ? WHERE tenant = ? AND coupon_id = ?",
        wire.encode(coupon), tenant, coupon.coupon_id,
    )  # fmt: skip


def forget_coupon(tx: Tx, tenant: TenantId, coupon_id: CouponId) -> bool:
    """Only one that nobody has: invoices are counted with those that were given."""
    return bool(
        tx.run("DELETE FROM metering_coupon WHERE tenant = ? AND coupon_id = ? AND redeemed = 0", tenant, coupon_id)
    )


def find_coupon(tx: ReadTx, tenant: TenantId, coupon_id: CouponId) -> Coupon | None:
    body = tx.value("SELECT body FROM metering_coupon WHERE tenant = ? AND coupon_id = ?", tenant, coupon_id)
    return None if body is None else wire.decode(body, Coupon, what="coupon")


def coupons(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Coupon]:
    sql: LiteralString = (
        "SELECT body FROM metering_coupon WHERE tenant = ? AND coupon_id > ? ORDER BY coupon_id LIMIT ?"
    )
    return [wire.decode(body, Coupon, what="coupon") for (body,) in tx.all(sql, tenant, after, limit)]


def redeem(tx: Tx, tenant: TenantId, coupon_id: CouponId, at_most: int | None) -> bool:
    """Count one more, unless all were given out."""
    return bool(
        tx.run(
            "UPDATE metering_coupon SET redeemed = redeemed + 1 WHERE tenant = ? AND coupon_id = ? AND redeemed < ?",
            tenant, coupon_id, INTEGER_MAX if at_most is None else at_most,
        )
    )  # fmt: skip


def unredeem(tx: Tx, tenant: TenantId, coupon_id: CouponId) -> None:
    tx.run("UPDATE metering_coupon SET redeemed = redeemed - 1 WHERE tenant = ? AND coupon_id = ?", tenant, coupon_id)


def use_coupon(
    tx: Tx, tenant: TenantId, subscription_id: SubscriptionId, coupon_id: CouponId, invoice_id: InvoiceId
) -> None:
    tx.run(
        "INSERT INTO metering_coupon_use (tenant, subscription_id, coupon_id, invoice_id) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, subscription_id, coupon_id, invoice_id) DO NOTHING",
        tenant, subscription_id, coupon_id, invoice_id,
    )  # fmt: skip


def unuse_coupons(tx: Tx, tenant: TenantId, subscription_id: SubscriptionId, invoice_id: InvoiceId) -> None:
    tx.run(
        "DELETE FROM metering_coupon_use WHERE tenant = ? AND subscription_id = ? AND invoice_id = ?",
        tenant, subscription_id, invoice_id,
    )  # fmt: skip


def coupon_uses(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId, coupon_id: CouponId) -> int:
    """On how many final invoices of a subscription a coupon came off."""
    return int(
        tx.value(
            "SELECT COUNT(*) FROM metering_coupon_use WHERE tenant = ? AND subscription_id = ? AND coupon_id = ?",
            tenant, subscription_id, coupon_id,
        )
    )  # fmt: skip


def put_tax(tx: Tx, tenant: TenantId, tax: Tax) -> None:
    tx.run(
        "INSERT INTO metering_tax (tenant, code, body) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, code) DO UPDATE SET body = excluded.body",
        tenant, tax.code, wire.encode(tax),
    )  # fmt: skip


def forget_tax(tx: Tx, tenant: TenantId, code: str) -> bool:
    return bool(tx.run("DELETE FROM metering_tax WHERE tenant = ? AND code = ?", tenant, code))


def find_tax(tx: ReadTx, tenant: TenantId, code: str) -> Tax | None:
    body = tx.value("SELECT body FROM metering_tax WHERE tenant = ? AND code = ?", tenant, code)
    return None if body is None else wire.decode(body, Tax, what="tax")


def taxes(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Tax]:
    sql: LiteralString = "SELECT body FROM metering_tax WHERE tenant = ? AND code > ? ORDER BY code LIMIT ?"
    return [wire.decode(body, Tax, what="tax") for (body,) in tx.all(sql, tenant, after, limit)]


def put_rules(tx: Tx, tenant: TenantId, rules: BillingRules) -> None:
    tx.run(
        "INSERT INTO metering_rules (tenant, body) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET body = excluded.body",
        tenant, wire.encode(rules),
    )  # fmt: skip


def find_rules(tx: ReadTx, tenant: TenantId) -> BillingRules:
    """The tenant's, or the defaults."""
    body = tx.value("SELECT body FROM metering_rules WHERE tenant = ?", tenant)
    return BillingRules() if body is None else wire.decode(body, BillingRules, what="rules")


def add_rate(tx: Tx, tenant: TenantId, rate: ExchangeRate) -> None:
    """A second one of the same instant is AlreadyExists (PL-409)."""
    tx.run(
        "INSERT INTO metering_exchange_rate (tenant, base, quote, at, rate) VALUES (?, ?, ?, ?, ?)",
        tenant, rate.base, rate.quote, rate.at, str(rate.rate),
    )  # fmt: skip


def rates(tx: ReadTx, tenant: TenantId, base: str, quote: str, until: int | None, limit: int) -> list[ExchangeRate]:
    """The newest first."""
    found = tx.all(
        "SELECT at, rate FROM metering_exchange_rate WHERE tenant = ? AND base = ? AND quote = ? AND at <= ? ORDER BY at DESC LIMIT ?",
        tenant, base, quote, INTEGER_MAX if until is None else until, limit,
    )  # fmt: skip
    return [ExchangeRate(base, quote, Decimal(rate), ConsensusTimestamp(at)) for at, rate in found]


def put_party(tx: Tx, tenant: TenantId, subscription_id: SubscriptionId | None, party: Party) -> None:
    tx.run(
        "INSERT INTO metering_party (tenant, subscription_id, body) VALUES (?, ?, ?) "
        "ON CONFLICT (tenant, subscription_id) DO UPDATE SET body = excluded.body",
        tenant, subscription_id or "", wire.encode(party),
    )  # fmt: skip


def find_party(tx: ReadTx, tenant: TenantId, subscription_id: SubscriptionId | None) -> Party | None:
    sql: LiteralString = "SELECT body FROM metering_party WHERE tenant = ? AND subscription_id = ?"
    body = tx.value(sql, tenant, subscription_id or "")
    return None if body is None else wire.decode(body, Party, what="party")
