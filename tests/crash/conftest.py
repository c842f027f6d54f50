from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import engines


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh, empty database: the first to open it may be a process that the test starts."""
    with engines.database(postgres_server) as url:
        yield url
