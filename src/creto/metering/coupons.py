"""Coupons: what is taken off the lines of an invoice.

Percentages come first, each off what the one before left, then fixed amounts; a fixed amount falls on the lines by their size.

INVARIANT: no line goes below 0, and the parts of a coupon sum to what it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from creto.common.errors import InvalidInput
from creto.metering.currencies import Currency
from creto.metering.rounding import HUNDRED, ZERO, precise
from creto.metering.types import ChargeId, Coupon, CouponId


class Discounted(msgspec.Struct, frozen=True):
    """What each line loses, what each coupon took, and what is left of those with a fixed amount."""

    per_line: tuple[Decimal, ...]
    taken: dict[CouponId, Decimal]
    left: dict[CouponId, Decimal]

    @property
    def total(self) -> Decimal:
        return sum(self.per_line, ZERO)


@precise
def discounted(
    amounts: Sequence[tuple[ChargeId, Decimal]],
    coupons: Sequence[Coupon],
    currency: Currency,
    *,
    percent_first: bool = True,
) -> Discounted:
    left = [max(amount, ZERO) for _, amount in amounts]
    start = list(left)
    taken, rest = {}, {}
    for coupon in in_order(coupons, percent_first):
        touched = [i for i, (charge, _) in enumerate(amounts) if not coupon.charges or charge in coupon.charges]
        offs = off(coupon, [left[i] for i in touched], currency)
        for i, part in zip(touched, offs, strict=True):
            left[i] -= part
        taken[coupon.coupon_id] = sum(offs, ZERO)
        if coupon.amount is not None:
            rest[coupon.coupon_id] = coupon.amount - taken[coupon.coupon_id]
    return Discounted(tuple(a - b for a, b in zip(start, left, strict=True)), taken, rest)


def in_order(coupons: Sequence[Coupon], percent_first: bool) -> list[Coupon]:
    if not percent_first:
        return list(coupons)
    return sorted(coupons, key=lambda c: (c.percent is None, c.coupon_id))


def off(coupon: Coupon, amounts: Sequence[Decimal], currency: Currency) -> list[Decimal]:
    if coupon.percent is not None:
        return [min(currency.rounded(amount * coupon.percent / HUNDRED), amount) for amount in amounts]
    if coupon.currency != currency.code:
        raise InvalidInput.of("coupon.currency", got=coupon.currency, expected=currency.code, code="MT-400")
    total = sum(amounts, ZERO)
    if not total:
        return [ZERO for _ in amounts]
    return currency.split(currency.rounded(min(coupon.amount or ZERO, total)), amounts)


def lasts(coupon: Coupon, periods_used: int) -> bool:
    """Whether a coupon still holds after so many periods."""
    return coupon.periods is None or periods_used < coupon.periods
