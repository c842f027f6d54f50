"""./bench metering at the smallest size: every row is there, with a figure and its limits."""

from __future__ import annotations

from scripts.bench.measure import TINY, line
from scripts.bench.metering import rows


def test_an_invoice_run_is_measured_with_its_limits() -> None:
    row, *papers = rows(TINY)
    assert (row.must, row.aim) == (60, 10)
    assert row.value > 0
    assert row.name in line(row)
    assert [p.name.partition(" ")[0] for p in papers] == ["invoice", "proofs", "an"]
    assert all(p.value > 0 for p in papers)
