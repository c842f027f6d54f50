"""Currencies: the digits and the rounding of money, and the way from one to another.

>>> iso("JPY").rounded(Decimal("1000.5"))
Decimal('1001')

ISO 4217 gives the digits. Credits, tokens and other units of one's own are currencies with their own digits and rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import checked_name
from creto.common.limits import CURRENCY_DIGITS_MAX
from creto.common.money import minor_digits
from creto.common.timestamps import ConsensusTimestamp
from creto.metering.rounding import Rounding, allocate, precise, round_to

# ISO 4217, the active codes of states and unions; funds, metals and test codes are not money that is billed.
ISO_4217 = frozenset(
    [
        "AED",
        "AFN",
        "ALL",
        "AMD",
        "AOA",
        "ARS",
        "AUD",
        "AWG",
        "AZN",
        "BAM",
        "BBD",
        "BDT",
        "BGN",
        "BHD",
        "BIF",
        "BMD",
        "BND",
        "BOB",
        "BRL",
        "BSD",
        "BTN",
        "BWP",
        "BYN",
        "BZD",
        "CAD",
        "CDF",
        "CHF",
        "CLF",
        "CLP",
        "CNY",
        "COP",
        "CRC",
        "CUP",
        "CVE",
        "CZK",
        "DJF",
        "DKK",
        "DOP",
        "DZD",
        "EGP",
        "ERN",
        "ETB",
        "EUR",
        "FJD",
        "FKP",
        "GBP",
        "GEL",
        "GHS",
        "GIP",
        "GMD",
        "GNF",
        "GTQ",
        "GYD",
        "HKD",
        "HNL",
        "HTG",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "IQD",
        "IRR",
        "ISK",
        "JMD",
        "JOD",
        "JPY",
        "KES",
        "KGS",
        "KHR",
        "KMF",
        "KPW",
        "KRW",
        "KWD",
        "KYD",
        "KZT",
        "LAK",
        "LBP",
        "LKR",
        "LRD",
        "LSL",
        "LYD",
        "MAD",
        "MDL",
        "MGA",
        "MKD",
        "MMK",
        "MNT",
        "MOP",
        "MRU",
        "MUR",
        "MVR",
        "MWK",
        "MXN",
        "MYR",
        "MZN",
        "NAD",
        "NGN",
        "NIO",
        "NOK",
        "NPR",
        "NZD",
        "OMR",
        "PAB",
        "PEN",
        "PGK",
        "PHP",
        "PKR",
        "PLN",
        "PYG",
        "QAR",
        "RON",
        "RSD",
        "RUB",
        "RWF",
        "SAR",
        "SBD",
        "SCR",
        "SDG",
        "SEK",
        "SGD",
        "SHP",
        "SLE",
        "SOS",
        "SRD",
        "SSP",
        "STN",
        "SVC",
        "SYP",
        "SZL",
        "THB",
        "TJS",
        "TMT",
        "TND",
        "TOP",
        "TRY",
        "TTD",
        "TWD",
        "TZS",
        "UAH",
        "UGX",
        "USD",
        "UYU",
        "UYW",
        "UZS",
        "VED",
        "VES",
        "VND",
        "VUV",
        "WST",
        "XAF",
        "XCD",
        "XOF",
        "XPF",
        "YER",
        "ZAR",
        "ZMW",
        "ZWG",
    ]
)


class Currency(msgspec.Struct, frozen=True):
    code: str
    digits: int
    rounding: Rounding = Rounding.HALF_UP

    def __post_init__(self) -> None:
        checked_name(self.code, "currency")
        if not 0 <= self.digits <= CURRENCY_DIGITS_MAX:
            raise InvalidInput.of("digits", got=self.digits, expected=f"0 to {CURRENCY_DIGITS_MAX}", code="MT-400")

    def rounded(self, amount: Decimal) -> Decimal:
        return round_to(amount, self.digits, self.rounding)

    def split(self, amount: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
        return allocate(amount, weights, self.digits)

    def of_minor(self, units: int) -> Decimal:
        """An amount from its smallest units, as 1250 cents."""
        return Decimal(units).scaleb(-self.digits)

    def minor(self, amount: Decimal) -> int:
        """How many of the smallest units a rounded amount is."""
        return int(amount.scaleb(self.digits))


def iso(code: str) -> Currency:
    if code not in ISO_4217:
        raise InvalidInput.of("currency", got=code, expected="an active ISO 4217 code, as USD", code="MT-400")
    return Currency(code, minor_digits(code))


class ExchangeRate(msgspec.Struct, frozen=True):
    """What one unit of `base` is in `quote`, from an instant on."""

    base: str
    quote: str
    rate: Decimal
    at: ConsensusTimestamp

    def __post_init__(self) -> None:
        if not self.rate.is_finite() or self.rate <= 0:
            raise InvalidInput.of("rate", got=str(self.rate), expected="a number above 0", code="MT-400")


@precise
def convert(amount: Decimal, to: Currency, rates: Sequence[ExchangeRate], base: str, at: int) -> Decimal:
    """By the newest rate that was known at that instant; the same invoice later takes the same rate."""
    if base == to.code:
        return to.rounded(amount)
    known = [r for r in rates if (r.base, r.quote) == (base, to.code) and r.at <= at]
    if not known:
        raise InvalidInput.of(
            "currency", got=base, expected=f"an exchange rate to {to.code} at that time", code="MT-400"
        )
    return to.rounded(amount * max(known, key=lambda r: r.at).rate)
