"""Invoices on paper and as CSV: what stands on the page, the same bytes every time, and nothing that is named becomes markup."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.metering import (
    Bill,
    Coupon,
    ExchangeRate,
    Graduated,
    Grant,
    Invoice,
    InvoiceStatus,
    Letterhead,
    Party,
    Payer,
    PayerRule,
    Tax,
    Terms,
    Tier,
    bill,
    credit_note,
    draft,
    finalized,
    invoice_digest,
    to_csv,
    to_pdf,
    to_png,
)
from creto.metering.invoice_pdf import facts, grouped, money, on_paper
from creto.metering.types import ChargeId, CouponId, GrantId
from tests.paper import ink, text_of
from tests.unit.metering.examples import CHILD, HUMAN, JANUARY, D, charge, event, heading, meter, plan, subscription

pytest.importorskip("typst")

HEAD = Letterhead(
    issuer=Party(
        name="Creto Ltd", address=("12 Harbour Street", "10115 Berlin"), tax_id="DE123", email="b@creto.example"
    ),
    customer=Party(name="Söhne & #1 *bold* $x$ @ref", address=("1 Main Road",)),
    notes=("Payable within 14 days.",),
)
TIERS = Graduated(tiers=(Tier(up_to=D(1_000), unit=D("0.10")), Tier(unit=D("0.05"), flat=D(1))))
EXPECTED = plan(charge(TIERS, meter=meter(group_by=("region",)), name="Calls"), fee="31", payer=Payer(PayerRule.LEAF))


def invoice(regions: int = 2, **terms: object) -> Invoice:
    events = [
        event(
            JANUARY.start + n, id=f"e{n}", value=1_000 + n, region=f"r{n % regions}", agent=CHILD, chain=(HUMAN, CHILD)
        )
        for n in range(2 * regions)
    ]
    lines = bill(Bill(plans=(EXPECTED,), subscription=subscription(), period=JANUARY), events)
    made = replace(draft(heading(), lines, Terms(**terms)), plan="team/1")  # type: ignore[arg-type]
    return finalized(made, "INV", 41, JANUARY.end)[0]


def test_the_page_says_all_that_the_invoice_says() -> None:
    grant = Grant(grant_id=GrantId("g"), amount=D(50), currency="USD")
    made = invoice(
        coupons=(Coupon(coupon_id=CouponId("ten"), percent=D(10)),),
        taxes=(Tax(code="vat", percent=D(20), name="VAT"),),
        grants=(grant,),
        remaining={grant.grant_id: D(50)},
        shown=ExchangeRate("USD", "JPY", D("155.5"), JANUARY.end - 1),  # type: ignore[arg-type]
    )

    (page,) = text_of(to_pdf(made, HEAD))

    for words in (
        "Creto Ltd 12 Harbour Street 10115 Berlin Tax ID DE123 b@creto.example",
        "Invoice INV-000042",
        "Bill to Söhne & #1 *bold* $x$ @ref 1 Main Road",
        "Date 2024-02-01 Period 2024-01-01 – 2024-01-31 Subscription sub Plan team/1",
        "Calls (r0) tier 1: 1,000 × 0.1 = 100 tier 2: 1,002 × 0.05 + 1 = 51.1 2,002 −15.11 151.10",
        f"Subtotal {money(made.subtotal, 'USD')} Discounts {money(-made.discount, 'USD')}",
        f"VAT 20 % of {money(made.taxes[0].taxable, 'USD')} {money(made.tax, 'USD')}",
        f"Total USD {money(made.total, 'USD')} Paid by credits −50.00 Due USD {money(made.due, 'USD')}",
        f"JPY at 155.5, 2024-01-31 {money(made.shown.due, 'JPY') if made.shown else ''}",
        "Who bears it of the subtotal, before discounts and taxes child",
        "Payable within 14 days.",
        "Each line is rounded half-up to the currency, then summed.",
        f"SHA-256 {invoice_digest(made)}",
        "Invoice INV-000042 · 1 / 1",
    ):
        assert words in page, page


def test_the_page_has_ink_within_its_margins_and_nowhere_else() -> None:
    (picture,) = to_png(invoice(), HEAD, 48)
    width, height, (left, top, right, bottom) = ink(picture)
    millimetre = width / 210
    assert round(height / width, 2) == 1.41
    assert left >= 19 * millimetre
    assert right <= width - 19 * millimetre
    assert top >= 19 * millimetre
    assert 280 * millimetre < bottom < height - 5 * millimetre  # the foot


def test_the_same_invoice_is_the_same_bytes() -> None:
    assert to_pdf(invoice(), HEAD) == to_pdf(invoice(), HEAD)
    assert to_pdf(invoice(), HEAD) != to_pdf(invoice(3), HEAD)


def test_many_lines_go_over_pages_with_their_head_on_each() -> None:
    pages = text_of(to_pdf(invoice(60), HEAD))
    assert len(pages) > 2
    assert all(f"{n} / {len(pages)}" in page for n, page in enumerate(pages, 1))
    assert all("Description Quantity Discount Amount (USD)" in page for page in pages[:-1])
    assert "Total USD" in pages[-1] or "Total USD" in pages[-2]
    for picture in to_png(invoice(60), HEAD, 48):
        width, _, (left, _, right, _) = ink(picture)
        assert 0.09 * width < left < right < 0.91 * width


@pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.VOID, InvoiceStatus.PREVIEW])
def test_what_is_not_an_invoice_says_so(status: InvoiceStatus) -> None:
    (page,) = text_of(to_pdf(replace(invoice(), status=status), HEAD))
    assert status.upper() in page
    assert ("Due USD" in page) is (status is not InvoiceStatus.VOID)
    assert status.upper() not in text_of(to_pdf(invoice(), HEAD))[0]


def test_a_credit_note_says_what_it_corrects() -> None:
    first = invoice()
    note = finalized(credit_note(heading(id="n"), first, [("base", D(5))]), "CN", 0, JANUARY.end)[0]
    (page,) = text_of(to_pdf(note, HEAD, {first.invoice_id: "INV-000042"}))
    assert "Credit note CN-000001" in page
    assert page.count("Corrects INV-000042") == 2  # above, and at its line
    assert "Due USD" not in page


def test_it_says_what_came_back_how_and_what_is_carried() -> None:
    grant = Grant(grant_id=GrantId("g"), amount=D(100), currency="USD")
    first = invoice(grants=(grant,), remaining={grant.grant_id: D(100)})
    note = finalized(credit_note(heading(id="n"), first, [("base", D(31))]), "CN", 0, JANUARY.end)[0]
    below = draft(heading(), [replace(first.lines[0], amount=D(-9), exact=D(-9), shares=())])
    assert "Back to credits −31.00 To be paid back USD 0.00" in text_of(to_pdf(note, HEAD))[0]
    assert "To your credits 9.00 Due USD 0.00 The total is below zero" in text_of(to_pdf(below, HEAD))[0]


def test_letters_of_europe_are_printed_and_a_letter_that_no_font_has_is_named() -> None:
    european = replace(HEAD, customer=Party(name="Łódź Ελλάς Україна"))
    assert "Łódź Ελλάς Україна" in text_of(to_pdf(invoice(), european))[0]
    strange = replace(HEAD, customer=Party(name="A \U000f0042"))
    for make in (to_pdf, to_png):
        with pytest.raises(InvalidInput) as refused:
            make(invoice(), strange)
        assert (refused.value.code, refused.value.field) == ("MT-400", "letters")
        assert refused.value.got == r"\xf0042"


def test_the_longest_texts_stay_on_the_page() -> None:
    long = Party(name="W" * 200, address=("x" * 200,) * 8)
    pages = to_png(invoice(), Letterhead(issuer=long, customer=long, notes=("n " * 2_000,)), 48)
    for picture in pages:
        width, _, (left, _, right, _) = ink(picture)
        assert 0.09 * width < left < right < 0.91 * width


@pytest.mark.parametrize("wrong", [{"name": " "}, {"name": "a", "address": ("x",) * 9}, {"name": "x" * 201}])
def test_a_party_that_fits_no_page_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Party(**wrong)  # type: ignore[arg-type]


def test_numbers_are_written_as_people_read_them() -> None:
    assert [grouped(D(x)) for x in ("0", "-0.5", "1234.50", "1E+3", "0.000003")] == [
        "0", "−0.5", "1,234.5", "1,000", "0.000003",
    ]  # fmt: skip
    assert [money(D("-1234.5"), code) for code in ("USD", "JPY", "KWD")] == ["−1,234.50", "−1,235", "−1,234.500"]


def test_days_are_those_of_the_tenants_calendar() -> None:
    berlin = replace(invoice(), period=replace(JANUARY, start=JANUARY.start - 3_600 * 10**9, zone="Europe/Berlin"))
    assert dict(facts(berlin, {}))["Period"] == "2024-01-01 – 2024-02-01"


def test_agents_beyond_a_page_are_summed() -> None:
    many = invoice()
    shares = tuple(replace(many.lines[0].shares[0], agent=f"a{n:03}", amount=D(1)) for n in range(80))
    paper = on_paper(replace(many, lines=(replace(many.lines[0], shares=shares),)), HEAD, {})
    assert len(paper["shares"]) == 51
    assert paper["shares"][-1] == ("30 more", "30.00")


def rows(data: bytes) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(data.decode(), newline=""))


def test_csv_has_a_row_for_each_line_and_sums_to_the_invoice() -> None:
    made = invoice(taxes=(Tax(code="VAT", percent=D(20)),))
    found = list(rows(to_csv([made])))
    assert [row["line_id"] for row in found] == [line.line_id for line in made.lines]
    assert sum(D(row["total"]) for row in found) == made.total
    assert found[1]["borne_by"] == "child=151.1"
    assert (found[1]["period_start"], found[1]["events"]) == ("2024-01-01T00:00:00.000000000Z", "2")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_a_name_is_never_a_formula(name: str) -> None:
    made = invoice()
    evil = replace(made, lines=(replace(made.lines[0], description=name, charge_id=ChargeId(name)),))
    (row,) = rows(to_csv([evil]))
    assert (row["description"], row["charge_id"]) == (f"'{name}", f"'{name}")
