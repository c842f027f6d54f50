"""The pure rules: the table of states, quorums, eligibility, time, grants, edits, against values alone."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, IdempotencyConflict, InvalidInput
from creto.common.ids import PolicyId, RequestId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import OversightRequirement, RiskFactor, RiskLevel, TimeoutAction
from creto.oversight import Ask, BatchItem, Bound, GroupNeed, Quorum, RequestState, Verdict, edits, escalation, grants
from creto.oversight.arguments import Number, args_hash, canonical, leaves, parsed
from creto.oversight.display import proposal
from creto.oversight.eligibility import Approver, Directory, attainable, seat_of
from creto.oversight.policies import checked, of_requirement
from creto.oversight.quorum import Vote, counted, tally
from creto.oversight.states import NEXT, Event, ended, next_state
from creto.oversight.types import Assurance, Delegation, EscalationTier, GrantTerms, GrantWish, OversightPolicy
from creto.platform.consensus import PersonId
from tests.unit.oversight.world import P1, P2, TENANT, id_of, person

NOW = ConsensusTimestamp(1_000 * SECOND)


def an_ask(arguments: object = None, policy: OversightPolicy = P1, **options: Any) -> Ask:
    raw = arguments if isinstance(arguments, bytes) else wire.encode({} if arguments is None else arguments)
    return Ask(
        request_id=RequestId("req-1"), tenant=TENANT, agent=id_of("bot-7"), agent_name="bot-7", chain=(id_of("bot-7"),),
        excluded=(person("bot-7"), person("dave")), action="funds.transfer", resource="account:7", arguments=raw,
        policy=policy, created_at=NOW, **options,
    )  # fmt: skip


# States


@pytest.mark.parametrize(("state", "event"), [*product(RequestState, Event)])
def test_ov_006_no_transition_outside_the_table(state: RequestState, event: Event) -> None:
    progress = replace(escalation.begun(an_ask(), 0, NOW), state=state)
    if state in (RequestState.PENDING, RequestState.ESCALATED):
        assert next_state(progress, event) is NEXT[event]
    else:
        with pytest.raises(IdempotencyConflict):
            next_state(progress, event)


def test_who_comes_late_learns_what_was_decided() -> None:
    progress = ended(escalation.begun(an_ask(), 0, NOW), Event.DENY, now=NOW, by=PersonId("ann"))
    with pytest.raises(IdempotencyConflict, match="already denied by ann at 1970"):
        next_state(progress, Event.APPROVE)


# Quorum

PEOPLE = [PersonId(name) for name in "abcdef"]
GROUP_NAMES = ("x", "y", "z")


@st.composite
def votes(draw: st.DrawFn) -> list[Vote]:
    groups = {p: tuple(draw(st.sets(st.sampled_from(GROUP_NAMES)))) for p in PEOPLE}
    said = draw(st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(Verdict), st.integers(1, 2)), max_size=12))
    return [Vote(person=p, seat=p, groups=groups[p], verdict=v, round=r) for p, v, r in said]


def fits(needs: list[str], people: list[Vote]) -> bool:
    """The definition, by trying everything."""
    if not needs:
        return True
    return any(needs[0] in one.groups and fits(needs[1:], people[:i] + people[i + 1 :]) for i, one in enumerate(people))


@given(votes(), st.integers(1, 3), st.dictionaries(st.sampled_from(GROUP_NAMES), st.integers(1, 2)), st.integers(1, 2))
def test_a_quorum_is_distinct_humans_each_for_one_group(
    given_votes: list[Vote], approvals: int, needs: dict[str, int], denials: int
) -> None:
    quorum = Quorum(
        approvals=approvals, denials=denials, groups=tuple(GroupNeed(group=g, approvals=n) for g, n in needs.items())
    )
    last = {vote.person: vote for vote in given_votes if vote.round == 1}
    yes = [vote for vote in last.values() if vote.verdict is Verdict.APPROVE]
    no = [vote for vote in last.values() if vote.verdict is Verdict.DENY]
    found = tally(quorum, given_votes, round=1)
    enough = len(yes) >= approvals and fits([g for g, n in needs.items() for _ in range(n)], yes)
    assert found.verdict is (Verdict.DENY if len(no) >= denials else Verdict.APPROVE if enough else None)
    assert bool(found.missing_groups) == (not fits([g for g, n in needs.items() for _ in range(n)], yes))


def test_one_human_in_two_groups_does_not_fill_both() -> None:
    both = Vote(person=PEOPLE[0], seat=PEOPLE[0], groups=("x", "y"), verdict=Verdict.APPROVE, round=1)
    quorum = Quorum(groups=(GroupNeed(group="x"), GroupNeed(group="y")))
    assert tally(quorum, [both], round=1).missing_groups == ("y",)
    only_x = Vote(person=PEOPLE[1], seat=PEOPLE[1], groups=("x",), verdict=Verdict.APPROVE, round=1)
    assert tally(quorum, [both, only_x], round=1).verdict is Verdict.APPROVE


def test_who_said_the_same_before_has_the_last_word_of_a_seat_when_they_say_it_again() -> None:
    """One sat there, then another, then the first again."""
    holder, first, second = PEOPLE[:3]

    def said(by: PersonId, verdict: Verdict) -> Vote:
        return Vote(person=by, seat=holder, groups=(), verdict=verdict, round=1)

    deny, approve = said(first, Verdict.DENY), said(first, Verdict.APPROVE)
    assert counted([deny, said(second, Verdict.APPROVE), approve, deny], 1) == [deny]


def test_a_seat_is_one_vote_and_its_holder_has_the_last_word() -> None:
    holder = Vote(person=PEOPLE[0], seat=PEOPLE[0], groups=(), verdict=Verdict.DENY, round=1)
    delegate = Vote(person=PEOPLE[1], seat=PEOPLE[0], groups=(), verdict=Verdict.APPROVE, round=1)
    for order in ([holder, delegate], [delegate, holder]):
        assert counted(order, 1) == [holder]


# Policies


@pytest.mark.parametrize(
    "changes",
    [
        {"quorum": Quorum(approvals=0)},
        {"quorum": Quorum(denials=0)},
        {"quorum": Quorum(groups=(GroupNeed(group="x", approvals=0),))},
        {"quorum": Quorum(groups=(GroupNeed(group="x"), GroupNeed(group="x")))},
        {"quorum": Quorum(approvals=5)},
        {"tiers": ()},
        {"tiers": (EscalationTier(name="t", approvers=()),)},
        {"tiers": (EscalationTier(name="t", approvers=("a",), timeout_s=0),)},
        {"final_action": TimeoutAction.ESCALATE},
        {"grants": GrantTerms(ttl_s_max=10**9, uses_max=1)},
        {"execution_s": 3_601},
        {"key_grace_s": 301},
        {"warn_percent": 100},
        {"title": "t" * 4_001},
    ],
    ids=lambda changes: str(changes)[:100],
)
def test_a_policy_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        checked(replace(P2, **changes))


def test_a_requirement_is_a_policy_that_fails_closed() -> None:
    policy = of_requirement(
        PolicyId("p"),
        OversightRequirement(approvers=("a", "b"), reason="large", quorum=2, timeout_action=TimeoutAction.ESCALATE),
    )
    assert (policy.quorum.approvals, policy.final_action) == (2, TimeoutAction.AUTO_DENY)


# Eligibility


def absent(of: str, to: str) -> Delegation:
    return Delegation(
        delegation_id=f"{of}-{to}",
        of=person(of),
        to=person(to),
        starts_at=NOW,
        ends_at=ConsensusTimestamp(NOW + SECOND),
    )


NAMES = ("alice", "bob", "carol", "dave", "eve", "mallory")
EVERYBODY = {id_of(name): person(name) for name in NAMES}


def approver(name: str) -> Approver:
    return Approver(id_of(name), person(name), name, human=True)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=8), st.sampled_from(NAMES))
def test_delegation_never_grows_a_privilege(pairs: list[tuple[str, str]], who: str) -> None:
    directory = Directory(people=EVERYBODY, delegations=tuple(absent(of, to) for of, to in pairs if of != to))
    ask = an_ask()
    try:
        seat = seat_of(ask, tier=1, directory=directory, approver=approver(who), assurance=Assurance.OWN_KEY, now=NOW)
    except EnablementError:
        return
    named = {person(name) for name in ("alice", "bob", "carol")}
    assert seat.holder in named
    assert seat.holder not in ask.excluded
    assert person(who) not in ask.excluded
    assert seat.holder == person(who) or directory.substitute(seat.holder, ask, NOW) == person(who)


def test_a_group_within_itself_ends() -> None:
    directory = Directory(groups={"a": ("group:b",), "b": ("group:a", id_of("alice"))}, people=EVERYBODY)
    assert directory.seats(("group:a",)) == {person("alice"): frozenset({"a", "b"})}


def test_a_policy_of_the_agents_own_people_is_never_met() -> None:
    policy = replace(P1, tiers=(EscalationTier(name="t", approvers=(id_of("dave"),)),))
    assert not attainable(an_ask(policy=policy), Directory(people=EVERYBODY), NOW)


# Time


@given(st.integers(0, 5_000), st.booleans())
def test_a_tier_has_its_whole_time(seconds: int, claim: bool) -> None:
    ask, able, seated = an_ask(), lambda _: True, lambda _: True
    progress = escalation.begun(ask, 0, NOW)
    if claim:
        progress = escalation.claimed(progress, person("alice"), 600, NOW)
    now = ConsensusTimestamp(NOW + seconds * SECOND)
    step = escalation.due(ask, progress, now, able, seated)
    assert isinstance(step, escalation.Escalate) == (seconds >= (600 if claim else 300))
    if isinstance(step, escalation.Escalate):
        after = escalation.applied(ask, progress, step, now)
        assert (after.tier, after.deadline_at) == (1, now + 600 * SECOND)


def test_tiers_without_anybody_are_passed_over() -> None:
    ask, late = an_ask(), ConsensusTimestamp(NOW + 300 * SECOND)
    progress = escalation.begun(ask, 0, NOW)
    assert escalation.due(ask, progress, late, lambda tier: tier == 2, lambda _: True) == escalation.Escalate(2, (1,))
    assert escalation.due(ask, progress, late, lambda tier: False, lambda _: True) == escalation.Expire(
        TimeoutAction.AUTO_DENY
    )


def test_silence_approves_nothing_critical() -> None:
    policy = replace(P1, final_action=TimeoutAction.AUTO_APPROVE)
    assert escalation.final_action(an_ask(policy=policy)) is TimeoutAction.AUTO_APPROVE
    critical = (RiskFactor(name="r", level=RiskLevel.CRITICAL),)
    assert escalation.final_action(an_ask(policy=policy, risk_factors=critical)) is TimeoutAction.AUTO_DENY


def test_nobody_claims_or_extends_without_end() -> None:
    progress = escalation.claimed(escalation.begun(an_ask(), 0, NOW), person("alice"), 600, NOW)
    later = ConsensusTimestamp(NOW + 700 * SECOND)
    with pytest.raises(InvalidInput):
        escalation.claimed(progress, person("alice"), 600, later)
    with pytest.raises(InvalidInput):
        escalation.claimed(progress, person("bob"), 600, NOW)
    with pytest.raises(InvalidInput):
        escalation.extended(escalation.extended(progress, 3_600), 1)


# Grants and edits

GRANTING = replace(P1, grants=GrantTerms(ttl_s_max=3_600, uses_max=5))


def test_a_grant_covers_the_same_call_alone() -> None:
    ask = an_ask({"amount": 40}, policy=GRANTING)
    grant = grants.granted(
        ask, GrantWish(ttl_s=60, uses=2), args_hash=edits.bound_hash(ask), by=person("alice"), now=NOW, grant_id="g"
    )
    assert grants.covers(grant, ask, NOW)
    for other in (
        an_ask({"amount": 41}, policy=GRANTING),
        replace(ask, resource="account:8"),
        replace(ask, action="data.delete"),
        replace(ask, agent=id_of("reviewer-bot")),
        replace(ask, policy=replace(GRANTING, version=2)),
        replace(ask, risk_factors=(RiskFactor(name="r", level=RiskLevel.CRITICAL),)),
    ):
        assert not grants.covers(grant, other, NOW)
    assert not grants.covers(grant, ask, ConsensusTimestamp(NOW + 60 * SECOND))
    assert not grants.covers(replace(grant, uses=2), ask, NOW)
    assert not grants.covers(replace(grant, ended_at=NOW), ask, NOW)


def test_all_who_approve_must_mean_the_grant() -> None:
    assert grants.agreed([GrantWish(ttl_s=60, uses=9), GrantWish(ttl_s=90, uses=2)]) == GrantWish(ttl_s=60, uses=2)
    assert grants.agreed([GrantWish(ttl_s=60, uses=9), None]) is None
    assert grants.agreed([]) is None


def test_a_counter_proposal_is_no_grant_where_one_human_is_not_enough() -> None:
    bounds = (Bound(path="amount", at_most="40"),)
    assert grants.countered(an_ask(policy=P2), bounds, args_hash=b"", by=person("alice"), now=NOW, grant_id="g") is None
    grant = grants.countered(
        an_ask({"amount": 50}),
        bounds,
        args_hash=grants.bound(an_ask({"amount": 50}), bounds),
        by=person("alice"),
        now=NOW,
        grant_id="g",
    )
    assert grant is not None
    assert [grants.covers(grant, an_ask({"amount": n}), NOW) for n in (39, 40, 41, "39")] == [True, True, False, False]
    assert not grants.covers(grant, an_ask({}), NOW)


def test_a_counter_proposal_names_what_it_changes_and_leaves_the_rest_as_asked() -> None:
    asked = b'{"amount": 50, "to": "ann", "via": ["sepa"]}'
    bounds = edits.counter(asked, b'{"to": "bob", "amount": 40, "via": ["sepa"]}')
    assert bounds == (Bound(path="amount", at_most="40"), Bound(path="to", equal='"bob"'))
    assert edits.counter(asked, asked.replace(b"50", b"60")) == (Bound(path="amount", equal="60"),)
    assert edits.proposed(asked, bounds) == b'{"amount":40,"to":"bob","via":["sepa"]}'
    for wrong in (asked, b'{"amount": 40}', asked.replace(b'"sepa"', b'"sepa", "swift"'), b"{"):
        with pytest.raises(InvalidInput):
            edits.counter(asked, wrong)
    with pytest.raises(InvalidInput):
        edits.proposed(b'{"amount": 50}', bounds)
    assert proposal(bounds) == 'amount at most 40, to exactly "bob"'
    assert "hunter2" not in proposal((Bound(path="password", equal='"hunter2"'),))


def test_what_a_counter_proposal_does_not_name_cannot_be_changed_under_it() -> None:
    """given a proposal of a lower amount / when the call names another payee, or one argument more / then nobody has approved that."""
    ask = an_ask({"amount": 50, "to": "ann"})
    bounds = (Bound(path="amount", at_most="40"),)
    grant = grants.countered(
        ask, bounds, args_hash=grants.bound(ask, bounds), by=person("alice"), now=NOW, grant_id="g"
    )
    assert grant is not None
    assert grants.covers(grant, an_ask({"amount": 39, "to": "ann"}), NOW)
    for other in ({"amount": 39, "to": "eve"}, {"amount": 39}, {"amount": 39, "to": "ann", "cc": "eve"}):
        assert not grants.covers(grant, an_ask(other), NOW)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(-5, 5), min_size=1), st.data())
def test_what_is_proposed_is_within_what_was_proposed(asked: dict[str, int], data: st.DataObject) -> None:
    wanted = {key: data.draw(st.integers(-5, 5)) for key in asked}
    if wanted == asked:
        return
    raw = json.dumps(asked).encode()
    bounds = edits.counter(raw, json.dumps(wanted).encode())
    assert json.loads(edits.proposed(raw, bounds)) == wanted
    assert edits.within(bounds, edits.proposed(raw, bounds))
    assert not edits.within(bounds, raw)


def test_bounds_are_exact() -> None:
    bound = (Bound(path="n", at_most="0.3"),)
    assert edits.within(bound, b'{"n": 0.3}')
    assert not edits.within(bound, b'{"n": 0.30000000000000001}')
    assert not edits.within((Bound(path="n", equal="1"),), b'{"n": 1.0}')
    assert edits.within(bound, b'{"n": 0}')
    assert not edits.within(bound, b'{"n": -1000000}')
    assert edits.within((Bound(path="n", at_most="-1"),), b'{"n": -2}')
    with pytest.raises(InvalidInput):
        edits.check_bounds((Bound(path="n"),))


@given(st.sets(st.integers(0, 5)))
def test_an_item_is_left_out_with_what_it_is_pointless_without(approved: set[int]) -> None:
    items = [BatchItem(item_id=str(n), arguments=b"{}", after=() if n < 2 else (str(n - 2),)) for n in range(6)]
    kept = {int(one) for one in edits.kept_items(items, map(str, approved))}
    assert kept == {n for n in approved if all(m in approved for m in range(n % 2, n, 2))}


@pytest.mark.parametrize(
    "items",
    [
        [BatchItem(item_id="a", arguments=b"{}"), BatchItem(item_id="a", arguments=b"{}")],
        [BatchItem(item_id="a", arguments=b"{}", after=("a",))],
        [BatchItem(item_id="", arguments=b"{}")],
        [BatchItem(item_id="a", arguments=b"no json")],
    ],
)
def test_a_batch_that_cannot_be_decided_is_refused(items: list[BatchItem]) -> None:
    with pytest.raises(InvalidInput):
        edits.check_items(items)


def test_an_edit_is_another_round_and_changes_something() -> None:
    ask = an_ask({"a": 1, "b": 2})
    assert edits.edited(ask, b'{"a": 2}').round == 2
    with pytest.raises(InvalidInput):
        edits.edited(ask, b'{"b": 2, "a": 1}')


# Arguments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_canonical_arguments_are_injective(one: Any, other: Any) -> None:
    a, b = (json.dumps(value).encode() for value in (one, other))
    same = parsed(a) == parsed(b) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(a) == canonical(b)) == same
    assert canonical(canonical(a)) == canonical(a)
    assert (args_hash("x", "y", a) == args_hash("x", "y", b)) == same


@given(JSON)
def test_every_leaf_has_a_place_of_its_own(value: Any) -> None:
    found = list(leaves(parsed(json.dumps(value).encode())))
    assert len({path for path, _ in found}) == len(found)
    numbers = [str.__str__(leaf) for _, leaf in found if isinstance(leaf, Number)]
    assert all(text in json.dumps(value) for text in numbers)
