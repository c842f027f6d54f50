"""The rate of one caller: a bucket of one second, on an injected clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import QuotaExceeded
from creto.common.telemetry import Metrics
from creto.edge.api import rate as rates
from creto.edge.api.rate import CallerRate


class Now:
    def __init__(self) -> None:
        self.at_s = 1_000.0

    def __call__(self) -> float:
        return self.at_s


def admitted(rate: CallerRate, caller: str = "a") -> bool:
    try:
        rate.admit(caller)
    except QuotaExceeded:
        return False
    return True


def test_beyond_the_bucket_the_answer_says_when_to_come_back() -> None:
    """given 10 a second / when 11 come at once / then the last is told to wait a tenth of a second, and after it one is admitted."""
    now, metrics = Now(), Metrics()
    rate = CallerRate(10, metrics, clock=now)
    assert [admitted(rate) for _ in range(10)] == [True] * 10
    with pytest.raises(QuotaExceeded) as caught:
        rate.admit("a")
    assert caught.value.code == "PL-429"
    assert caught.value.retry_after_s == pytest.approx(0.1)
    assert admitted(rate, "b")
    now.at_s += caught.value.retry_after_s or 0
    assert admitted(rate)
    assert not admitted(rate)
    assert "platform_api_throttled_total 2" in metrics.render()


def test_without_a_rate_everything_is_admitted() -> None:
    rate = CallerRate(0, Metrics(), clock=Now())
    assert all(admitted(rate) for _ in range(1_000))


@given(
    per_second=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_no_stretch_of_time_holds_more_than_its_share(per_second: int, pauses: list[float]) -> None:
    """and a refused caller who waits as told is admitted."""
    now = Now()
    rate = CallerRate(per_second, Metrics(), clock=now)
    times: list[float] = []
    for pause in pauses:
        now.at_s += pause
        try:
            rate.admit("a")
        except QuotaExceeded as error:
            now.at_s += error.retry_after_s or 0
            assert admitted(rate)
        times.append(now.at_s)
    for i, start in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= (times[j] - start + 1) * per_second + 1e-3


def test_the_memory_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """given room for three / when more callers come / then full buckets go first, and who is over its rate stays refused."""
    monkeypatch.setattr(rates, "CALLERS_RATED_MAX", 3)
    now = Now()
    rate = CallerRate(1, Metrics(), clock=now)
    assert [admitted(rate, name) for name in "abc"] == [True] * 3
    now.at_s += 0.5
    assert admitted(rate, "d")  # the longest known is forgotten
    assert [admitted(rate, name) for name in "bcd"] == [False] * 3
    now.at_s += 0.5  # b and c are full again
    assert admitted(rate, "e")
    assert not admitted(rate, "d")
