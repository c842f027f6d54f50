"""When a day is due, and which batches have to be read for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.common.timestamps import DAY, HOUR
from creto.metering.archive import Due, day_name, day_named, day_of, part_key, ready_at, spans
from tests.unit.metering.examples import JANUARY, TENANT

BATCHES = st.tuples(st.integers(1, 50), st.integers(0, 10))


def test_a_day_has_a_name_and_a_key() -> None:
    day = day_of(JANUARY.start + 5 * HOUR)
    assert (day, day_name(day), day_named("2024-01-01")) == (JANUARY.start, "2024-01-01", JANUARY.start)
    assert part_key(day, 12, "x") == "metering/events/2024-01-01/0012-x.parquet"
    with pytest.raises(InvalidInput):
        day_named("yesterday")


def test_a_first_part_waits_for_the_day_a_further_one_for_its_latecomers() -> None:
    day, late = JANUARY.start, JANUARY.start + 9 * DAY
    assert ready_at(day, day + HOUR, HOUR, parts=0) == ready_at(day, late, HOUR, parts=0) == day + DAY + HOUR
    assert ready_at(day, late, HOUR, parts=1) == late + HOUR


@given(dues=st.lists(BATCHES, max_size=6), changes=st.lists(st.integers(1, 60), max_size=4))
def test_every_batch_is_read_once_however_many_days_lie_in_it(dues: list[tuple[int, int]], changes: list[int]) -> None:
    wanted = [
        Due(
            tenant=TENANT, day=n * DAY, first_batch=first, last_batch=first + more, events=1,
            changes=tuple((batch, 0, 1) for batch in changes),
        )
        for n, (first, more) in enumerate(dues)
    ]  # fmt: skip
    found = spans(wanted)
    read = [batch for first, last in found for batch in range(first, last + 1)]
    assert read == sorted(set(read))
    needed = {batch for due in wanted for batch in range(due.first_batch, due.last_batch + 1)}
    assert set(read) == needed | {batch for batch in changes if wanted}
