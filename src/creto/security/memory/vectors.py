"""Exact nearest neighbours within one agent's memory, in plain Python or with numpy where it is installed.

    index = new_index(dimensions=384)
    index.add(seq, vector, expires_at)
    index.search(query, limit=10, metric=Metric.COSINE, now=now)     # [(seq, score)], best first

Both find the same: every vector is scored, nothing is approximated in the answer.

Plain Python does it column by column. Coordinates are rounded to 8 bits, and one whole column (the j-th coordinate of all vectors) is one
big integer with a 24-bit field per vector. Then `sum(q[j] * column[j])` is d multiplications of a big integer by a small one, which
run in C, and the fields of the sum are all dot products at once. Rounding is bounded per vector (Cauchy-Schwarz on the rounding
errors), so those that could still be among the best are few, and they are scored exactly.

INVARIANT: a vector whose upper bound reaches the limit-th best lower bound is scored exactly; so the answer is the exact one.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import mul
from typing import Any, Protocol

from creto.common.errors import InvalidInput
from creto.common.limits import VECTOR_DIMENSIONS_MAX
from creto.security.memory.types import Metric

FIELD_BYTES = 3
FIELD_MAX = 2 ** (8 * FIELD_BYTES) - 1
LEVELS = 255  # of a stored coordinate: one byte
ZERO = 128  # stored bytes are offset, so that fields never go below nothing
TAIL_MAX = 256  # vectors added since the columns were built; scored one by one
SLACK = 1e-6  # float rounding of the bounds themselves

Found = list[tuple[int, float]]


class VectorIndex(Protocol):
    size_bytes: int

    def add(self, seq: int, vector: array[float], expires_at: int) -> None: ...

    def search(self, query: array[float], limit: int, metric: Metric, now: int) -> Found: ...


def checked_vector(values: Sequence[float], field: str = "vector") -> array[float]:
    """As float32, the precision it is stored with."""
    if not 1 <= len(values) <= VECTOR_DIMENSIONS_MAX:
        raise InvalidInput.of(field, got=f"{len(values)} numbers", expected=f"1 to {VECTOR_DIMENSIONS_MAX} numbers")
    try:
        vector = array("f", values)
        norm = math.hypot(*vector)
    except (TypeError, OverflowError) as error:
        raise InvalidInput.of(field, got=type(error).__name__, expected="finite numbers") from error
    if not math.isfinite(norm) or norm < 1e-18:
        raise InvalidInput.of(field, got="a length of zero or infinity", expected="finite numbers, not all zero")
    return vector


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return float(sum(map(mul, a, b)))


def best(scored: Iterable[tuple[float, int]], limit: int) -> Found:
    """Highest score first; of equals the newest."""
    return [(seq, score) for score, seq in heapq.nlargest(limit, scored)]


def new_index(dimensions: int) -> VectorIndex:
    return MatrixIndex(dimensions) if numpy() is not None else ColumnIndex(dimensions)


@lru_cache(maxsize=1)
def numpy() -> Any:
    """numpy, if somebody installed it. It is ten times faster and no dependency of ours."""
    try:
        import numpy as found  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    return found


class ColumnIndex:
    """Plain Python: big integers as vector registers."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._vectors: list[array[float]] = []
        self._seqs: list[int] = []
        self._expiries: list[int] = []
        self._norms: list[float] = []
        self._steps: list[float] = []  # the width of one level, per vector
        self._errors: list[float] = []  # the length of the rounding error, per vector
        self._sums: list[int] = []  # of the stored bytes, per vector
        self._bytes = bytearray()  # all coordinates, row after row
        self._columns: list[int] = []
        self._packed = 0  # how many vectors the columns hold
        self._levels = min(LEVELS, FIELD_MAX // (LEVELS * dimensions))  # of a query's coordinate
        self.size_bytes = 0

    def add(self, seq: int, vector: array[float], expires_at: int) -> None:
        widest = max(map(abs, vector))
        step = widest / (LEVELS // 2)
        row = bytes([round(x / step) + ZERO for x in vector])
        error = math.sqrt(sum((x - (u - ZERO) * step) ** 2 for x, u in zip(vector, row, strict=True)))
        self._vectors.append(vector)
        self._seqs.append(seq)
        self._expiries.append(expires_at)
        self._norms.append(math.hypot(*vector))
        self._steps.append(step)
        self._errors.append(error)
        self._sums.append(sum(row))
        self._bytes += row
        self.size_bytes += (4 + 1 + FIELD_BYTES + 1) * self._dimensions + 300

    def search(self, query: array[float], limit: int, metric: Metric, now: int) -> Found:
        if len(self._seqs) - self._packed > TAIL_MAX:
            self._pack()
        likely = [*self._likely(query, limit, metric, now), *range(self._packed, len(self._seqs))]
        scored = ((self._score(at, query, metric), self._seqs[at]) for at in likely if self._alive(at, now))
        return best(scored, limit)

    def _alive(self, at: int, now: int) -> bool:
        return not 0 < self._expiries[at] <= now

    def _score(self, at: int, query: array[float], metric: Metric) -> float:
        value = dot(self._vectors[at], query)
        return value if metric is Metric.DOT else value / self._norms[at] / math.hypot(*query)

    def _pack(self) -> None:
        """One integer per coordinate. Slices and `from_bytes` run in C: 10,000 vectors take a few milliseconds."""
        count, columns = len(self._seqs), []
        for j in range(self._dimensions):
            fields = bytearray(FIELD_BYTES * count)
            fields[::FIELD_BYTES] = self._bytes[j :: self._dimensions]
            columns.append(int.from_bytes(fields, "little"))
        self._columns, self._packed = columns, count

    def _likely(self, query: array[float], limit: int, metric: Metric, now: int) -> list[int]:
        """Every packed vector that may be among the best: those whose upper bound reaches the limit-th lower bound."""
        if not self._packed:
            return []
        half = self._levels // 2
        step = max(map(abs, query)) / half
        levels = [round(x / step) + half for x in query]
        total = 0
        for level, column in zip(levels, self._columns, strict=True):
            total += level * column
        # sum (q - half)(u - ZERO) = total - ZERO * sum q - half * sum u + d * half * ZERO
        shift = self._dimensions * half * ZERO - ZERO * sum(levels)
        error = math.sqrt(sum((x - (q - half) * step) ** 2 for x, q in zip(query, levels, strict=True)))
        length = math.hypot(*query)
        rows = zip(self._steps, self._errors, self._norms, self._sums, fields_of(total, self._packed), strict=False)
        if metric is Metric.DOT:
            bounds = [((t + shift - half * s) * w * step, length * e + error * (n + e)) for w, e, n, s, t in rows]
        else:
            bounds = [
                ((t + shift - half * s) * w * step / n, (length * e + error * (n + e)) / n) for w, e, n, s, t in rows
            ]
        alive = (
            [at for at in range(self._packed) if self._alive(at, now)] if any(self._expiries) else range(self._packed)
        )
        lower = heapq.nlargest(limit, (bounds[at][0] - bounds[at][1] for at in alive))
        if len(lower) < limit:
            return list(alive)
        floor = lower[-1] - SLACK * (1 + abs(lower[-1]))
        return [at for at in alive if bounds[at][0] + bounds[at][1] >= floor]


def fields_of(total: int, count: int) -> array[int]:
    """The fields of a sum, widened from three bytes to four."""
    packed = total.to_bytes(FIELD_BYTES * count, "little")
    wide = bytearray(4 * count)
    for byte in range(FIELD_BYTES):
        wide[byte::4] = packed[byte::FIELD_BYTES]
    fields = array("I")
    fields.frombytes(wide)
    return fields


class MatrixIndex:
    """numpy: one float32 matrix."""

    def __init__(self, dimensions: int) -> None:
        np = numpy()
        self._np = np
        self._rows = np.zeros((16, dimensions), np.float32)
        self._norms = np.zeros(16)
        self._expiries = np.zeros(16, np.int64)
        self._seqs = np.zeros(16, np.int64)
        self._count = 0
        self.size_bytes = self._rows.nbytes

    def add(self, seq: int, vector: array[float], expires_at: int) -> None:
        np, at = self._np, self._count
        if at == len(self._rows):
            for name in ("_rows", "_norms", "_expiries", "_seqs"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
            self.size_bytes = self._rows.nbytes + 24 * len(self._rows)
        self._rows[at] = vector
        self._norms[at], self._expiries[at], self._seqs[at] = math.hypot(*vector), expires_at, seq
        self._count += 1

    def search(self, query: array[float], limit: int, metric: Metric, now: int) -> Found:
        np, count = self._np, self._count
        q = np.frombuffer(query, np.float32)
        scores = (self._rows[:count] @ q).astype(np.float64)
        length = 1.0
        if metric is Metric.COSINE:
            length = math.hypot(*query)
            scores /= self._norms[:count] * length
        expiries = self._expiries[:count]
        scores[(expiries > 0) & (expiries <= now)] = -np.inf
        wanted = min(count, limit + 16)  # float32 sums may swap neighbours: a few more are scored in double precision
        near = np.argpartition(-scores, wanted - 1)[:wanted] if wanted < count else np.arange(count)
        near = near[scores[near] > -np.inf]
        exact = self._rows[near].astype(np.float64) @ q.astype(np.float64)
        if metric is Metric.COSINE:
            exact /= self._norms[near] * length
        return best(zip(exact.tolist(), self._seqs[near].tolist(), strict=True), limit)
