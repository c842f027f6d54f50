"""./bench oversight at the smallest size: every row is there, with a figure and its limits. OV-179: the transaction and what is before it, apart."""

from __future__ import annotations

from scripts.bench.measure import TINY, line
from scripts.bench.oversight import rows


def test_ov_179_a_transition_is_measured_apart_from_what_surrounds_it() -> None:
    found = {row.name: row for row in rows(TINY)}
    assert all(row.value > 0 or row.note for row in found.values())
    assert found["transition committed, SQLite FULL"].must == 1_000
    assert found["click → the waiting agent runs, with its token, SQLite FULL"].must == 50_000
    assert any("signature verified" in name for name in found)
    assert any("tells three humans" in name for name in found)
    assert all(row.name in line(row) for row in found.values())
