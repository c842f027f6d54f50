"""schemathesis on the OpenAPI of a running layer, as its operator and as nobody: no 5xx, no undocumented answer, every body as described.

What is asked follows from the seed and the counts, never from the time it takes: the operator asks every operation, each time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from creto.edge.api import ENDPOINTS
from tests import engines
from tests.layers import layer

HERE = Path(__file__).parent
# Ours instead of theirs: see the hooks.
CHECKS = "all"
NOT_ASKED = "positive_data_acceptance"


# In the sample, of so many operations one is asked all the boundaries of its fields, and one is asked by nobody, who is refused nearly everywhere.
BOUNDARIES_EACH = 5
NOBODY_EACH = 4


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("who", ["operator", "nobody"])
def test_the_api_keeps_its_document(who: str, tmp_path: Path, deep: bool) -> None:
    names = sorted(endpoint.name for endpoint in ENDPOINTS)
    with layer(tmp_path) as served:
        credentials = ["-H", f"Authorization: Bearer {served.token}"] if who == "operator" else []
        if deep:
            ask(served.rest, tmp_path, names, "--phases", "coverage,fuzzing,stateful", "-n", "100", *credentials)
            return
        if who == "nobody":
            some = names[::NOBODY_EACH]
            ask(served.rest, tmp_path, some, "--phases", "fuzzing", "-n", "1", only(some))
            return
        ask(served.rest, tmp_path, names, "--phases", "fuzzing", "-n", "1", *credentials)
        some = names[::BOUNDARIES_EACH]
        ask(served.rest, tmp_path, some, "--phases", "coverage", only(some), *credentials)


def only(names: list[str]) -> str:
    return f"--include-operation-id-regex=^({'|'.join(names).replace('.', '_')})$"


def ask(rest: str, folder: Path, names: list[str], *options: str) -> None:
    program = Path(sys.executable).parent / "st"
    if not program.exists():
        engines.missing("schemathesis")
    command = [
        str(program), "run", f"{rest}/openapi.json", "--seed", "20261121", "--workers", "1", "--checks", CHECKS,
        "--exclude-checks", NOT_ASKED, "--continue-on-failure", "--warnings", "off", "--no-color",
        "--suppress-health-check", "all", *options,
    ]  # fmt: skip
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) == len(names)
