"""Stripe's rules: amounts, lines, credit notes, usage, and what any bytes make of a webhook."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.config import Secret
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId
from creto.common.settings import Collection, StripeConfig
from creto.common.timestamps import DAY, SECOND
from creto.connectors.stripe import Payer, Payment, PaymentStatus, Receipts, StripeId, invoices, meters
from creto.connectors.stripe.amounts import major, minor
from creto.connectors.stripe.receipt import STATUS, holds
from creto.metering import Coupon, Grant, Invoice, Line, LineKind, Period, Tax, Terms, draft
from creto.metering.types import ChargeId, CouponId, GrantId
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import mac
from creto.store import open_store
from tests import fuzz
from tests.unit.metering.examples import AGENT, JANUARY, TENANT, D, heading

CONFIG = StripeConfig(api_key=Secret("sk_test_1"))
PARTS = ("creto.store", "creto.bus", "creto.connectors.stripe")


@pytest.mark.parametrize(
    ("amount", "currency", "units"),
    [("12.5", "USD", 1250), ("-0.01", "EUR", -1), ("1000", "JPY", 1000), ("7", "ISK", 700), ("7", "UGX", 700),
     ("3000", "MGA", 3000), ("1.230", "KWD", 1230), ("0", "USD", 0)],
)  # fmt: skip
def test_amounts_are_counted_as_stripe_counts(amount: str, currency: str, units: int) -> None:
    assert minor(D(amount), currency) == units
    assert major(units, currency) == D(amount)


@pytest.mark.parametrize(("amount", "currency"), [("0.001", "USD"), ("0.5", "JPY"), ("1.234", "KWD"), ("1", "CREDITS")])
def test_amounts_that_stripe_cannot_hold_are_refused(amount: str, currency: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        minor(D(amount), currency)
    assert refused.value.code == "MT-424"


def line(number: int, amount: Decimal, charge: str = "use", **more: Any) -> Line:
    return Line(
        **{
            "line_id": f"{charge}:n={number}", "kind": LineKind.USAGE, "charge_id": ChargeId(charge), "description": charge,
            "period": JANUARY, "exact": amount, "amount": amount, **more,
        }
    )  # fmt: skip


def bill(*lines: Line, terms: Terms | None = None) -> Invoice:
    return draft(heading(), lines, terms or Terms())


cents = st.integers(-(10**7), 10**9).map(lambda n: Decimal(n).scaleb(-2))
taxes = st.lists(st.integers(0, 400_000).map(lambda n: Decimal(n).scaleb(-4)), max_size=3)


@given(amounts=st.lists(cents, max_size=400), percents=taxes, off=st.integers(0, 100), credit=st.integers(0, 10**6))
def test_lines_and_taxes_sum_to_what_is_due(
    amounts: list[Decimal], percents: list[Decimal], off: int, credit: int
) -> None:
    terms = Terms(
        taxes=tuple(Tax(code=f"t{n}", percent=percent) for n, percent in enumerate(percents)),
        coupons=(Coupon(coupon_id=CouponId("c"), percent=Decimal(off)),),
        grants=(Grant(grant_id=GrantId("g"), currency="USD", amount=Decimal(credit)),),
        remaining={GrantId("g"): Decimal(credit)},
    )
    lines = [line(n, amount, charge=f"c{n % 7}") for n, amount in enumerate(sorted(amounts))]
    ours = bill(*lines, terms=terms)
    requests = invoices.line_requests(ours)
    sent = [one for request in requests for one in request["lines"]]
    taxed = sum(tax["amount"] for one in sent for tax in one.get("tax_amounts", []))
    assert sum(one["amount"] for one in sent) + taxed == minor(ours.due, "USD")
    assert len(sent) <= 250
    assert all(len(request["lines"]) <= 100 for request in requests)
    assert [one["metadata"]["creto_place"] for one in sent] == [str(n) for n in range(len(sent))]
    assert all(tax["amount"] >= 0 <= tax["taxable_amount"] for one in sent for tax in one.get("tax_amounts", []))


def test_more_lines_than_stripe_takes_are_drawn_together_by_charge() -> None:
    some = [line(n, D("1.00")) for n in range(300)] + [line(n, D("2.00"), "other") for n in range(2)]
    (request,) = invoices.line_requests(bill(*some))
    assert [(one["amount"], one["description"]) for one in request["lines"]] == [
        (30_000, "use and 299 more lines"), (400, "other and 1 more lines"),
    ]  # fmt: skip
    charges = [line(n, D("1.00"), charge=f"c{n}") for n in range(251)]
    assert len(invoices.line_requests(bill(*charges))[0]["lines"]) == 1
    assert [len(r["lines"]) for r in invoices.line_requests(bill(*charges[:250]))] == [100, 100, 50]


def test_a_tax_with_more_decimals_than_stripe_knows_is_refused() -> None:
    terms = Terms(taxes=(Tax(code="vat", percent=D("7.12345")),))
    with pytest.raises(InvalidInput):
        invoices.line_requests(bill(line(0, D(10)), terms=terms))


def test_ways_of_collecting() -> None:
    ours = bill(line(0, D(10)))
    sends = invoices.sheet_of(ours, StripeId("cus_1"), CONFIG).head
    assert (sends["collection_method"], sends["days_until_due"]) == ("send_invoice", 30)
    charges = StripeConfig(api_key=Secret("k"), collection=Collection.CHARGE_AUTOMATICALLY)
    assert "days_until_due" not in invoices.sheet_of(ours, StripeId("cus_1"), charges).head
    assert invoices.customer_params(TENANT, AGENT, Payer())["name"] == AGENT


@pytest.mark.parametrize(
    ("remaining", "given", "amount", "credited"),
    [(1_000, 0, 1_000, None), (400, 0, 1_000, 600), (0, 0, 1_000, 1_000), (0, 300, 700, 700), (0, 1_000, 0, None)],
)
def test_a_credit_note_takes_from_what_is_open_and_gives_no_more_than_was_asked(
    remaining: int, given: int, amount: int, credited: int | None
) -> None:
    there = {
        "total": 1_000, "amount_remaining": remaining, "pre_payment_credit_notes_amount": 0,
        "post_payment_credit_notes_amount": given,
    }  # fmt: skip
    params = invoices.credit_params(bill(line(0, D(10))), StripeId("in_1"), there)
    assert (params["amount"], params.get("credit_amount")) == (amount, credited)


whole = st.integers(-(10**17), 10**17)


@given(wanted=whole, told=whole)
def test_differences_take_a_meter_where_it_shall_be(wanted: int, told: int) -> None:
    if abs(wanted - told) >= 100 * (10**15 - 1):
        with pytest.raises(InvalidInput):
            meters.difference("m", "e", wanted, told, 3, 0)
        return
    events = meters.difference("m", "e", wanted, told, 3, 0)
    assert told + sum(event.value for event in events) == wanted
    assert all(0 < abs(event.value) < 10**15 for event in events)
    assert [event.our_id for event in events] == [f"m/{n}" for n in range(4, 4 + len(events))]


def test_usage_is_told_as_of_an_instant_that_stripe_takes() -> None:
    period = Period(JANUARY.start, JANUARY.end)
    assert meters.instant(period, JANUARY.start + DAY) == JANUARY.start + DAY
    assert meters.instant(period, JANUARY.end + DAY) == JANUARY.end - SECOND
    assert meters.instant(period, JANUARY.end + 90 * DAY) == JANUARY.end + 56 * DAY


# Webhooks

payments = st.builds(
    Payment, our_id=st.just("i"), stripe_id=st.just(StripeId("in_1")), status=st.sampled_from(PaymentStatus),
    said_at=st.integers(0, 3), paid=st.just(D(0)), currency=st.just("USD"),
)  # fmt: skip


@given(said=st.lists(payments, min_size=1, max_size=6).flatmap(lambda p: st.tuples(st.just(p), st.permutations(p))))
def test_where_a_payment_stands_does_not_depend_on_the_order(said: tuple[list[Payment], list[Payment]]) -> None:
    ends = []
    for order in said:
        known: Payment | None = None
        for one in order:
            known = one if holds(known, one) else known
        assert known is not None
        ends.append((known.status, known.said_at))
    assert ends[0] == ends[1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {"id": st.just("evt_1") | json_values, "type": st.sampled_from([*STATUS]) | json_values, "created": json_values},
    optional={
        "data": json_values | st.fixed_dictionaries({"object": json_values | st.fixed_dictionaries(
            {"id": st.just("in_1") | json_values, "currency": st.just("usd") | json_values, "metadata": json_values},
            optional={"amount_paid": json_values},
        )}),
        "livemode": json_values,
    },
)  # fmt: skip


bodies = st.lists(st.binary(max_size=200) | fields.map(msgspec.json.encode), min_size=30, max_size=60)


@settings(max_examples=fuzz.examples(5))
@given(bodies=bodies)
def test_any_signed_bytes_are_taken_or_refused_by_name(bodies: list[bytes]) -> None:
    """Whoever has the secret can send anything; nothing but our own errors comes of it."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{folder}/creto.db", parts=PARTS)
        config = StripeConfig(webhook_secret=Secret("whsec_1"))
        receipts = Receipts(store, ManualClock(), config, by=AgentId("layer"), tenant=TENANT)
        asyncio.run(receive_all(receipts, bodies))
        store.close()


async def receive_all(receipts: Receipts, bodies: list[bytes]) -> None:
    now_s = receipts._clock.now() // SECOND
    for body in bodies:
        tag = mac(b"whsec_1", f"{now_s}.".encode() + body).hex()
        try:
            await receipts.receive({"Stripe-Signature": f"t={now_s},v1={tag}"}, body)
        except EnablementError as error:
            assert error.code in ("PL-400", "MT-424"), error


@given(st.text(max_size=300))
def test_any_header_is_refused_by_name(header: str) -> None:
    from creto.connectors.stripe.receipt import signed_at

    with pytest.raises(EnablementError) as refused:
        signed_at(header, b"{}", Secret("whsec_1"), 0)
    assert refused.value.code == "PL-941"


# Configuration and loading


@pytest.mark.parametrize(
    "wrong",
    [{"url": "http://api.stripe.com"}, {"url": "http://localhost.evil.example"}, {"url": "api.stripe.com"},
     {"accounts": ("acme",)}, {"meters": ("a=b", "a=c")}, {"meters": ("=b",)}],
)  # fmt: skip
def test_a_configuration_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        StripeConfig(**wrong).validate()
    assert refused.value.code == "PL-921"


def test_addresses_that_are_right_and_secrets_that_are_not_shown() -> None:
    for url in (
        "https://api.stripe.com",
        "http://127.0.0.1:8000",
        "http://[::1]:12111/",
        "https://proxy.example/stripe",
    ):
        StripeConfig(url=url).validate()
    assert "sk_test_1" not in repr(CONFIG)


def test_the_sdk_is_loaded_when_it_is_used() -> None:
    code = "import sys; import creto.connectors.stripe; print({'stripe', 'httpx2', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
