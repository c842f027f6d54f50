"""Transcripts: commands as a reader types them, with what they print.

    $ creto policies check $BOT funds.transfer bank:acme
    deny: no policy permits it
    $ echo $?
    4

All commands of a page run in one shell. In what they print, `…` stands for anything within a line, and a line of its own for any lines. A
command that fails must be followed by `$ echo $?`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "=-=-=-="
STATUS = "$ echo $?"


@dataclass(frozen=True)
class Step:
    command: str
    expected: str


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], ""))
        else:
            last = found[-1]
            found[-1] = Step(last.command, f"{last.expected}{line}\n")
    return found


def play(wanted: Iterable[Step], folder: Path, env: Mapping[str, str]) -> None:
    """Run the steps; an AssertionError says what came and what was expected."""
    wanted = list(wanted)
    lines = []
    for step in wanted:
        # $? has to survive our own echo, for the step that asks for it.
        lines += [step.command, f"creto_status=$?; echo; echo '{MARK}'$creto_status; (exit $creto_status)"]
    script = "\n".join(lines)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    parts = re.split(rf"\n?{MARK}(\d+)\n", done.stdout)
    outputs, statuses = parts[0::2], parts[1::2]
    assert len(statuses) == len(wanted), done.stdout
    faults = []
    for number, (step, output, status) in enumerate(zip(wanted, outputs, statuses, strict=False)):
        if not fits(step.expected, output):
            faults.append(
                f"$ {step.command}\n--- expected\n{step.expected}--- got\n{output.strip()}\n--- exit code {status}"
            )
        asked = number + 1 < len(wanted) and wanted[number + 1].command == STATUS.removeprefix("$ ")
        if status != "0" and not asked:
            faults.append(f"$ {step.command}\nended with {status}:\n{output.strip()}")
    assert not faults, "\n\n".join(faults)


def fits(expected: str, output: str) -> bool:
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            words = (re.escape(part) for part in re.split(r" *… *|…", line))
            pattern += "[^\n]*".join(words) + " *\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in output.strip("\n").splitlines())) is not None
