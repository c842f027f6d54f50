from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.platform.nhi import scope

TEXT = st.text("ab:", min_size=1, max_size=4)
PATTERN = st.one_of(TEXT, TEXT.map(lambda t: t + "*"), st.just("*"))


def test_a_star_at_the_end_is_a_prefix_and_nothing_else_is_special() -> None:
    assert scope.matches("runtime:*", "runtime:exec")
    assert scope.matches("runtime:*", "runtime:")
    assert not scope.matches("runtime:*", "runtime")
    assert scope.matches("sandbox:1*", "sandbox:10")
    assert scope.matches("a?", "a?")
    assert not scope.matches("a?", "ab")
    assert not scope.matches("Exec", "exec")


@pytest.mark.parametrize("text", ["", "a*b", "**", "*a", " a", "a ", "a\t", "x" * 257])
def test_other_texts_are_not_patterns(text: str) -> None:
    with pytest.raises(InvalidInput):
        scope.checked_patterns((text,), "actions")


@given(PATTERN, PATTERN, TEXT)
def test_what_a_narrower_pattern_names_the_wider_names_too(wide: str, narrow: str, text: str) -> None:
    if scope.covers(wide, narrow) and scope.matches(narrow, text):
        assert scope.matches(wide, text)


@given(PATTERN, PATTERN)
def test_a_pattern_that_is_not_covered_names_something_more(wide: str, narrow: str) -> None:
    if not scope.covers(wide, narrow):
        witness = narrow.removesuffix("*") + ("z" if narrow.endswith("*") else "")
        assert scope.matches(narrow, witness)
        assert not scope.matches(wide, witness)


@given(st.lists(PATTERN, min_size=1, max_size=4), st.lists(PATTERN, min_size=1, max_size=4))
def test_uncovered_finds_what_covers_denies(wide: list[str], narrow: list[str]) -> None:
    expected = [n for n in narrow if not any(scope.covers(w, n) for w in wide)]
    assert scope.uncovered(tuple(wide), tuple(narrow)) == (expected[0] if expected else None)


@given(st.lists(PATTERN, max_size=4), st.lists(PATTERN, max_size=4), TEXT)
def test_an_intersection_names_what_both_name(left: list[str], right: list[str], text: str) -> None:
    both = scope.any_matches(left, text) and scope.any_matches(right, text)
    assert scope.any_matches(scope.intersection(tuple(left), tuple(right)), text) == both
