"""Measuring, and the line that is printed for a measurement.

Latencies are taken one by one and summarised by their percentiles; what takes less than a microsecond is timed in loops and amortised,
because reading a clock costs as much as the thing itself. Every figure is the median of several rounds: machines are shared and noisy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line. Times are in microseconds; `value` is what `must` and `aim` are about."""

    name: str
    unit: str = "µs"
    p50: float | None = None
    p99: float | None = None
    rate: float | None = None  # per second
    value: float
    must: float | None = None
    aim: float | None = None
    at_least: bool = False  # for rates: more is better
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer."""
        if not self.peer_value or not self.value:
            return None
        return self.value / self.peer_value if self.at_least else self.peer_value / self.value

    @property
    def met(self) -> bool | None:
        if self.must is None:
            return None
        return self.value >= self.must if self.at_least else self.value <= self.must

    def with_peer(self, name: str, value: float | None) -> Row:
        return msgspec.structs.replace(self, peer=name, peer_value=value)


HEADER = f"{'name':<46} {'p50':>11} {'p99':>11} {'rate/s':>11} {'must':>9} {'aim':>9}  {'met':<5} peer (ratio)"


def line(row: Row) -> str:
    def time_of(value: float | None) -> str:
        if value is None:
            return "–"
        if row.unit != "µs":
            return f"{value:,.3g} {row.unit}"
        if value < 1:
            return f"{value * 1000:.0f} ns"
        return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.1f} µs"

    def limit(value: float | None) -> str:
        return f"{value:,.0f}/s" if value is not None and row.at_least else time_of(value)

    rate = f"{row.rate:,.0f}" if row.rate else "–"
    met = {None: "", True: "met", False: "MISS"}[row.met]
    peer = f"{row.peer} {limit(row.peer_value)} (×{row.ratio:.1f})" if row.peer and row.ratio else (row.peer or "")
    return f"{row.name:<46} {time_of(row.p50):>11} {time_of(row.p99):>11} {rate:>11} {limit(row.must):>9} {limit(row.aim):>9}  {met:<5} {peer}"


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


def latency(name: str, samples: list[float], **limits: Any) -> Row:
    """A row whose limits are about the 99th percentile."""
    p99 = percentile(samples, 0.99)
    return Row(
        name=name, p50=statistics.median(samples), p99=p99, value=p99, rate=1e6 / statistics.mean(samples), **limits
    )


def throughput(name: str, per_second: float, **limits: Any) -> Row:
    return Row(name=name, rate=per_second, value=per_second, at_least=True, **limits)
