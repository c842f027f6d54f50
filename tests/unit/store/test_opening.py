"""Addresses, and what opening loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from creto.common.errors import EnablementError, InvalidInput
from creto.store import open_store
from tests.contract.processes import SOURCE


@pytest.mark.parametrize("url", ["", "mysql://u:secret@h/db", "sqlite:", "sqlite:///", "sqlite:///:memory:", "x"])
def test_an_address_that_is_none_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        open_store(url)
    assert "secret" not in raised.value.rendered()


def test_a_server_that_is_not_there_is_a_503_without_the_password() -> None:
    with pytest.raises(EnablementError) as raised:
        open_store("postgresql://someone:secret@127.0.0.1:1/db")
    assert raised.value.code == "PL-503"
    assert raised.value.retryable
    assert "secret" not in raised.value.rendered()


def test_a_file_is_made_with_its_folder_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.db"
    open_store(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(EnablementError):
        open_store(f"sqlite:///{path}")


def test_the_store_loads_no_server_library() -> None:
    names = ["psycopg", "psycopg_pool", "redis", "nats", "grpc", "starlette", "structlog", "rich"]
    program = f"import creto.store, creto.store.idempotency_cache, sys; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
