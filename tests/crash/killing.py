"""A process of ours, killed at a moment of the test's choosing: what it said before is what it has promised."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_and_kill(module: str, *arguments: str, after_s: float) -> list[str]:
    """Start the module, kill -9 it `after_s` after it said `ready`, and return the whole lines it said."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", module, *arguments]
    said = bytearray()
    kill_at: float | None = None
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT) as process,
        selectors.DefaultSelector() as selector,
        ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        os.set_blocking(process.stdout.fileno(), False)
        started = time.monotonic()
        while kill_at is None or time.monotonic() < kill_at:
            wait = 30.0 if kill_at is None else max(0.0, kill_at - time.monotonic())
            if selector.select(wait):
                chunk = process.stdout.read()
                assert chunk != b"", f"the process ended by itself: {process.wait()}"
                said += chunk or b""
            if kill_at is None and b"ready\n" in said:
                kill_at = time.monotonic() + after_s
            assert time.monotonic() - started < 60, "the process did not start"
        process.kill()
        process.wait()
        os.set_blocking(process.stdout.fileno(), True)
        said += process.stdout.read()
    return said.decode().rpartition("\n")[0].split("\n")
