"""Windows over a change of clocks, in Berlin: at 2026-03-29T01:00Z the clocks jump from 2 to 3, at 2026-10-25T01:00Z from 3 back to 2."""

from __future__ import annotations

from itertools import pairwise

import pytest

from creto.common.timestamps import HOUR, MINUTE, from_iso
from creto.metering import Limit, Quota, Throttle, Window, WindowUnit
from creto.metering.periods import local
from creto.metering.quota_types import in_zone

BERLIN = "Europe/Berlin"


def starts(window: Window, first: str, last: str) -> list[str]:
    """When its windows begin on the wall clock, from one instant to another, without a gap."""
    at, end, found = from_iso(first), from_iso(last), []
    while at < end:
        period = window.period(at)
        assert at == period.start or not found
        found.append(local(period.start, window.where).strftime("%d %H:%M"))
        at = period.end
    return found


def lengths(window: Window, first: str, last: str) -> list[float]:
    at, end, found = from_iso(first), from_iso(last), []
    while at < end:
        period = window.period(at)
        found.append(period.length_ns / HOUR)
        at = period.end
    return found


SPRING, AUTUMN = ("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z"), ("2026-10-23T22:00:00Z", "2026-10-26T23:00:00Z")


@pytest.mark.parametrize(("days", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_days_have_23_and_25_hours(days: tuple[str, str], hours: int) -> None:
    window = Window(WindowUnit.DAY, zone=BERLIN)
    assert lengths(window, *days) == [24, hours, 24]
    assert [start[3:] for start in starts(window, *days)] == ["00:00"] * 3


@pytest.mark.parametrize(
    "window", [Window(WindowUnit.HOUR, 6, zone=BERLIN), Window(WindowUnit.MINUTE, 360, zone=BERLIN)]
)
@pytest.mark.parametrize(("days", "changed"), [(SPRING, 5), (AUTUMN, 7)])
def test_six_hours_begin_at_the_same_hours_before_and_after_a_change(
    window: Window, days: tuple[str, str], changed: int
) -> None:
    assert [start[3:] for start in starts(window, *days)] == ["00:00", "06:00", "12:00", "18:00"] * 3
    assert lengths(window, *days) == [6] * 4 + [changed, 6, 6, 6] + [6] * 4


def test_two_hours_that_a_change_begins_or_ends_in_leave_no_gap() -> None:
    for days in (SPRING, AUTUMN):
        for count in (2, 3, 5, 36):
            window = Window(WindowUnit.HOUR, count, zone=BERLIN)
            at = from_iso(days[0])
            periods = [window.period(at + n * 10 * MINUTE) for n in range(6 * 73)]
            for one, next_ in pairwise(periods):
                assert next_ == one or next_.start == one.end


def test_an_hour_is_an_hour_also_when_the_clocks_change() -> None:
    window = Window(WindowUnit.HOUR, zone=BERLIN)
    assert lengths(window, *SPRING) == [1] * 71
    assert lengths(window, *AUTUMN) == [1] * 73


def test_windows_get_the_zone_of_the_tenant_where_they_name_none() -> None:
    day, own = Window(WindowUnit.DAY), Window(WindowUnit.MONTH, zone="UTC")
    quota = Quota(quota_id="q", limits=(Limit(1, day), Limit(2, own)), overflow=Throttle(Limit(1, day)))
    assert in_zone(quota, "UTC") is quota
    found = in_zone(quota, BERLIN)
    assert [limit.window.where for limit in found.limits] == [BERLIN, "UTC"]
    assert isinstance(found.overflow, Throttle)
    assert found.overflow.limit.window.where == BERLIN
    assert day.means(found.limits[0].window)
    assert not own.means(found.limits[0].window)
    assert day.key == "1day@@UTC"
