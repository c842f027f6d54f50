"""The numbers of other billing systems, each with the preset of its name (metering.json)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from creto.metering import BillingRules, BurnKey, Graduated, Rounding, TaxRounding, Usage, preset, round_to
from creto.metering.presets import PRESETS
from tests.unit.metering import vector_money, vector_prices

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "metering-vectors.md"

PRESET_OF = {
    "getlago/lago-api": "lago",
    "openmeterio/openmeter": "openmeter",
    "flexprice/flexprice": "flexprice",
    "meteroid-oss/meteroid": "meteroid",
    "polarsource/polar": "polar",
    "killbill/killbill": "killbill",
    "stripe docs": "stripe",
    "useautumn/autumn": "autumn",
}
RUNS = {**vector_prices.RUNS, **vector_money.RUNS}
DIGITS = {"2dp": 2, "5dp": 5}  # what a name that ends so was rounded to
SHOWN = {"unit_amount"}  # written with as many digits as the project shows
NOT_COVERED: dict[str, str] = {}  # id: why


def cases(vectors: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((vectors / "metering.json").read_text())["cases"]
    return found


@pytest.mark.parametrize("domain", sorted(RUNS))
def test_all_cases_agree(vectors: Path, domain: str) -> None:
    wrong = {}
    for case in cases(vectors):
        if case["domain"] != domain or case["id"] in NOT_COVERED:
            continue
        got = RUNS[domain](preset(PRESET_OF[case["project"]]), case["input"])
        wrong |= {
            f"{case['id']}.{name}": (got.get(name), want)
            for name, want in case["expected"].items()
            if not same(name, got.get(name), want)
        }
    assert wrong == {}


def same(name: str, got: Any, want: Any) -> bool:
    if isinstance(want, list):
        return (
            isinstance(got, list) and len(got) == len(want) and all(same(name, *p) for p in zip(got, want, strict=True))
        )
    if got is None or isinstance(got, list):
        return False
    if isinstance(want, str) and not want.lstrip("-").replace(".", "", 1).isdigit():
        return bool(got == want)
    wanted = Decimal(want)
    digits = DIGITS.get(name.rpartition("_")[2])
    if digits is None and name in SHOWN:
        digits = -int(wanted.as_tuple().exponent)
    return wanted == (Decimal(got) if digits is None else round_to(Decimal(got), digits, Rounding.HALF_UP))


def test_every_case_runs_or_is_listed(vectors: Path) -> None:
    known = cases(vectors)
    assert {case["project"] for case in known} <= set(PRESET_OF)
    assert {case["domain"] for case in known if case["id"] not in NOT_COVERED} == set(RUNS)
    assert len(NOT_COVERED) <= len(known) * 5 // 100
    page = PAGE.read_text()
    assert [id for id in NOT_COVERED if f"`{id}`" not in page] == []
    assert {*PRESET_OF.values(), "creto"} == set(PRESETS)
    for project, name in PRESET_OF.items():
        own = [case["id"] for case in known if case["project"] == project]
        assert f"| `{name}` | {len(own)} | {sum(id not in NOT_COVERED for id in own)} |" in page


def test_without_a_preset_what_was_settled_holds() -> None:
    """The flat fee is due at zero usage, `up_to` is inclusive, each line is rounded half-up and then summed, percentages come off first."""
    creto = preset("creto")
    tiers = creto.tiers([{"upto": "10", "unit": "1", "flat": "5"}, {"upto": None, "unit": "2", "flat": "0"}])
    price = Graduated(tiers=tiers, flat_at_zero=creto.flat_at_zero)
    assert [price.amount(Usage(Decimal(n))) for n in (0, 10, 11)] == [5, 15, 17]
    assert (Graduated(tiers=tiers), BillingRules()) == (price, creto.rules())
    assert round_to(Decimal("0.125"), 2, creto.money_rounding) == Decimal("0.13")
    assert (creto.percent_first, creto.tax_rounding) == (True, TaxRounding.LINE)
    assert creto.burn_order == (BurnKey.PRIORITY, BurnKey.EXPIRY, BurnKey.AGE)
    assert creto.quantity(Decimal(-1)) == 0
