"""Plays a transcript of a shell session and compares what it prints.

    # A remark.
    $ creto keys create notary
    Made notary version 1, signing.
    $ creto keys show
    …
    [2]

A command begins with `$ `, goes on with `> `; below it stands what it prints, standard error included, and its exit code in brackets when
it is not 0. `…` in a line stands for any text, a line of `…` alone for any number of lines. All commands run in one shell, in an empty
folder; `wait_for FILE` waits until a file holds something.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import creto

SEPARATOR = "\x1e"
ANY = "…"
SESSION_S_MAX = 900  # alone some 20; a shared machine has its hours
PRELUDE = """
wait_for() { for _ in $(seq 2400); do [ -s "$1" ] && return; sleep 0.05; done; echo "nothing came in $1"; return 1; }
"""


@dataclass
class Step:
    number: int
    command: str
    expected: list[str] = field(default_factory=list)
    code: int = 0


@dataclass(frozen=True)
class Played:
    step: Step
    printed: list[str]
    code: int

    @property
    def fits(self) -> bool:
        return self.code == self.step.code and matches(self.step.expected, self.printed)

    def __str__(self) -> str:
        shown = "\n".join(self.printed) + (f"\n[{self.code}]" if self.code else "")
        wanted = "\n".join(self.step.expected) + (f"\n[{self.step.code}]" if self.step.code else "")
        return f"line {self.step.number}: $ {self.step.command}\n--- expected\n{wanted}\n--- printed\n{shown}"


def parse(text: str) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("> "):
            steps[-1].command += "\n" + line[2:]
        elif match := re.fullmatch(r"\[(\d+)\]", line):
            steps[-1].code = int(match[1])
        elif line or (steps and steps[-1].expected):
            steps[-1].expected.append(line)
    for step in steps:
        while step.expected and not step.expected[-1]:
            step.expected.pop()
    return steps


def matches(expected: list[str], printed: list[str]) -> bool:
    if not expected:
        return not printed
    if expected[0] == ANY:
        return any(matches(expected[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and line_matches(expected[0], printed[0]) and matches(expected[1:], printed[1:])


def line_matches(expected: str, printed: str) -> bool:
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split(ANY)), printed) is not None


def play(steps: list[Step], folder: Path) -> list[Played]:
    bin_folder = folder / ".bin"
    bin_folder.mkdir()
    for name, words in (("creto", " -m creto"), ("python", "")):
        command = bin_folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        command.chmod(0o755)
    script = PRELUDE + "".join(f"{{ {step.command}\n}} 2>&1\nprintf '\\n{SEPARATOR}%d\\n' $?\n" for step in steps)
    env = {name: value for name, value in os.environ.items() if not name.startswith("CRETO_")}
    source = Path(creto.__file__).parents[1]  # the creto of this checkout, whatever is installed
    env |= {"PATH": f"{bin_folder}:{env['PATH']}", "HOME": str(folder), "PYTHONPATH": str(source)}
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=work,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SESSION_S_MAX,
        check=False,
    )
    pieces = re.split(rf"\n{SEPARATOR}(\d+)\n", done.stdout)
    found = zip(steps, pieces[0::2], pieces[1::2], strict=False)
    played = [
        Played(step, printed.strip("\n").split("\n") if printed.strip("\n") else [], int(code))
        for step, printed, code in found
    ]
    assert len(played) == len(steps), f"the shell ended early: {done.stdout[-500:]} {done.stderr[-500:]}"
    return played
