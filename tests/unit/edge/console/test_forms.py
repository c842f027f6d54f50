"""Forms: from the fields of a page to what its human says."""

from __future__ import annotations

import pytest

from creto.common.errors import IdempotencyConflict, InvalidInput
from creto.edge.console.forms import Act, Vote, act_named, assertion_of, check_seen, chosen, vote_of
from creto.edge.console.site import Form, local
from creto.oversight import BatchItem, GrantWish, Verdict
from tests.unit.edge.console.cases import a_record
from tests.unit.oversight.test_rules import an_ask

APPROVE, DENY = Verdict.APPROVE, Verdict.DENY


@pytest.mark.parametrize(
    ("act", "fields", "vote"),
    [
        (Act.APPROVE, {}, Vote(verdict=APPROVE)),
        (Act.DENY, {"reason": [" too much "]}, Vote(verdict=DENY, reason="too much")),
        (Act.APPROVE_FOR, {"minutes": ["5"], "uses": ["3"]}, Vote(verdict=APPROVE, wish=GrantWish(ttl_s=300, uses=3))),
        (Act.EDIT, {"arguments": ['{"a": 2}']}, Vote(verdict=APPROVE, arguments=b'{"a":2}')),
    ],
)
def test_what_a_form_says(act: Act, fields: dict[str, list[str]], vote: Vote) -> None:
    assert vote_of(act, Form(fields), an_ask({"a": 1})) == vote
    assert act_named(act.value) is act


def test_of_a_batch_what_is_not_ticked_is_denied() -> None:
    ask = an_ask({}, items=tuple(BatchItem(item_id=one, arguments=b"{}") for one in "abc"))
    vote = vote_of(Act.ITEMS, Form({"item": ["a", "c"]}), ask)
    assert vote == Vote(verdict=APPROVE, items={"a": APPROVE, "b": DENY, "c": APPROVE})
    assert vote_of(Act.ITEMS, Form({}), ask).verdict is DENY


def test_an_item_that_the_batch_does_not_have_decides_nothing() -> None:
    ask = an_ask({}, items=tuple(BatchItem(item_id=one, arguments=b"{}") for one in "abc"))
    with pytest.raises(InvalidInput, match="of a, b, c"):
        vote_of(Act.ITEMS, Form({"item": ["a", "unknown"]}), ask)
    with pytest.raises(InvalidInput, match="none: "):
        vote_of(Act.ITEMS, Form({"item": ["a"]}), an_ask({}))


@pytest.mark.parametrize("minutes", ["", "x", "-1", "1.5", "1e3", "٣", "9999999999"])
def test_a_number_is_a_number(minutes: str) -> None:
    with pytest.raises(InvalidInput):
        vote_of(Act.APPROVE_FOR, Form({"minutes": [minutes], "uses": ["1"]}), an_ask({}))


def test_what_was_seen_is_what_stands_here() -> None:
    record = a_record({"a": 1})
    check_seen(Form({"seen": [record.display_hash.hex()]}), record)
    for seen in ("", "00", a_record({"a": 2}).display_hash.hex()):
        with pytest.raises(IdempotencyConflict):
            check_seen(Form({"seen": [seen]}), record)


def test_the_ticked_of_a_list() -> None:
    assert chosen(Form({"seen": ["req-1:ab", "req-2:cd"]}), 2) == {"req-1": "ab", "req-2": "cd"}
    for seen in ([], ["a:1", "b:2", "c:3"]):
        with pytest.raises(InvalidInput):
            chosen(Form({"seen": seen}), 2)


def test_a_passkeys_answer() -> None:
    assert assertion_of(Form({})) is None
    fields = {name: ["AQ"] for name in ("credential", "authenticator", "client", "signature")}
    answer = assertion_of(Form(fields))
    assert answer is not None
    assert answer[0] == answer[1].signature == b"\x01"
    with pytest.raises(InvalidInput):
        assertion_of(Form(fields | {"client": ["===="]}))


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "", "evil", "/a\r\nb", "/ä"]
)
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert local(path) == "/"


def test_a_path_of_ours_is_kept() -> None:
    assert local("/approvals/req-1?decided=1") == "/approvals/req-1?decided=1"
