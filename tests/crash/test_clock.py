"""kill -9 at any moment, and the wall clock set by an hour: no timestamp of the next process is at or below one of the last."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from creto.common.timestamps import HOUR

PROCESS = """
import sys, time
from creto.platform.consensus import EmbeddedClock
from creto.platform.consensus.local import SystemTime
from creto.store import open_store

class Shifted(SystemTime):
    def __init__(self):
        self.boot = sys.argv[3]
    def wall(self):
        return time.time_ns() + int(sys.argv[2])

store = open_store(sys.argv[1], parts=("creto.platform.consensus",))
clock = EmbeddedClock(store, local=Shifted())
while True:
    sys.stdout.write(f"{clock.timestamps(100)[-1]}\\n")
    sys.stdout.flush()
"""


def life(url: str, shift_ns: int, boot: str, timestamps: int) -> list[int]:
    """One process from its start to its kill -9: the timestamps that left it."""
    process = subprocess.Popen([sys.executable, "-c", PROCESS, url, str(shift_ns), boot], stdout=subprocess.PIPE)
    assert process.stdout is not None
    given = [int(process.stdout.readline()) for _ in range(timestamps)]
    process.kill()
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    return given + [int(line) for line in rest.split(b"\n")[:-1]]


@pytest.mark.parametrize("seed", range(3))
def test_time_never_goes_back_over_kills_and_steps(store_url: str, seed: int, deep: bool) -> None:
    chance = random.Random(seed)
    last = 0
    for n in range(40 if deep else 4):
        boot = chance.choice(["boot-1", f"boot-{n}"])
        given = life(store_url, chance.choice([0, HOUR, -HOUR]), boot, chance.randrange(1, 20_000))
        assert given == sorted(given)
        assert given[0] > last, f"process {n} of seed {seed} began {last - given[0]} ns too early"
        last = given[-1]
