"""Prices and charges: what the public cases leave open."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.metering import (
    Commitment,
    Conversion,
    Flat,
    Graduated,
    Package,
    Percentage,
    PerUnit,
    Price,
    Rounding,
    Tier,
    UnitRounding,
    Usage,
    Volume,
    iso,
    rate,
)
from tests.unit.metering.examples import D, charge

TIERS = (Tier(up_to=D(10), unit=D(2), flat=D(5)), Tier(unit=D(1)))


def test_the_steps_tell_how_an_amount_came_about() -> None:
    steps = Graduated(tiers=TIERS).steps(Usage(D(15)))

    assert [(s.label, s.units, s.rate, s.flat, s.amount) for s in steps] == [
        ("tier 1", 10, 2, 5, 25),
        ("tier 2", 5, 1, 0, 5),
    ]


@pytest.mark.parametrize("price", [Graduated(tiers=TIERS), Volume(tiers=TIERS), Flat(flat=D(5))])
def test_the_flat_part_at_zero_usage_is_a_switch(price: Price) -> None:
    import msgspec

    assert price.amount(Usage(D(0))) == 5
    assert msgspec.structs.replace(price, flat_at_zero=False).amount(Usage(D(0))) == 0


@given(st.decimals(min_value=0, max_value=1000, places=2), st.decimals(min_value=0, max_value=1000, places=2))
def test_more_usage_of_a_graduated_price_never_costs_less(a: Decimal, b: Decimal) -> None:
    price = Graduated(tiers=TIERS)
    low, high = sorted((a, b))
    assert price.amount(Usage(low)) <= price.amount(Usage(high))


@pytest.mark.parametrize(
    "bounds",
    [[], ["10", "10", None], ["10", "5"], [None, "5"], ["0", None], [None, None]],
)
def test_tiers_that_overlap_or_leave_a_gap_are_refused(bounds: list[str | None]) -> None:
    with pytest.raises(InvalidInput) as refused:
        Graduated(tiers=tuple(Tier(up_to=None if b is None else D(b)) for b in bounds))
    assert refused.value.field == "tiers"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"per_unit","unit":"NaN"}',
        b'{"model":"per_unit","unit":"-1"}',
        b'{"model":"per_unit","unit":"Infinity"}',
        b'{"model":"per_unit"}',
        b'{"model":"unknown","unit":"1"}',
        b'{"model":"package","size":"0","package":"1"}',
        b'{"model":"per_unit","unit":"1","unnit":"2"}',
    ],
)
def test_a_price_that_is_none_is_refused_with_its_field(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        wire.decode(body, Price, code="MT-400")


def test_a_price_goes_to_json_and_back_with_decimal_strings() -> None:
    price = Graduated(tiers=TIERS)
    body = wire.encode(price)

    assert wire.decode(body, Price) == price
    assert b'"unit":"2"' in body
    assert b'"model":"graduated"' in body


def test_usage_below_zero_has_no_price_and_bills_as_none() -> None:
    with pytest.raises(InvalidInput):
        PerUnit(unit=D(1)).amount(Usage(D(-1)))
    assert rate(charge(PerUnit(unit=D(1))), Usage(D(-1))).amount == 0


def test_a_free_transaction_of_no_value_is_free_and_a_paid_one_costs_its_fixed_part() -> None:
    usage = Usage(D(0), (D(0), D(0)))
    assert Percentage(percent=D(1), fixed=D("0.30")).amount(usage) == D("0.60")
    assert Percentage(percent=D(1), fixed=D("0.30"), free_events=1).amount(usage) == D("0.30")


def test_a_refund_gives_its_share_back_and_keeps_the_fixed_part() -> None:
    usage = Usage(D(50), (D(100), D(-50)))
    assert Percentage(percent=D(10), fixed=D(1), minimum=D(2)).amount(usage) == 11 - 5


def test_thousands_of_tokens_are_billed_by_the_thousand_begun() -> None:
    asked = charge(
        PerUnit(unit=D("0.5")),
        conversion=Conversion(divide_by=D(1000), rounding=UnitRounding(Rounding.CEIL)),
        free_units=D(1),
    )
    rated = rate(asked, Usage(D(2001)))
    assert (rated.units, rated.amount) == (2, 1)


def test_percent_off_comes_before_the_cap_and_the_minimum_after_it() -> None:
    price = PerUnit(unit=D(1))
    capped = rate(charge(price, discount_percent=D(50), maximum=D(30)), Usage(D(100)))
    assert (capped.gross, capped.percent_off, capped.capped_off, capped.amount) == (100, 50, 20, 30)

    asked = charge(price, minimum=D(30))
    assert rate(asked, Usage(D(10))).true_up == 20
    assert rate(asked, Usage(D(10)), final=False).amount == 10


def test_beyond_a_commitment_the_overage_factor_holds() -> None:
    asked = charge(PerUnit(unit=D(1)), commitment=Commitment(amount=D(100), overage_factor=D("1.5")))
    assert rate(asked, Usage(D(40))).amount == 100
    assert rate(asked, Usage(D(140))).amount == 160


def test_large_quantities_at_fine_prices_stay_exact() -> None:
    price = PerUnit(unit=D("0.000000000001234567"))
    assert price.amount(Usage(D("999999999999999999999"))) == D("1234566999.999999999998765433")


def test_a_bounded_last_tier_charges_no_unit_beyond_it() -> None:
    bounded = (Tier(up_to=D(10), unit=D(1)),)
    assert Graduated(tiers=bounded).amount(Usage(D(15))) == 10
    assert Volume(tiers=bounded).amount(Usage(D(15))) == 10


def test_only_full_packages_or_all_that_are_begun() -> None:
    assert Package(size=D(10), package=D(3)).amount(Usage(D(11))) == 6
    assert Package(size=D(10), package=D(3), rounding=Rounding.FLOOR).amount(Usage(D(11))) == 3


@pytest.mark.parametrize(
    "impossible",
    [
        lambda: Conversion(divide_by=D(0)),
        lambda: Tier(unit=D(1), block=D(0)),
        lambda: Package(size=D(0), package=D(1)),
        lambda: charge(PerUnit(unit=D(1)), minimum=D(2), maximum=D(1)),
        lambda: Percentage(percent=D(1), minimum=D(2), maximum=D(1)),
    ],
)
def test_a_plan_that_cannot_be_billed_is_refused(impossible: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput) as refused:
        impossible()
    assert refused.value.code == "MT-400"


def test_numbers_beyond_all_digits_are_refused_and_crash_nothing() -> None:
    with pytest.raises(InvalidInput):
        iso("USD").rounded(PerUnit(unit=D("1e50")).amount(Usage(D("1e24"))))
