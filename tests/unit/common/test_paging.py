"""Pages: whatever comes back as a cursor is a place or is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import CURSOR_CHARS_MAX, INTEGER_MAX, OBJECT_KEY_CHARS_MAX, PAGE_ITEMS_MAX
from creto.common.paging import checked_limit, cursor_of, cut, place_of


@given(
    st.integers(-INTEGER_MAX, INTEGER_MAX), st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
)
def test_a_cursor_leads_back_to_its_place(number: int, text: str) -> None:
    assert place_of(cursor_of((number, text)), tuple[int, str], (0, "")) == (number, text)


def test_without_a_cursor_a_list_begins_at_its_start() -> None:
    assert place_of(None, int, 7) == 7


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")))
def test_any_text_is_a_place_or_is_refused(cursor: str) -> None:
    try:
        place = place_of(cursor, tuple[int, str], (0, ""))
    except InvalidInput as error:
        assert (error.code, error.field) == ("PL-400", "cursor")
    else:
        assert isinstance(place[0], int)


@pytest.mark.parametrize("place", ["\0", 2**63, -(2**63) - 1, ("a", "b\0"), ["a"], {"a": 1}, None])
def test_a_place_that_an_engine_cannot_compare_is_refused(place: object) -> None:
    for kind in (str, int, tuple[str, str]):
        with pytest.raises(InvalidInput, match="cursor"):
            place_of(cursor_of(place), kind, None)  # type: ignore[arg-type]


def test_the_longest_key_of_an_object_fits_into_a_cursor() -> None:
    key = "𝕏" * OBJECT_KEY_CHARS_MAX
    assert place_of(cursor_of(key), str, "") == key
    too_long = base64.urlsafe_b64encode(wire.encode("x" * CURSOR_CHARS_MAX)).decode().rstrip("=")
    with pytest.raises(InvalidInput, match="cursor"):
        place_of(too_long, str, "")


def test_only_what_goes_on_has_a_cursor() -> None:
    """given three items / when a page of two, of three and of none is cut / then the first alone leads on."""
    assert cut("abc", 2, str.upper) == (("a", "b"), cursor_of("B"))
    assert cut("abc", 3, str.upper) == (("a", "b", "c"), None)
    assert cut("", 3, str.upper) == ((), None)


@pytest.mark.parametrize("limit", [0, -1, PAGE_ITEMS_MAX + 1])
def test_a_page_is_bounded(limit: int) -> None:
    assert checked_limit(PAGE_ITEMS_MAX) == PAGE_ITEMS_MAX
    with pytest.raises(InvalidInput, match="limit"):
        checked_limit(limit)
