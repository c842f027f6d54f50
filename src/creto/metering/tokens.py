"""Tokens: what a call of a language model costs, by a dated table.

>>> shipped().cost("anthropic", "claude-3-5-haiku", at, {"input": 1_000, "output": 200})

The table that comes with the package is `llm_prices.json`; each of its figures names where it stands. `use(from_file(path))` puts
one's own in its place. Prices are in US dollars for a million tokens and hold from their date on, or for as long as the model exists. A model
is named as its provider names it, or with the date of a release after it: `claude-sonnet-4-5-20250929` finds `claude-sonnet-4-5`.

Meters read what a call cost as the property `@llm_cost`, of events with `provider`, `model_id` and counts of tokens:

    Meter(meter_id="calls", event_type="inference", aggregation=Aggregation.SUM, property=LLM_COST)

INVARIANT: a model or a kind of token without a price is an error, never free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.limits import BODY_BYTES_MAX, TOKEN_PRICES_MAX
from creto.common.timestamps import from_iso
from creto.contracts import BillableEvent
from creto.metering.prices import Checked
from creto.metering.rounding import ZERO, precise

MILLION = Decimal(1_000_000)
SHIPPED: Final = "package"
LLM_COST: Final = "@llm_cost"
KINDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_input_tokens": "cached_input",
    "cache_write_tokens": "cache_write",
}
PROMPT = frozenset({"input", "cached_input", "cache_write"})
RELEASE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest)")


class LongPrompts(Checked, frozen=True):
    """Other prices for a call whose prompt has more tokens than this."""

    above: int
    per_million: dict[str, Decimal]

    def __post_init__(self) -> None:
        check_prices(self.per_million, f"above {self.above}")


class ModelPrice(Checked, frozen=True, kw_only=True):
    """What a million tokens of each kind costs: input, output, cached_input, cache_write."""

    provider: str
    model: str
    since: str = ""  # a day, as 2026-01-31; empty: for as long as the model exists
    per_million: dict[str, Decimal]
    long: LongPrompts | None = None
    source: str = ""

    def __post_init__(self) -> None:
        check_prices(self.per_million, self.model)
        day(self.since)

    def prices(self, tokens: Mapping[str, int]) -> Mapping[str, Decimal]:
        """Those that hold for a call of this size."""
        if self.long is None or sum(count for kind, count in tokens.items() if kind in PROMPT) <= self.long.above:
            return self.per_million
        return self.long.per_million


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Named and dated as a whole, so that an invoice can say what it was priced by."""

    version: str
    currency: str
    prices: tuple[ModelPrice, ...]

    def __post_init__(self) -> None:
        if len(self.prices) > TOKEN_PRICES_MAX:
            raise InvalidInput.of("prices", got=len(self.prices), expected=f"at most {TOKEN_PRICES_MAX}", code="MT-400")

    def find(self, provider: str, model: str, at: int) -> ModelPrice:
        fitting = [p for p in self.prices if p.provider == provider and named(p.model, model) and day(p.since) <= at]
        if not fitting:
            raise NotFound(
                "MT-404", f"{provider}/{model}: no price in table {self.version}", hint="Give your own table."
            )
        return max(fitting, key=lambda p: (len(p.model), p.since))

    def as_of(self, at: int) -> tuple[ModelPrice, ...]:
        """The price of each model that held at an instant."""
        held: dict[tuple[str, str], ModelPrice] = {}
        for price in sorted(self.prices, key=lambda p: p.since):
            if day(price.since) <= at:
                held[price.provider, price.model] = price
        return tuple(held[key] for key in sorted(held))

    @precise
    def cost(self, provider: str, model: str, at: int, tokens: Mapping[str, int]) -> Decimal:
        prices = self.find(provider, model, at).prices(tokens)
        unknown = sorted(kind for kind, count in tokens.items() if count and kind not in prices)
        if unknown:
            raise NotFound("MT-404", f"{provider}/{model}: no price for {', '.join(unknown)} tokens of such a call")
        return sum((prices[kind] * count / MILLION for kind, count in tokens.items() if count), ZERO)


def check_prices(per_million: Mapping[str, Decimal], what: str) -> None:
    if not per_million or any(not p.is_finite() or p < 0 for p in per_million.values()):
        raise InvalidInput.of("per_million", got=what, expected="prices, 0 or above", code="MT-400")


@lru_cache(maxsize=4_096)
def day(since: str) -> int:
    return from_iso(f"{since}T00:00:00Z", "since") if since else 0


def named(listed: str, called: str) -> bool:
    """The same model, or a release of it. What else begins like it is another model: `o3-pro` is no `o3`."""
    return called == listed or (called.startswith(listed) and RELEASE.fullmatch(called[len(listed) :]) is not None)


def table(data: bytes) -> PriceTable:
    return wire.decode(data, PriceTable, code="MT-400", what="price table")


def from_file(path: Path) -> PriceTable:
    """One's own table, as `metering.llm_prices_file` names it."""
    try:
        with path.open("rb") as file:
            data = file.read(BODY_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput.of(
            "llm_prices_file", got=str(path), expected="a file that can be read", code="MT-400"
        ) from error
    if len(data) > BODY_BYTES_MAX:
        raise InvalidInput.of(
            "llm_prices_file", got=str(path), expected=f"at most {BODY_BYTES_MAX} bytes", code="MT-400"
        )
    try:
        return table(data)
    except InvalidInput as error:
        raise InvalidInput(
            "MT-400", f"{path} is no price table: {error.message}", field=error.field, got=error.got,
            expected=error.expected, hint="Its form is that of creto/metering/llm_prices.json.",
        ) from error  # fmt: skip


def configured(path: str | None) -> PriceTable | None:
    """The table that `metering.llm_prices_file` names; MT-400 if it cannot be read, and the one in use stays."""
    return None if path is None else from_file(Path(path))


@cache
def shipped() -> PriceTable:
    return table(resources.files("creto.metering").joinpath("llm_prices.json").read_bytes())


_in_use: PriceTable | None = None
_origin = SHIPPED


def use(own: PriceTable | None, origin: str = "") -> None:
    """Price by one's own table from here on, in this process; None goes back to the one that comes with the package."""
    global _in_use, _origin
    _in_use, _origin = own, SHIPPED if own is None else origin


def in_use() -> PriceTable:
    return shipped() if _in_use is None else _in_use


def origin() -> str:
    """Where the table in use comes from: the package, or a file."""
    return _origin


def llm_cost(event: BillableEvent) -> Decimal:
    """What the call behind an event cost when it was made."""
    said = event.properties
    model = said.get("model_id", said.get("model"))
    tokens = {kind: said[name] for name, kind in KINDS.items() if name in said}
    wrong = [
        kind for kind, count in tokens.items() if isinstance(count, bool) or not isinstance(count, int) or count < 0
    ]
    if wrong or not tokens:
        raise InvalidInput.of(
            "properties",
            got=", ".join(wrong) or "no tokens",
            expected="counts of tokens, as input_tokens",
            code="MT-400",
        )
    counts = {kind: int(count) for kind, count in tokens.items()}
    return in_use().cost(str(said.get("provider", "")), str(model or ""), event.timestamp, counts)


def version_for(properties: Iterable[str | None]) -> str:
    """The version of the table in use, if any of these properties is priced by it."""
    return in_use().version if LLM_COST in set(properties) else ""
