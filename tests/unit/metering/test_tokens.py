"""Token prices: the table that ships, and one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import EventId, SandboxId
from creto.common.limits import BODY_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import InferenceCall, RuntimeUsageEvent
from creto.metering import LLM_COST, Aggregation, Bill, PerUnit, bill, billable, preset, tokens
from tests.unit.metering.examples import AGENT, JANUARY, TENANT, D, at, charge, event, meter, plan, subscription

NOW = at("2026-01-01")


def test_the_longest_model_name_that_fits_decides() -> None:
    table = tokens.shipped()
    assert table.find("anthropic", "claude-sonnet-4-5-20250929", NOW).model == "claude-sonnet-4-5"
    assert table.find("openai", "gpt-4o-mini-2024-07-18", NOW).model == "gpt-4o-mini"
    assert table.cost("anthropic", "claude-3-5-haiku", NOW, {"input": 1_000, "output": 200}) == D("0.0016")


@pytest.mark.parametrize(
    ("model", "when", "kinds"),
    [
        ("o3-ultra", NOW, {"input": 1}),
        ("gpt-4o-realtime", NOW, {"input": 1}),
        ("gpt-9", NOW, {"input": 1}),
        ("gpt-4o", NOW, {"images": 1}),
        ("gpt-5", at("2025-01-01"), {"input": 1}),
    ],
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


def test_what_only_begins_like_a_model_is_another_one() -> None:
    table = tokens.shipped()
    assert table.cost("openai", "o3-pro", NOW, {"input": 1_000_000}) == 20
    assert table.find("anthropic", "claude-opus-4-6", NOW).per_million["input"] == 5
    assert table.find("anthropic", "claude-opus-4@20250514", NOW).per_million["input"] == 15
    with pytest.raises(NotFound):
        table.find("anthropic", "claude-opus-4-99", NOW)


def test_a_long_prompt_costs_what_long_prompts_cost() -> None:
    table = tokens.shipped()
    short, long = {"input": 200_000, "output": 10}, {"input": 150_000, "cached_input": 50_001, "output": 10}
    assert table.cost("anthropic", "claude-sonnet-4-5", NOW, short) == D("0.60015")
    assert table.cost("anthropic", "claude-sonnet-4-5", NOW, long) == D("0.9302256")
    with pytest.raises(NotFound):
        table.cost("anthropic", "claude-sonnet-4-5", NOW, {"input": 200_001, "cache_write": 1})


def test_every_price_that_ships_says_where_it_stands() -> None:
    table = tokens.shipped()
    assert [p.model for p in table.prices if not p.source.startswith("https://")] == []
    named = [(p.provider, p.model, p.since) for p in table.prices]
    assert len(named) == len(set(named))


def test_prices_as_of_a_day_are_those_that_held_then() -> None:
    own = tokens.table(
        b'{"version":"ours","currency":"USD","prices":['
        b'{"provider":"local","model":"m","since":"2026-01-01","per_million":{"input":"2"}},'
        b'{"provider":"local","model":"m","since":"2025-01-01","per_million":{"input":"4"}},'
        b'{"provider":"local","model":"new","since":"2026-06-01","per_million":{"input":"1"}}]}'
    )
    assert [p.per_million["input"] for p in own.as_of(at("2025-06-01"))] == [4]
    assert [p.per_million["input"] for p in own.as_of(at("2026-07-01"))] == [2, 1]
    assert own.as_of(at("2024-01-01")) == ()


@pytest.fixture
def own_table() -> Iterator[None]:
    tokens.use(
        tokens.table(
            b'{"version":"ours","currency":"USD","prices":['
            b'{"provider":"local","model":"m","per_million":{"input":"2","output":"10"}}]}'
        )
    )
    yield
    tokens.use(None)


@pytest.mark.usefixtures("own_table")
def test_a_meter_reads_what_calls_cost_by_the_table_in_use() -> None:
    calls = meter(Aggregation.SUM, property=LLM_COST)
    asked = Bill(
        plans=(plan(charge(PerUnit(unit=D("1.2")), meter=calls)),), subscription=subscription(), period=JANUARY
    )
    call = {"provider": "local", "model_id": "m", "input_tokens": 1_000_000, "output_tokens": 50_000}

    (line,) = bill(asked, [event(JANUARY.start, **call), event(JANUARY.start + 1, **call)])

    assert (line.quantity, line.amount) == (5, 6)
    assert tokens.version_for([LLM_COST, None]) == "ours"
    assert tokens.version_for(["value"]) == ""


@pytest.mark.parametrize("wrong", [{}, {"input_tokens": "12"}, {"input_tokens": True}, {"input_tokens": -1}])
def test_a_call_without_counts_of_tokens_is_an_error(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        tokens.llm_cost(event(NOW, provider="openai", model_id="gpt-4o", **wrong))


def test_a_table_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    for data in (None, b"{", b" " * (BODY_BYTES_MAX + 1)):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(InvalidInput):
            tokens.from_file(path)
    path.write_bytes(wire.encode(tokens.shipped()))
    assert tokens.from_file(path) == tokens.shipped()


def test_what_the_runtime_tells_of_a_call_can_be_priced() -> None:
    call = InferenceCall(
        sandbox_id=SandboxId("sb"), model_id="gpt-4o-2024-08-06", provider="openai", input_tokens=1_000_000,
        output_tokens=0, cost_usd=D("2.5"),
    )  # fmt: skip
    told = RuntimeUsageEvent(
        event_id=EventId("e"), tenant=TENANT, agent_nhi=AGENT, delegation_chain=(AGENT,), event_type="inference",
        timestamp=ConsensusTimestamp(NOW), idempotency_key="e", properties=call,
    )  # fmt: skip
    assert tokens.llm_cost(billable(told)) == call.cost_usd
