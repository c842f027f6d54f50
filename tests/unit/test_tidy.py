"""The house rules that a machine can hold. Sizes are warnings, listed; the rest fails."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "creto"
MODULES = sorted(p for p in SRC.rglob("*.py") if "_pb2" not in p.name)

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SERVER_LIBRARIES = {"grpc", "starlette", "uvicorn", "structlog", "rich", "psycopg", "httpx2", "nats", "redis", "opentelemetry", "prometheus_client", "jinja2", "stamina", "slack_sdk", "aiosmtplib"}  # fmt: skip
ALGORITHM_LIBRARIES = {"hashlib", "hmac", "cryptography"}
# What the products build on, tested here and used by nobody yet.
FOR_PRODUCTS = {"creto.common.envelope", "creto.common.genai"}

MONEY = ("common/money.py", "metering/", "contracts.py")

pytestmark = pytest.mark.xdist_group("tidy")  # each module is parsed once


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


def name_of(module: Path) -> str:
    parts = ["creto", *module.relative_to(SRC).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_sizes() -> None:
    """Long modules and functions are a reason to look, not to fail."""
    long = []
    for module in MODULES:
        text = module.read_text()
        if text.count("\n") > MODULE_LINES_MAX:
            long.append(f"{module.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{module.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for line in long:
            warnings.warn(f"long: {line}", stacklevel=1)


def test_money_modules_hold_no_float() -> None:
    found = []
    for module in MODULES:
        if not str(module.relative_to(SRC)).startswith(MONEY):
            continue
        for node in ast.walk(tree(module)):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            name = isinstance(node, ast.Name) and node.id == "float"
            if literal or name:
                found.append(f"{module.relative_to(ROOT)}:{node.lineno}")
    # Seconds to wait are not money.
    found = [f for f in found if "contracts.py" not in f or "timeout_s" not in line_of(f)]
    assert found == []


def line_of(place: str) -> str:
    path, number = place.rsplit(":", 1)
    return (ROOT / path).read_text().splitlines()[int(number) - 1]


def test_algorithms_are_named_in_platform_crypto_alone() -> None:
    allowed = ("platform/crypto/", "common/fingerprint.py")
    found = [
        f"{module.relative_to(SRC)} imports {name}"
        for module in MODULES
        if not str(module.relative_to(SRC)).startswith(allowed)
        for name in imports(module)
        if name.split(".")[0] in ALGORITHM_LIBRARIES
    ]
    assert found == []


def test_every_setting_is_read() -> None:
    """A key that nothing reads is a promise nobody keeps. The client's keys of a product wait until the product is offered."""
    from creto.common import settings  # noqa: F401 - declares the sections
    from creto.common.config import declared

    read = {
        node.attr
        for module in MODULES
        if module != SRC / "common" / "settings.py"
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute)
    }
    offered = "\n".join(imports(SRC / "app.py"))
    products = {p for p in ("metering", "oversight", "runtime", "messaging") if f"creto.{p}" not in offered}
    assert [f.key for f in declared() if f.name not in read and f.key.partition(".")[0] not in products] == []


def test_no_module_is_dead() -> None:
    """Every module is imported by another one, or is a way in."""
    ways_in = {"creto", "creto.__main__", "creto.contracts", *FOR_PRODUCTS}
    used = {name for module in [*MODULES, *(ROOT / "tests").rglob("conftest.py")] for name in imports(module)}
    own = {name_of(m) for m in MODULES}
    dead = sorted(
        n for n in own if n not in used and n not in ways_in and not any(u.startswith(n + ".") for u in used | own)
    )
    assert dead == []


@pytest.mark.parametrize("statement", ["import creto", "from creto import Creto", "import creto.sdk"])
def test_importing_creto_loads_no_server_library(statement: str) -> None:
    code = f"import sys; {statement}; print(' '.join(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert SERVER_LIBRARIES.isdisjoint(done.stdout.split())


def test_every_public_package_says_what_it_is() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in MODULES
        if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []
