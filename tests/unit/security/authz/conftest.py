"""An office on SQLite for unit tests; `tests/contract/test_authz.py` has one on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.store import open_store
from tests.unit.security.authz.office import PARTS, Office, Ticks


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
async def office(tmp_path: Path, ticks: Ticks) -> AsyncIterator[Office]:
    store = open_store(f"sqlite:///{tmp_path}/office.db", parts=PARTS)
    yield Office(store, ticks=ticks)
    store.close()
