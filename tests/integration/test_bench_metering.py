"""./bench metering at the smallest size: every row is there, with a figure and its limits."""

from __future__ import annotations

import pytest
from scripts.bench import beside
from scripts.bench.measure import TINY, line
from scripts.bench.metering import invoices, quotas, rows


def test_an_invoice_run_is_measured_with_its_limits() -> None:
    (row,) = invoices.rows(TINY)
    assert (row.must, row.aim) == (60, 10)
    assert row.value > 0
    assert row.name in line(row)


def test_quotas_are_measured_with_their_limits_and_nothing_is_overspent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "figures", lambda _: {})
    found = {row.name: row for row in quotas.rows(TINY)}
    limits = {name.partition(",")[0]: (row.must, row.aim) for name, row in found.items() if row.must}
    assert limits == {
        "quota check and reserve": (10, 7),
        "cost threshold": (10, 3),
        "message quota": (10, 3),
        "overspend": (1, 1),
    }
    assert all(row.value > 0 for row in found.values())
    spent = [row for name, row in found.items() if name.startswith("overspend")]
    assert [row.met for row in spent] == [True] * len(spent)


def test_all_of_them_are_in_the_bench() -> None:
    assert next(rows(TINY)).name.startswith("invoices")
