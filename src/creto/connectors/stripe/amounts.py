"""Amounts as Stripe counts them: integers of a currency's smallest unit, with its own idea of some currencies' digits.

>>> minor(Decimal("12.50"), "USD"), minor(Decimal("1000"), "JPY"), minor(Decimal("1000"), "ISK")
(1250, 1000, 100000)
"""

from __future__ import annotations

from decimal import Decimal

from creto.common.errors import InvalidInput
from creto.common.money import minor_digits
from creto.metering.currencies import ISO_4217

# Where Stripe counts otherwise than ISO 4217: docs.stripe.com/currencies, "Zero-decimal currencies" and "Special cases".
DIGITS = {"ISK": 2, "UGX": 2, "MGA": 0}


def digits(currency: str) -> int:
    if currency not in ISO_4217:
        raise InvalidInput.of("currency", got=currency, expected="a currency that Stripe collects", code="MT-424")
    return DIGITS.get(currency, minor_digits(currency))


def minor(amount: Decimal, currency: str) -> int:
    """Exact: an amount that does not fit the currency was not rounded before, and is refused."""
    scaled = amount.scaleb(digits(currency))
    whole = int(scaled)
    if whole != scaled:
        raise InvalidInput.of("amount", got=str(amount), expected=f"whole units of {currency}", code="MT-424")
    if digits(currency) == 3 and whole % 10:
        raise InvalidInput.of(
            "amount", got=str(amount), expected=f"two decimals of {currency}, as Stripe charges it", code="MT-424"
        )
    return whole


def major(units: int, currency: str) -> Decimal:
    return Decimal(units).scaleb(-digits(currency))
