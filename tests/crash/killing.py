"""A process of ours, killed at a moment of the test's choosing: what it said before is what it has promised."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_and_kill(module: str, *arguments: str, after_s: float) -> list[str]:
    """Start the module, kill -9 it `after_s` after it said `ready`, and return the whole lines it said."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stdout is not None
    said = bytearray()
    kill_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        os.set_blocking(process.stdout.fileno(), False)
        started = time.monotonic()
        while kill_at is None or time.monotonic() < kill_at:
            wait = 30.0 if kill_at is None else max(0.0, kill_at - time.monotonic())
            if selector.select(wait):
                chunk = process.stdout.read() or b""
                assert chunk or process.poll() is None, "the process ended by itself"
                said += chunk
            if kill_at is None and b"ready\n" in said:
                kill_at = time.monotonic() + after_s
            assert time.monotonic() - started < 60, "the process did not start"
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.set_blocking(process.stdout.fileno(), True)
        said += process.stdout.read()
    process.stdout.close()
    return said.decode().rpartition("\n")[0].split("\n")
