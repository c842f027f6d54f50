"""What `creto approvals show` says of a request beyond what its approvers see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from creto.cli.approvals import standing
from creto.common.ids import AgentId
from creto.contracts import TimeoutAction
from creto.edge.api.approval_views import detail
from creto.oversight import RequestState, Verdict
from creto.oversight.types import Claim, Note, NoteKind
from creto.platform.consensus import PersonId
from tests.unit.edge.console.cases import LATER, NAMES, a_case
from tests.unit.oversight.world import id_of, person


def said(**options: Any) -> dict[str, object]:
    def get_now(_: object, who: AgentId) -> SimpleNamespace:
        return SimpleNamespace(name=NAMES[PersonId(who)])

    nhi: Any = SimpleNamespace(get_now=get_now)
    return dict(standing(detail(a_case({}, **options), nhi, own=True)))


def test_people_are_named() -> None:
    question = Note(kind=NoteKind.QUESTION, author=id_of("carol"), text="Why?", at=LATER)
    claim = Claim(person=person("bob"), until=LATER)
    lines = said(votes=(("bob", Verdict.DENY),), waiting_for=("carol",), notes=(question,), progress={"claim": claim})
    assert (lines["claimed by"], lines["question"]) == ("Bob", "Carol: Why?")
    ended = {"state": RequestState.DENIED, "decided_at": LATER, "decided_by": person("bob")}
    assert str(said(votes=(("bob", Verdict.DENY),), progress=ended)["decided"]).endswith(" by Bob")


def test_silence_is_told_with_what_it_means() -> None:
    reason = "nobody decided in time"
    ended = {"state": RequestState.TIMED_OUT, "decided_at": LATER, "reason": reason}
    for action, means in ((TimeoutAction.AUTO_APPROVE, "approves"), (TimeoutAction.AUTO_DENY, "denies")):
        assert said(progress={**ended, "final_action": action})["reason"] == f"{reason}, which {means} it"
