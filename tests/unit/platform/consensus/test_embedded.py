"""The embedded clock on a machine whose clocks the test moves: steps, crashes, reboots, neighbours."""

from __future__ import annotations

import pytest
from tests.contract.stores import MakeStore
from tests.unit.platform.consensus.fakes import FakeLocal

from creto.common.timestamps import DAY, HOUR, MILLISECOND, SECOND
from creto.platform.consensus import EmbeddedClock
from creto.store import Store


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=("creto.platform.consensus",))


def opened(store: Store, local: FakeLocal) -> EmbeddedClock:
    return EmbeddedClock(store, local=local, background=False, pause=local.pause)


def live(clock: EmbeddedClock, local: FakeLocal, ns: int) -> None:
    """Time passes, with a reservation every half second as the background thread makes them."""
    for _ in range(ns // (SECOND // 2)):
        local.pass_time(SECOND // 2)
        clock.reserve()


def test_begins_at_the_wall_clock(store: Store) -> None:
    local = FakeLocal()
    clock = opened(store, local)
    assert clock.now() == local.wall()
    assert not clock.degraded


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock_is_worked_off_slowly_and_said(store: Store, step: int) -> None:
    local = FakeLocal()
    clock = opened(store, local)
    before = clock.now()
    local.step_wall(step)
    live(clock, local, 10 * SECOND)
    passed = clock.now() - before
    assert 9 * SECOND <= passed <= 11 * SECOND, "no deadline passes faster or slower than by a tenth"
    assert clock.degraded


def test_a_small_step_is_gone_within_a_second(store: Store) -> None:
    local = FakeLocal()
    clock = opened(store, local)
    local.step_wall(-50 * MILLISECOND)
    live(clock, local, SECOND)
    assert clock.now() == local.wall()
    assert not clock.degraded


@pytest.mark.parametrize("step", [0, HOUR, -HOUR])
@pytest.mark.parametrize("down", [MILLISECOND, 300 * MILLISECOND, 5 * SECOND, DAY])
def test_after_a_crash_it_goes_on_above_all_it_gave(store: Store, step: int, down: int) -> None:
    local = FakeLocal()
    first = opened(store, local)
    live(first, local, 2 * SECOND)
    local.pass_time(400 * MILLISECOND)
    last = first.timestamps(1000)[-1]
    local.pass_time(down)
    local.step_wall(step)
    second = opened(store, local)
    assert second.now() > last


def test_a_quick_restart_does_not_push_time_forward(store: Store) -> None:
    local = FakeLocal()
    for _ in range(20):
        clock = opened(store, local)
        local.pass_time(100 * MILLISECOND)
        clock.now()
    assert abs(opened(store, local).now() - local.wall()) < 100 * MILLISECOND


@pytest.mark.parametrize("step", [0, 10 * SECOND, -HOUR])
def test_after_a_reboot_it_goes_on_above_all_it_gave(store: Store, step: int) -> None:
    local = FakeLocal()
    first = opened(store, local)
    local.pass_time(400 * MILLISECOND)
    last = first.now()
    again = FakeLocal(wall=local.wall() + step, elapsed=5 * SECOND, boot="boot-2")
    second = opened(store, again)
    assert second.now() > last
    assert second.now() - again.wall() < SECOND or step < 0, "a mark just ahead is waited for, not jumped to"


def test_beside_a_mark_far_ahead_of_another_machine_time_does_not_stand_still(store: Store) -> None:
    ours, theirs = FakeLocal(), FakeLocal(boot="boot-2")
    running = opened(store, ours)
    theirs.step_wall(HOUR)
    ahead = opened(store, theirs).now()
    running.reserve()
    neighbour = opened(store, ours)
    before = neighbour.now()
    assert before > ahead
    ours.pass_time(SECOND)
    assert neighbour.now() - before > 800 * MILLISECOND
    last = neighbour.timestamps(1000)[-1]
    assert opened(store, ours).now() > last


def test_after_a_clean_end_nothing_is_waited_for(store: Store) -> None:
    local = FakeLocal()
    with opened(store, local) as first:
        last = first.now()
    local.boot = "boot-2"
    local.pass_time(1)
    before = local.elapsed()
    assert opened(store, local).now() > last
    assert local.elapsed() == before


def test_neighbours_on_one_machine_agree(store: Store) -> None:
    local = FakeLocal()
    clocks = []
    for _ in range(8):
        clocks.append(opened(store, local))
        local.pass_time(200 * MILLISECOND)
    times = [clock.now() for clock in clocks]
    assert max(times) - min(times) < 100 * MILLISECOND


def test_a_message_between_neighbours_keeps_cause_before_effect(store: Store) -> None:
    local = FakeLocal()
    ahead, behind = opened(store, local), opened(store, local)
    sent = ahead.timestamps(5)[-1]
    behind.observe(sent)
    assert behind.now() > sent


def test_without_the_store_time_goes_on_and_says_so(store: Store) -> None:
    local = FakeLocal()
    clock = opened(store, local)
    store.close()
    before = clock.now()
    assert not clock.degraded
    local.pass_time(3 * SECOND)
    assert clock.now() - before >= 3 * SECOND
    assert clock.degraded


def test_rows_of_clocks_that_ended_are_cleared(store: Store) -> None:
    local = FakeLocal()
    for _ in range(5):
        opened(store, local)
        local.pass_time(5 * SECOND)
    opened(store, local)
    assert store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM consensus_clock")) <= 2


def test_the_background_thread_reserves_and_ends(store: Store) -> None:
    clock = EmbeddedClock(store)
    assert clock.state().age_ns is not None
    clock.close()
    assert not clock._thread.is_alive()
