"""Token prices: the table that ships, and one's own."""

from __future__ import annotations

import pytest

from creto.common.errors import InvalidInput, NotFound
from creto.metering import preset, tokens
from tests.unit.metering.examples import D, at

NOW = at("2026-01-01")


def test_the_longest_model_name_that_fits_decides() -> None:
    table = tokens.shipped()
    assert table.find("anthropic", "claude-sonnet-4-5-20250929", NOW).model == "claude-sonnet-4-5"
    assert table.find("openai", "gpt-4o-mini-2024-07-18", NOW).model == "gpt-4o-mini"
    assert table.cost("anthropic", "claude-3-5-haiku", NOW, {"input": 1_000, "output": 200}) == D("0.0016")


@pytest.mark.parametrize(
    ("model", "when", "kinds"),
    [("gpt-9", NOW, {"input": 1}), ("gpt-4o", NOW, {"images": 1}), ("gpt-5", at("2025-01-01"), {"input": 1})],
)
def test_what_has_no_price_is_an_error_and_never_free(model: str, when: int, kinds: dict[str, int]) -> None:
    with pytest.raises(NotFound) as missing:
        tokens.shipped().cost("openai", model, when, kinds)
    assert missing.value.code == "MT-404"


def test_a_table_of_ones_own_replaces_it_and_its_prices_change_on_their_day() -> None:
    own = tokens.table(
        b'{"version":"ours","currency":"USD","prices":['
        b'{"provider":"local","model":"m","since":"2026-01-01","per_million":{"input":"2"}},'
        b'{"provider":"local","model":"m","since":"2025-01-01","per_million":{"input":"4"}}]}'
    )
    assert own.cost("local", "m", NOW - 1, {"input": 1_000_000}) == 4
    assert own.cost("local", "m", NOW, {"input": 1_000_000}) == 2


@pytest.mark.parametrize("price", ['"-1"', '"NaN"', "null"])
def test_a_table_with_a_wrong_price_is_refused(price: str) -> None:
    body = '{"version":"x","currency":"USD","prices":[{"provider":"p","model":"m","since":"2026-01-01","per_million":{"input":%s}}]}'
    with pytest.raises(InvalidInput):
        tokens.table((body % price).encode())


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(NotFound) as missing:
        preset("metronome")
    assert "openmeter" in (missing.value.hint or "")
