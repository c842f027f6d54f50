"""Every block of Python in docs/ that is marked runnable runs, each in an empty folder. The tutorial's run in their place in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.docs.test_readme import run

ELSEWHERE = {ROOT / "README.md", ROOT / "docs" / "tutorial.md"}
RUNNABLE = [b for page in PAGES if page not in ELSEWHERE for b in blocks(page) if b.mark == "runnable"]


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda b: b.page.stem)
def test_a_runnable_block_runs(block: Block, tmp_path: Path, shell: dict[str, str]) -> None:
    assert block.language == "python"
    done = run(["python", "-W", "error", "-c", block.text], tmp_path / "home", shell)
    assert done.returncode == 0, done.stderr


def test_there_are_some() -> None:
    assert len(RUNNABLE) >= 5
