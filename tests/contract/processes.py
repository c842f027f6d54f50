"""Other Python processes for tests: the same code, started with its own interpreter, ended by their own handle."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
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


@asynccontextmanager
async def node_beside(
    name: str, *arguments: str
) -> AsyncIterator[tuple[Callable[[str], None], Callable[[], Awaitable[str]]]]:
    """The same for a test that runs on a loop: how to tell it a line, and to hear one. It has to end well when nobody tells it more."""
    with python_module(name, *arguments) as process:
        yield partial(say, process), partial(asyncio.to_thread, line, process)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert await asyncio.to_thread(process.wait, 60) == 0


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
