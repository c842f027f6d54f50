"""How the cases about credits, coupons, proration, rounding and invoices run."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    Bill,
    Book,
    Coupon,
    Currency,
    Cycle,
    CycleUnit,
    Grant,
    Invoice,
    Line,
    LineKind,
    PerUnit,
    Preset,
    Purse,
    Rollover,
    Rounding,
    Tax,
    Terms,
    Usage,
    allocate,
    bill,
    burn_down,
    change_amounts,
    credit_note,
    crossings,
    discounted,
    draft,
    finalized,
    iso,
    rate,
    tax_on,
    terminated,
    true_up,
    used_by,
    used_latest,
)
from creto.metering.plans import capped_credit
from creto.metering.rounding import HUNDRED
from creto.metering.types import ChargeId, CouponId, GrantId
from tests.unit.metering.examples import JANUARY, D, charge, event, heading, plan, span, subscription
from tests.unit.metering.vector_prices import Numbers, cents, graduated_price, optional

USD = iso("USD")


def money(minor: int | str) -> Decimal:
    return Decimal(minor) / 100


def line(id: str, amount: Decimal, kind: LineKind = LineKind.USAGE, currency: str = "USD") -> Line:
    return Line(
        line_id=id,
        kind=kind,
        charge_id=ChargeId(id),
        description=id,
        period=JANUARY,
        exact=amount,
        amount=iso(currency).rounded(amount),
    )


def taxes(given: Numbers) -> tuple[Tax, ...]:
    return (Tax(code="vat", percent=D(given["tax_pct"])),) if "tax_pct" in given else ()


# Credits


def grant(id: str, amount: int | Decimal, **more: Any) -> Grant:
    return Grant(grant_id=GrantId(id), amount=Decimal(amount), **{"currency": "USD", **more})


def grant_of(given: Numbers, name: str) -> Grant:
    begins = BASE + span(given.get("effective", "0"))
    renews = None
    if "recur" in given:
        unit = {"daily": CycleUnit.DAY, "weekly": CycleUnit.WEEK}[given["recur"]]
        renews = Cycle(unit, BASE + span(given["anchor"]) if "anchor" in given else begins)
    return grant(
        given.get("id", name),
        given["amount"],
        priority=given.get("priority", 50),
        effective_at=begins,
        expires_at=begins + span(given["expires_after"]) if "expires_after" in given else None,
        voided_at=BASE + span(given["voided"]) if "voided" in given else None,
        renews=renews,
        rollover=Rollover(maximum=D(given.get("max_rollover", 0)), minimum=D(given.get("min_rollover", 0))),
    )


BASE = 1_000 * DAY


def burndown(preset: Preset, given: Numbers) -> Numbers:
    if isinstance(given["grants"], str):
        return hundred_thousand(preset)
    grants = [grant_of(g, f"g{i}") for i, g in enumerate(given["grants"])]
    latest = "usage_latest" in given
    usage = [(BASE + span(when), D(units)) for when, units in given["usage_latest" if latest else "usage"]]
    book = burn_down(
        grants,
        used_latest(usage) if latest else used_by(usage),
        BASE + span(given.get("from", "0")),
        BASE + span(given.get("until", "+1d")),
        opening={GrantId(g["id"]): D(g["start_balance"]) for g in given["grants"] if "start_balance" in g},
        keep_overage=preset.keep_overage,
        order=preset.burn_order,
    )
    return {**book.left, "overage": book.overage, "balance": book.balance, "segments": len(book.cuts)}


def hundred_thousand(preset: Preset) -> Numbers:
    grants = [grant(f"g{i:06}", 100, expires_at=BASE + 30 * DAY) for i in range(99_999)]
    grants.append(grant("z", 100, expires_at=BASE + 29 * DAY))
    book = burn_down(grants, used_by([(BASE + HOUR, D(99))]), BASE, BASE + DAY, order=preset.burn_order)
    left = {amount for id, amount in book.left.items() if id != "z"}
    return {"earliest": book.left[GrantId("z")], "all_others": left.pop() if len(left) == 1 else left}


def rollover(preset: Preset, given: Numbers) -> Numbers:
    """Usage after an hour, a reset after five."""
    if "grants" in given:
        grants = [grant_of(g, f"g{i}") for i, g in enumerate(given["grants"], 1)]
    else:
        grants = [grant_of({**given, "amount": given["grant"]}, "g1")]

    def run(until: int) -> Book:
        return burn_down(
            grants,
            used_by([(BASE + HOUR, D(given["usage"]))]),
            BASE,
            until,
            resets=[BASE + 5 * HOUR],
            keep_overage=given.get("preserve_overage", preset.keep_overage),
        )

    before, after = run(BASE + 5 * HOUR), run(BASE + 6 * HOUR)
    return {
        **after.left,
        "after": after.balance,
        "balance": after.balance,
        "overage": after.overage,
        "overage_before": before.overage,
    }


def wallets(preset: Preset, given: Numbers) -> Numbers:
    """Wallets are paid from in their order; those of one priority in the order in which they were made."""
    if isinstance(given.get("fees"), str):
        return last_fee(preset)
    invoice = given.get("invoice", {})
    grants = [
        grant(
            w["id"],
            money(w.get("balance_cents", w.get("cents"))),
            priority=w.get("prio", 50),
            created_at=i,
            currency=w.get("currency", "USD"),
            only=({"charge": "usage", "subscription": "fee"}[w["only"]],) if "only" in w else (),
        )
        for i, w in enumerate(given["wallets"])
    ]
    currency = invoice.get("currency", "USD")
    fees = [f["cents"] for f in given.get("fees", [{"cents": invoice.get("cents")}])]
    lines = [line(f"fee{i}", money(minor), currency=currency) for i, minor in enumerate(fees)]
    bill_ = paid(preset, lines, grants, currency)
    used: Numbers = {}
    for use in bill_.credits:
        used[use.grant_id] = used.get(use.grant_id, 0) + cents(use.amount)
    assert sum(used.values()) == cents(bill_.total - bill_.due)
    return used


def paid(
    preset: Preset, lines: list[Line], grants: list[Grant], currency: str = "USD", taxes: tuple[Tax, ...] = ()
) -> Invoice:
    remaining = {g.grant_id: g.amount for g in grants}
    terms = Terms(grants=tuple(grants), remaining=remaining, taxes=taxes, burn_order=preset.burn_order)
    return draft(heading(currency), lines, terms)


def last_fee(preset: Preset) -> Numbers:
    """Ten fees of 60 with a tax of 8.456 each; the wallet of 66 may pay for the tenth alone."""
    tax = Tax(code="vat", percent=D("8.456") * HUNDRED / 60)
    lines = [line(f"fee{i}", money(60)) for i in range(10)]
    invoice = paid(preset, lines, [grant("w", money(66), only=("fee9",))], taxes=(tax,))
    assert cents(invoice.total) == 680
    return {"applied": cents(invoice.total - invoice.due)}


def wallet_rounding(preset: Preset, given: Numbers) -> Numbers:
    fees = given["fees"]
    tax = Tax(code="vat", percent=D(fees[0]["tax_precise"]) * HUNDRED / fees[0]["cents"])
    lines = [line(f"fee{i}", money(f["cents"])) for i, f in enumerate(fees)]
    invoice = paid(preset, lines, [grant("w", money(given["wallet_cents"]))], taxes=(tax,))
    assert [cents(tax.amount) for li in invoice.lines for tax in li.taxes] == [f["tax_cents"] for f in fees]
    assert (cents(invoice.total), invoice.due) == (given["invoice_total"], 0)
    return {"applied": cents(sum((use.amount for use in invoice.credits), D(0)))}


def traceability(preset: Preset, given: Numbers) -> Numbers:
    purse = Purse(preset.burn_order)
    for i, amount in enumerate(given["grants"]):
        purse.put(grant(str(i), amount, created_at=i), D(amount))
    links = [
        [int(grant_id), i, amount]
        for i, amount_used in enumerate(given["consume"])
        for grant_id, amount in purse.draw(D(amount_used))
    ]
    return {"remaining": list(purse.left.values()), "links": links}


# Minimums, proration


def minimum_spend(preset: Preset, given: Numbers) -> Numbers:
    if "tiers" in given:
        rated = rate(charge(graduated_price(preset, given), minimum=D(given["min_spend"])), Usage(D(given["units"])))
        return {"true_up": rated.amount - D(given["previously_billed"])}
    if "conversion_rate" in given:
        units = true_up(D(given["used_units_cents"]), D(given["min_units_cents"]))
        return {"true_up_units_cents": units, "true_up_fiat_cents": units * D(given["conversion_rate"])}
    if "days" in given:
        return prorated_minimum(given)
    return {"true_up_cents": true_up(D(given["used_cents"]), D(given["min_cents"]))}


def prorated_minimum(given: Numbers) -> Numbers:
    """The subscription began so many days before the end of its period."""
    period = type(JANUARY)(JANUARY.start, JANUARY.start + given["period_days"] * DAY)
    started = period.end - given["days"] * DAY
    asked = plan(charge(PerUnit(unit=D(given["unit_price"]))), minimum=money(given["min_cents"]))
    events = [event(started, value=given["units"])]
    lines = bill(Bill(plans=(asked,), subscription=subscription(started), period=period), events)
    invoice = draft(heading(period=period), lines, Terms(taxes=taxes(given)))
    usage, minimum = invoice.lines
    return {
        "usage_cents": cents(usage.amount),
        "true_up_cents": cents(minimum.amount),
        "true_up_tax_cents": cents(minimum.taxes[0].amount),
        "fees_cents": cents(invoice.subtotal),
        "taxes_cents": cents(invoice.tax),
        "total_cents": cents(invoice.total),
    }


def first_subscription(preset: Preset, given: Numbers) -> Numbers:
    started = JANUARY.end - given["days"] * DAY
    asked = plan(fee=str(money(given["amount_cents"])))
    lines = bill(Bill(plans=(asked,), subscription=subscription(started), period=JANUARY), [])
    return {"total_cents": cents(draft(heading(), lines, Terms(taxes=taxes(given))).total)}


def plan_change(preset: Preset, given: Numbers) -> Numbers:
    if "factor" in given:
        left, whole = map(int, given["factor"].split("/"))
        amounts = change_amounts(money(given["old_cents"]), money(given["new_cents"]), left, whole, USD)
        return {"net_cents": cents(amounts.net)}
    amounts = change_amounts(D(given["old"]), D(given["new"]), given["days_left"], given["period_days"], USD)
    return {"credit": amounts.credit, "charge": amounts.charge, "net": amounts.net}


def credit_cap(preset: Preset, given: Numbers) -> Numbers:
    return {"credit": capped_credit(D(given["potential"]), D(given["originally_paid"]), D(given["already_credited"]))}


# Coupons, taxes, rounding


def coupon(preset: Preset, given: Numbers) -> Numbers:
    fees = given.get("fees") or [given["subtotal"]]
    fixed = given.get("fixed", [given["coupon_cents"]] if "coupon_cents" in given else [])
    coupons = [
        *(Coupon(coupon_id=CouponId(f"f{i}"), amount=money(c), currency="USD") for i, c in enumerate(fixed)),
        *(Coupon(coupon_id=CouponId(f"p{i}"), percent=D(p)) for i, p in enumerate(given.get("pcts", []))),
        *(Coupon(coupon_id=CouponId("p"), percent=D(given["pct"])) for _ in [0] if "pct" in given),
    ]
    amounts = [(ChargeId(str(i)), money(fee)) for i, fee in enumerate(fees)]
    off = discounted(amounts, coupons, USD, percent_first=preset.percent_first)
    return {
        "credit": cents(off.total),
        "discount": cents(off.total),
        "per_fee": [cents(part) for part in off.per_line],
        "remaining": cents(sum(off.left.values(), D(0))),
    }


def allocation(preset: Preset, given: Numbers) -> Numbers:
    digits = 4 if given["currency"] == "4dp" else iso(given["currency"]).digits
    return {"shares": allocate(D(given["amount"]), [D(w) for w in given["weights"]], digits)}


def rounding(preset: Preset, given: Numbers) -> Numbers:
    mode = Rounding(given.get("mode", preset.money_rounding))
    digits = given["precision"] if "precision" in given else iso(given["currency"]).digits
    return {"rounded": Currency(given.get("currency", "own"), digits, mode).rounded(D(given["amount"]))}


def lines_rounding(preset: Preset, given: Numbers) -> Numbers:
    amounts = given["line_amounts"]
    if isinstance(amounts, dict):
        amounts = [amounts["value"]] * amounts["times"]
    lines = [line(f"l{i}", D(a), currency=given["currency"]) for i, a in enumerate(amounts)]
    return {"subtotal": draft(heading(given["currency"]), lines).subtotal}


def tax_rounding(preset: Preset, given: Numbers) -> Numbers:
    tax = Tax(code="vat", percent=D(given["rate_pct"]))
    terms = Terms(taxes=(tax,), tax_rounding=preset.tax_rounding)
    invoice = draft(heading(given["currency"]), [line("l", D(given["taxable"]), currency=given["currency"])], terms)
    assert invoice.tax == tax_on(D(given["taxable"]), tax, iso(given["currency"])).amount
    return {"tax": invoice.tax}


# Invoices


def progressive(preset: Preset, given: Numbers) -> Numbers:
    """Each time usage passes a threshold, what is not yet billed of it is; the last invoice takes that off again.

    Events come at noon of their day, and so does the end of the subscription.
    """
    thresholds = given["threshold_cents"] if isinstance(given["threshold_cents"], list) else [given["threshold_cents"]]
    steps = [money(t) for t in thresholds]
    asked = plan(charge(PerUnit(unit=D(given["unit_price"]))), fee=str(money(given["subscription_cents"])))
    own = subscription()
    events, billed, before = [], [], D(0)
    for day, units in given["events"]:
        events.append(event(JANUARY.start + span(day) + HOUR * 12, value=units))
        used = usage_of(bill(Bill(plans=(asked,), subscription=own, period=JANUARY, final=False), events))
        if crossings.crossed(steps, before, used):
            billed.append(used - sum(billed, D(0)))
        before = used
    if "terminate" in given:
        own = terminated(own, JANUARY.start + span(given["terminate"]) + HOUR * 12)
    lines = bill(Bill(plans=(asked,), subscription=own, period=JANUARY), events)
    fees = sum((li.amount for li in lines), D(0))
    credit = line("progressive", -sum(billed, D(0)), LineKind.CREDIT)
    return {
        "threshold_invoice_cents": [cents(b) for b in billed],
        "final_fees_cents": cents(fees),
        "final_credit_cents": -cents(credit.amount),
        "final_total_cents": cents(draft(heading(), [*lines, credit]).total),
    }


def usage_of(lines: list[Line]) -> Decimal:
    return sum((li.amount for li in lines if li.kind is LineKind.USAGE), D(0))


def note_rounding(preset: Preset, given: Numbers) -> Numbers:
    """Days that were paid for and not used come back."""
    amount = money(given["amount_cents"])
    invoice = draft(heading(), [line("base", amount, LineKind.FEE)], Terms(taxes=taxes(given)))
    final, _ = finalized(invoice, "INV", 0, JANUARY.end)
    unused = [("base", amount * given["unused_days"] / given["period_days"])]
    note = credit_note(heading(id="note"), final, unused)
    return {"sub_total": cents(note.subtotal), "taxes": cents(note.tax), "total": cents(note.total)}


def alert(preset: Preset, given: Numbers) -> Numbers:
    passed = crossings.crossed(
        [D(t) for t in given["thresholds"]],
        D(given["previous"]),
        D(given["current"]),
        crossings.Direction(given["direction"]),
        optional(given, "recurring_every"),
    )
    return {"crossed": passed}


RUNS = {
    "credit.burndown": burndown,
    "credit.rollover": rollover,
    "wallet.burndown": wallets,
    "wallet.rounding": wallet_rounding,
    "wallet.traceability": traceability,
    "commitment.min_spend": minimum_spend,
    "proration.subscription": first_subscription,
    "proration.plan_change": plan_change,
    "proration.credit_cap": credit_cap,
    "coupon": coupon,
    "rounding.allocation": allocation,
    "rounding.currency": rounding,
    "rounding.lines": lines_rounding,
    "rounding.tax": tax_rounding,
    "invoice.progressive": progressive,
    "creditnote.rounding": note_rounding,
    "alert.threshold": alert,
}
