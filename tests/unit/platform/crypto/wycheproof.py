"""The Wycheproof files: every file that is there, every case of a file, and no fewer than it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def cases(vectors: Path, name: str, count: int) -> list[tuple[Case, Case]]:
    """(group, case) of the whole file; the count is asserted so that nothing is skipped in silence."""
    document = json.loads((vectors / "wycheproof" / name).read_text())
    found = [(group, case) for group in document["testGroups"] for case in group["tests"]]
    assert len(found) == document["numberOfTests"] == count
    return found


def files_read_by(*modules: Path) -> set[str]:
    """The files that these test modules name."""
    return {name for module in modules for name in re.findall(r'"(\w+_test\.json)"', module.read_text())}


def raw(case: Case, *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(case.get(name) or "") for name in names)
