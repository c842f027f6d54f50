"""Charges: what a plan asks for a quantity.

The order is fixed: conversion, free units, price, percent off, maximum, commitment, minimum. Money already booked for the same
period is taken off at the end (`booking`), so a period billed in parts comes to the same as one billed at once.

INVARIANT: the bookings of a period sum to the rounded amount of its final usage, whatever was booked on the way.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import zip_longest

import msgspec
from msgspec.structs import replace

from creto.metering.currencies import Currency
from creto.metering.periods import prorated
from creto.metering.prices import Step, Usage
from creto.metering.rounding import HUNDRED, ZERO, precise, round_to
from creto.metering.types import Charge, Commitment, Conversion


class Rated(msgspec.Struct, frozen=True):
    """What a charge comes to, and how: gross by the price, then down by the percent and the cap, then up to the minimum."""

    units: Decimal
    steps: tuple[Step, ...]
    gross: Decimal
    percent_off: Decimal
    capped_off: Decimal
    true_up: Decimal
    amount: Decimal


@precise
def rate(charge: Charge, usage: Usage, *, final: bool = True) -> Rated:
    """`final`: whether the period is over; until then nothing is trued up."""
    billed = billed_usage(charge, usage)
    steps = charge.price.steps(billed)
    gross = sum((step.amount for step in steps), ZERO)
    percent_off = gross * charge.discount_percent / HUNDRED
    discounted = gross - percent_off
    capped = discounted if charge.maximum is None else min(discounted, charge.maximum)
    more = adjustment(capped, charge.minimum, charge.commitment, final=final)
    return Rated(billed.quantity, steps, gross, percent_off, discounted - capped, more, capped + more)


class Days(msgspec.Struct, frozen=True):
    """Of the days of a period those in which something held, and of them those after the trial."""

    held: int = 1
    paid: int = 1
    whole: int = 1


WHOLE = Days()


@precise
def adjustment(
    spent: Decimal, minimum: Decimal | None, commitment: Commitment | None, days: Days = WHOLE, *, final: bool = True
) -> Decimal:
    """What comes on top: by its factor beyond the commitment; then up to the commitment, and up to the minimum.

    A trial owes nothing for what was not used: what is due in any case is due for the days after it.
    """
    over, least = ZERO, ZERO if minimum is None else prorated(minimum, days.paid, days.whole)
    if commitment is not None:
        committed = replace(commitment, amount=prorated(commitment.amount, days.held, days.whole))
        least = max(least, prorated(commitment.amount, days.paid, days.whole))
        over = with_overage(spent, committed) - spent if spent > committed.amount else ZERO
    return over + (true_up(spent + over, least) if final else ZERO)


@precise
def for_part(charge: Charge, part: int, whole: int) -> Charge:
    """A charge that held in a part of the subscription's days has that part of all that comes free."""
    if part == whole:
        return charge
    return replace(
        charge, free_units=prorated(charge.free_units, part, whole), price=charge.price.for_part(part, whole)
    )


def unbounded(charge: Charge) -> Charge:
    """The charge of one group among several: bounds hold for all of them together."""
    return replace(charge, minimum=None, maximum=None, commitment=None)


def billed_usage(charge: Charge, usage: Usage) -> Usage:
    """Converted, then without the free units. A quantity that corrections took below 0 bills as 0."""
    units = max(converted(usage.quantity, charge.conversion), ZERO)
    billable = units - min(units, charge.free_units)
    singles = () if charge.free_units else tuple(converted(single, charge.conversion) for single in usage.transactions)
    return Usage(billable, singles, usage.sent, usage.events)


@precise
def converted(quantity: Decimal, conversion: Conversion | None) -> Decimal:
    if conversion is None:
        return quantity
    value = quantity / conversion.divide_by
    if conversion.rounding is None:
        return value
    return round_to(value, conversion.rounding.digits, conversion.rounding.rounding)


class FreeUnits(msgspec.Struct, frozen=True):
    """How free units fall on two parts of a period's usage."""

    before: Decimal
    now: Decimal
    taken_now: Decimal


@precise
def split_free(before: Decimal, now: Decimal, free: Decimal) -> FreeUnits:
    """Free units go to the usage that came first."""
    left = max(free - before, ZERO)
    taken = min(left, now)
    return FreeUnits(max(before - free, ZERO), now - taken, taken)


@precise
def true_up(used: Decimal, minimum: Decimal | None) -> Decimal:
    return ZERO if minimum is None else max(minimum - used, ZERO)


@precise
def with_overage(total: Decimal, commitment: Commitment) -> Decimal:
    over = max(total - commitment.amount, ZERO)
    return commitment.amount + over * commitment.overage_factor


@precise
def booking(charge: Charge, usage: Usage, booked: Decimal, currency: Currency, *, final: bool = True) -> Decimal:
    """What remains to be booked for a usage that was booked up to an amount; negative where a tier became cheaper."""
    return currency.rounded(rate(charge, usage, final=final).amount) - booked


def step_changes(before: Iterable[Step], now: Iterable[Step]) -> list[Decimal]:
    """What each term of a price grew by between two rated usages."""
    pairs = zip_longest((s.amount for s in before), (s.amount for s in now), fillvalue=ZERO)
    return [b - a for a, b in pairs if b != a]
