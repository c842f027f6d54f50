"""Fixtures: the store over every engine, for the conformance suites and for every part that keeps rows.

def test_it(make_store: MakeStore) -> None:
    store = make_store(parts=("creto.platform.nhi",))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from creto.store import Store, engine, open_store

ENGINES = ("sqlite", "postgres")

MakeStore = Callable[..., Store]


@pytest.fixture(params=ENGINES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a fresh, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/creto.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def make_store(store_url: str) -> Iterator[MakeStore]:
    """Open the database, as often as the test likes: each store is a node of its own."""
    opened: list[Store] = []

    def make(parts: Sequence[str] = ("creto.store",), **options: Any) -> Store:
        store = open_store(store_url, parts=parts, **options)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process is taken for dead, however long a busy machine lets it stand still."""
    monkeypatch.setattr(engine, "STORE_NODE_DEAD_S", 3_600.0)


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()
