"""Arguments in a text field: no secret in it, nothing hidden in it, and the same bytes back where nothing was changed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.edge.console.editing import editable, restored
from creto.oversight.arguments import canonical
from creto.oversight.hostile import visible
from tests.unit.oversight.test_spoofs import JSON, SPOOFS

SECRET = b'{"to":"ann","password":"hunter2hunter2","keys":[{"api_key":"sk-aaaaaaaaaaaaaaaaaaaa"}],"amount":1.50}'


def test_a_secret_is_not_on_the_page_and_stays_what_it_is() -> None:
    text = editable(SECRET)
    assert "hunter2" not in text
    assert "sk-aaaa" not in text
    assert restored(text.encode(), SECRET) == canonical(SECRET)
    assert json.loads(restored(text.replace("ann", "bob").encode(), SECRET)) == json.loads(SECRET) | {"to": "bob"}


def test_a_secret_that_is_written_anew_is_the_new_one() -> None:
    changed = editable(SECRET).replace('"password": "***"', '"password": "another"')
    assert json.loads(restored(changed.encode(), SECRET))["password"] == "another"


def test_a_mask_somewhere_else_is_a_text_like_any_other() -> None:
    assert restored(b'{"to":"***"}', SECRET) == b'{"to":"***"}'
    assert restored(b'{"moved":"***"}', SECRET) == b'{"moved":"***"}'


def test_numbers_keep_their_spelling() -> None:
    assert '"amount": 1.50' in editable(SECRET)
    assert b'"amount":1.50' in restored(editable(SECRET).encode(), SECRET)


def test_a_list_may_grow_and_shrink() -> None:
    before = b'{"to":["ann","bob"],"keys":["a"]}'
    assert restored(b'{"to":["ann","bob","eve"],"keys":[]}', before) == b'{"keys":[],"to":["ann","bob","eve"]}'
    assert restored(b'{"to":["bob"]}', before) == b'{"to":["bob"]}'


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), JSON, max_size=4))
def test_what_is_left_alone_is_the_same(arguments: dict[str, object]) -> None:
    raw = json.dumps(arguments).encode()
    assert restored(editable(raw).replace("\n", "\r\n").encode(), raw) == canonical(raw)


@pytest.mark.parametrize("text", [text for text, _ in SPOOFS if "\ud800" not in text])
def test_nothing_hides_in_a_text_field(text: str) -> None:
    shown = editable(json.dumps({"k": text, text: 1}).encode())
    assert visible(text).text == text or shown.isascii()
    assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize("text", ["", "{", '{"a":NaN}', '{"a":1,"a":2}', "x" * 10])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        restored(text.encode(), b"{}")
    assert caught.value.code == "OV-400"


LISTED = b'{"headers":[{"name":"a","token":"s1"},{"name":"b","token":"s2"}],"tokens":["t1","t2"]}'


@pytest.mark.parametrize(
    "edited",
    [
        {"headers": [{"name": "b", "token": "***"}]},
        {"headers": [{"name": "b", "token": "***"}, {"name": "a", "token": "***"}]},
        {"headers": [{"name": "c", "token": "***"}, {"name": "a", "token": "s1"}, {"name": "b", "token": "s2"}]},
        {"tokens": ["***"]},
        {"tokens": ["***", "***", "***"]},
    ],
)
def test_no_secret_goes_to_another_item(edited: object) -> None:
    """given a list with masked values / when items are taken out, moved or added / then the secrets have to be written again."""
    with pytest.raises(InvalidInput, match="arguments"):
        restored(json.dumps(edited).encode(), LISTED)


def test_items_that_stay_keep_their_secrets() -> None:
    edited = {"headers": [{"name": "a", "token": "***"}, {"name": "c", "token": "new"}], "tokens": ["***", "t3"]}
    kept = json.loads(restored(json.dumps(edited).encode(), LISTED))
    assert kept == {"headers": [{"name": "a", "token": "s1"}, {"name": "c", "token": "new"}], "tokens": ["t1", "t3"]}
    assert json.loads(restored(b'{"tokens":["t9"]}', LISTED)) == {"tokens": ["t9"]}
