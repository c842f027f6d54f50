"""A world on SQLite; `tests/contract/test_oversight.py` has one on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.store import open_store
from tests.unit.oversight.world import PARTS, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = open_store(f"sqlite:///{tmp_path}/oversight.db", parts=PARTS)
    yield await World.open(store)
    store.close()
