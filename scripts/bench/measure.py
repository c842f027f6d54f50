"""Measuring, and the line that is printed for a measurement.

Latencies are taken one by one and summarised by their percentiles; what takes less than a microsecond is timed in loops and amortised,
because reading a clock costs as much as the thing itself. Every figure is the median of several rounds: machines are shared and noisy.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """Another package at the same task, measured in the same run, in the unit of the row."""

    name: str
    value: float


class Scale(msgspec.Struct, frozen=True):
    """How much is measured. Rows whose figure depends on it say it in their name."""

    leaves: int = 1_000_000  # entries of the log
    memories: int = 10_000  # of one agent
    effort: float = 1.0  # share of the usual number of samples

    def count(self, usual: int, least: int = 20) -> int:
        return max(least, int(usual * self.effort))


FULL = Scale()
QUICK = Scale(leaves=100_000, memories=2_000, effort=0.25)
TINY = Scale(leaves=600, memories=50, effort=0.002)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line. Times are in microseconds; `value` is what `must` and `aim` are about."""

    name: str
    unit: str = "µs"
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None
    peak: float | None = None
    rate: float | None = None  # per second
    value: float
    must: float | None = None
    aim: float | None = None
    at_least: bool = False  # for rates: more is better
    peers: tuple[Peer, ...] = ()
    note: str = ""

    @property
    def ratios(self) -> dict[str, float]:
        """How many times better than each peer."""
        if not self.value:
            return {}
        found = {peer.name: (self.value / peer.value, peer.value / self.value) for peer in self.peers if peer.value}
        return {name: rates if self.at_least else times for name, (rates, times) in found.items()}

    @property
    def closest(self) -> str | None:
        """The peer that comes nearest to us, or is furthest ahead."""
        return min(self.ratios, key=self.ratios.__getitem__, default=None)

    @property
    def met(self) -> bool | None:
        if self.must is None:
            return None
        return self.value >= self.must if self.at_least else self.value <= self.must

    @property
    def reached(self) -> bool:
        """Whether the aim was."""
        if self.aim is None:
            return False
        return self.value >= self.aim if self.at_least else self.value <= self.aim


COLUMNS = ("p50", "p99", "p99.9", "max", "rate/s", "must", "aim")
HEADER = (
    f"{'name':<56} " + " ".join(f"{column:>10}" for column in COLUMNS) + "  met   peers in the same run (times better)"
)


def line(row: Row) -> str:
    times = [shown(value, row.unit) for value in (row.p50, row.p99, row.p999, row.peak)]
    rate = f"{row.rate:,.0f}" if row.rate else "–"
    cells = [*times, rate, limit(row, row.must), limit(row, row.aim)]
    met = "" if row.met is None else "MISS" if not row.met else "aim" if row.reached else "met"
    beside = [
        f"{peer.name} {limit(row, peer.value)} (×{row.ratios[peer.name]:,.1f})" for peer in row.peers if peer.value
    ]
    words = "; ".join([*beside, *([row.note] if row.note else [])])
    return f"{row.name:<56} {' '.join(f'{cell:>10}' for cell in cells)}  {met:<5} {words}".rstrip()


def limit(row: Row, value: float | None) -> str:
    return f"{value:,.0f}" if value is not None and row.at_least else shown(value, row.unit)


def shown(value: float | None, unit: str = "µs") -> str:
    if value is None:
        return "–"
    if unit != "µs":
        return f"{value:,.3g} {unit}"
    if value < 1:
        return f"{value * 1000:.0f} ns"
    return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.1f} µs"


def percentile(samples: Iterable[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def each(fn: Callable[[], Any], count: int, warm: int = 0) -> list[float]:
    """Microseconds of every single call."""
    for _ in range(warm):
        fn()
    samples = []
    for _ in range(count):
        started = time.perf_counter_ns()
        fn()
        samples.append((time.perf_counter_ns() - started) / 1000)
    return samples


async def each_async(fn: Callable[[], Awaitable[Any]], count: int, warm: int = 0) -> list[float]:
    for _ in range(warm):
        await fn()
    samples = []
    for _ in range(count):
        started = time.perf_counter_ns()
        await fn()
        samples.append((time.perf_counter_ns() - started) / 1000)
    return samples


def amortised(loop: Callable[[int], Any], count: int, rounds: int = 15) -> float:
    """Microseconds per turn of `loop(count)`, the median of the rounds; nothing is subtracted for the loop itself."""
    loop(count)
    taken = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        loop(count)
        taken.append((time.perf_counter_ns() - started) / 1000 / count)
    return statistics.median(taken)


def settle() -> None:
    """What stands in memory by now is left alone by the collector, as in a server: else a full collection is charged to some call."""
    gc.collect()
    gc.freeze()


async def open_loop(act: Callable[[int], Awaitable[Any]], per_second: int, count: int) -> list[float]:
    """Microseconds from the moment each call should have begun, on a fixed schedule that waits for nobody.

    A server that stalls is charged for every call that should have come meanwhile. Run it on `precise_loop`: epoll rounds waits up to 1 ms.
    """
    samples: list[float] = []
    settle()

    async def one(number: int, due: float) -> None:
        await act(number)
        samples.append((time.perf_counter() - due) * 1e6)

    started = time.perf_counter() + 0.01
    async with asyncio.TaskGroup() as calls:
        for number in range(count):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(one(number, due))
    return samples


def precise_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def latency(name: str, samples: list[float], **fields: Any) -> Row:
    """A row whose limits are about the 99th percentile."""
    p99 = percentile(samples, 0.99)
    return Row(
        **{
            "name": name,
            "p50": statistics.median(samples),
            "p99": p99,
            "p999": percentile(samples, 0.999) if len(samples) >= 1000 else None,
            "peak": max(samples),
            "value": p99,
            "rate": 1e6 / statistics.mean(samples),
            **fields,
        }
    )


def throughput(name: str, per_second: float, **fields: Any) -> Row:
    return Row(name=name, rate=per_second, value=per_second, at_least=True, **fields)
