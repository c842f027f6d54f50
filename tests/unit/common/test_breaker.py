"""The breaker opens after enough failures, probes after its timeout, and counts each outcome in its own period."""

from __future__ import annotations

import asyncio

import pytest

from creto.common.breaker import CircuitBreaker, CircuitOpen, CircuitState
from creto.common.errors import ConnectionFailed, InvalidInput


class World:
    def __init__(self, **options: int) -> None:
        self.now = 0.0
        self.changes: list[str] = []
        self.breaker = CircuitBreaker(
            "audit",
            failure_threshold=3,
            timeout_s=10,
            clock=lambda: self.now,
            on_change=lambda name, before, after: self.changes.append(f"{name} {before}->{after}"),
            **options,
        )

    def fail(self, error: Exception | None = None) -> None:
        fault = error or ConnectionFailed()
        with pytest.raises(type(fault)), self.breaker.guarding():
            raise fault

    def succeed(self) -> None:
        with self.breaker.guarding():
            pass

    def opened(self) -> World:
        for _ in range(3):
            self.fail()
        assert self.breaker.state is CircuitState.OPEN
        return self


def test_it_opens_at_the_threshold_and_says_when_to_come_back() -> None:
    world = World().opened()
    world.now = 4
    with pytest.raises(CircuitOpen) as caught:
        world.succeed()
    assert (caught.value.code, caught.value.retry_after_s, caught.value.retryable) == ("PL-503", 6, True)
    assert (world.breaker.failures, world.breaker.refusals, world.breaker.openings) == (3, 1, 1)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    world = World()
    for _ in range(5):
        world.fail()
        world.fail()
        world.succeed()
    assert world.breaker.state is CircuitState.CLOSED


def test_an_answer_that_refuses_the_question_is_no_outage() -> None:
    world = World()
    for _ in range(9):
        world.fail(InvalidInput())
    assert world.breaker.state is CircuitState.CLOSED


def test_a_good_probe_closes_it_and_a_bad_one_opens_it_again() -> None:
    world = World().opened()
    world.now = 10
    world.fail()
    assert world.breaker.state is CircuitState.OPEN
    world.now = 20
    world.succeed()
    assert world.breaker.state is CircuitState.CLOSED
    assert world.changes == [
        "audit closed->open",
        "audit open->half_open",
        "audit half_open->open",
        "audit open->half_open",
        "audit half_open->closed",
    ]


async def test_half_open_lets_only_so_many_probes_through() -> None:
    world = World(probes_max=1).opened()
    world.now = 10
    gate = asyncio.Event()
    probe = asyncio.create_task(world.breaker.call(gate.wait))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await world.breaker.call(gate.wait)
    gate.set()
    await probe
    assert world.breaker.state is CircuitState.CLOSED


async def test_a_cancelled_probe_frees_its_place() -> None:
    world = World(probes_max=1).opened()
    world.now = 10
    probe = asyncio.create_task(world.breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    world.succeed()
    assert world.breaker.state is CircuitState.CLOSED


async def test_a_late_success_from_before_the_outage_does_not_close_it() -> None:
    world = World()
    gate = asyncio.Event()
    slow = asyncio.create_task(world.breaker.call(gate.wait))
    await asyncio.sleep(0)
    world.opened()
    gate.set()
    await slow
    assert world.breaker.state is CircuitState.OPEN
