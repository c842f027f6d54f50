"""Taxes: on what is left of each line after its discount.

INVARIANT: the taxes of an invoice are the sum of those of its lines, whichever way they were rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

from msgspec.structs import replace

from creto.metering.currencies import Currency
from creto.metering.rounding import HUNDRED, ZERO, precise
from creto.metering.types import Tax, TaxAmount


class TaxRounding(StrEnum):
    LINE = "line"  # the tax of each line is rounded, then summed
    TOTAL = "total"  # the tax of the sum is rounded, then handed to the lines


@precise
def tax_on(taxable: Decimal, tax: Tax, currency: Currency) -> TaxAmount:
    return TaxAmount(tax.code, tax.percent, taxable, currency.rounded(taxable * tax.percent / HUNDRED), tax.name)


@precise
def taxed(
    taxables: Sequence[Decimal], taxes: Sequence[Tax], currency: Currency, rounding: TaxRounding = TaxRounding.LINE
) -> list[tuple[TaxAmount, ...]]:
    """The taxes of each line."""
    by_line: list[list[TaxAmount]] = [[] for _ in taxables]
    for tax in taxes:
        whole = tax_on(sum(taxables, ZERO), tax, currency).amount
        if rounding is TaxRounding.LINE or not whole or min(taxables) < 0:
            amounts = [tax_on(taxable, tax, currency).amount for taxable in taxables]
        else:
            amounts = currency.split(whole, taxables)
        for line, taxable, amount in zip(by_line, taxables, amounts, strict=True):
            line.append(TaxAmount(tax.code, tax.percent, taxable, amount, tax.name))
    return [tuple(line) for line in by_line]


@precise
def by_code(amounts: Iterable[TaxAmount]) -> tuple[TaxAmount, ...]:
    """Summed for the foot of an invoice."""
    found: dict[tuple[str, Decimal], TaxAmount] = {}
    for a in amounts:
        known = found.get((a.code, a.percent), replace(a, taxable=ZERO, amount=ZERO))
        found[a.code, a.percent] = replace(known, taxable=known.taxable + a.taxable, amount=known.amount + a.amount)
    return tuple(found[key] for key in sorted(found))
