"""Periods: anchors at the end of months, changes of clocks, days."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.common.timestamps import DAY, HOUR, SECOND, iso
from creto.metering import Cycle, CycleUnit, Period, days, period_at, periods
from creto.metering.periods import boundary, day_range, index_at, prorated
from tests.unit.metering.examples import D, at

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]
)
INSTANTS = st.integers(at("2001-01-01"), at("2049-01-01"))


def test_the_31st_is_the_last_day_of_shorter_months_and_comes_back() -> None:
    cycle = Cycle(CycleUnit.MONTH, at("2024-01-31"))
    starts = [iso(boundary(cycle, i))[:10] for i in range(5)]
    assert starts == ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]


def test_a_month_begins_at_the_tenants_midnight_whatever_the_clocks_do() -> None:
    cycle = Cycle(CycleUnit.MONTH, at("2024-02-29T23:00:00Z"), "Europe/Berlin")  # 1 March, 0:00
    march = period_at(cycle, at("2024-03-15"))

    assert (iso(march.start)[:16], iso(march.end)[:16]) == ("2024-02-29T23:00", "2024-03-31T22:00")
    assert march.length_ns == 31 * DAY - HOUR
    assert days(march) == 31


@given(st.sampled_from(CycleUnit), ZONES, INSTANTS, INSTANTS, st.integers(1, 7))
def test_every_instant_lies_in_exactly_one_period(
    unit: CycleUnit, zone: str, anchor: int, now: int, count: int
) -> None:
    cycle = Cycle(unit, anchor, zone, count)
    period = period_at(cycle, now)

    assert now in period
    assert period_at(cycle, period.end).start == period.end
    assert period_at(cycle, period.start - 1).end == period.start
    assert period_at(cycle, anchor).start == anchor // SECOND * SECOND
    assert index_at(cycle, anchor) == 0


@given(
    st.sampled_from([CycleUnit.MONTH, CycleUnit.QUARTER]), ZONES, INSTANTS, st.lists(st.integers(1, 10**15), max_size=4)
)
def test_the_days_of_the_parts_are_the_days_of_the_whole(
    unit: CycleUnit, zone: str, anchor: int, steps: list[int]
) -> None:
    whole = period_at(Cycle(unit, anchor, zone), anchor)
    cuts = [whole.start]
    for step in steps:
        cuts.append(min(cuts[-1] + step, whole.end))
    touched = [set(day_range(Period(a, b, zone), whole)) for a, b in pairwise([*cuts, whole.end])]

    assert set().union(*touched) == set(range(days(whole)))


def test_periods_of_a_range_come_whole_and_in_order() -> None:
    cycle = Cycle(CycleUnit.WEEK, at("2024-01-01"))
    found = list(periods(cycle, Period(at("2024-01-03"), at("2024-01-15"))))
    assert [iso(p.start)[:10] for p in found] == ["2024-01-01", "2024-01-08"]


def test_a_range_of_too_many_periods_is_refused() -> None:
    endless = periods(Cycle(CycleUnit.HOUR, 0), Period(0, 10**18 * 5))
    assert len(list(islice(endless, 10_000))) == 10_000
    with pytest.raises(InvalidInput):
        next(endless)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "localtime", "right/UTC"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Cycle(CycleUnit.DAY, 0, zone)
    assert refused.value.field == "zone"


def test_a_part_is_never_more_than_the_whole() -> None:
    assert prorated(D(31), 1, 31) == 1
    with pytest.raises(InvalidInput):
        prorated(D(31), 32, 31)
