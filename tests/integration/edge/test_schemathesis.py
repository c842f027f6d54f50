"""schemathesis on the OpenAPI of a running layer, as its operator and as nobody: no 5xx, no undocumented answer, every body as described.

What is asked follows from the seed and the counts, never from the time it takes: every operation, each time.
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


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("who", ["operator", "nobody"])
def test_the_api_keeps_its_document(who: str, tmp_path: Path, deep: bool) -> None:
    program = Path(sys.executable).parent / "st"
    if not program.exists():
        engines.missing("schemathesis")
    # Nobody is refused nearly everywhere: in the sample without the boundaries of every field.
    phases = "coverage,fuzzing,stateful" if deep else "coverage,fuzzing" if who == "operator" else "fuzzing"
    with layer(tmp_path) as served:
        credentials = ["-H", f"Authorization: Bearer {served.token}"] if who == "operator" else []
        command = [
            str(program), "run", f"{served.rest}/openapi.json", "--seed", "20261121", "--phases", phases, "-n", "100" if deep else "1",
            "--workers", "1", "--checks", CHECKS, "--exclude-checks", NOT_ASKED, "--continue-on-failure", "--warnings", "off", "--no-color",
            "--suppress-health-check", "all", *credentials,
        ]  # fmt: skip
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) == len(ENDPOINTS)
