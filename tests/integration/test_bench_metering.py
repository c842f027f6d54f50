"""./bench metering at the smallest size: every row is there, with a figure and its limits."""

from __future__ import annotations

import pytest
from scripts.bench import beside
from scripts.bench.measure import TINY, Row, line
from scripts.bench.metering import archive, invoices, papers, questions, quotas, usage


def check(row: Row) -> None:
    assert row.value > 0
    assert row.name in line(row)


def test_an_invoice_run_is_measured_with_its_limits() -> None:
    (row,) = invoices.rows(TINY)
    assert (row.must, row.aim) == (60, 10)
    check(row)


def test_ingestion_is_measured_on_both_engines_with_its_limits() -> None:
    rows = list(usage.rows(TINY))
    limits = {row.name: (row.must, row.aim) for row in rows if row.must is not None}
    assert limits == {
        "durable ingest with exact dedupe: SQLite": (50_000, 150_000),
        "durable ingest with exact dedupe: PostgreSQL": (50_000, 120_000),
    }
    for row in rows:
        check(row)


def test_questions_are_measured_beside_duckdb() -> None:
    rows = list(questions.rows(TINY))
    assert [peer.name for peer in rows[0].peers] == ["duckdb, in memory"]
    for row in rows:
        check(row)


def test_the_archive_is_measured() -> None:
    for row in archive.rows(TINY):
        check(row)


def test_what_is_handed_out_of_an_invoice_is_measured() -> None:
    found = list(papers.rows(TINY))
    assert [row.name.partition(" ")[0] for row in found] == ["invoice", "proofs", "an"]
    for row in found:
        check(row)


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
    spent = [row for name, row in found.items() if name.startswith("overspend")]
    assert [row.met for row in spent] == [True] * len(spent)
    for row in found.values():
        check(row)
