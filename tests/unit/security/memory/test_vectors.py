"""Exact search: both implementations against the plain definition."""

from __future__ import annotations

import importlib.util
import math
import random
from array import array
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.security.memory.types import Metric
from creto.security.memory.vectors import TAIL_MAX, ColumnIndex, MatrixIndex, VectorIndex, checked_vector, dot

# numpy is no dependency: where it is installed, its index is held to the same.
KINDS = [ColumnIndex, *([MatrixIndex] if importlib.util.find_spec("numpy") else [])]


def expected(vectors: list[array[float]], query: array[float], limit: int, metric: Metric) -> list[float]:
    def score(v: array[float]) -> float:
        return dot(v, query) / (1.0 if metric is Metric.DOT else math.hypot(*v) * math.hypot(*query))

    return sorted((score(v) for v in vectors), reverse=True)[:limit]


def filled(index: VectorIndex, vectors: list[array[float]]) -> VectorIndex:
    for seq, vector in enumerate(vectors):
        index.add(seq, vector, 0)
    return index


@cache
def example(dimensions: int) -> tuple[list[array[float]], list[array[float]]]:
    """Vectors and queries."""
    rng = random.Random(dimensions)
    count = 2 * TAIL_MAX + 100
    vectors = [
        checked_vector([rng.gauss(0, 1) * 10 ** rng.uniform(-3, 3) for _ in range(dimensions)]) for _ in range(count)
    ]
    return vectors, [checked_vector([rng.gauss(0, 1) for _ in range(dimensions)]) for _ in range(3)]


@cache
def answers(dimensions: int, metric: Metric) -> list[list[float]]:
    """The same for both implementations, and slow."""
    vectors, queries = example(dimensions)
    return [expected(vectors, query, 10, metric) for query in queries]


@pytest.mark.xdist_group("vectors")  # their examples are made once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dimensions", [1, 2, 3, 17, 384, 1536, 4096])
def test_the_best_are_the_best(kind: type[ColumnIndex], metric: Metric, dimensions: int) -> None:
    vectors, queries = example(dimensions)
    index = filled(kind(dimensions), vectors)
    for query, scores in zip(queries, answers(dimensions, metric), strict=True):
        found = index.search(query, 10, metric, now=1)

        assert [score for _, score in found] == pytest.approx(scores, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_vectors(kind: type[ColumnIndex], data: st.DataObject) -> None:
    dimensions = data.draw(st.integers(1, 6))
    number = st.floats(-1e6, 1e6, width=32).map(lambda x: x if abs(x) > 1e-3 else 0.5)
    vector = st.lists(number, min_size=dimensions, max_size=dimensions).map(checked_vector)
    vectors = data.draw(st.lists(vector, min_size=1, max_size=40)) * 10
    index = kind(dimensions)
    filled(index, vectors)
    query, limit = data.draw(vector), data.draw(st.integers(1, 30))
    for metric in Metric:
        found = [score for _, score in index.search(query, limit, metric, now=1)]
        assert found == pytest.approx(expected(vectors, query, limit, metric), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_expired_is_not_found_and_leaves_its_place_to_others(kind: type[ColumnIndex]) -> None:
    index = kind(2)
    for seq in range(600):
        index.add(seq, checked_vector([1.0, seq / 600]), 5 if seq % 2 else 0)

    assert [seq for seq, _ in index.search(checked_vector([0, 1]), 3, Metric.DOT, now=4)] == [599, 598, 597]
    assert [seq for seq, _ in index.search(checked_vector([0, 1]), 3, Metric.DOT, now=5)] == [598, 596, 594]


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan], [math.inf], [1e39], ["x"], [1.0] * 4097])
def test_what_is_no_vector(values: list[float]) -> None:
    with pytest.raises(InvalidInput):
        checked_vector(values)
