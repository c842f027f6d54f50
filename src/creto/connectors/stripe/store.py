"""The rows: what exists at Stripe or was asked for there, who pays, what meters were told, payments, webhooks received."""

from __future__ import annotations

from typing import Any, LiteralString

from creto.common import wire
from creto.common.ids import AgentId, TenantId
from creto.connectors.stripe.types import Kind, KnownPayer, Params, Payer, Payment, Said, State, StripeId, Thing
from creto.store.types import ReadTx, Tx

Place = tuple[int, str, str]  # of a request, among those that are unfinished
FIRST: Place = (-1, "", "")
OF_INVOICE = (Kind.INVOICE, Kind.PURCHASE, Kind.FINAL, Kind.VOID, Kind.CREDIT_NOTE)
THING: LiteralString = "SELECT tenant, kind, our_id, state, stripe_id, attempt, asked_at, params FROM stripe_object"


def find(tx: ReadTx, tenant: TenantId, kind: Kind, our_id: str) -> Thing | None:
    row = tx.one(f"{THING} WHERE tenant = ? AND kind = ? AND our_id = ?", tenant, kind, our_id)
    return None if row is None else thing(*row)


def unfinished(tx: ReadTx, tenant: TenantId, limit: int, after: Place = FIRST) -> list[Thing]:
    """What was asked for and not yet seen, the oldest first."""
    rows = tx.all(
        f"{THING} WHERE tenant = ? AND state <> 'there' AND (asked_at, kind, our_id) > (?, ?, ?) "
        "ORDER BY asked_at, kind, our_id LIMIT ?",
        tenant, *after, limit,
    )  # fmt: skip
    return [thing(*row) for row in rows]


def of_invoice(tx: ReadTx, tenant: TenantId, our_id: str) -> list[Thing]:
    """All that was made of an invoice, a credit note or a purchase, in the order in which it was asked for."""
    whole = [one for kind in OF_INVOICE if (one := find(tx, tenant, kind, our_id)) is not None]
    found = whole + of_kind(tx, tenant, Kind.LINES, f"{our_id}/")
    return sorted(found, key=lambda one: (one.asked_at, one.kind, one.our_id))


def of_kind(tx: ReadTx, tenant: TenantId, kind: Kind, prefix: str = "") -> list[Thing]:
    """All of a kind whose id begins so, by id."""
    rows = tx.all(
        f"{THING} WHERE tenant = ? AND kind = ? AND our_id >= ? AND our_id < ? ORDER BY our_id",
        tenant, kind, prefix, prefix + "\U0010ffff",
    )  # fmt: skip
    return [thing(*row) for row in rows]


def at_stripe(tx: ReadTx, stripe_id: str) -> Thing | None:
    """What is an invoice there, by its id, which no two tenants share: a webhook names no tenant of ours."""
    row = tx.one(f"{THING} WHERE stripe_id = ? AND kind IN (?, ?)", stripe_id, Kind.INVOICE, Kind.PURCHASE)
    return None if row is None else thing(*row)


def thing(
    tenant: str, kind: str, our_id: str, state: str, stripe_id: str | None, attempt: int, asked_at: int, params: bytes
) -> Thing:
    return Thing(
        tenant=TenantId(tenant),
        kind=Kind(kind),
        our_id=our_id,
        state=State(state),
        stripe_id=None if stripe_id is None else StripeId(stripe_id),
        attempt=attempt,
        asked_at=asked_at,
        params=wire.decode(params, dict[str, Any], what="params"),
    )


def begin(tx: Tx, tenant: TenantId, kind: Kind, our_id: str, params: Params, now: int) -> tuple[Thing, bool]:
    """The row of what shall be made, and whether it is new; whoever is first says with which parameters."""
    fresh = tx.run(
        "INSERT INTO stripe_object (tenant, kind, our_id, state, stripe_id, attempt, asked_at, params) "
        "VALUES (?, ?, ?, ?, NULL, 1, ?, ?) ON CONFLICT (tenant, kind, our_id) DO NOTHING",
        tenant, kind, our_id, State.ASKED, now, wire.encode(params),
    )  # fmt: skip
    return known(tx, tenant, kind, our_id), bool(fresh)


def next_attempt(tx: Tx, one: Thing, params: Params, now: int) -> Thing:
    """A fresh key with fresh parameters, unless another process was faster; then what that one says."""
    tx.run(
        "UPDATE stripe_object SET state = ?, attempt = ?, asked_at = ?, params = ? "
        "WHERE tenant = ? AND kind = ? AND our_id = ? AND attempt = ? AND state <> ?",
        State.ASKED, one.attempt + 1, now, wire.encode(params),
        one.tenant, one.kind, one.our_id, one.attempt, State.THERE,
    )  # fmt: skip
    return known(tx, one.tenant, one.kind, one.our_id)


def known(tx: ReadTx, tenant: TenantId, kind: Kind, our_id: str) -> Thing:
    found = find(tx, tenant, kind, our_id)
    assert found is not None
    return found


def put_state(tx: Tx, one: Thing, state: State) -> None:
    """What came of this attempt, where it is still the last."""
    tx.run(
        "UPDATE stripe_object SET state = ? WHERE tenant = ? AND kind = ? AND our_id = ? AND attempt = ? AND state <> ?",
        state, one.tenant, one.kind, one.our_id, one.attempt, State.THERE,
    )  # fmt: skip


def put_id(tx: Tx, one: Thing, stripe_id: StripeId) -> None:
    tx.run(
        "UPDATE stripe_object SET state = ?, stripe_id = ? WHERE tenant = ? AND kind = ? AND our_id = ? AND state <> ?",
        State.THERE, stripe_id, one.tenant, one.kind, one.our_id, State.THERE,
    )  # fmt: skip


def payer(tx: ReadTx, tenant: TenantId, agent: AgentId) -> Payer:
    body = tx.value("SELECT body FROM stripe_payer WHERE tenant = ? AND agent = ?", tenant, agent)
    return Payer() if body is None else wire.decode(body, Payer, what="payer")


def known_payer(tx: ReadTx, tenant: TenantId, agent: AgentId) -> KnownPayer:
    said, made = payer(tx, tenant, agent), find(tx, tenant, Kind.CUSTOMER, agent)
    return KnownPayer(agent, said, said.stripe_id or (made.stripe_id if made else None))


def payers(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[AgentId]:
    rows = tx.all(
        "SELECT agent FROM stripe_payer WHERE tenant = ? AND agent > ? ORDER BY agent LIMIT ?", tenant, after, limit
    )
    return [AgentId(agent) for (agent,) in rows]


def put_payer(tx: Tx, tenant: TenantId, agent: AgentId, one: Payer, now: int) -> None:
    tx.run(
        "INSERT INTO stripe_payer (tenant, agent, changed_at, body) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, agent) DO UPDATE SET changed_at = excluded.changed_at, body = excluded.body",
        tenant, agent, now, wire.encode(one),
    )  # fmt: skip


def told(tx: ReadTx, tenant: TenantId, meter: str) -> tuple[int, int]:
    """What a meter was told in all, and in how many events."""
    row = tx.one("SELECT told, events FROM stripe_meter WHERE tenant = ? AND meter = ?", tenant, meter)
    return (0, 0) if row is None else (row[0], row[1])


def put_told(tx: Tx, tenant: TenantId, meter: str, total: int, events: int) -> None:
    tx.run(
        "INSERT INTO stripe_meter (tenant, meter, told, events) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (tenant, meter) DO UPDATE SET told = excluded.told, events = excluded.events",
        tenant, meter, total, events,
    )  # fmt: skip


def payment(tx: ReadTx, tenant: TenantId, our_id: str) -> Payment | None:
    body = tx.value("SELECT body FROM stripe_payment WHERE tenant = ? AND our_id = ?", tenant, our_id)
    return None if body is None else wire.decode(body, Payment, what="payment")


def payments(tx: ReadTx, tenant: TenantId, status: str | None, after: str, limit: int) -> list[Payment]:
    only: LiteralString = "" if status is None else " AND status = ?"
    sql: LiteralString = (
        f"SELECT body FROM stripe_payment WHERE tenant = ? AND our_id > ?{only} ORDER BY our_id LIMIT ?"
    )
    asked = (tenant, after) if status is None else (tenant, after, status)
    return [wire.decode(body, Payment, what="payment") for (body,) in tx.all(sql, *asked, limit)]


def put_payment(tx: Tx, tenant: TenantId, one: Payment) -> None:
    tx.run(
        "INSERT INTO stripe_payment (tenant, our_id, status, said_at, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, our_id) DO UPDATE SET status = excluded.status, said_at = excluded.said_at, "
        "body = excluded.body",
        tenant, one.our_id, one.status, one.said_at, wire.encode(one),
    )  # fmt: skip


def first_receipt(tx: Tx, event_id: str, now: int) -> bool:
    sql: LiteralString = (
        "INSERT INTO stripe_event (event_id, received_at) VALUES (?, ?) ON CONFLICT (event_id) DO NOTHING"
    )
    return bool(tx.run(sql, event_id, now))


def forget_receipts(tx: Tx, before: int, limit: int) -> int:
    return tx.run(
        "DELETE FROM stripe_event WHERE event_id IN "
        "(SELECT event_id FROM stripe_event WHERE received_at < ? ORDER BY received_at LIMIT ?)",
        before, limit,
    )  # fmt: skip


def started(tx: Tx, name: str, now: int) -> int:
    """Since when a durable takes messages: whoever started it first says so, for all tenants."""
    sql: LiteralString = "INSERT INTO stripe_start (name, since) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
    tx.run(sql, name, now)
    return int(tx.value("SELECT since FROM stripe_start WHERE name = ?", name))


def standing(tx: ReadTx, tenant: TenantId, durable: str) -> Said:
    since = tx.value("SELECT since FROM stripe_start WHERE name = ?", durable)
    requests = tx.all(
        "SELECT state, COUNT(*) FROM stripe_object WHERE tenant = ? AND state <> 'there' GROUP BY state", tenant
    )
    payments = tx.all("SELECT status, COUNT(*) FROM stripe_payment WHERE tenant = ? GROUP BY status", tenant)
    return Said(since, dict(requests), dict(payments))
