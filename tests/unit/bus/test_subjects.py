"""Subjects: NATS' grammar and matching, against a rule written another way."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.bus.subjects import checked_durable, checked_pattern, dead_subject, lane, matches
from creto.common.errors import InvalidInput
from creto.common.subjects import checked_subject

TOKENS = st.sampled_from(["a", "b", "slack", "x-1"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]),
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=1, max_size=4),
    st.sampled_from([[], [">"]]),
)


@given(PATTERNS, SUBJECTS)
def test_matching_agrees_with_a_regular_expression(pattern: str, subject: str) -> None:
    parts = [r"[^.]+" if t == "*" else r".+" if t == ">" else re.escape(t) for t in pattern.split(".")]
    assert matches(pattern, subject) == bool(re.fullmatch(r"\.".join(parts), subject))
    if "*" not in pattern and ">" not in pattern:
        assert matches(pattern, subject) == fnmatch.fnmatchcase(subject, pattern)


@given(SUBJECTS, PATTERNS)
def test_what_is_well_formed_is_accepted(subject: str, pattern: str) -> None:
    assert checked_subject(subject) == subject
    assert checked_pattern(pattern) == pattern


@given(st.text(max_size=300))
def test_any_text_is_a_subject_or_refused_with_its_code(text: str) -> None:
    for check in (checked_subject, checked_pattern, checked_durable):
        try:
            accepted = check(text)
        except InvalidInput as error:
            accepted, code = text, error.code
        else:
            code = "PL-901"
        assert (accepted, code) == (text, "PL-901")


@pytest.mark.parametrize(
    "subject", ["a.*", "a.>", "a..b", ".", "a b", "a\n", "$JS.API", "_INBOX.x", ".".join("a" * 17)]
)
def test_what_is_no_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidInput):
        checked_subject(subject)


def test_dead_letters_reach_only_those_who_ask_for_them() -> None:
    assert dead_subject("a.b") == "dead.a.b"
    assert dead_subject("dead.a.b") is None
    assert not matches(">", "dead.a.b")
    assert not matches("*.a.b", "dead.a.b")
    assert matches("dead.>", "dead.a.b")


def test_lanes_never_move() -> None:
    assert [lane("acme", f"agent{n}", 8) for n in range(6)] == [4, 2, 0, 6, 5, 3]
    assert {lane("acme", f"agent{n}", 8) for n in range(200)} == set(range(8))
