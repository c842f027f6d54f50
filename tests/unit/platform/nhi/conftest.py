"""A town on SQLite for unit tests; `tests/contract/test_nhi.py` has one on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.store import open_store
from tests.unit.platform.nhi.town import PARTS, Town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    store = open_store(f"sqlite:///{tmp_path}/town.db", parts=PARTS)
    yield await Town.open(store)
    store.close()
