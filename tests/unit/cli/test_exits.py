"""Exit codes: one number for each kind of end, the same for ever."""

from __future__ import annotations

import pytest

from creto.cli.exits import MEANINGS, Exit, exit_of
from creto.common.codes import ROWS, row
from creto.common.errors import EnablementError


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("PL-500", 1),
        ("PL-409", 1),
        ("PL-400", 2),
        ("PL-921", 2),
        ("PL-102", 3),
        ("RT-404", 3),
        ("PL-403", 4),
        ("PL-123", 4),
        ("MT-402", 4),
        ("MT-422", 7),
        ("MT-429", 4),
        ("OV-451", 4),
        ("PL-202", 5),
        ("RT-202", 5),
        ("PL-503", 6),
        ("PL-504", 6),
        ("PL-609", 6),
        ("PL-116", 7),
        ("PL-210", 7),
        ("PL-604", 7),
        ("PL-801", 7),
    ],
)
def test_a_code_ends_with_its_number(code: str, expected: int) -> None:
    error = EnablementError.kinds[row(code).kind](code)
    assert exit_of(error) == expected


def test_every_code_of_the_table_has_a_documented_number() -> None:
    for one in ROWS:
        number = exit_of(EnablementError.kinds[one.kind](one.code))
        assert number in MEANINGS
        assert number not in (Exit.OK, Exit.INTERRUPTED)


def test_every_number_is_documented() -> None:
    assert set(MEANINGS) == set(Exit)
    assert [int(number) for number in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 130]
