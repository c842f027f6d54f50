"""The card: what is shown, in which words, and what a human is offered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common.ids import PolicyId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskFactor, RiskLevel, TimeoutAction
from creto.edge.console.cards import GIST_CHARS, Care, Piece, card, care, cut, in_bulk, left, pieces, row, urgency
from creto.oversight import Assurance, BatchItem, GroupNeed, Quorum, RequestState, Verdict
from creto.oversight.hostile import visible
from creto.oversight.joint import joined
from creto.oversight.states import BY_REQUESTER
from creto.oversight.types import Claim, GrantTerms, Permit
from tests.unit.edge.console.cases import LATER, NAMES, a_case, a_record, viewer
from tests.unit.oversight.test_rules import NOW, an_ask
from tests.unit.oversight.world import P1, P2, id_of, person


def risky(level: RiskLevel) -> tuple[RiskFactor, ...]:
    return (RiskFactor(name="amount", level=level, description="a lot"),)


@given(st.text())
def test_pieces_are_the_whole_text(text: str) -> None:
    shown = visible(text).text
    assert "".join(piece.text for piece in pieces(shown)) == shown
    assert all(piece.text.startswith("⟦") == piece.odd for piece in pieces(shown))


@given(st.text())
def test_what_is_cut_for_the_list_keeps_its_head_and_its_marks_whole(text: str) -> None:
    shown = visible(text).text
    head = cut(shown).removesuffix("⟦…⟧")
    assert shown.startswith(head)
    assert len(cut(shown)) <= max(GIST_CHARS, len("⟦…⟧"))
    assert head.count("⟦") == head.count("⟧")


def test_a_long_value_is_told_by_its_head() -> None:
    shown = row(a_record({"to": "DE89" + "x" * 100}), NAMES, now=LATER)
    assert shown.gist == 'to = "DE89' + "x" * 47 + "⟦…⟧"


def test_marks_are_set_off() -> None:
    assert pieces("pay⟦U+202E⟧001") == (Piece("pay"), Piece("⟦U+202E⟧", odd=True), Piece("001"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "no time left"), (-5, "no time left"), (1, "1 s left"), (60, "1 min left"), (61, "1 min 1 s left"), (3_600, "1 h left"), (7_384, "2 h 3 min left"), (90_061, "1 d 1 h left")],
)  # fmt: skip
def test_time_left_in_two_units(seconds: int, words: str) -> None:
    assert left(NOW, ConsensusTimestamp(NOW + seconds * SECOND)) == words


@pytest.mark.parametrize(
    ("level", "assurance", "passkeys", "expected"),
    [
        (RiskLevel.LOW, Assurance.RELAYED, 0, (Care.CLICK, Care.CLICK)),
        (RiskLevel.MEDIUM, Assurance.SESSION, 1, (Care.CLICK, Care.CLICK)),
        (RiskLevel.HIGH, Assurance.SESSION, 0, (Care.HOLD, Care.CLICK)),
        (RiskLevel.CRITICAL, Assurance.SESSION, 0, (Care.HOLD, Care.CLICK)),
        (RiskLevel.HIGH, Assurance.SESSION, 1, (Care.PASSKEY, Care.CLICK)),
        (RiskLevel.LOW, Assurance.OWN_KEY, 0, (Care.PASSKEY, Care.PASSKEY)),
    ],
)
def test_what_is_serious_is_held_or_signed(
    level: RiskLevel, assurance: Assurance, passkeys: int, expected: tuple[Care, Care]
) -> None:
    ask = an_ask({}, policy=replace(P1, assurance=assurance), risk_factors=risky(level))
    assert care(ask, passkeys) == expected


def test_the_card_says_who_voted_and_who_is_missing() -> None:
    quorum = Quorum(approvals=2, groups=(GroupNeed(group="finance"),))
    case = a_case(
        {"a": 1}, policy=replace(P2, quorum=quorum), votes=(("bob", Verdict.APPROVE),), waiting_for=("alice", "carol")
    )
    shown = card(case, viewer("alice"), now=LATER)
    assert [(one.name, one.verdict, one.how, one.mine) for one in shown.votes] == [
        ("Bob", "approve", "signed in", False)
    ]
    assert (shown.approvals, shown.needed, shown.awaits_me, shown.missing) == (1, 2, True, ("Carol",))
    others = replace(case, waiting_for=tuple(map(person, ("carol", "alice"))))
    assert card(others, viewer("bob"), now=LATER).missing == ("Alice", "Carol")
    assert shown.missing_groups == ("finance",)
    assert "2 approvals, among them 1 of finance" in shown.why
    assert shown.row.left == "59 min left"
    assert (shown.may_vote, shown.may_undo, shown.why_not) == (True, False, "")


def test_a_stale_vote_is_shown_as_one() -> None:
    case = a_case({"a": 1}, policy=P2, round=2)
    from tests.unit.edge.console.cases import a_vote

    case = replace(case, votes=(a_vote(case.record, "bob", round=1),))
    assert card(case, viewer(), now=LATER).votes[0].why_not == "the arguments were edited since"


@pytest.mark.parametrize(
    ("who", "seated", "reason"),
    [("dave", True, "You stand behind this agent"), ("mallory", False, "not among those")],
)
def test_who_cannot_decide_is_told_why(who: str, seated: bool, reason: str) -> None:
    shown = card(a_case({}), viewer(who, seated=seated), now=LATER)
    assert reason in shown.why_not
    assert not (shown.may_vote and seated is False)


def test_in_the_time_to_undo_there_is_undo_and_nothing_else() -> None:
    settles = {"settles_at": ConsensusTimestamp(LATER + 5 * SECOND)}
    case = a_case({}, votes=(("alice", Verdict.APPROVE),), progress=settles)
    mine = card(case, viewer("alice"), now=LATER)
    assert (mine.may_undo, mine.may_vote, mine.row.state) == (True, False, "Taking effect")
    others = card(case, viewer("bob"), now=LATER)
    assert (others.may_undo, others.may_vote) == (False, True)


def test_a_decided_card_says_by_whom_and_offers_nothing() -> None:
    progress: dict[str, Any] = {"state": RequestState.APPROVED, "decided_at": LATER, "decided_by": person("bob")}
    shown = card(a_case({}, progress=progress), viewer(), now=LATER)
    assert (shown.outcome, shown.may_vote, shown.decided) == ("Approved by Bob.", False, True)
    taken = progress | {"permit": Permit(revoked_at=LATER, revoked_by=person("carol"))}
    assert card(a_case({}, progress=taken), viewer(), now=LATER).outcome == "Approved by Bob, and taken back by Carol."


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ({"state": RequestState.CANCELLED, "reason": BY_REQUESTER}, "Cancelled by the requester."),
        ({"state": RequestState.CANCELLED, "reason": f"cancelled by {id_of('bob')}", "cancelled_by": id_of("bob")}, "Cancelled by Bob."),
        ({"state": RequestState.CANCELLED, "reason": "too late", "cancelled_by": id_of("bob")}, "Cancelled by Bob: too late."),
        ({"state": RequestState.CANCELLED, "reason": BY_REQUESTER, "cancelled_by": id_of("bob")}, "Cancelled by Bob."),
        ({"state": RequestState.CANCELLED, "reason": "not needed\u202e"}, "Cancelled: not needed⟦U+202E⟧."),
        ({"state": RequestState.TIMED_OUT, "reason": "nobody decided in time", "final_action": TimeoutAction.AUTO_DENY}, "Timed out: nobody decided in time, which denies it."),
        ({"state": RequestState.TIMED_OUT, "reason": "nobody decided in time", "final_action": TimeoutAction.AUTO_APPROVE}, "Timed out: nobody decided in time, which approves it."),
        ({"state": RequestState.APPROVED, "decided_by": person("bob"), "permit": Permit(succeeded=True)}, "Approved by Bob. The agent says that it is done."),
        ({"state": RequestState.APPROVED, "decided_by": person("bob"), "permit": Permit(succeeded=False)}, "Approved by Bob. The agent says that it failed."),
    ],
)  # fmt: skip
def test_the_outcome_says_what_ended_it_and_what_became_of_the_act(ended: dict[str, Any], words: str) -> None:
    shown = card(a_case({}, progress=ended | {"decided_at": LATER}), viewer(), now=LATER)
    assert (shown.outcome, shown.row.decided_at) == (words, LATER)


def test_an_approval_is_taken_back_by_who_gave_it() -> None:
    progress: dict[str, Any] = {"state": RequestState.APPROVED, "decided_at": LATER, "decided_by": person("alice")}
    case = a_case({}, votes=(("alice", Verdict.APPROVE),), progress=progress)
    assert card(case, viewer("alice"), now=LATER).may_revoke
    assert not card(case, viewer("bob"), now=LATER).may_revoke
    taken = replace(case, record=a_record({}, progress=progress | {"permit": Permit(revoked_at=LATER)}))
    assert not card(taken, viewer("alice"), now=LATER).may_revoke


def test_what_is_offered() -> None:
    terms = GrantTerms(ttl_s_max=3_600, uses_max=5)
    assert card(a_case({}, policy=replace(P1, grants=terms)), viewer(), now=LATER).grant == terms
    critical = a_case({}, policy=replace(P1, grants=terms), risk_factors=risky(RiskLevel.CRITICAL))
    assert card(critical, viewer(), now=LATER).grant is None
    batch = card(a_case({}, items=(BatchItem(item_id="one", arguments=b"{}"),)), viewer(), now=LATER)
    assert (batch.may_edit, batch.grant) == (False, None)
    claim = Claim(person=person("bob"), until=ConsensusTimestamp(LATER + SECOND))
    claimed = card(a_case({}, progress={"claim": claim}), viewer(), now=LATER)
    assert (claimed.may_claim, claimed.row.claimed_by) == (False, "Bob")
    firm = a_case({}, policy=replace(P2, vote_change=False), votes=(("alice", Verdict.APPROVE),))
    assert "nobody change" in card(firm, viewer(), now=LATER).why_not
    own = card(a_case({}, policy=replace(P1, assurance=Assurance.OWN_KEY)), viewer(), now=LATER)
    assert own.passkey_missing
    assert not card(a_case({}, policy=P1), viewer(), now=LATER).passkey_missing


def test_changes_are_told_apart() -> None:
    case = a_case({"to": "ann", "amount": 50, "new": 1}, before=b'{"to":"ann","amount":40,"old":"x"}')
    kinds = [one.kind for one in card(case, viewer(), now=LATER).changes]
    assert kinds == ["changed", "added", "removed"]
    assert [one.kind for one in card(a_case({}), viewer(), now=LATER).changes] == ["none"]


def test_the_riskiest_is_first_then_what_ends_soonest() -> None:
    low, high = a_record({}), a_record({}, risk_factors=risky(RiskLevel.HIGH))
    soon = a_record({}, progress={"deadline_at": LATER})
    assert sorted([low, high, soon], key=urgency) == [high, soon, low]


def test_together_goes_only_what_is_neither_serious_nor_signed() -> None:
    assert row(a_record({}), NAMES, now=LATER).bulk
    for record in (
        a_record({}, risk_factors=risky(RiskLevel.HIGH)),
        a_record({}, policy=replace(P1, assurance=Assurance.OWN_KEY)),
        a_record({}, items=(BatchItem(item_id="one", arguments=b"{}"),)),
        a_record({}, progress={"state": RequestState.DENIED}),
    ):
        assert not in_bulk(record.ask, record.progress)


def test_what_an_edit_changed_stands_beside_what_was_asked() -> None:
    shown = card(a_case({"amount": 40}, asked=b'{"amount":400}', round=2), viewer(), now=LATER)
    assert [(one.kind, one.text) for one in shown.edited] == [("changed", "changed amount: 400 → 40")]
    assert card(a_case({"amount": 40}), viewer(), now=LATER).edited == ()


def test_a_vote_whose_human_lost_the_seat_is_told_and_is_not_mine() -> None:
    case = a_case({"a": 1}, policy=P2, votes=(("alice", Verdict.APPROVE), ("bob", Verdict.APPROVE)))
    lost = {vote.signed.ballot.nonce: "they have lost their seat" for vote in case.votes[:1]}
    shown = card(replace(case, lost=lost), viewer("alice"), now=LATER)
    assert [one.why_not for one in shown.votes] == ["they have lost their seat", ""]
    assert (shown.my_vote, shown.may_vote, shown.may_undo) == (None, True, False)


def test_a_card_of_several_policies_says_what_each_wants() -> None:
    strong = replace(P2, policy_id=PolicyId("strong"))
    policy = joined("P1 + strong", (P1, strong))
    shown = card(a_case({"a": 1}, policy=policy), viewer(), now=LATER)
    assert "P1 for 1 approval of those whom it names; strong for 2 approvals of those whom it names" in shown.why
    assert shown.missing_policies == ("P1", "strong")
    assert shown.shown.policy == "P1, version 1; and strong, version 1"
