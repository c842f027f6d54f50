"""Metrics: plain ints in the process, turned into Prometheus text when somebody scrapes.

    metrics = Metrics()
    delivered = metrics.counter("platform_bus_messages_total", "Messages acknowledged by their consumer", "durable")
    delivered.labels("billing").add()
    print(metrics.render())

Names read `<product>_<subsystem>_<metric>_<unit>`. Nothing is locked on the way in: a sum that is off by one under a thread race
costs less than a lock on every path. A metric takes at most METRIC_LABEL_SETS_MAX label sets; later ones are counted as "other".
"""

from __future__ import annotations

import itertools
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from creto.common.errors import AlreadyExists, InvalidInput, ProductId
from creto.common.limits import METRIC_LABEL_SETS_MAX

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OVERFLOW: Final = "other"
LABEL_CHARS_MAX: Final = 128
UNITS: Final = ("total", "seconds", "bytes", "ratio", "count", "timestamp")
NAME = re.compile(rf"(?:{'|'.join(ProductId)})(?:_[a-z][a-z0-9]*){{2,}}_(?:{'|'.join(UNITS)})")
LABEL = re.compile(r"[a-z][a-z0-9_]{0,39}")

# From 100 µs, below which nobody waits, to the timeouts of people's patience.
SECONDS_BUCKETS: Final = (
    0.0001,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
)


class Counter:
    """It only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


class Tally:
    """Counts on a hot path, exactly, from any number of threads, without a lock: `add()` is one step of C that no thread can split.

    Reading takes a step too, and a lock; it is for a scrape.
    """

    __slots__ = ("_lock", "_reads", "add")

    def __init__(self) -> None:
        self.add = itertools.count().__next__
        self._reads = 0
        self._lock = threading.Lock()

    @property
    def value(self) -> int:
        with self._lock:
            self._reads += 1
            return self.add() - self._reads + 1


class Gauge:
    """It goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Histogram:
    """How often a value fell below each bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS_BUCKETS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


M = TypeVar("M", Counter, Gauge, Histogram)


class Family(Generic[M]):
    """One metric with its label names, and an instrument for each set of their values."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...], make: Callable[[], M]) -> None:
        self.name = name
        self.help = help
        self.label_names = labels
        self._make: Callable[[], M] = make
        self._made: dict[tuple[str, ...], M] = {} if labels else {(): make()}
        self._lock = threading.Lock()

    def labels(self, *values: str) -> M:
        """The instrument of these values. Keep it where the path is hot."""
        found = self._made.get(values)
        return found if found is not None else self._new(values)

    def _new(self, values: tuple[str, ...]) -> M:
        if len(values) != len(self.label_names):
            raise InvalidInput.of(self.name, got=values, expected=f"a value for each of {self.label_names}")
        values = tuple(str(value)[:LABEL_CHARS_MAX] for value in values)
        with self._lock:
            if len(self._made) >= METRIC_LABEL_SETS_MAX and values not in self._made:
                values = (OVERFLOW,) * len(values)
            return self._made.setdefault(values, self._make())

    def samples(self) -> Iterator[tuple[tuple[str, ...], M]]:
        yield from sorted(self._made.copy().items())


class Metrics:
    """The metrics of a process. A name is declared once."""

    def __init__(self) -> None:
        self._writers: dict[str, Callable[[], Iterator[str]]] = {}

    def counter(self, name: str, help: str, *labels: str) -> Family[Counter]:
        family = Family(checked(name, "total"), help, checked_labels(labels), Counter)
        self._declare(name, lambda: written(family, "counter", value_lines))
        return family

    def gauge(self, name: str, help: str, *labels: str) -> Family[Gauge]:
        family = Family(checked(name), help, checked_labels(labels), Gauge)
        self._declare(name, lambda: written(family, "gauge", value_lines))
        return family

    def histogram(
        self, name: str, help: str, *labels: str, bounds: Sequence[float] = SECONDS_BUCKETS
    ) -> Family[Histogram]:
        family = Family(checked(name), help, checked_labels(labels), lambda: Histogram(bounds))
        self._declare(name, lambda: written(family, "histogram", histogram_lines))
        return family

    def show(self, name: str, help: str, histogram: Histogram) -> None:
        """A histogram that somebody else keeps."""
        checked(name, "seconds")
        self._declare(name, lambda: iter([*head(name, help, "histogram"), *histogram_lines(name, "", histogram)]))

    def read(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A number that somebody else keeps, read when scraped: a counter if its name ends in `_total`."""
        kind = "counter" if checked(name).endswith("_total") else "gauge"
        self._declare(name, lambda: iter([*head(name, help, kind), f"{name} {number(value())}"]))

    def _declare(self, name: str, write: Callable[[], Iterator[str]]) -> None:
        if name in self._writers:
            raise AlreadyExists("PL-409", f"the metric {name} is declared twice")
        self._writers[name] = write

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._writers))

    def render(self) -> str:
        """Prometheus text format 0.0.4."""
        return "".join(f"{line}\n" for name in self.names() for line in self._writers[name]())


def checked(name: str, unit: str | None = None) -> str:
    if NAME.fullmatch(name) is None or (unit is not None and not name.endswith(f"_{unit}")):
        expected = f"<product>_<subsystem>_<metric>_<unit>, unit one of {unit or ', '.join(UNITS)}"
        raise InvalidInput.of("metric", got=name, expected=expected)
    return name


def checked_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    for label in labels:
        if LABEL.fullmatch(label) is None or label == "le":
            raise InvalidInput.of("label", got=label, expected="lower case letters, digits and _; not le")
    return labels


def head(name: str, help: str, kind: str) -> list[str]:
    text = help.replace("\\", "\\\\").replace("\n", "\\n")
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def written(family: Family[M], kind: str, lines: Callable[[str, str, M], Iterator[str]]) -> Iterator[str]:
    yield from head(family.name, family.help, kind)
    for values, instrument in family.samples():
        labels = ",".join(f'{name}="{escaped(value)}"' for name, value in zip(family.label_names, values, strict=True))
        yield from lines(family.name, labels, instrument)


def value_lines(name: str, labels: str, instrument: Counter | Gauge) -> Iterator[str]:
    yield f"{name}{{{labels}}} {number(instrument.value)}" if labels else f"{name} {number(instrument.value)}"


def histogram_lines(name: str, labels: str, instrument: Histogram) -> Iterator[str]:
    prefix = f"{labels}," if labels else ""
    suffix = f"{{{labels}}}" if labels else ""
    seen = 0
    for bound, count in zip((*instrument.bounds, float("inf")), instrument.counts.copy(), strict=True):
        seen += count
        yield f'{name}_bucket{{{prefix}le="{number(bound)}"}} {seen}'
    yield f"{name}_sum{suffix} {number(instrument.sum)}"
    yield f"{name}_count{suffix} {seen}"


def labelled(line: str, label: str, value: str) -> str:
    """A sample with one more label in front of its own."""
    name, brace, rest = line.partition("{")
    if brace:
        return f'{name}{{{label}="{escaped(value)}",{rest}'
    name, _, number_text = line.partition(" ")
    return f'{name}{{{label}="{escaped(value)}"}} {number_text}'


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
