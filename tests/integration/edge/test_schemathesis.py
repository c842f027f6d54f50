"""schemathesis on the OpenAPI of a running layer, as its operator and as nobody: no 5xx, no undocumented answer, every body as described."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import engines
from tests.layers import layer

HERE = Path(__file__).parent
# Ours instead of theirs: see the hooks.
CHECKS = "all"
NOT_ASKED = "positive_data_acceptance"


@pytest.mark.parametrize("who", ["operator", "nobody"])
def test_the_api_keeps_its_document(who: str, tmp_path: Path, deep: bool) -> None:
    program = Path(sys.executable).parent / "st"
    if not program.exists():
        engines.missing("schemathesis")
    seconds = (400 if deep else 40) if who == "operator" else (100 if deep else 10)
    with layer(tmp_path) as served:
        credentials = ["-H", f"Authorization: Bearer {served.token}"] if who == "operator" else []
        command = [
            str(program), "run", f"{served.rest}/openapi.json", "--seed", "20261121", "--max-time", str(seconds),
            "--checks", CHECKS, "--exclude-checks", NOT_ASKED, "--continue-on-failure", "--warnings", "off", "--no-color",
            "--suppress-health-check", "all", *credentials,
        ]  # fmt: skip
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    counts = re.search(r"Selected: (\d+)/\d+\s+Tested: (\d+)", done.stdout)
    assert counts is not None, done.stdout[-2_000:]
    selected, tested = map(int, counts.groups())
    assert tested == selected if deep else tested > 0  # how many there is time for depends on the machine
