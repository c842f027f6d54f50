from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from creto.common.limits import CLOCK_SLEW_PART
from creto.common.timestamps import HOUR, SECOND
from creto.platform.consensus.line import TimeLine

lines = st.builds(TimeLine, st.integers(0, 2**61), st.integers(0, 2**50), st.integers(-(2**50), 2**50))


@given(lines, st.integers(0, 2**50), st.integers(0, 2**40))
def test_grows_with_elapsed_time(line: TimeLine, elapsed: int, passed: int) -> None:
    assert line.at(elapsed) <= line.at(elapsed + passed)


@given(lines, st.integers(0, 2**40))
def test_its_pace_is_within_a_tenth_of_real_time(line: TimeLine, passed: int) -> None:
    gone = line.at(line.since + passed) - line.start
    assert abs(gone - passed) <= passed // CLOCK_SLEW_PART


@given(lines, st.integers(0, 2**40), st.integers(0, 2**61))
def test_turning_keeps_the_reading_and_owes_the_difference(line: TimeLine, passed: int, right: int) -> None:
    elapsed = line.since + passed
    turned = line.turned(elapsed, right)
    assert turned.at(elapsed) == line.at(elapsed)
    assert turned.at(elapsed) + turned.owed(elapsed) == right


@given(lines, st.integers(-(2**50), 2**50), st.integers(0, 2**40), st.integers(0, 2**40))
def test_covering_stays_above_the_old_line_and_the_new(line: TimeLine, error: int, passed: int, later: int) -> None:
    elapsed = line.since + passed
    turned = line.turned(elapsed, line.at(elapsed) + error)
    covering = turned.covering(elapsed, line)
    assert covering.at(elapsed + later) >= turned.at(elapsed + later)
    assert covering.at(elapsed + later) >= line.at(elapsed + later) - 1, "rounding of a tenth"


def test_an_hour_too_late_is_worked_off_in_ten() -> None:
    line = TimeLine(start=10 * HOUR, since=0, error=-HOUR)
    assert line.owed(9 * HOUR) < 0
    assert line.owed(10 * HOUR) == 0
    assert line.at(10 * HOUR + SECOND) == 19 * HOUR + SECOND
