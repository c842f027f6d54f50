"""The rows of credits: grants with their balances, postings, rules of topping up, purchases. Amounts are millionths."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import LiteralString

from creto.common import wire
from creto.common.ids import AgentId, TenantId
from creto.common.money import from_micros, to_micros
from creto.metering.credits import NEVER, Account, Balance, Grant, Posting
from creto.metering.periods import period_at
from creto.metering.types import GrantId
from creto.metering.wallets import Held, Purchase, PurchaseId, PurchaseState, RuleId, TopUpRule
from creto.store.types import ReadTx, Row, Tx

GRANT: LiteralString = (
    "SELECT body, granted, remaining, used, expired, voided, postings, seen_at FROM metering_grant WHERE tenant = ?"
)
POSTING: LiteralString = "SELECT grant_id, at, source, target, amount, ref FROM metering_posting WHERE tenant = ?"


def lock_wallet(tx: Tx, tenant: TenantId, agent: AgentId) -> None:
    tx.lock(f"metering.wallet/{tenant}/{agent}")


def held_by(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str) -> list[Held]:
    """The grants of a wallet that have something left or may get it, the oldest first."""
    sql: LiteralString = GRANT + " AND agent = ? AND currency = ? AND (remaining > 0 OR ages_at < ?) ORDER BY grant_id"
    return [read_held(row) for row in tx.all(sql, tenant, agent, currency, NEVER)]


def all_held_by(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str, after: str, limit: int) -> list[Held]:
    sql: LiteralString = GRANT + " AND agent = ? AND currency = ? AND grant_id > ? ORDER BY grant_id LIMIT ?"
    return [read_held(row) for row in tx.all(sql, tenant, agent, currency, after, limit)]


def find_held(tx: ReadTx, tenant: TenantId, grant_id: GrantId) -> Held | None:
    row = tx.one(GRANT + " AND grant_id = ?", tenant, grant_id)
    return None if row is None else read_held(row)


def has_wallet(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str) -> bool:
    sql: LiteralString = "SELECT 1 FROM metering_grant WHERE tenant = ? AND agent = ? AND currency = ? LIMIT 1"
    return tx.one(sql, tenant, agent, currency) is not None


def totals_of_ended(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str) -> Balance:
    """Over the grants of a wallet that `held_by` leaves out: nothing is left of them and nothing will come."""
    row = tx.one(
        "SELECT SUM(granted), SUM(remaining), SUM(used), SUM(expired), SUM(voided) FROM metering_grant "
        "WHERE tenant = ? AND agent = ? AND currency = ? AND remaining = 0 AND ages_at = ?",
        tenant, agent, currency, NEVER,
    )  # fmt: skip
    return Balance(*(from_micros(int(value or 0)) for value in row or ()))


def read_held(row: Row) -> Held:
    body, granted, left, used, expired, voided, postings, seen_at = row
    return Held(
        grant=wire.decode(body, Grant, what="grant"),
        balance=Balance(*(from_micros(value) for value in (granted, left, used, expired, voided))),
        written=postings,
        seen_at=seen_at,
    )


def put_held(tx: Tx, tenant: TenantId, held: Held) -> None:
    """The grant as it is now, and what was posted to it."""
    grant, now = held.grant, held.balance
    tx.run(
        "INSERT INTO metering_grant (tenant, grant_id, agent, currency, granted, remaining, used, expired, voided, postings, "
        "seen_at, ages_at, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, grant_id) DO UPDATE SET "
        "granted = excluded.granted, remaining = excluded.remaining, used = excluded.used, expired = excluded.expired, "
        "voided = excluded.voided, postings = excluded.postings, seen_at = excluded.seen_at, ages_at = excluded.ages_at, "
        "body = excluded.body",
        tenant, grant.grant_id, grant.owner, grant.currency,
        *(to_micros(part) for part in (now.granted, now.remaining, now.used, now.expired, now.voided)),
        held.written + len(held.fresh), held.seen_at, held.ages_at(), wire.encode(grant),
    )  # fmt: skip
    tx.many(
        "INSERT INTO metering_posting (tenant, grant_id, number, at, source, target, amount, ref) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (tenant, p.grant_id, number, p.at, p.source, p.target, to_micros(p.amount), p.ref)
            for number, p in enumerate(held.fresh, held.written + 1)
        ],
    )


def postings_of(tx: ReadTx, tenant: TenantId, grant_id: GrantId, after: int, limit: int) -> list[Posting]:
    """In order; `after` is how many of them are known."""
    sql: LiteralString = POSTING + " AND grant_id = ? AND number > ? ORDER BY number LIMIT ?"
    return [read_posting(row) for row in tx.all(sql, tenant, grant_id, after, limit)]


def postings_for(tx: ReadTx, tenant: TenantId, subject: str) -> list[Posting]:
    """All that was posted for a reference or a line under it. `$` comes right after `#`, which parts the two."""
    sql: LiteralString = POSTING + " AND (ref = ? OR (ref >= ? AND ref < ?)) ORDER BY grant_id, number"
    return [read_posting(row) for row in tx.all(sql, tenant, subject, f"{subject}#", f"{subject}$")]


def read_posting(row: Row) -> Posting:
    grant_id, at, source, target, amount, ref = row
    return Posting(GrantId(grant_id), at, Account(source), Account(target), from_micros(amount), ref)


def aging(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, AgentId, str]]:
    """Wallets with a grant that time has changed since somebody looked."""
    sql: LiteralString = "SELECT DISTINCT tenant, agent, currency FROM metering_grant WHERE ages_at <= ? LIMIT ?"
    return [(TenantId(t), AgentId(a), str(c)) for t, a, c in tx.all(sql, now, limit)]


def put_rule(tx: Tx, tenant: TenantId, rule: TopUpRule, last_at: int | None, now: int) -> None:
    cycle = rule.top_up.cycle
    next_at = NEVER if cycle is None else now if last_at is None else period_at(cycle, last_at).end
    tx.run(
        "INSERT INTO metering_top_up (tenant, rule_id, agent, currency, last_at, next_at, body) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, rule_id) DO UPDATE SET agent = excluded.agent, currency = excluded.currency, "
        "last_at = excluded.last_at, next_at = excluded.next_at, body = excluded.body",
        tenant, rule.rule_id, rule.agent, rule.currency, last_at, next_at, wire.encode(rule),
    )  # fmt: skip


def find_rule(tx: ReadTx, tenant: TenantId, rule_id: RuleId) -> tuple[TopUpRule, int | None] | None:
    row = tx.one("SELECT body, last_at FROM metering_top_up WHERE tenant = ? AND rule_id = ?", tenant, rule_id)
    return None if row is None else (wire.decode(row[0], TopUpRule, what="rule"), row[1])


def rules_of(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str) -> list[tuple[TopUpRule, int | None]]:
    sql: LiteralString = (
        "SELECT body, last_at FROM metering_top_up WHERE tenant = ? AND agent = ? AND currency = ? ORDER BY rule_id"
    )
    return [(wire.decode(body, TopUpRule, what="rule"), last) for body, last in tx.all(sql, tenant, agent, currency)]


def all_rules(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[TopUpRule]:
    sql: LiteralString = "SELECT body FROM metering_top_up WHERE tenant = ? AND rule_id > ? ORDER BY rule_id LIMIT ?"
    return [wire.decode(body, TopUpRule, what="rule") for (body,) in tx.all(sql, tenant, after, limit)]


def forget_rule(tx: Tx, tenant: TenantId, rule_id: RuleId) -> bool:
    return bool(tx.run("DELETE FROM metering_top_up WHERE tenant = ? AND rule_id = ?", tenant, rule_id))


def rules_due(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, AgentId, str]]:
    sql: LiteralString = "SELECT DISTINCT tenant, agent, currency FROM metering_top_up WHERE next_at <= ? LIMIT ?"
    return [(TenantId(t), AgentId(a), str(c)) for t, a, c in tx.all(sql, now, limit)]


def put_purchase(tx: Tx, tenant: TenantId, purchase: Purchase) -> None:
    tx.run(
        "INSERT INTO metering_purchase (tenant, purchase_id, agent, currency, state, amount, body) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, purchase_id) DO UPDATE SET state = excluded.state, body = excluded.body",
        tenant, purchase.purchase_id, purchase.agent, purchase.currency, purchase.state, to_micros(purchase.amount),
        wire.encode(purchase),
    )  # fmt: skip


def find_purchase(tx: ReadTx, tenant: TenantId, purchase_id: PurchaseId) -> Purchase | None:
    body = tx.value("SELECT body FROM metering_purchase WHERE tenant = ? AND purchase_id = ?", tenant, purchase_id)
    return None if body is None else wire.decode(body, Purchase, what="purchase")


def purchases(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Purchase]:
    sql: LiteralString = (
        "SELECT body FROM metering_purchase WHERE tenant = ? AND purchase_id > ? ORDER BY purchase_id LIMIT ?"
    )
    return [wire.decode(body, Purchase, what="purchase") for (body,) in tx.all(sql, tenant, after, limit)]


def pending(tx: ReadTx, tenant: TenantId, agent: AgentId, currency: str) -> Decimal:
    """What was asked for and neither came nor failed."""
    return from_micros(
        int(
            tx.value(
                "SELECT COALESCE(SUM(amount), 0) FROM metering_purchase "
                "WHERE tenant = ? AND agent = ? AND currency = ? AND state = ?",
                tenant, agent, currency, PurchaseState.PENDING,
            )
        )
    )  # fmt: skip


def put_all(tx: Tx, tenant: TenantId, held: Iterable[Held]) -> None:
    for one in held:
        if one.fresh:
            put_held(tx, tenant, one)
