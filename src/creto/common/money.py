"""Money: Decimal where it is computed, decimal strings on the wire, integer micro-units in counters. Never a float."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import NewType

from creto.common.errors import InvalidInput
from creto.common.limits import DECIMAL_DIGITS_MAX, INTEGER_MAX

Micros = NewType("Micros", int)  # millionths of one unit of a currency

MICROS_PER_UNIT = 1_000_000
EXACT = Context(prec=DECIMAL_DIGITS_MAX)  # Python's own 28 digits would round what is to be refused
DECIMALS = {0: Decimal(1), 2: Decimal("0.01"), 3: Decimal("0.001"), 4: Decimal("0.0001")}

# ISO 4217: currencies whose minor unit is not a hundredth.
NO_MINOR_UNIT = (
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "UYI",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
)
THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
TEN_THOUSANDTHS = ("CLF", "UYW")
MINOR_DIGITS = {**dict.fromkeys(NO_MINOR_UNIT, 0), **dict.fromkeys(THOUSANDTHS, 3), **dict.fromkeys(TEN_THOUSANDTHS, 4)}


def minor_digits(currency: str) -> int:
    if len(currency) != 3 or not currency.isascii() or not currency.isupper():
        raise InvalidInput.of("currency", got=currency, expected="an ISO 4217 code, as USD")
    return MINOR_DIGITS.get(currency, 2)


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Half-up to the currency's minor unit, as each invoice line is."""
    return amount.quantize(DECIMALS[minor_digits(currency)], rounding=ROUND_HALF_UP)


def parse_amount(text: str, field: str = "amount", code: str = "PL-400") -> Decimal:
    """A plain decimal string; no exponent, no infinity, no NaN."""
    expected = "a decimal string, as 12.50"
    if len(text) > 40 or not text.removeprefix("-").replace(".", "", 1).isdecimal() or not text.isascii():
        raise InvalidInput.of(field, got=text, expected=expected, code=code)
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput.of(field, got=text, expected=expected, code=code) from error


def to_micros(amount: Decimal, field: str = "amount") -> Micros:
    """Exact: an amount finer than a millionth is refused rather than rounded."""
    scaled = EXACT.multiply(amount, Decimal(MICROS_PER_UNIT))
    if scaled != scaled.to_integral_value() or abs(scaled) > INTEGER_MAX:
        raise InvalidInput.of(field, got=str(amount), expected="at most 6 decimals and 9.2 trillion units")
    return Micros(int(scaled))


def from_micros(micros: int) -> Decimal:
    return Decimal(micros) / MICROS_PER_UNIT
