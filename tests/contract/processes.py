"""Other Python processes for tests: the same code, started with its own interpreter, ended by their own handle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import creto.store

ROOT = Path(__file__).parents[2]
SOURCE = Path(creto.store.__file__).parents[2]


@contextmanager
def python_module(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of the tests; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
