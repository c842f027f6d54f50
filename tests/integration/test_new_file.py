"""Many processes open a database that is not there yet: one makes it, all of them have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OPEN = "import sys; from creto.store import open_store; open_store(sys.argv[1]).close()"


def test_processes_that_start_together_share_a_new_file(tmp_path: Path) -> None:
    for round_ in range(3):
        url = f"sqlite:///{tmp_path}/new{round_}.db"
        together = [subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE) for _ in range(6)]
        errors = [process.communicate()[1].decode() for process in together]
        assert [process.returncode for process in together] == [0] * 6, errors
