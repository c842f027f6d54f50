"""Crossings: which thresholds a value passed on its way.

INVARIANT: each threshold is passed once on the way up however many steps the way takes: the ranges of steps are half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from creto.common.errors import InvalidInput
from creto.common.limits import CROSSINGS_MAX
from creto.metering.rounding import precise


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"


@precise
def crossed(
    thresholds: Sequence[Decimal],
    previous: Decimal,
    current: Decimal,
    direction: Direction = Direction.UP,
    every: Decimal | None = None,
) -> list[Decimal]:
    """Those in (previous, current] on the way up, in [current, previous) on the way down, smallest first.

    `every` adds further thresholds at that distance beyond the last one: above the greatest, or below the smallest.
    """
    low, high = (previous, current) if direction is Direction.UP else (current, previous)
    if low >= high:
        return []
    all_of_them = [*thresholds, *repeated(thresholds, low, high, direction, every)]
    if direction is Direction.UP:
        return sorted(t for t in all_of_them if low < t <= high)
    return sorted(t for t in all_of_them if low <= t < high)


def repeated(
    thresholds: Sequence[Decimal], low: Decimal, high: Decimal, direction: Direction, every: Decimal | None
) -> list[Decimal]:
    if every is None or not thresholds:
        return []
    sign = 1 if direction is Direction.UP else -1
    last = max(thresholds) if sign == 1 else min(thresholds)
    first = max((low - last) // every if sign == 1 else (last - high) // every, Decimal(1))
    count = int((high - low) // every) + 2
    if every <= 0 or count > CROSSINGS_MAX:
        raise InvalidInput.of("every", got=str(every), expected=f"at most {CROSSINGS_MAX} at once", code="MT-400")
    return [last + sign * every * (first + i) for i in range(count)]
