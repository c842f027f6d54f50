"""`creto verify invoice.json`: with the log's public keys in one file and the invoice in another, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from creto.cli.exits import Exit
from creto.cli.root import run
from creto.store import open_store
from tests.contract.test_invoice_papers import Books


@pytest.fixture
async def papers(tmp_path: Path) -> Path:
    books = Books(lambda parts: open_store(f"sqlite:///{tmp_path}/creto.db", parts=parts))
    try:
        (tmp_path / "invoice.json").write_bytes(await books.file(await books.january()))
        (tmp_path / "trust.json").write_bytes((await books.audit.trust()).encode())
    finally:
        books.store.close()
    return tmp_path


def test_an_invoice_is_verified_offline(papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invoice = papers / "invoice.json"
    asked = ["verify", "--keys", str(papers / "trust.json"), str(invoice)]

    assert run(asked) == 0
    said = capsys.readouterr().out
    assert f"ok {invoice}: invoice" in said
    assert "3 of the 3 events behind the lines are proved by this file" in said

    file = json.loads(invoice.read_text())
    file["invoice"]["due"] = "0"
    invoice.write_text(json.dumps(file))
    assert run(asked) == Exit.VERIFICATION_FAILED
    assert "MT-422  due: expected 42.7, got 0" in capsys.readouterr().out
