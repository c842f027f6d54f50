"""Retries wait as the strategy says, stop at the deadline, and never touch what cannot get better."""

from __future__ import annotations

import pytest

from creto.common.codes import ExponentialBackoff, FixedDelay, Never, RetryAfter
from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, QuotaExceeded
from creto.common.retry import delays, retry, without_waiting


class Flaky:
    """Fails with the given errors, then answers."""

    def __init__(self, *errors: EnablementError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def test_a_transient_error_backs_off_with_the_strategy_of_its_code() -> None:
    time, flaky = Time(), Flaky(ConnectionFailed(), ConnectionFailed())
    result = await retry(flaky, clock=time.clock, sleep=time.sleep, uniform=lambda: 0.0)
    assert result == "done"
    assert time.slept == [0.1, 0.2]


async def test_the_last_error_is_raised_with_the_number_of_attempts() -> None:
    time, flaky = Time(), Flaky(*(ConnectionFailed() for _ in range(9)))
    with pytest.raises(ConnectionFailed) as caught:
        await retry(flaky, clock=time.clock, sleep=time.sleep)
    assert flaky.calls == 5
    assert caught.value.context == ("trying 5 times",)


async def test_a_permanent_error_is_not_tried_again_whatever_the_strategy() -> None:
    flaky = Flaky(InvalidInput())
    with pytest.raises(InvalidInput):
        await retry(flaky, strategy=FixedDelay(0, 10))
    assert flaky.calls == 1


async def test_a_quota_is_tried_again_only_by_those_who_choose_to_wait_for_it() -> None:
    with pytest.raises(QuotaExceeded):
        await retry(Flaky(QuotaExceeded(retry_after_s=3)))
    time = Time()
    flaky = Flaky(QuotaExceeded(retry_after_s=7))
    assert await retry(flaky, strategy=RetryAfter(1), sleep=time.sleep, clock=time.clock) == "done"
    assert time.slept == [7]


async def test_no_attempt_starts_after_the_deadline() -> None:
    time, flaky = Time(), Flaky(*(ConnectionFailed() for _ in range(99)))
    with pytest.raises(ConnectionFailed):
        await retry(flaky, strategy=FixedDelay(1, 99), deadline_s=3.5, clock=time.clock, sleep=time.sleep)
    assert time.slept == [1, 1, 1]
    assert flaky.calls == 4


async def test_the_period_an_error_names_is_kept() -> None:
    time = Time()
    await retry(Flaky(ConnectionFailed(retry_after_s=2.5)), clock=time.clock, sleep=time.sleep)
    assert time.slept == [2.5]


def test_jitter_stays_between_half_and_all() -> None:
    strategy = ExponentialBackoff(1, 8, 6)
    assert list(delays(strategy, lambda: 0.0)) == [1, 2, 4, 8, 8]
    assert list(delays(strategy, lambda: 1.0)) == [0.5, 1, 2, 4, 4]
    assert list(delays(Never(), lambda: 0.0)) == []


async def test_testing_takes_the_waits_out() -> None:
    async def no_sleep(seconds: float) -> None:
        assert seconds == 0

    with without_waiting():
        assert await retry(Flaky(ConnectionFailed()), strategy=FixedDelay(3600, 3), sleep=no_sleep) == "done"
    with without_waiting(attempts_max=1), pytest.raises(ConnectionFailed):
        await retry(Flaky(ConnectionFailed()), strategy=FixedDelay(3600, 3))
