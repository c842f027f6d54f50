"""Charts: as long and as high as the numbers say, and nothing that is there is invisible."""

from __future__ import annotations

from decimal import Decimal

from creto.cli.charts import bar, spark


def test_a_bar_is_its_share_of_the_largest() -> None:
    assert bar(Decimal(8), Decimal(8), 4) == "████"
    assert bar(Decimal(1), Decimal(8), 4) == "▌"
    assert bar(Decimal(1), Decimal(10_000), 4) == "▏"
    assert bar(Decimal(0), Decimal(8), 4) == bar(Decimal(0), Decimal(0), 4) == ""


def test_a_series_in_one_line() -> None:
    assert spark([Decimal(n) for n in (0, 1, 4, 8)]) == "·▂▅█"
    assert spark([Decimal(0)] * 3) == "···"
    assert spark([]) == ""


def test_a_long_series_is_summed_in_equal_steps() -> None:
    assert spark([Decimal(1)] * 10, 5) == "█████"
    assert spark([Decimal(1)] * 9, 5) == "████▅"
