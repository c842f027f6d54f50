"""A world whose people can be told: over real providers' contracts, on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.store import open_store
from tests.unit.connectors.post import PARTS, Post
from tests.unit.oversight.world import World


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    store = open_store(f"sqlite:///{tmp_path}/channels.db", parts=PARTS)
    yield Post(await World.open(store))
    store.close()
