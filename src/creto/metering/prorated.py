"""Prorated tiers: seats that come and go within a period, charged by tier for the part of it they were there.

INVARIANT: the flat part of each tier that was ever reached is charged in full; the amount is never below 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from creto.metering.prices import Graduated
from creto.metering.rounding import ZERO, precise


@precise
def graduated(price: Graduated, changes: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """`changes` in order: how many units came (or, negative, went) and what they count for the rest of the period.

    A change that spans tiers is split by its whole units.
    """
    level, reached, amount = ZERO, 1, ZERO
    for units, counted in changes:
        low, high = sorted((level, level + units))
        for number, (floor, ceiling, rate) in enumerate(bounds(price), 1):
            taken = (high if ceiling is None else min(high, ceiling)) - (low if number == 1 else max(low, floor))
            if taken > 0 and units:
                amount += rate * counted * taken / abs(units)
                reached = max(reached, number) if units > 0 else reached
        level += units
    if level < 0:
        return ZERO
    flats = sum((tier.flat for tier in price.tiers[:reached]), ZERO)
    return max(amount + flats, ZERO)


def bounds(price: Graduated) -> Iterable[tuple[Decimal, Decimal | None, Decimal]]:
    floor = ZERO
    for tier in price.tiers:
        yield floor, tier.up_to, tier.unit
        floor = tier.up_to or floor
