"""How much of the write-ahead log is copied at once."""

from __future__ import annotations

from creto.common.limits import STORE_CHECKPOINT_S_MAX, STORE_WAL_PAGES, STORE_WAL_STEP_MAX
from creto.store.sqlite.checkpoint import next_step

QUICK_S, SLOW_S = STORE_CHECKPOINT_S_MAX / 10, STORE_CHECKPOINT_S_MAX * 10


def after(times_s: list[float]) -> int:
    step = STORE_WAL_PAGES
    for took_s in times_s:
        step = next_step(step, took_s)
    return step


def test_the_log_grows_longer_where_it_is_copied_in_a_moment() -> None:
    assert after([QUICK_S]) == 2 * STORE_WAL_PAGES
    assert after([QUICK_S] * 20) == STORE_WAL_STEP_MAX


def test_it_grows_less_long_where_that_takes_time_but_never_less_than_at_first() -> None:
    assert after([QUICK_S] * 20 + [SLOW_S]) == STORE_WAL_STEP_MAX // 2
    assert after([QUICK_S] * 20 + [SLOW_S] * 20) == STORE_WAL_PAGES


def test_what_takes_as_long_as_it_may_stays_as_it_is() -> None:
    assert after([QUICK_S, STORE_CHECKPOINT_S_MAX]) == 2 * STORE_WAL_PAGES
