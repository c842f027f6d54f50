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
from operator import mul, sub
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


class Weights:
    """What turns a field of the sum into a score and its bound, per vector, for one metric.

    With u the stored bytes, w the width of a level, e the length of the rounding error and n the length of a vector:
    score ~ scale * (field + shift) - offset, and wrong by at most |query| * alpha + |query's rounding error| * beta.
    """

    __slots__ = ("alpha", "alpha_max", "beta", "beta_max", "offset", "scale")

    def __init__(self) -> None:
        self.scale: list[float] = []
        self.offset: list[float] = []
        self.alpha: list[float] = []
        self.beta: list[float] = []
        self.alpha_max = self.beta_max = 0.0

    def add(self, unit: float, width: float, error: float, length: float, total: float) -> None:
        self.scale.append(width / unit)
        self.offset.append(total * width / unit)
        self.alpha.append(error / unit)
        self.beta.append((length + error) / unit)
        self.alpha_max = max(self.alpha_max, self.alpha[-1])
        self.beta_max = max(self.beta_max, self.beta[-1])


class ColumnIndex:
    """Plain Python: big integers as vector registers."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._vectors: list[array[float]] = []
        self._seqs: list[int] = []
        self._expiries: list[int] = []
        self._norms: list[float] = []
        self._weights = {metric: Weights() for metric in Metric}
        self._bytes = bytearray()  # all coordinates, row after row
        self._columns: list[int] = []
        self._packed = 0  # how many vectors the columns hold
        self._half = min(LEVELS, FIELD_MAX // (LEVELS * dimensions)) // 2  # levels of a query's coordinate, each way
        self.size_bytes = 0

    def add(self, seq: int, vector: array[float], expires_at: int) -> None:
        width = max(map(abs, vector)) / (LEVELS // 2)
        row = bytes([round(x / width) + ZERO for x in vector])
        error = math.sqrt(sum((x - (u - ZERO) * width) ** 2 for x, u in zip(vector, row, strict=True)))
        norm, total = math.hypot(*vector), self._half * sum(row)
        self._weights[Metric.DOT].add(1.0, width, error, norm, total)
        self._weights[Metric.COSINE].add(norm, width, error, norm, total)
        self._vectors.append(vector)
        self._seqs.append(seq)
        self._expiries.append(expires_at)
        self._norms.append(norm)
        self._bytes += row
        self.size_bytes += (4 + 1 + FIELD_BYTES + 1) * self._dimensions + 500

    def search(self, query: array[float], limit: int, metric: Metric, now: int) -> Found:
        if len(self._seqs) - self._packed > TAIL_MAX:
            self._pack()
        length = math.hypot(*query)
        unit = length if metric is Metric.COSINE else 1.0
        found: list[tuple[float, int]] = []  # a heap: the worst of the best is in front
        for upper, at in self._likely(query, length, limit, metric, now):
            if len(found) == limit and upper < found[0][0] * unit - SLACK * (1 + abs(found[0][0] * unit)):
                break
            if self._alive(at, now):
                score = dot(self._vectors[at], query) / (self._norms[at] * length if metric is Metric.COSINE else 1.0)
                (heapq.heappush if len(found) < limit else heapq.heappushpop)(found, (score, self._seqs[at]))
        return best(found, limit)

    def _alive(self, at: int, now: int) -> bool:
        return not 0 < self._expiries[at] <= now

    def _pack(self) -> None:
        """One integer per coordinate. Slices and `from_bytes` run in C: 10,000 vectors take a few milliseconds."""
        count, columns = len(self._seqs), []
        for j in range(self._dimensions):
            fields = bytearray(FIELD_BYTES * count)
            fields[::FIELD_BYTES] = self._bytes[j :: self._dimensions]
            columns.append(int.from_bytes(fields, "little"))
        self._columns, self._packed = columns, count

    def _likely(
        self, query: array[float], length: float, limit: int, metric: Metric, now: int
    ) -> Iterable[tuple[float, int]]:
        """Those that may be among the best with their upper bounds, highest first; before them what is not packed yet.

        Scores here are in units of the query's length for the cosine."""
        tail = [(math.inf, at) for at in range(self._packed, len(self._seqs))]
        if not self._packed:
            return tail
        width = max(map(abs, query)) / self._half
        levels = [round(x / width) + self._half for x in query]
        error = math.sqrt(sum((x - (q - self._half) * width) ** 2 for x, q in zip(query, levels, strict=True)))
        # sum (q - half)(u - ZERO) = sum q u - half * sum u - ZERO * (sum q - d * half)
        shift = ZERO * (self._dimensions * self._half - sum(levels))
        weights = self._weights[metric]
        # From here on everything is in units of `width`.
        moved = map(shift.__add__, fields_of(self._products(levels), self._packed))
        scores = list(map(sub, map(mul, weights.scale, moved), weights.offset))
        length, error = length / width, error / width
        alpha, beta = weights.alpha, weights.beta
        if any(self._expiries):
            scores = [score if self._alive(at, now) else -math.inf for at, score in enumerate(scores)]
        # Any `limit` vectors bound the limit-th best from below; the seemingly best bound it best.
        top = heapq.nlargest(limit, range(len(scores)), key=scores.__getitem__)
        floor = min(scores[at] - length * alpha[at] - error * beta[at] for at in top)
        floor -= SLACK * (1 + abs(floor)) if math.isfinite(floor) else 0.0
        lowest = floor - length * weights.alpha_max - error * weights.beta_max
        near = [at for at, score in enumerate(scores) if score >= lowest]
        bounded = ((scores[at] + length * alpha[at] + error * beta[at], at) for at in near)
        likely = ((upper * width, at) for upper, at in bounded if upper >= floor and upper > -math.inf)
        return tail + sorted(likely, reverse=True)

    def _products(self, levels: list[int]) -> int:
        """sum (level * column). Columns of one level are added first: an addition costs less than a multiplication."""
        groups: dict[int, int] = {}
        for level, column in zip(levels, self._columns, strict=True):
            groups[level] = groups.get(level, 0) + column
        return sum(level * group for level, group in groups.items())


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
        # einsum and not a matrix product: that would wake a thread per core for less than a millisecond of work.
        scores = np.einsum("ij,j->i", self._rows[:count], q).astype(np.float64)
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
