"""./bench foundation at the smallest size: every row is there, with a figure and its limits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.bench import beside as peers
from scripts.bench.foundation import MODULES
from scripts.bench.measure import TINY, Row, line

# The rows of the design's table of numbers that belong to the foundation: name, what must be and the aim, in microseconds.
DESIGN = {
    "authz decision, cached, amortised": (0.168, 0.120),
    "authz decision, miss, 1,000 policies": (1_000, 250),
    "authz decision, miss, 10 policies": (1_000, 250),
    "override token, consumed with binding, amortised": (0.5, 0.45),
    "chain of 8 hybrid links from bytes, cold": (10_000, 8_000),
    "chain of 8 hybrid links from bytes, warm": (None, 100),
    "key look-up": (5_000, 100),
    "hybrid signature verified": (2_000, 1_000),
    "audit append, durable, 1,000/s, log being sequenced": (5_000, 5_000),
    "audit, proof at 0.0006 M leaves": (10_000, 1_000),
    "audit, query at 0.0006 M leaves": (50_000, 20_000),
    "timestamp, quorum of 4 time-node processes": (1_000, 20),
    "gRPC unary at 1,000/s, authorization decision": (10_000, 5_000),
    "import creto, wall": (150_000, 80_000),
    "creto --help, wall": (300_000, 200_000),
}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    patch = pytest.MonkeyPatch()
    patch.setattr(peers, "figures", lambda seconds: {})  # the peers' environment is no part of the tests
    try:
        return {row.name: row for module in MODULES for row in module.rows(TINY)}
    finally:
        patch.undo()


def test_every_row_of_the_design_is_measured_with_its_limits(rows: dict[str, Row]) -> None:
    assert {name: (rows[name].must, rows[name].aim) for name in DESIGN if name in rows} == DESIGN


def test_every_row_has_a_figure_and_can_be_printed(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert row.value > 0, row.name
        assert row.name in line(row)


def test_the_peers_script_imports_nothing_of_ours_and_says_what_is_missing() -> None:
    """In an environment without the peers each one is an error line, not a crash."""
    script = Path(peers.__file__).with_name("peers.py")
    assert re.search(r"^\s*(import|from) (creto|scripts)", script.read_text(), re.MULTILINE) is None
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-s", str(script), "0.01"], capture_output=True, text=True, check=True, timeout=60
    )
    told = [json.loads(text) for text in done.stdout.splitlines()]
    assert {one["key"] for one in told} >= {"cedarpy 1000", "casbin", "biscuit", "agt policy", "agt delegation", "agt audit", "limits", "litellm", "dbos"}  # fmt: skip
    assert all("ModuleNotFoundError" in one["error"] for one in told)


def test_a_missing_environment_is_said_loudly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr(peers, "PYTHON", Path("/nowhere/python"))
    assert peers.figures.__wrapped__(1.0) == {}
    assert "PEER MISSING" in capsys.readouterr().err
