"""Redelivery: doubling waits up to a limit, then the dead letters; reasons without secrets."""

from __future__ import annotations

from creto.bus.redelivery import Redelivery, reason_of
from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.timestamps import SECOND


def test_waits_double_up_to_the_limit() -> None:
    rule = Redelivery(deliveries_max=5, initial_s=1, backoff_max_s=5)
    assert [rule.wait_ns(n) // SECOND for n in range(1, 6)] == [1, 2, 4, 5, 5]
    assert [rule.is_dead(n) for n in range(1, 7)] == [False] * 4 + [True] * 2
    assert rule.wait_ns(10**6) == 5 * SECOND


def test_reasons_keep_the_error_and_drop_the_secret() -> None:
    error = InvalidInput("MT-400", "bad event", caused_by=ConnectionFailed())
    assert reason_of(error) == error.body()
    assert reason_of(ValueError("password=hunter2hunter2")).message == "ValueError: password=***"
    assert reason_of("").message == "no reason given"
