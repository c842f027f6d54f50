"""Decoding from many threads at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
import msgspec
from creto.common import wire

sys.setswitchinterval(1e-6)
for turn in range(150):
    fields = [(f"f{n}", dict[str, tuple[int, ...]] | None, None) for n in range(20)]
    inner = msgspec.defstruct("Inner", fields)
    outer = msgspec.defstruct("Outer", [("one", inner), ("many", list[inner])])
    start = threading.Barrier(4)
    def read():
        start.wait()
        wire.decode(b'{"one": {}, "many": [{"f1": {"a": [1]}}]}', outer)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


def test_a_type_may_be_read_for_the_first_time_by_many_threads() -> None:
    """msgspec alone ends the process here, now and then."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-500:]
