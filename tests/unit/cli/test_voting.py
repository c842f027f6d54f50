"""Votes from the command line: what is signed is what was seen."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import click
import pytest

from creto.cli.voting import check_seen, item_verdicts, vote
from creto.common.errors import IdempotencyConflict
from creto.oversight import GrantWish, Verdict, render
from creto.oversight.types import Bound
from creto.sdk import AgentKey
from tests.unit.oversight.test_rules import an_ask

APPROVE, DENY = Verdict.APPROVE, Verdict.DENY


def a_case(*items: str) -> Any:
    """As the layer shows a request for 250 in its second round."""
    return SimpleNamespace(
        approval=SimpleNamespace(request_id="req-1", round=2), shown=render(an_ask({"amount": 250})),
        arguments='{"amount": 250}', items=[SimpleNamespace(item_id=one) for one in items],
    )  # fmt: skip


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """What it asks."""
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: asked.append(prompt) or answer)
    return asked


@pytest.mark.parametrize(
    ("terms", "line"),
    [
        ({"verdict": APPROVE}, "amount = 250"),
        ({"verdict": APPROVE}, "Request req-1, round 2."),
        ({"verdict": APPROVE, "arguments": '{"amount": 40}'}, "changed amount: 250 → 40"),
        ({"verdict": APPROVE, "items": {"rent": APPROVE, "wa\u202eges": DENY}}, "Deny item wa⟦U+202E"),
        ({"verdict": APPROVE, "wish": GrantWish(ttl_s=60, uses=2)}, "And the same call for 1 min, 2 uses in all."),
        ({"verdict": DENY, "counter": (Bound(path="amount", at_most="40"),)}, "Propose instead: amount at most 40."),
    ],
)
def test_at_a_terminal_all_of_it_is_shown_and_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terms: dict[str, Any], line: str
) -> None:
    asked = at_a_terminal(monkeypatch, "y")
    check_seen(a_case(), terms, seen=None, yes=False)
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.out == ""
    assert asked == [f"{str(terms['verdict']).capitalize()}? [y/N]: "]


@pytest.mark.parametrize("answer", ["n", ""])
def test_whatever_is_not_yes_signs_nothing(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    at_a_terminal(monkeypatch, answer)
    with pytest.raises(click.Abort):
        check_seen(a_case(), {"verdict": APPROVE}, seen=None, yes=False)


def test_a_program_says_what_was_seen_or_that_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(click.UsageError, match="--round N"):
        check_seen(a_case(), {"verdict": DENY}, seen=None, yes=False)
    check_seen(a_case(), {"verdict": DENY}, seen=2, yes=False)
    check_seen(a_case(), {"verdict": DENY}, seen=None, yes=True)


@pytest.mark.parametrize(("terms", "round"), [({}, 3), ({"arguments": "{}"}, 4), ({"arguments": "{}"}, 2)])
async def test_an_own_key_signs_no_round_that_was_not_shown(terms: dict[str, Any], round: int) -> None:
    async def ballot(**_: Any) -> Any:
        return SimpleNamespace(ballot=b"ballot", context=b"context", round=round)

    creto: Any = SimpleNamespace(approvals=SimpleNamespace(ballot=ballot))  # and nothing to submit it to
    with pytest.raises(IdempotencyConflict, match="SUPERSEDED"):
        await vote(creto, a_case(), AgentKey.generate(), None, None, verdict=APPROVE, **terms)


def test_of_a_batch_the_others_are_denied_and_a_stranger_is_left_for_the_layer_to_refuse() -> None:
    assert item_verdicts(a_case("a", "b"), ("a",)) == {"a": APPROVE, "b": DENY}
    assert item_verdicts(a_case("a", "b"), ("c",)) == {"a": DENY, "b": DENY, "c": APPROVE}
    assert item_verdicts(a_case("a", "b"), ()) == {}
