"""./bench metering at the smallest size: every row is there, with a figure and its limits."""

from __future__ import annotations

import pytest
from scripts.bench import beside
from scripts.bench.measure import TINY, Peer, Row, line
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
    (peer,) = rows[0].peers
    assert peer.name.startswith("duckdb ")
    assert peer.value > 0
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
    """Four peers at the same decision, and two at the same overspend, on every engine and in every way that calls can come at once."""
    peers = {key: (Peer(key, 1.0),) for key in ("litellm", "limits", "litellm overspend", "limits overspend")}
    monkeypatch.setattr(beside, "figures", lambda _: peers)
    found = {row.name: row for row in quotas.rows(TINY)}
    limits = {name.partition(",")[0]: (row.must, row.aim) for name, row in found.items() if row.must}
    assert limits == {
        "quota check and reserve": (10, 7),
        "cost threshold": (10, 3),
        "message quota": (10, 3),
        "overspend": (1, 1),
    }
    for row in found.values():
        if row.name.startswith("quota check and reserve"):
            names = [peer.name for peer in row.peers]
            assert names == ["litellm", "limits", "Redis, a Lua script", "PostgreSQL, a conditional update"]
    spent = {name.split(", ", 2)[2]: row for name, row in found.items() if name.startswith("overspend")}
    ways = [f"{how}, {engine}" for engine in ("SQLite", "PostgreSQL", "Redis") for how in ("threads", "tasks", "4 processes")]  # fmt: skip
    assert list(spent) == ways
    assert [row.met for row in spent.values()] == [True] * len(ways)
    assert {tuple(peer.name for peer in row.peers) for row in spent.values()} == {("litellm overspend", "limits overspend")}  # fmt: skip
    for row in found.values():
        check(row)
