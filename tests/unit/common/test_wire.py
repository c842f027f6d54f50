"""Decoding from many threads at once; what is said of what does not fit."""

from __future__ import annotations

import subprocess
import sys
from enum import Enum
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
        ({"hold_s": 61}, "$.hold_s: Expected `int` <= 60, got 61"),
        ({"hold": 1}, "$.hold: expected one of hold_s, got an unknown field"),
    ):
        with pytest.raises(InvalidInput) as caught:
            wire.convert(given, Wait)
        assert caught.value.message == said


class Shade(Enum):
    LIGHT = "light"
    DARK = "dark"


class Wall(msgspec.Struct, forbid_unknown_fields=True):
    shade: Shade | None = None
    width_m: Annotated[int, msgspec.Meta(ge=1)] = 1
    seal: bytes = b""


class House(msgspec.Struct):
    walls: tuple[Wall, ...] = ()
    rooms: dict[str, Annotated[Wall, msgspec.Meta(title="a room")]] = {}


@pytest.mark.parametrize(
    ("given", "field", "got", "expected"),
    [
        ({"walls": [{"shade": "blue"}]}, "house.walls[0].shade", "'blue'", "one of light, dark"),
        ({"rooms": {"a": {"shade": "blue"}}}, "house.rooms[...].shade", "'blue'", "one of light, dark"),
        ({"walls": [{"seal": "?"}]}, "house.walls[0].seal", "str of length 1", "base64 encoded string"),
        ({"walls": [{"widht_m": 2}]}, "house.walls[0].widht_m", "an unknown field", "one of shade, width_m, seal"),
        ({"walls": [{"width_m": "0"}]}, "house.walls[0].width_m", "0", "int >= 1"),
    ],
)
def test_what_does_not_fit_is_told_what_would(given: object, field: str, got: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.convert(given, House, what="house", strict=False)
    error = caught.value
    assert (error.field, error.got, error.expected) == (field, got, expected)
    assert error.message == f"{field}: {'Expected `int` >= 1' if got == '0' else f'expected {expected}'}, got {got}"
    assert (error.hint == "Did you mean width_m?") is ("widht_m" in field)
