"""A reader's shell: `creto` and `python` on the path, nothing configured, a folder of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of that shell; the folder is `tmp_path / "home"`."""
    bin = tmp_path / "bin"
    bin.mkdir()
    (tmp_path / "home").mkdir()
    for name, words in (("creto", "-m creto"), ("python", "")):
        file = bin / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        file.chmod(0o755)
    return {
        "PATH": f"{bin}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "PYTHONPATH": str(ROOT / "src"),
        "CRETO_SERVER__REST_PORT": "0",
        "CRETO_SERVER__GRPC_PORT": "0",
        "CRETO_SERVER__METRICS_PORT": "0",
        "CRETO_SERVER__HEALTH_PORT": "0",
    }
