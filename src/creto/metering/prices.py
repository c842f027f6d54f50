"""Prices: from what was used to an amount, step by step, so that each step can be shown.

    price = Graduated(tiers=(Tier(up_to=Decimal(10), unit=Decimal(2)), Tier(unit=Decimal(1))))
    price.amount(Usage(Decimal(15)))    # Decimal(25): 10 × 2 and 5 × 1

A price is a pure function. Amounts are exact until a line is rounded to its currency.

INVARIANT: the amount of a price is the sum of its steps.
INVARIANT: no usage costs nothing, unless the price charges its flat part at zero usage (`flat_at_zero`).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Self

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.limits import TIERS_MAX
from creto.metering.rounding import HUNDRED, ZERO, Rounding, precise, round_to

ONE = Decimal(1)


class Usage(msgspec.Struct, frozen=True):
    """What a price is asked for: a quantity; the single transactions, in order, for prices that look at each;
    and the amount that came with the events, for prices that are set by who sends them."""

    quantity: Decimal
    transactions: tuple[Decimal, ...] = ()
    sent: Decimal = ZERO
    events: int = 0


class Step(msgspec.Struct, frozen=True):
    """One term of a price: `flat + rate × units`, within the bounds its label tells of."""

    label: str
    units: Decimal
    rate: Decimal
    flat: Decimal
    amount: Decimal


class Checked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers from outside: finite and, but where a subclass says so, not negative."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal) and not (value.is_finite() and value >= 0):
                raise InvalidInput.of(name, got=str(value), expected="a number, 0 or above", code="MT-400")


def check_divisor(name: str, value: Decimal | None) -> None:
    """What a quantity is divided by."""
    if value is not None and not value:
        raise InvalidInput.of(name, got="0", expected="a number above 0", code="MT-400")


def check_bounds(minimum: Decimal | None, maximum: Decimal | None) -> None:
    if minimum is not None and maximum is not None and minimum > maximum:
        raise InvalidInput.of("minimum", got=str(minimum), expected=f"at most the maximum, {maximum}", code="MT-400")


class Tier(Checked, frozen=True):
    """Units up to and including `up_to`. With `block` they are charged by the block begun; with `cap` at most that much."""

    up_to: Decimal | None = None
    unit: Decimal = ZERO
    flat: Decimal = ZERO
    cap: Decimal | None = None
    block: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_divisor("block", self.block)

    def step(self, label: str, units: Decimal) -> Step:
        counted = units if self.block is None else round_to(units / self.block, 0, Rounding.CEIL)
        amount = self.flat + self.unit * counted
        return Step(label, counted, self.unit, self.flat, amount if self.cap is None else min(amount, self.cap))


class PercentTier(Checked, frozen=True):
    up_to: Decimal | None = None
    percent: Decimal = ZERO
    flat: Decimal = ZERO


class Model(Checked, frozen=True, tag_field="model"):
    """What every price answers."""

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        raise NotImplementedError

    def for_part(self, part: int, whole: int) -> Self:
        """The price in a part of a period: what it gives free is prorated, tiers and packages are as they are."""
        return self

    @precise
    def amount(self, usage: Usage) -> Decimal:
        return sum((step.amount for step in self.steps(usage)), ZERO)


class Flat(Model, frozen=True, tag="flat"):
    """The same, whatever the quantity."""

    flat: Decimal
    flat_at_zero: bool = True

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        if not of(usage) and not self.flat_at_zero:
            return ()
        return (Step("flat", of(usage), ZERO, self.flat, self.flat),)


class PerUnit(Model, frozen=True, tag="per_unit"):
    unit: Decimal

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        return (Step("per unit", of(usage), self.unit, ZERO, self.unit * of(usage)),)


class Graduated(Model, frozen=True, tag="graduated"):
    """Each unit is charged at the rate of the tier it falls into. A bounded last tier charges no unit beyond it."""

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = True

    def __post_init__(self) -> None:
        check_tiers(self.tiers)

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        quantity, floor, steps = of(usage), ZERO, []
        if not quantity and not self.flat_at_zero:
            return ()
        for number, tier in enumerate(self.tiers, 1):
            if quantity <= floor and number > 1:
                break
            taken = (quantity if tier.up_to is None else min(quantity, tier.up_to)) - floor
            steps.append(tier.step(f"tier {number}", taken))
            floor = tier.up_to or ZERO
        return tuple(steps)


class Volume(Model, frozen=True, tag="volume"):
    """All units are charged at the rate of the tier that the whole quantity falls into."""

    tiers: tuple[Tier, ...]
    flat_at_zero: bool = True

    def __post_init__(self) -> None:
        check_tiers(self.tiers)

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        quantity = of(usage)
        if not quantity and not self.flat_at_zero:
            return ()
        for number, tier in enumerate(self.tiers, 1):
            if tier.up_to is None or quantity <= tier.up_to:
                return (tier.step(f"tier {number}", quantity),)
        return (self.tiers[-1].step(f"tier {len(self.tiers)}", self.tiers[-1].up_to or ZERO),)


class Package(Model, frozen=True, tag="package"):
    """By the package: begun ones count (`ceil`), or only full ones (`floor`)."""

    size: Decimal
    package: Decimal
    free_units: Decimal = ZERO
    rounding: Rounding = Rounding.CEIL

    def __post_init__(self) -> None:
        super().__post_init__()
        check_divisor("size", self.size)

    @precise
    def for_part(self, part: int, whole: int) -> Package:
        return replace(self, free_units=self.free_units * part / whole)

    @precise
    def packages(self, quantity: Decimal) -> Decimal:
        return round_to(max(quantity - self.free_units, ZERO) / self.size, 0, self.rounding)

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        packages = self.packages(of(usage))
        return (Step("packages", packages, self.package, ZERO, self.package * packages),)


class Percentage(Model, frozen=True, tag="percentage"):
    """A share of each transaction and a fixed part beside it, after free transactions and a free amount, within a
    minimum and a maximum for each. Without transactions the quantity is one.

    A transaction is free while fewer than `free_events` came before it and the free amount lasts; the one in which
    that amount ends pays for its rest. `minimum` and `maximum` hold for those that pay.
    """

    percent: Decimal
    fixed: Decimal = ZERO
    free_events: int | None = None
    free_amount: Decimal | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.minimum, self.maximum)

    @precise
    def for_part(self, part: int, whole: int) -> Percentage:
        """Of free transactions only whole ones."""
        return replace(
            self,
            free_events=None if self.free_events is None else self.free_events * part // whole,
            free_amount=None if self.free_amount is None else self.free_amount * part / whole,
        )

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        left, steps = self.free_amount, []
        for before, value in enumerate(transactions(usage)):
            gift = self.gift(before, value, left)
            left = left if left is None or gift is None else left - gift
            if gift is None or gift < value:
                steps.append(self.step(before + 1, value - (gift or ZERO)))
        return tuple(steps)

    def gift(self, before: int, value: Decimal, left: Decimal | None) -> Decimal | None:
        """What of a transaction is free; None where nothing can be."""
        if self.free_events is None and self.free_amount is None:
            return None
        if value < 0 or (self.free_events is not None and before >= self.free_events):
            return None
        return value if left is None else min(value, left)

    def step(self, number: int, paid: Decimal) -> Step:
        """A refund gives its share back; its fixed part was for the work."""
        rate = self.percent / HUNDRED
        if paid < 0:
            return Step(f"transaction {number}", paid, rate, ZERO, paid * rate)
        amount = paid * rate + self.fixed
        amount = amount if self.minimum is None else max(amount, self.minimum)
        amount = amount if self.maximum is None else min(amount, self.maximum)
        return Step(f"transaction {number}", paid, rate, self.fixed, amount)


class GraduatedPercentage(Model, frozen=True, tag="graduated_percentage"):
    """A share of the amount that falls into each tier, and a flat part for each tier reached."""

    tiers: tuple[PercentTier, ...]
    flat_at_zero: bool = True

    def __post_init__(self) -> None:
        check_tiers(self.tiers)

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        tiers = tuple(Tier(up_to=t.up_to, unit=t.percent / HUNDRED, flat=t.flat) for t in self.tiers)
        return Graduated(tiers=tiers, flat_at_zero=self.flat_at_zero).steps(usage)


class Dynamic(Model, frozen=True, tag="dynamic"):
    """The amount that the events bring with them, times a factor."""

    factor: Decimal = ONE

    @precise
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        return (Step("as sent", usage.sent, self.factor, ZERO, usage.sent * self.factor),)


Price = Flat | PerUnit | Graduated | Volume | Package | Percentage | GraduatedPercentage | Dynamic


def of(usage: Usage) -> Decimal:
    """A quantity that can be priced: a correction larger than all usage is somebody's mistake, not a gift."""
    if usage.quantity < 0:
        raise InvalidInput.of("quantity", got=str(usage.quantity), expected="0 or above", code="MT-400")
    return usage.quantity


def transactions(usage: Usage) -> tuple[Decimal, ...]:
    return usage.transactions or ((of(usage),) if usage.quantity else ())


@precise
def unit_amount(amount: Decimal, units: Decimal) -> Decimal:
    """What a unit came to on average; 0 where there was none."""
    return amount / units if units > 0 else ZERO


def check_tiers(tiers: Iterable[Tier | PercentTier]) -> None:
    """Bounds grow, and only the last may be open: else some unit would fall into two tiers, or none."""
    bounds = [tier.up_to for tier in tiers]
    closed = [bound for bound in bounds if bound is not None]
    fits = 0 < len(bounds) <= TIERS_MAX and None not in bounds[:-1]
    if not fits or any(b <= a for a, b in pairwise([ZERO, *closed])):
        raise InvalidInput.of(
            "tiers",
            got=[str(b) for b in bounds[:8]],
            expected=f"1 to {TIERS_MAX} tiers with growing up_to, only the last without one",
            code="MT-400",
        )
