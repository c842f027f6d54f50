"""Presets: named sets of switches, one for each billing system whose numbers can be carried over.

    lago = preset("lago")
    price = Graduated(tiers=lago.tiers(rows), flat_at_zero=lago.flat_at_zero)

Where systems differ they differ in a few choices; a preset says which. `creto` holds the defaults. What each project does was read from
its tests; where these say nothing, the default stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from creto.common.errors import InvalidInput, NotFound
from creto.metering.credits import BURN_ORDER, BurnKey
from creto.metering.prices import Tier
from creto.metering.rounding import ZERO, Rounding
from creto.metering.taxes import TaxRounding


class TierStyle(StrEnum):
    """How a system writes the bounds of its tiers."""

    UP_TO = "up_to"  # the last unit of the tier
    FROM_TO = "from_to"  # first and last unit, or two bounds that touch
    FIRST_UNIT = "first_unit"  # the first whole unit; the tier ends before the next one's
    BLOCKS = "blocks"  # so many blocks of so many units


class NegativeUsage(StrEnum):
    FLOOR = "floor"  # corrections beyond all usage bill as none
    REFUSE = "refuse"


class BillingRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a tenant's invoices are made where systems differ: where a tax is rounded, whether percentages come off before fixed
    amounts, and the order in which credits burn. `preset` is the set that they began with.

    What a price does (`flat_at_zero`, tiers, packages) stands in the price.
    """

    preset: str = "creto"
    tax_rounding: TaxRounding = TaxRounding.LINE
    percent_first: bool = True
    burn_order: tuple[BurnKey, ...] = BURN_ORDER

    def __post_init__(self) -> None:
        if not self.burn_order or len(set(self.burn_order)) != len(self.burn_order):
            raise InvalidInput.of(
                "burn_order", got=[str(key) for key in self.burn_order], code="MT-400",
                expected=f"some of {', '.join(BurnKey)}, each once",
            )  # fmt: skip


class Preset(msgspec.Struct, frozen=True):
    name: str
    tier_style: TierStyle = TierStyle.UP_TO
    flat_at_zero: bool = True
    package_rounding: Rounding = Rounding.CEIL
    money_rounding: Rounding = Rounding.HALF_UP
    tax_rounding: TaxRounding = TaxRounding.LINE
    percent_first: bool = True
    burn_order: tuple[BurnKey, ...] = BURN_ORDER
    keep_overage: bool = True
    negative_usage: NegativeUsage = NegativeUsage.FLOOR

    def rules(self) -> BillingRules:
        return BillingRules(
            preset=self.name,
            tax_rounding=self.tax_rounding,
            percent_first=self.percent_first,
            burn_order=self.burn_order,
        )

    def tiers(self, rows: Sequence[Mapping[str, str | int | None]]) -> tuple[Tier, ...]:
        """A system's own tiers as ours, which end with `up_to` inclusive."""
        bounds = BOUNDS[self.tier_style](rows)
        return tuple(
            Tier(
                up_to=bound,
                unit=decimal(row, "price" if "price" in row else "unit"),
                flat=decimal(row, "flat"),
                cap=decimal(row, "cap") if row.get("cap") is not None else None,
                block=decimal(row, "block") if row.get("block") is not None else None,
            )
            for bound, row in zip(bounds, rows, strict=True)
        )

    def quantity(self, value: Decimal) -> Decimal:
        if value >= 0:
            return value
        if self.negative_usage is NegativeUsage.REFUSE:
            raise InvalidInput.of("quantity", got=str(value), expected="0 or above", code="MT-400")
        return ZERO


Rows = Sequence[Mapping[str, str | int | None]]


def decimal(row: Mapping[str, str | int | None], name: str) -> Decimal:
    value = row.get(name)
    return ZERO if value is None else Decimal(value)


def ends(name: str, rows: Rows) -> list[Decimal | None]:
    return [None if row.get(name) is None else decimal(row, name) for row in rows]


def first_units(rows: Rows) -> list[Decimal | None]:
    return [*(decimal(row, "first") - 1 for row in rows[1:]), None]


def blocks(rows: Rows) -> list[Decimal | None]:
    bounds: list[Decimal | None] = []
    reached = ZERO
    for row in rows:
        reached += decimal(row, "block") * decimal(row, "max_blocks")
        bounds.append(reached)
    return bounds


BOUNDS = {
    TierStyle.UP_TO: lambda rows: ends("upto", rows),
    TierStyle.FROM_TO: lambda rows: ends("to", rows),
    TierStyle.FIRST_UNIT: first_units,
    TierStyle.BLOCKS: blocks,
}

PRESETS = {
    p.name: p
    for p in (
        Preset("creto"),
        Preset("lago", tier_style=TierStyle.FROM_TO, burn_order=(BurnKey.PRIORITY, BurnKey.AGE)),
        Preset("openmeter"),
        Preset("stripe"),
        Preset("flexprice", flat_at_zero=False, tax_rounding=TaxRounding.TOTAL),
        Preset("killbill", tier_style=TierStyle.BLOCKS, burn_order=(BurnKey.AGE,)),
        Preset("polar", flat_at_zero=False, negative_usage=NegativeUsage.REFUSE),
        Preset("meteroid", tier_style=TierStyle.FIRST_UNIT),
        Preset("autumn", burn_order=(BurnKey.EXPIRY, BurnKey.AGE)),
    )
}


def preset(name: str) -> Preset:
    if name not in PRESETS:
        raise NotFound("MT-404", f"there is no preset {name}", hint=f"Known: {', '.join(PRESETS)}.")
    return PRESETS[name]
