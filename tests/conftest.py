"""What tests of every kind share: engines, vectors, the --deep switch."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests import engines, fuzz, templates
from tests.contract.stores import ENGINES, make_store, patient, store, store_url  # noqa: F401 - fixtures for every suite

settings.register_profile("creto", deadline=None)  # machines are shared: no test is timed
settings.load_profile("creto")

# In this order: those of long tests first, so that in the end no core waits for one.
SUITES = ("e2e", "docs", "crash", "integration", "contract", "unit", "")
# Modules whose tests look at one thing that takes long to make: they stay together, those on each engine apart.
TOGETHER = {
    f"tests/{module}.py"
    for module in (
        "contract/test_sdk_acting", "contract/test_sdk_approvals", "docs/test_pages", "integration/edge/test_approval_page",
        "integration/edge/test_bus", "integration/edge/test_callbacks", "integration/edge/test_console",
        "integration/edge/test_fuzz", "integration/edge/test_grpc", "integration/edge/test_operations",
        "integration/edge/test_oversight_links", "integration/edge/test_pages", "integration/edge/test_rest",
        "integration/test_bench", "unit/security/memory/test_vectors", "unit/test_tidy",
    )
}  # fmt: skip
DEEP_TEST_S = 1800  # four times what the longest takes alone on four cores


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="fuzz, crash and soak suites at full counts")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    fuzz.is_deep = bool(config.getoption("--deep"))
    folder = engines.quick_folder()
    if folder is not None and config.option.basetemp is None:  # who wants to see what tests leave gives --basetemp
        config.option.basetemp = tempfile.mkdtemp(prefix="creto-test-", dir=folder)
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: SUITES.index(suite(item.nodeid)))
    if config.getoption("--deep"):
        for item in items:
            if "deep" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(DEEP_TEST_S))


def suite(nodeid: str) -> str:
    """The folder of tests/ in which a test lies."""
    folder = nodeid.split("/")[1] if nodeid.startswith("tests/") else ""
    return folder if folder in SUITES else ""


class Together(LoadScopeScheduling):
    """To whoever is free, one test after another: the many that stay together first, then in the order of the suites."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, parameters = nodeid.replace("::", "[", 1).partition("[")
        if module not in TOGETHER:
            return nodeid
        return f"{module} {next((engine for engine in ENGINES if engine in parameters), '')}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came of each suite: scripts/check.py reads it."""
    outcomes: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.getreports(outcome):
            outcomes.setdefault(suite(report.nodeid), Counter())[outcome] += 1
    for name, found in outcomes.items():
        counts = ", ".join(f"{many} {outcome}" for outcome, many in found.items())
        terminalreporter.write_line(f"suite {name or 'other'}: {counts}")


@pytest.fixture(scope="session", autouse=True)
def copied_databases() -> Iterator[None]:
    with templates.used():
        yield


@pytest.fixture(scope="session", autouse=True)
def thawed() -> Iterator[None]:
    """Measurements leave what stands in memory out of the collector's sight; at exit libraries miss what is theirs among it."""
    yield
    gc.unfreeze()


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
