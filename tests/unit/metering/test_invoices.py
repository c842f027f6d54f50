"""Invoices: their states, numbers, canonical form, credit notes; coupons and taxes on them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput
from creto.metering import (
    Bill,
    Coupon,
    ExchangeRate,
    Grant,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineKind,
    PerUnit,
    Tax,
    TaxRounding,
    Terms,
    bill,
    canonical,
    convert,
    corrections,
    credit_note,
    draft,
    finalized,
    invoice_digest,
    iso,
    moved,
    voided,
)
from creto.metering.coupons import lasts
from creto.metering.invoice_file import check_sums
from creto.metering.invoices import Standing
from creto.metering.types import ChargeId, CouponId, GrantId, Share
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, D, charge, event, heading, plan, subscription

VAT = Tax(code="vat", percent=D(20))


def line(id: str, amount: str, **more: object) -> Line:
    return Line(
        **{
            "line_id": id,
            "kind": LineKind.USAGE,
            "charge_id": ChargeId(id),
            "description": id,
            "period": JANUARY,
            "exact": D(amount),
            "amount": D(amount),
            **more,
        }
    )  # type: ignore[arg-type]


def final(*lines: Line, **terms: object) -> Invoice:
    return finalized(draft(heading(), lines, Terms(**terms)), "INV", 41, JANUARY.end)[0]  # type: ignore[arg-type]


def test_numbers_have_no_gaps_and_a_void_invoice_keeps_its_own() -> None:
    first, last = finalized(draft(heading(id="a"), []), "INV-2024", 41, JANUARY.end)
    second, last = finalized(draft(heading(id="b"), []), "INV-2024", last, JANUARY.end)

    assert [first.number, second.number, last] == ["INV-2024-000042", "INV-2024-000043", 43]
    assert (voided(first).number, voided(first).status) == (first.number, InvoiceStatus.VOID)


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        (InvoiceStatus.PREVIEW, set()),
        (InvoiceStatus.DRAFT, {InvoiceStatus.GRACE, InvoiceStatus.FINAL, InvoiceStatus.VOID}),
        (InvoiceStatus.GRACE, {InvoiceStatus.FINAL, InvoiceStatus.VOID}),
        (InvoiceStatus.FINAL, {InvoiceStatus.VOID}),
        (InvoiceStatus.VOID, set()),
    ],
)
def test_an_invoice_moves_only_forwards(status: InvoiceStatus, allowed: set[InvoiceStatus]) -> None:
    start = replace(draft(heading(), []), status=status)
    for wanted in InvoiceStatus:
        if wanted in allowed:
            assert moved(start, wanted).status is wanted
        else:
            with pytest.raises(AlreadyExists):
                moved(start, wanted)


def test_the_canonical_form_knows_one_spelling_of_a_number() -> None:
    a, b = final(line("x", "10.50")), final(replace(line("x", "10.5"), exact=D("1.05E+1")))
    assert canonical(a) == canonical(b) == canonical(voided(b))
    assert invoice_digest(a) != invoice_digest(final(line("x", "10.51")))
    assert b'"amount":"10.5"' in canonical(a)


def test_coupons_come_off_before_taxes_and_credits_pay_the_rest() -> None:
    grant = Grant(grant_id=GrantId("g"), amount=D(50), currency="USD")
    invoice = final(
        line("a", "100"),
        line("b", "50"),
        coupons=(
            Coupon(coupon_id=CouponId("ten"), percent=D(10), charges=(ChargeId("a"),)),
            Coupon(coupon_id=CouponId("off"), amount=D(14), currency="USD"),
        ),
        taxes=(VAT,),
        grants=(grant,),
        remaining={grant.grant_id: D(50)},
    )
    assert [li.discount for li in invoice.lines] == [19, 5]
    assert (invoice.subtotal, invoice.discount, invoice.tax, invoice.total) == (150, 24, D("25.20"), D("151.20"))
    assert invoice.due == D("101.20")


@pytest.mark.parametrize(
    ("currency", "credits", "due", "left"),
    [
        ("JPY", ["100.1234"], 920, ["0.1234"]),
        ("USD", ["0.00342", "10"], 1010, ["0", "0.00342"]),
        ("KWD", ["0.0005", "0.0005", "2.9999"], D("1017.000"), ["0", "0", "0.0009"]),
    ],
)
def test_credits_pay_whole_units_of_the_currency_and_keep_the_rest(
    currency: str, credits: list[str], due: object, left: list[str]
) -> None:
    grants = [
        Grant(grant_id=GrantId(f"g{n}"), amount=D(c), currency=currency, priority=n) for n, c in enumerate(credits)
    ]
    terms = Terms(grants=tuple(grants), remaining={g.grant_id: g.amount for g in grants})

    made = draft(heading(currency), [line("a", "1000"), line("b", "20")], terms)

    assert made.due == due
    paid = {g.grant_id: sum((u.amount for u in made.credits if u.grant_id == g.grant_id), D(0)) for g in grants}
    assert [g.amount - paid[g.grant_id] for g in grants] == [D(rest) for rest in left]


def test_a_coupon_of_another_currency_is_refused_and_one_lasts_as_long_as_it_says() -> None:
    euro = Coupon(coupon_id=CouponId("e"), amount=D(5), currency="EUR", periods=3)
    with pytest.raises(InvalidInput):
        final(line("a", "10"), coupons=(euro,))
    assert [lasts(euro, n) for n in (0, 2, 3)] == [True, True, False]
    assert lasts(replace(euro, periods=None), 10_000)


def test_taxes_round_by_the_line_or_on_the_sum() -> None:
    lines = [line(str(i), "0.03") for i in range(10)]
    by_line = draft(heading(), lines, Terms(taxes=(VAT,)))
    on_sum = draft(heading(), lines, Terms(taxes=(VAT,), tax_rounding=TaxRounding.TOTAL))
    assert (by_line.tax, on_sum.tax) == (D("0.10"), D("0.06"))
    assert sum(t.amount for li in on_sum.lines for t in li.taxes) == on_sum.tax


def test_credit_notes_never_give_back_more_than_stands() -> None:
    invoice = final(line("a", "100"), taxes=(VAT,))
    first = issued(credit_note(heading(id="n1"), invoice, [("a", D(70))]))
    stands = corrections.standing(invoice, [invoice, first])
    second = issued(credit_note(heading(id="n2"), invoice, [("a", D(10)), ("a", D(20))], stands))

    assert [(n.subtotal, n.tax, n.total, n.due) for n in (first, second)] == [(70, 14, 84, 84), (30, 6, 36, 36)]
    assert (first.kind, first.corrects) == (InvoiceKind.CREDIT_NOTE, invoice.invoice_id)
    with pytest.raises(AlreadyExists):
        credit_note(heading(id="n4"), voided(invoice), [("a", D(1))])
    with pytest.raises(AlreadyExists):
        credit_note(heading(id="n5"), first, [("a", D(1))])


@pytest.mark.parametrize(
    ("line_id", "amount", "credited"),
    [("b", "1", "0"), ("a", "0", "0"), ("a", "-5", "0"), ("a", "0.001", "0"), ("a", "31", "70"), ("a", "1", "100")],
)
def test_a_credit_note_that_cannot_be_is_refused_and_not_cut(line_id: str, amount: str, credited: str) -> None:
    invoice = final(line("a", "100"))
    stands = Standing(taxable={"a": 100 - D(credited)})
    with pytest.raises(InvalidInput) as refused:
        credit_note(heading(id="n"), invoice, [(line_id, D(amount))], stands)
    assert refused.value.code == "MT-400"


def test_what_credits_paid_goes_back_to_them_and_the_rest_to_the_customer() -> None:
    early, late = (Grant(grant_id=GrantId(n), amount=D(a), currency="USD", priority=p) for n, a, p in (("e", 5, 1), ("l", 10, 2)))  # fmt: skip
    invoice = final(line("a", "30"), grants=(early, late), remaining={early.grant_id: D(5), late.grant_id: D(10)})

    first = issued(credit_note(heading(id="n1"), invoice, [("a", D(24))]))
    stands = corrections.standing(invoice, [invoice, first])
    second = issued(credit_note(heading(id="n2"), invoice, [("a", D(6))], stands, as_credits=True))

    assert (first.total, first.due, back_to(first)) == (24, 12, {"l": 10, "e": 2})
    assert (second.total, second.due, second.carried, back_to(second)) == (6, 0, 3, {"e": 3})
    for made in (invoice, first, second):
        check_sums(made)


def test_an_invoice_below_zero_asks_for_nothing_and_carries_it() -> None:
    made = draft(heading(), [line("a", "30"), line("fix", "-100", kind=LineKind.CORRECTION, corrects="inv0")])
    assert (made.total, made.due, made.carried) == (-70, 0, 70)
    check_sums(made)


def test_a_credit_note_and_a_correction_of_one_line_give_back_the_larger() -> None:
    """Of 10, 4 were credited; then the events behind 1, 4, 6 and 10 turn out wrong."""
    invoice = final(line("a", "10", shares=(Share(HUMAN, D(6)), Share(AGENT, D(4)))), taxes=(VAT,))
    note = issued(credit_note(heading(id="n"), invoice, [("a", D(4))]))
    books, notes = (rule([invoice, note], invoice.invoice_id) for rule in (corrections.booked, corrections.noted))
    for now, wanted in (("9", None), ("6", None), ("4", D(-2)), ("0", D(-6)), ("12", D(2))):
        recount = draft(heading(), [line("a", now, shares=(Share(HUMAN, D(now)),))], Terms(taxes=(VAT,))).lines
        fixes = corrections.rebooked(books, recount, invoice.invoice_id, notes)
        assert [fix.amount for fix in fixes] == ([] if wanted is None else [wanted])
        check_sums(draft(heading(id="next"), fixes))
        for fix in fixes:
            assert (sum(t.amount for t in fix.taxes), sum(s.amount for s in fix.shares)) == (fix.amount / 5, fix.amount)

    fixed = issued(draft(heading(id="next"), corrections.rebooked(books, [], invoice.invoice_id, notes)))
    assert corrections.standing(invoice, [invoice, note, fixed]).taxable == {"a": 0}


def issued(made: Invoice) -> Invoice:
    return finalized(made, "CN", 1, JANUARY.end)[0]


def back_to(note: Invoice) -> dict[str, Decimal]:
    return {use.grant_id: use.amount for use in note.credits}


def test_a_late_event_is_booked_on_its_period_with_a_link_to_the_invoice() -> None:
    asked = Bill(plans=(plan(charge(PerUnit(unit=D("0.10")))),), subscription=subscription(), period=JANUARY)
    in_time, late = event(JANUARY.start, id="a", value=10), event(JANUARY.start + 1, id="b", value=5)
    invoice, _ = finalized(draft(heading(), bill(asked, [in_time])), "INV", 0, JANUARY.end)

    recount = draft(heading(), bill(asked, [late, in_time]))
    (fix,) = corrections.rebooked(corrections.booked([invoice], invoice.invoice_id), recount.lines, invoice.invoice_id)

    assert (fix.kind, fix.amount, fix.quantity, fix.period) == (LineKind.CORRECTION, D("0.50"), 5, JANUARY)
    assert fix.corrects == invoice.invoice_id
    assert fix.events_root == recount.lines[0].events_root
    assert corrections.subject(fix) == "use"


def test_an_amount_in_another_currency_takes_the_rate_of_its_time() -> None:
    rates = [ExchangeRate("EUR", "JPY", D("160.5"), 10), ExchangeRate("EUR", "JPY", D("170"), 20)]  # type: ignore[arg-type]
    assert convert(D("10"), iso("JPY"), rates, "EUR", 15) == 1605
    assert convert(D("10"), iso("JPY"), rates, "EUR", 20) == 1700
    with pytest.raises(InvalidInput):
        convert(D("10"), iso("JPY"), rates, "EUR", 9)
