"""The machine's own clocks, as one value that tests and simulations replace.

`elapsed` only ever grows: it is not touched by steps of the wall clock, and it counts the time a process was stopped or the
machine asleep (CLOCK_BOOTTIME). That is what lets a clock see after a pause that its knowledge is old.
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Protocol

BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
SAMPLES = 5
SAMPLE_NS_MAX = 100_000  # between the two readings: longer means that the thread was interrupted


class LocalTime(Protocol):
    @property
    def boot(self) -> str:
        """Names the run of the machine in which `elapsed` counts."""
        ...

    def elapsed(self) -> int: ...

    def wall(self) -> int: ...


class SystemTime:
    """What the kernel says."""

    def __init__(self) -> None:
        self.boot = boot_id()

    def elapsed(self) -> int:
        return time.clock_gettime_ns(BOOTTIME)

    def wall(self) -> int:
        return time.time_ns()


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4()}"  # no telling: a restart then counts as another machine, which is the careful reading


def wall_offset(local: LocalTime) -> int:
    """wall - elapsed, read as one: the tightest of a few tries, for the thread may be interrupted between the two."""
    best: tuple[int, int] | None = None
    for _ in range(SAMPLES):
        before = local.elapsed()
        wall = local.wall()
        after = local.elapsed()
        if best is None or after - before < best[0]:
            best = (after - before, wall - (before + after) // 2)
        if after - before <= SAMPLE_NS_MAX:
            break
    assert best is not None
    return best[1]
