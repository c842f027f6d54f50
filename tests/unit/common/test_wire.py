"""Decoding from many threads at once; what is said of what does not fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import msgspec
import pytest

from creto.common import wire
from creto.common.errors import InvalidInput

PROGRAM = """
import sys, threading
import msgspec
from creto.common import wire
from creto.oversight import store

data = b'{"one": {}, "many": [{"f1": {"a": [1]}}]}'
sys.setswitchinterval(1e-6)
for turn in range(150):
    fields = [(f"f{n}", dict[str, tuple[int, ...]] | None, None) for n in range(20)]
    inner = msgspec.defstruct("Inner", fields)
    outer = msgspec.defstruct("Outer", [("one", inner), ("many", list[inner])])
    start = threading.Barrier(4)
    def read():
        start.wait()
        READ
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("done")
"""


@pytest.mark.parametrize(
    "read", ["wire.decode(data, outer)", "wire.decoder(outer).decode(data)", "store.decoded(data, outer)"]
)
def test_a_type_may_be_read_for_the_first_time_by_many_threads(read: str) -> None:
    """msgspec alone ends the process here, now and then."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("READ", read)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-500:]


def test_an_error_names_its_place_once() -> None:
    class Wait(msgspec.Struct, forbid_unknown_fields=True):
        hold_s: Annotated[int, msgspec.Meta(le=60)] = 0

    for given, said in (
        ({"hold_s": 61}, "$.hold_s: Expected `int` <= 60"),
        ({"hold": 1}, "value: Object contains unknown field `hold`"),
    ):
        with pytest.raises(InvalidInput) as caught:
            wire.convert(given, Wait)
        assert caught.value.message == said
