from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from creto.common.timestamps import MILLISECOND
from creto.platform.consensus.client import SKEW_NS_MAX
from creto.platform.consensus.median import RADIUS_NS_MAX, Agreement, Sample, agree, faults_tolerated, quorum


def sample(node: int, offset_ms: float, radius_ms: float = 1) -> Sample:
    return Sample(f"n{node}", int(offset_ms * MILLISECOND), int(radius_ms * MILLISECOND), at=node)


def agreed(*offsets_ms: float, nodes: int = 4) -> Agreement | None:
    return agree([sample(i, offset) for i, offset in enumerate(offsets_ms)], nodes)


def test_sizes() -> None:
    assert [(n, faults_tolerated(n), quorum(n)) for n in (1, 3, 4, 6, 7, 10)] == [
        (1, 0, 1), (3, 0, 1), (4, 1, 3), (6, 1, 3), (7, 2, 5), (10, 3, 7),
    ]  # fmt: skip


def test_the_median_of_those_that_lie_closest() -> None:
    result = agreed(0, 4, 6, 90)
    assert result is not None
    assert result.offset == 4 * MILLISECOND
    assert result.nodes == ("n0", "n1", "n2")
    assert result.radius == 5 * MILLISECOND


def test_ages_from_the_oldest_reading_taken() -> None:
    result = agree([sample(3, 0), sample(1, 1), sample(2, 2)], 4)
    assert result is not None
    assert result.at == 1


def test_too_few_readings_are_no_quorum() -> None:
    assert agreed(0, 1) is None


def test_readings_too_far_apart_are_no_quorum() -> None:
    assert agreed(0, 150, 300) is None


def test_one_voice_per_node() -> None:
    assert agree([sample(0, 0), sample(0, 1), sample(0, 2)], 4) is None


def test_an_uncertain_reading_does_not_carry() -> None:
    assert agree([sample(0, 0), sample(1, 0), sample(2, 0, radius_ms=99)], 4) is None


@given(
    f=st.integers(0, 3),
    honest_ms=st.lists(st.floats(-40, 40), min_size=10, max_size=10),
    lies_ms=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3),
)
def test_f_liars_cannot_move_the_median_out_of_the_honest(f: int, honest_ms: list[float], lies_ms: list[float]) -> None:
    honest = [sample(i, offset) for i, offset in enumerate(honest_ms[: 2 * f + 1])]
    liars = [sample(100 + i, offset) for i, offset in enumerate(lies_ms[:f])]
    result = agree(honest + liars, 3 * f + 1)
    assert result is not None
    assert min(s.offset for s in honest) <= result.offset <= max(s.offset for s in honest)


@given(st.lists(st.tuples(st.floats(-300, 300), st.floats(0, 120)), min_size=0, max_size=10))
def test_an_agreement_is_never_wider_than_the_tolerance(readings: list[tuple[float, float]]) -> None:
    samples = [sample(i, offset, radius) for i, (offset, radius) in enumerate(readings)]
    result = agree(samples, 7)
    if result is not None:
        taken = [s for s in samples if s.node in result.nodes]
        assert len(taken) == quorum(7)
        assert all(
            abs(s.offset - result.offset) + s.radius <= result.radius <= RADIUS_NS_MAX < SKEW_NS_MAX for s in taken
        )
