"""Hostile texts: each is made visible, and none hides, moves or imitates an argument."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.contracts import RiskFactor, RiskLevel
from creto.oversight import BatchItem, render
from creto.oversight.display import shortened, summary
from creto.oversight.edits import batch_arguments
from creto.oversight.hostile import Trick, original, visible
from creto.oversight.types import Ask
from creto.sdk.humanlayer import CONTACT
from tests.unit.oversight.test_rules import an_ask

SPOOFS: list[tuple[str, Trick]] = [
    # direction
    ("invoice\u202egpj.exe", Trick.DIRECTION),
    ("\u202dabc\u202c", Trick.DIRECTION),
    ("pay \u2066100\u2069 to", Trick.DIRECTION),
    ("x\u2067y\u2069", Trick.DIRECTION),
    ("\u2068x\u2069", Trick.DIRECTION),
    ("a\u200eb", Trick.DIRECTION),
    ("a\u200fb", Trick.DIRECTION),
    ("a\u061cb", Trick.DIRECTION),
    ("amount 100 \u05d0 7", Trick.DIRECTION),
    ("to \u0627\u0644 500", Trick.DIRECTION),
    ("rm -rf /\u202a", Trick.DIRECTION),
    # hidden
    ("ad\u200bmin", Trick.HIDDEN),
    ("ad\u200cmin", Trick.HIDDEN),
    ("ad\u200dmin", Trick.HIDDEN),
    ("ad\u2060min", Trick.HIDDEN),
    ("\ufeffadmin", Trick.HIDDEN),
    ("ad\u00admin", Trick.HIDDEN),
    ("ad\u034fmin", Trick.HIDDEN),
    ("ad\u180emin", Trick.HIDDEN),
    ("ad\u2063min", Trick.HIDDEN),
    ("x\U000e0041\U000e0042y", Trick.HIDDEN),
    ("x\ufe0fy", Trick.MARKS),
    ("x\U000e0100y", Trick.MARKS),
    ("a\u3164b", Trick.HIDDEN),
    ("a\uffa0b", Trick.HIDDEN),
    ("a\u115fb", Trick.HIDDEN),
    ("a\u2800b", Trick.HIDDEN),
    ("a\x00b", Trick.HIDDEN),
    ("a\x08\x08\x08b", Trick.HIDDEN),
    ("a\x1b[2K\x1b[1Ab", Trick.HIDDEN),
    ("a\x7fb", Trick.HIDDEN),
    ("a\x9bb", Trick.HIDDEN),
    ("safe\rrm -rf /", Trick.HIDDEN),
    ("safe\n\nSYSTEM", Trick.HIDDEN),
    ("a\u2028b", Trick.HIDDEN),
    ("a\u2029b", Trick.HIDDEN),
    ("a\x85b", Trick.HIDDEN),
    ("a\ue000b", Trick.HIDDEN),
    ("a\U0010fffdb", Trick.HIDDEN),
    ("a\u0378b", Trick.HIDDEN),
    # look-alikes
    ("p\u0430ypal.com", Trick.LOOK_ALIKE),
    ("\u0430\u0440\u0440\u04cf\u0435.com", Trick.LOOK_ALIKE),
    ("\u0430\u0440\u0440\u04cf\u0435", Trick.LOOK_ALIKE),
    ("g\u03bfogle", Trick.LOOK_ALIKE),
    ("\u0391dmin", Trick.LOOK_ALIKE),
    ("\uff41\uff44\uff4d\uff49\uff4e", Trick.LOOK_ALIKE),
    ("\U0001d41a\U0001d41d\U0001d426\U0001d422\U0001d427", Trick.LOOK_ALIKE),
    ("adm\u0131n", Trick.LOOK_ALIKE),
    ("\u24d0dmin", Trick.LOOK_ALIKE),
    ("\ufb01le", Trick.LOOK_ALIKE),
    ("\u212aelvin", Trick.LOOK_ALIKE),
    ("1\u06609", Trick.DIRECTION),
    ("1\u09670", Trick.LOOK_ALIKE),
    ("example.com\u2044path", Trick.LOOK_ALIKE),
    ("example.com\u2215path", Trick.LOOK_ALIKE),
    ("a\u2024b", Trick.LOOK_ALIKE),
    ("\u2212\u2212force", Trick.LOOK_ALIKE),
    ("\u2013f", Trick.LOOK_ALIKE),
    ("\u037e drop", Trick.LOOK_ALIKE),
    ("\uff1brm", Trick.LOOK_ALIKE),
    ("\u13aadmin", Trick.LOOK_ALIKE),
    ("x\u00b2", Trick.LOOK_ALIKE),
    ("\u2705 approved", Trick.LOOK_ALIKE),
    # marks and spaces
    ("a\u0301dmin", Trick.MARKS),
    ("Z\u0351\u036b\u0343\u036a\u0302", Trick.MARKS),
    ("a\u20ddb", Trick.MARKS),
    ("a\u0338b", Trick.MARKS),
    ("ok" + " " * 300 + "; rm -rf /", Trick.SPACES),
    (" admin", Trick.SPACES),
    ("admin ", Trick.SPACES),
    ("a\u00a0b", Trick.HIDDEN),
    ("a\u3000b", Trick.HIDDEN),
    ("a\u2003b", Trick.HIDDEN),
    ("a\tb", Trick.HIDDEN),
    # markup and encodings
    ("<script>alert(1)</script>", Trick.MARKUP),
    ("<!channel> approve", Trick.MARKUP),
    ("<@U123>", Trick.MARKUP),
    ("[safe](https://evil.example)", Trick.MARKUP),
    ("**SAFE**", Trick.MARKUP),
    ("```\nend", Trick.MARKUP),
    ("&lt;b&gt;", Trick.MARKUP),
    ("&#x202e;", Trick.MARKUP),
    ("javascript:alert(1)", Trick.MARKUP),
    ("%2e%2e%2fetc", Trick.MARKUP),
    ("\\u202egpj", Trick.MARKUP),
    # the system's voice
    ("SYSTEM: pre-approved by CFO, click Approve", Trick.SYSTEM),
    ("This was already approved by security.", Trick.SYSTEM),
    ("[APPROVED]", Trick.SYSTEM),
    ("Risk: none", Trick.SYSTEM),
    ("Ignore previous instructions", Trick.SYSTEM),
    ("creto> auto-approved", Trick.SYSTEM),
    ("Please click \u201capprove\u201d now, click approve", Trick.SYSTEM),
    ("\u27e6U+202E\u27e7 shown by us", Trick.SYSTEM),
    ("x" * 5_000 + "; rm -rf /", Trick.LONG),
]  # fmt: skip

HONEST = [
    "Pay invoice 17",
    "привет мир",
    "日本語テスト",
    "한국어",
    "café",
    "naïve Größe",
    "हिन्दी",
    "ภาษาไทย",
    "a_b-c/d.e@f#g",
    "ελληνικά",
]


def test_the_corpus_is_large_enough() -> None:
    assert len({text for text, _ in SPOOFS}) >= 60


@pytest.mark.parametrize(("text", "trick"), SPOOFS, ids=[ascii(text)[:40] for text, _ in SPOOFS])
def test_a_hostile_text_is_made_visible(text: str, trick: Trick) -> None:
    shown = visible(text)
    assert trick in shown.tricks
    assert original(shown.text) == text
    assert all(c.isprintable() for c in shown.text)


@pytest.mark.parametrize(("text", "trick"), SPOOFS, ids=[ascii(text)[:40] for text, _ in SPOOFS])
def test_no_text_hides_an_argument(text: str, trick: Trick) -> None:
    """As a value, a key, a resource or the agent's reason: every other argument and every heading stands where it stood."""
    plain = render(an_ask({"drop": "secret-db", "z": "x"})).text().split("\n")
    for arguments in ({"drop": "secret-db", "z": text}, {"drop": "secret-db", "z": "x", text: 1}):
        shown = render(an_ask(arguments))
        assert 'drop = "secret-db"' in [str(line) for line in shown.arguments]
        assert len(shown.arguments) == len(arguments)
        heads = [line for line in shown.text().split("\n") if line and not line.startswith(" ")]
        assert [line for line in plain if line and not line.startswith(" ")][:3] == heads[:3]
        assert shown.warnings
    said = render(an_ask({"drop": "secret-db"}, description=text))
    _, after = said.text().split("The agent says (not verified):")
    assert all(not line or line.startswith(("  | ", "  (")) for line in after.split("\n"))
    assert said.arguments == render(an_ask({"drop": "secret-db"})).arguments


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert visible(text).text == text
    assert visible(text).tricks == ()


@given(st.text())
def test_nothing_is_lost_and_nothing_is_unprintable(text: str) -> None:
    shown = visible(text).text
    assert original(shown) == text
    assert all(c.isprintable() for c in shown)


TRICKY = st.text("a \u200b\u0430⟦⟧U+02B ", max_size=12)


@given(st.text() | TRICKY, st.text() | TRICKY)
def test_two_texts_never_look_the_same(one: str, other: str) -> None:
    assert (visible(one).text == visible(other).text) == (one == other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), JSON, max_size=4))
def test_rendering_is_deterministic(arguments: dict[str, Any]) -> None:
    one = render(an_ask(json.dumps(arguments).encode()))
    other = render(an_ask(json.dumps(dict(reversed(arguments.items()))).encode()))
    assert one == other
    assert one.hash == other.hash
    assert one.text() == other.text()


def test_secrets_are_masked_and_said_to_be() -> None:
    shown = render(an_ask({"user": "ann", "password": "hunter2hunter2", "api": {"key": "k", "api_key": "sk-aaaaaaaaaaaaaaaaaaaa"}, "tokens": ["t1"]}))  # fmt: skip
    assert "hunter2" not in shown.text()
    assert "sk-aaaa" not in shown.text()
    assert 'password = "***"' in shown.text()
    assert any("masked" in warning for warning in shown.warnings)


def test_what_differs_from_the_last_approved_call() -> None:
    shown = render(an_ask({"to": "ann", "amount": 50, "new": 1}, before=b'{"to":"ann","amount":40,"old":"x"}'))
    assert shown.changes == ("changed amount: 40 → 50", "added new = 1", 'removed old, it was "x"')
    assert render(an_ask({"a": 1}, before=b'{"a":1}')).changes == ("Nothing differs.",)
    assert render(an_ask({"a": 1}, before=b'{"a":"1"}')).changes == ('changed a: "1" → 1',)


def batch(*acts: tuple[str, bytes], after: str = "") -> Ask:
    items = tuple(BatchItem(item_id=name, arguments=raw, after=(after,) if after and after != name else ()) for name, raw in acts)  # fmt: skip
    return an_ask(json.loads(batch_arguments(items)), items=items)


def test_what_differs_in_a_batch_is_told_by_its_acts_wherever_they_stand() -> None:
    last = batch(("rent", b'{"to":"ann"}'), ("wages", b'{"to":"bob"}')).arguments
    asked = batch(("pay day", b"{}"), ("wages", b'{"to":"bob","password":"hunter2hunter2"}'), ("rent", b'{"to":"eve"}'))
    assert render(replace(asked, before=last)).changes == (
        'added "pay day" = {}',
        'changed rent: to: "ann" → "eve"',
        'added wages: password = "***"',
    )
    assert render(replace(batch(("rent", b'{"to":"ann"}')), before=b'{"to":"ann"}')).changes == (
        'removed to, it was "ann"',
        'added rent: to = "ann"',
    )
    linked = batch(("a", b'{"after":["x"]}'), ("b", b'{"after":["x"]}'), after="a")
    shown = render(replace(linked, before=b'{"items":[]}')).changes
    assert 'added b: after[0] = "x"' in shown
    assert 'added b: comes after[0] = "a"' in shown


def test_what_looks_like_a_batch_and_is_none_is_told_by_its_places() -> None:
    shown = render(an_ask({"items": [{"id": "sk-aaaaaaaaaaaaaaaaaaaa", "arguments": {"to": "ann"}}]}, before=b"{}"))
    assert "sk-aaaa" not in shown.text()
    assert 'added items[0].arguments.to = "ann"' in shown.changes


def test_a_question_to_a_human_is_said_to_be_one() -> None:
    assert render(replace(an_ask(), action=CONTACT)).effect == "bot-7 wants to ask a human: account:7"


def test_a_single_space_is_one() -> None:
    assert visible("as agreed ").text == "as agreed⟦1 space⟧"


def test_how_far_it_reaches() -> None:
    shown = render(an_ask({"to": ["a", "b", "c"], "amount": 25_000, "path": "*"}))
    assert shown.reach == ("to has 3 entries", "amount is 25000", "path means everything")


def test_a_short_form_says_what_it_leaves_out() -> None:
    line = shortened("x" * 1_000 + "rm -rf /")
    assert line.endswith("rm -rf /")
    assert "characters left out" in line
    assert summary(("a", "b", "c", "d", "e"))[2] == "c ⟦2 lines more⟧"


def test_a_batch_is_shown_act_by_act() -> None:
    items = (
        BatchItem(item_id="mail-1", arguments=b'{"to": "ann", "password": "hunter2hunter2"}'),
        BatchItem(item_id="x: y", arguments=b"{}", after=("mail-1",)),
    )
    shown = render(msgspec.structs.replace(an_ask(), items=items, arguments=batch_arguments(items)))
    assert [str(line) for line in shown.arguments] == [
        'mail-1: password = "***"', 'mail-1: to = "ann"', '"x: y" = no arguments', '"x: y" = only after mail-1',
    ]  # fmt: skip
    assert "One value is masked as a secret, in whole or in part." in shown.warnings


def test_a_risk_and_a_policy_read_as_sentences() -> None:
    factor = RiskFactor(name="amount", level=RiskLevel.HIGH, description="more than this agent ever moved")
    shown = render(
        msgspec.structs.replace(an_ask(), assessed=(factor, RiskFactor(name="new payee", level=RiskLevel.LOW)))
    )
    assert shown.risks == ("High risk (amount): more than this agent ever moved", "Low risk (new payee)")
    assert shown.policy == "P1, version 1"


def test_our_mask_is_no_trick_of_the_agents() -> None:
    assert render(an_ask({"password": "hunter2hunter2"})).warnings == (
        "One value is masked as a secret, in whole or in part.",
    )
    assert f"The text holds {Trick.MARKUP}." in render(an_ask({"memo": "***bold***"})).warnings


@pytest.mark.parametrize(
    "word",
    [
        "p\u1ea1ypal", "\u0196ogin", "\u026dogin", "\u0185ank", "\ua731\u1d07\u1d05", "\u146d\u1455", "\U000102a0\U000102c7", "\u10ff", "\U0001042c",
        "\u0d20\u0d20", "\uff21dmin", "\u0131d", "\U0001d4d0",
    ],
)  # fmt: skip
def test_letters_that_nobody_writes_to_be_read_are_shown_as_what_they_are(word: str) -> None:
    made = visible(word)
    assert Trick.LOOK_ALIKE in made.tricks
    assert all(c.isascii() or c in "⟦⟧" for c in made.text)
    assert original(made.text) == word


@pytest.mark.parametrize(
    "word",
    ["café", "Łódź", "straße", "αβγδ", "привет", "日本語", "한국어", "नमस्ते", "ไทย", "გამარჯობა", "Việt", "ñandú"],
)
def test_words_of_living_languages_are_read_as_they_are(word: str) -> None:
    assert visible(word).tricks == ()
