"""What tests of every kind share: engines, vectors, the --deep switch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import engines, fuzz, templates
from tests.contract.stores import make_store, store, store_url  # noqa: F401 - fixtures for every suite

settings.register_profile("creto", deadline=None)  # machines are shared: no test is timed
settings.load_profile("creto")

DEEP_TEST_S = 1800  # four times what the longest takes alone on four cores


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="fuzz, crash and soak suites at full counts")


def pytest_configure(config: pytest.Config) -> None:
    fuzz.is_deep = bool(config.getoption("--deep"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--deep"):
        for item in items:
            if "deep" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(DEEP_TEST_S))


@pytest.fixture(scope="session", autouse=True)
def copied_databases() -> Iterator[None]:
    with templates.used():
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    templates.on = item.get_closest_marker("migrates") is None


@pytest.fixture(scope="session")
def deep(request: pytest.FixtureRequest) -> bool:
    """Whether the full counts are wanted. A test that asks has the time for them."""
    return bool(request.config.getoption("--deep"))


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Public test vectors, which live beside the project."""
    folder = Path(os.environ.get("CRETO_VECTORS", Path(__file__).parents[1] / ".." / "shared" / "vectors"))
    if not folder.is_dir():
        engines.missing("vectors (CRETO_VECTORS)")
    return folder.resolve()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with engines.postgres(durable=False) as address:
        yield address


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The address of a fresh database on the session's server: for stores of this process, the first of which makes it.

    A test that is marked `migrates` finds it made and empty.
    """
    with (templates.promised if templates.on else engines.database)(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with engines.redis() as address:
        yield address
