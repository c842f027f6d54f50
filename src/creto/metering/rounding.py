"""Rounding: exact for as long as it goes, then once, by a named rule.

INVARIANT: `allocate` hands out exactly what it was given: its shares sum to the amount, to the last digit.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from functools import wraps
from typing import ParamSpec, TypeVar

from creto.common.errors import InvalidInput
from creto.common.limits import DECIMAL_DIGITS_MAX

P = ParamSpec("P")
T = TypeVar("T")

ZERO = Decimal()
HUNDRED = Decimal(100)


class Rounding(StrEnum):
    HALF_UP = "half_up"  # half away from zero, as people expect of money
    HALF_EVEN = "half_even"
    CEIL = "ceil"
    FLOOR = "floor"


MODES = {
    Rounding.HALF_UP: decimal.ROUND_HALF_UP,
    Rounding.HALF_EVEN: decimal.ROUND_HALF_EVEN,
    Rounding.CEIL: decimal.ROUND_CEILING,
    Rounding.FLOOR: decimal.ROUND_FLOOR,
}

PRECISE = Context(prec=DECIMAL_DIGITS_MAX, rounding=ROUND_HALF_UP)


def precise(rule: Callable[P, T]) -> Callable[P, T]:
    """Run a rule with digits to spare: Python's own 28 are fewer than a large quantity times a fine price needs."""

    @wraps(rule)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if decimal.getcontext().prec == DECIMAL_DIGITS_MAX:  # within another one
            return rule(*args, **kwargs)
        try:
            with decimal.localcontext(PRECISE):
                return rule(*args, **kwargs)
        except decimal.DecimalException as error:
            expected = f"numbers that can be counted with, of {DECIMAL_DIGITS_MAX} digits at most"
            raise InvalidInput.of("amount", got=type(error).__name__, expected=expected, code="MT-400") from error

    return run


@precise
def round_to(value: Decimal, digits: int, rounding: Rounding = Rounding.HALF_UP) -> Decimal:
    """To `digits` after the point; negative digits round to tens, hundreds and so on."""
    return plain(value.quantize(Decimal((0, (1,), -digits)), rounding=MODES[rounding]))


@precise
def plain(value: Decimal) -> Decimal:
    """The same number without an exponent, so that it is written as people write it."""
    exponent = value.as_tuple().exponent
    return value.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else value


@precise
def allocate(amount: Decimal, weights: Sequence[Decimal], digits: int) -> list[Decimal]:
    """Split by weight in whole units of the last digit; what is left goes to the largest remainders, ties in order."""
    total = sum(weights, ZERO)
    if total <= 0 or min(weights) < 0:
        raise InvalidInput.of(
            "weights", got=[str(w) for w in weights], expected="no negative weight and a sum above 0", code="MT-400"
        )
    unit = Decimal((0, (1,), -digits))
    units = int((abs(amount) / unit).to_integral_exact())
    if units * unit != abs(amount):
        raise InvalidInput.of("amount", got=str(amount), expected=f"at most {digits} decimals", code="MT-400")
    exact = [units * weight / total for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: units - sum(shares)]:
        shares[i] += 1
    sign = -1 if amount < 0 else 1
    return [sign * share * unit for share in shares]
