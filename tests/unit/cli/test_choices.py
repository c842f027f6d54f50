"""Options and lists: what people type, and pages behind one limit."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import click
import msgspec
import pytest

from creto.cli.approvers import policy_of
from creto.cli.attributes import attributes
from creto.cli.choices import AHEAD, AMOUNT, DURATION, MOMENT, collected
from creto.cli.delegate import window
from creto.cli.init import template
from creto.common.errors import InvalidInput
from creto.common.timestamps import HOUR, SECOND
from creto.contracts import RiskLevel
from creto.oversight import Assurance


class Numbers(msgspec.Struct):
    items: tuple[int, ...]
    cursor: str | None


async def count(*, limit: int, cursor: str | None, to: int) -> Numbers:
    """A list of `to` numbers, at most 7 a page."""
    first = int(cursor or 0)
    items = tuple(range(first, min(to, first + min(limit, 7))))
    end = first + len(items)
    return Numbers(items, str(end) if end < to else None)


@pytest.mark.parametrize(("to", "limit", "more"), [(5, 10, False), (20, 20, False), (20, 19, True), (20, 3, True)])
async def test_a_list_is_read_over_its_pages(to: int, limit: int, more: bool) -> None:
    notes: list[str] = []
    found = await collected(count, limit, notes.append, to=to)
    assert found == list(range(min(to, limit)))
    assert bool(notes) is more


def test_durations_and_moments() -> None:
    assert DURATION.convert("2h", None, None) == 2 * HOUR
    assert MOMENT.convert("2026-01-31", None, None) == MOMENT.convert("2026-01-31T00:00:00Z", None, None)
    assert abs(MOMENT.convert("1h", None, None) - (time.time_ns() - HOUR)) < 60 * SECOND
    assert abs(AHEAD.convert("1h", None, None) - (time.time_ns() + HOUR)) < 60 * SECOND
    assert AHEAD.convert("2026-01-31", None, None) == MOMENT.convert("2026-01-31", None, None)
    for wrong in ("soon", "5", "2026-13-01"):
        with pytest.raises(click.BadParameter):
            MOMENT.convert(wrong, None, None)
    with pytest.raises(click.BadParameter):
        DURATION.convert("2 weeks", None, None)


def test_amounts_are_plain_and_of_few_digits() -> None:
    assert AMOUNT.convert("-12.50", None, None) == Decimal("-12.50")
    for wrong in ("1e30", "NaN", "Infinity", "12,50", "", "9" * 25):
        with pytest.raises(click.BadParameter):
            AMOUNT.convert(wrong, None, None)


def test_attributes_are_json_where_they_can_be() -> None:
    found: dict[str, Any] = attributes(["amount=5", "who=ada", 'tags=["a"]', "empty="])
    assert found == {"amount": 5, "who": "ada", "tags": ["a"], "empty": ""}
    with pytest.raises(InvalidInput):
        attributes(["amount"])


def test_a_link_lasts_an_hour_unless_said_otherwise() -> None:
    starts, ends = window(None, None)
    assert ends - starts == HOUR + SECOND
    assert window(None, 5 * SECOND)[1] - window(None, 5 * SECOND)[0] in range(6 * SECOND - HOUR, 6 * SECOND + 1)


def test_the_template_is_a_valid_configuration(tmp_path: Any) -> None:
    from creto.common.config import load
    from creto.common.settings import StoreConfig

    path = tmp_path / "creto.toml"
    path.write_text(template())
    config = load((path,), env={}, defaults=())
    assert config[StoreConfig].url == "sqlite:///data/creto.db"
    # Every default, uncommented, is still what it was.
    lines = [line.removeprefix("# ") for line in template().splitlines() if " …" not in line and "${" not in line]
    path.write_text("\n".join(line for line in lines if "=" in line or line.startswith("[")))
    assert {s.key: s.value for s in load((path,), env={}, defaults=()).settings() if s.key != "crypto.kek"} == {
        s.key: s.value for s in config.settings() if s.key != "crypto.kek"
    }


@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize(("written", "means"), [('"A3"', Assurance.OWN_KEY), ("3", Assurance.OWN_KEY), ('"A0"', Assurance.BEARER)])  # fmt: skip
def test_a_policy_file_names_an_assurance_as_people_do(form: str, written: str, means: Assurance) -> None:
    toml = f'policy_id = "p"\nassurance = {written}\nassurance_by_risk = {{ high = {written} }}\ntiers = [{{ name = "t", approvers = ["ann"] }}]\n'
    json = f'{{"policy_id": "p", "assurance": {written}, "assurance_by_risk": {{"high": {written}}}, "tiers": [{{"name": "t", "approvers": ["ann"]}}]}}'
    policy = policy_of((toml if form == "toml" else json).encode())
    assert (policy.assurance, policy.assurance_by_risk) == (means.label, {RiskLevel.HIGH: means.label})


@pytest.mark.parametrize("written", ['"A4"', '"a3"', '"3"', "4", "[3]"])
def test_any_other_assurance_is_refused(written: str) -> None:
    toml = f'policy_id = "p"\nassurance = {written}\ntiers = [{{ name = "t", approvers = ["ann"] }}]\n'
    with pytest.raises(InvalidInput, match="assurance"):
        policy_of(toml.encode())
