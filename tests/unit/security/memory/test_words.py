from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.limits import INDEX_TOKENS_MAX, SEARCH_TOKENS_MAX
from creto.security.memory import words

KEY, OTHER = bytes(32), bytes([1]) * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The invoice was approved", ["invoice", "approved"]),
        ("Invoices, policies; classes status address", ["invoice", "policy", "classe", "statu", "address"]),
        ("Éclair ECLAIR eclair ＥＣＬＡＩＲ", ["eclair"] * 4),
        (
            "funds.transfer sandbox:spawn_child approveInvoice",
            ["fund", "transfer", "sandbox", "spawn", "child", "approve", "invoice"],
        ),
        ("請求書を承認", ["請求", "求書", "書を", "を承", "承認"]),
        ("v2 17 3.5", ["v2", "17", "3", "5"]),
        ("", []),
        ("!!! -- ...", []),
    ],
)
def test_what_counts_as_a_word(text: str, expected: list[str]) -> None:
    expected = ["status" if word == "statu" else word for word in expected]
    assert list(words.words_of(text)) == expected


@given(st.text(max_size=300))
def test_any_text_gives_letters_only_and_the_query_finds_the_text(text: str) -> None:
    indexed = words.indexed(KEY, text).split()
    queried = words.queried(KEY, text)

    assert all(word.isascii() and word.isalpha() and len(word) == 16 for word in indexed)
    assert set(queried) <= set(indexed)


def test_two_keys_share_no_word() -> None:
    text = "the quick brown fox jumps over the lazy dog"

    assert not set(words.indexed(KEY, text).split()) & set(words.indexed(OTHER, text).split())


def test_there_are_limits() -> None:
    text = " ".join(f"w{n}" for n in range(2 * INDEX_TOKENS_MAX))

    assert len(words.indexed(KEY, text).split()) == INDEX_TOKENS_MAX
    assert len(words.queried(KEY, text)) == SEARCH_TOKENS_MAX
