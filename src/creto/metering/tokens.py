"""Tokens: what a call of a language model costs, by a dated table.

>>> shipped().cost("anthropic", "claude-3-5-haiku", at, {"input": 1_000, "output": 200})

The table that comes with the package is `llm_prices.json`; `table(bytes)` reads one's own in its form. Prices are in US dollars
for a million tokens and hold from their date on. The longest model name that the called one begins with decides, so that
`claude-sonnet-4-5-20250929` finds `claude-sonnet-4-5`.

INVARIANT: a model or a kind of token without a price is an error, never free.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib import resources

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.limits import TOKEN_PRICES_MAX
from creto.common.timestamps import from_iso
from creto.metering.prices import Checked
from creto.metering.rounding import ZERO, precise

MILLION = Decimal(1_000_000)


class ModelPrice(Checked, frozen=True):
    """What a million tokens of each kind costs: input, output, cached_input, cache_write."""

    provider: str
    model: str
    since: str  # a day, as 2026-01-31
    per_million: dict[str, Decimal]

    def __post_init__(self) -> None:
        if not self.per_million or any(not p.is_finite() or p < 0 for p in self.per_million.values()):
            raise InvalidInput.of("per_million", got=self.model, expected="prices, 0 or above", code="MT-400")
        from_iso(f"{self.since}T00:00:00Z", "since")


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Named and dated as a whole, so that an invoice can say what it was priced by."""

    version: str
    currency: str
    prices: tuple[ModelPrice, ...]

    def __post_init__(self) -> None:
        if len(self.prices) > TOKEN_PRICES_MAX:
            raise InvalidInput.of("prices", got=len(self.prices), expected=f"at most {TOKEN_PRICES_MAX}", code="MT-400")

    def find(self, provider: str, model: str, at: int) -> ModelPrice:
        fitting = [
            p
            for p in self.prices
            if p.provider == provider and named(p.model, model) and from_iso(f"{p.since}T00:00:00Z") <= at
        ]
        if not fitting:
            raise NotFound(
                "MT-404", f"{provider}/{model}: no price in table {self.version}", hint="Give your own table."
            )
        return max(fitting, key=lambda p: (len(p.model), p.since))

    @precise
    def cost(self, provider: str, model: str, at: int, tokens: Mapping[str, int]) -> Decimal:
        price = self.find(provider, model, at)
        unknown = sorted(kind for kind in tokens if kind not in price.per_million)
        if unknown:
            raise NotFound("MT-404", f"{provider}/{model}: no price for {', '.join(unknown)} tokens")
        return sum((price.per_million[kind] * count / MILLION for kind, count in tokens.items()), ZERO)


def named(listed: str, called: str) -> bool:
    """The same model, or a dated or sized release of it."""
    return called == listed or called.startswith((f"{listed}-", f"{listed}@", f"{listed}:"))


def table(data: bytes) -> PriceTable:
    return wire.decode(data, PriceTable, code="MT-400", what="price table")


@cache
def shipped() -> PriceTable:
    return table(resources.files("creto.metering").joinpath("llm_prices.json").read_bytes())
