"""Several policies that ask about one act: all of them are met, each by its own approvers, or nothing happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common.errors import EnablementError, OversightRequired, ProductId, SignatureVerificationFailed
from creto.common.ids import PolicyId, RequestId
from creto.common.limits import ID_CHARS_MAX
from creto.common.telemetry import Metrics
from creto.contracts import OversightRequirement, RiskLevel, TimedOut, TimeoutAction
from creto.gate import Gate, Operation
from creto.oversight import (
    Approvals,
    ApproverGroup,
    Assurance,
    Bound,
    DecisionFile,
    GroupNeed,
    OversightPolicy,
    Quorum,
    Record,
    RequestState,
    Verdict,
    proved,
)
from creto.oversight.joint import joined
from creto.oversight.policies import checked
from creto.oversight.quorum import Vote, tally
from creto.oversight.types import Backing, GrantTerms, GrantWish
from creto.platform.consensus import PersonId
from creto.platform.crypto import digest
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import HUMANS, LAYER, TENANT, World, consume, id_of, keys_of, person, tier, token_of

KEYS = keys_of(*HUMANS, "bot-7")
CEDAR = '@id("%s") @oversight("%s") forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > %d };'
WEAK = OversightPolicy(policy_id=PolicyId("weak"), tiers=(tier("alice", "bob"),))
STRONG = OversightPolicy(policy_id=PolicyId("strong"), tiers=(tier("bob", "carol", "eve"),), quorum=Quorum(approvals=2))
BOTH = (CEDAR % ("a", "weak", 10), CEDAR % ("b", "strong", 40))


async def two(world: World, weak: OversightPolicy = WEAK, strong: OversightPolicy = STRONG, **terms: Any) -> Record:
    """A request about which both ask; the agent names the weak one."""
    await world.policy(weak)
    await world.policy(strong)
    await world.permit_all(*BOTH)
    return await world.request(weak, **terms)


async def file_of(world: World, record: Record) -> DecisionFile:
    return DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))


async def test_nobody_of_the_weaker_policy_lets_it_pass(world: World) -> None:
    record = await two(world)
    assert record.ask.policy.policy_id == "strong + weak"
    receipt = await world.approve(record, "alice")
    assert (receipt.state, receipt.missing_policies) == (RequestState.PENDING, ("strong",))
    await world.approve(record, "carol")
    receipt = await world.approve(record, "eve")
    assert (receipt.state, receipt.missing_policies) == (RequestState.APPROVED, ())
    proof = proved(await file_of(world, record), KEYS)
    assert len(proof.own) == 3
    token = await token_of(world, record)
    with pytest.raises(EnablementError, match="PL-706"):
        await world.authz.consume_durable(
            token, tenant=TENANT, agent=record.ask.agent, action=record.ask.action, resource=record.ask.resource,
            args_digest=b"", policy_id=PolicyId("weak"),
        )  # fmt: skip
    await consume(world, record, await token_of(world, record))


async def test_the_gate_takes_a_token_of_all_and_no_other(world: World) -> None:
    """given two policies that ask about one call / when the gate holds it / then one request is for both, and one human of the weak opens nothing."""
    for policy in (WEAK, STRONG):
        await world.policy(policy)
    await world.permit_all(*BOTH)
    gate = Gate(world.nhi, world.authz, world.store, world.clock, Metrics())
    gate.use_asker(Approvals(world.oversight).asked)
    call = Operation(
        tenant=TENANT, agent=id_of("dave"), action="funds.transfer", resource="account:7", product=ProductId.RUNTIME,
        arguments=b'{"amount":50}', context={"amount": 50},
    )  # fmt: skip
    with pytest.raises(OversightRequired, match=r"strong \+ weak") as held:
        await gate.authorized_operation(call)
    request_id = RequestId(str(held.value.details["request_id"]))
    await world.approve(request_id, "alice")
    with pytest.raises(EnablementError, match="OV-504"):
        await world.oversight.await_decision(TENANT, request_id, timeout_s=0)
    small = replace(call, arguments=b'{"amount":20}', context={"amount": 20})
    with pytest.raises(OversightRequired) as asked:
        await gate.authorized_operation(small)
    weak = await world.oversight.get(TENANT, RequestId(str(asked.value.details["request_id"])))
    await world.approve(weak, "alice")
    token = await token_of(world, weak)
    for other in (call, replace(small, context={"amount": 50})):  # the same bytes, under more policies
        with pytest.raises(EnablementError, match="PL-706"):
            await gate.authorized_operation(replace(other, override_token=token))
    for name in ("carol", "eve"):
        await world.approve(request_id, name)
    whole = await token_of(world, await world.oversight.get(TENANT, request_id))
    assert (await gate.authorized_operation(replace(call, override_token=whole))).overridden == "strong + weak"


async def test_the_stronger_alone_does_not_either(world: World) -> None:
    record = await two(world)
    await world.approve(record, "carol")
    receipt = await world.approve(record, "eve")
    assert (receipt.state, receipt.missing, receipt.missing_policies) == (RequestState.PENDING, 1, ("weak",))


async def test_whom_both_name_counts_in_both(world: World) -> None:
    record = await two(world)
    assert (await world.approve(record, "bob")).missing_policies == ("strong",)
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
async def test_a_denial_under_any_denies(world: World, name: str) -> None:
    record = await two(world)
    assert (await world.deny(record, name)).state is RequestState.DENIED
    proved(await file_of(world, record), KEYS)


async def test_whoever_asks_names_one_of_them_or_all_and_gets_all(world: World) -> None:
    record = await two(world)
    for name in ("weak", "strong", "strong + weak"):
        again = await world.request(replace(WEAK, policy_id=PolicyId(name)))
        assert again.ask.request_id == record.ask.request_id
    await world.policy(replace(WEAK, policy_id=PolicyId("other")))
    error = await refused("OV-403", world.request(replace(WEAK, policy_id=PolicyId("other"))))
    assert error.expected == "strong + weak"
    small = await world.request(WEAK, {"amount": 20})
    assert small.ask.policy.policy_id == "weak"


async def test_what_one_of_them_could_never_approve_is_not_asked(world: World) -> None:
    await refused("OV-424", two(world, strong=replace(STRONG, tiers=(tier("dave"),), quorum=Quorum())))  # the owner


async def test_a_policy_that_nobody_stored_is_not_left_out(world: World) -> None:
    await world.policy(WEAK)
    await world.permit_all(CEDAR % ("a", "weak", 10), CEDAR % ("b", "unknown", 40))
    await refused("OV-400", world.request(WEAK))


async def test_cedar_says_whom_to_ask_for_each(world: World) -> None:
    said = f'@approvers("{id_of("carol")}") ' + CEDAR % ("b", "unstored", 40)
    await world.policy(WEAK)
    await world.permit_all(CEDAR % ("a", "weak", 10), said)
    record = await world.request(WEAK)
    assert (await world.approve(record, "alice")).missing_policies == ("unstored",)
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


async def test_a_grant_of_one_alone_covers_nothing(world: World) -> None:
    terms = GrantTerms(ttl_s_max=3_600, uses_max=9)
    weak, strong = replace(WEAK, grants=terms), replace(STRONG, grants=terms)
    await world.policy(weak)
    await world.permit_all(BOTH[0])
    alone = await world.request(weak)
    await world.approve(alone, "alice", wish=GrantWish(ttl_s=3_600, uses=5))
    record = await two(world, weak, strong)
    assert record.progress.state is RequestState.PENDING
    await world.approve(record, "bob", wish=GrantWish(ttl_s=3_600, uses=5))
    await world.approve(record, "carol", wish=GrantWish(ttl_s=3_600, uses=5))
    await consume(world, record, await token_of(world, record))
    again = await world.request(weak)
    assert again.progress.grant_id is not None
    proved(await file_of(world, again), KEYS)


async def test_a_counter_proposal_of_one_human_approves_nothing(world: World) -> None:
    record = await two(world, strong=replace(STRONG, quorum=Quorum()))
    await world.deny(record, "alice", counter=(Bound(path="amount", at_most="45"),))
    again = await world.request(WEAK, {"amount": 42})
    assert again.progress.state is RequestState.PENDING


async def test_a_tier_that_is_reached_later_counts_who_has_voted(world: World) -> None:
    strong = replace(STRONG, tiers=(tier("carol", timeout_s=600), tier("alice", name="second")))
    record = await two(world, strong=strong)
    receipt = await world.approve(record, "alice")
    assert receipt.missing_policies == ("strong",)
    await world.approve(record, "carol")
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    await world.at_s(record, 601)
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED
    proved(await file_of(world, record), KEYS)


async def test_it_does_not_count_before_that_tier(world: World) -> None:
    """given an approver whom the stronger names at its second tier / when the file says that they counted at the first / it does not hold."""
    strong = replace(
        STRONG, tiers=(tier("carol", timeout_s=600), tier("alice", name="second")), final_action=TimeoutAction.AUTO_DENY
    )
    record = await two(world, strong=strong)
    await world.approve(record, "alice")
    await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    file = await file_of(world, record)
    proved(file, KEYS)
    early = replace(file, votes=(replace(file.votes[0], lessened=None),)).sealed(LAYER)
    with pytest.raises(SignatureVerificationFailed, match=r"vote\.shares"):
        proved(early, KEYS)


async def test_who_leaves_the_group_of_one_still_counts_in_the_other(world: World) -> None:
    """The file of what silence ended proves itself, though a voter had left by then."""
    await world.group("board", "bob", "carol")
    strong = replace(STRONG, tiers=(tier("group:board"),), quorum=Quorum())
    record = await two(world, weak=replace(WEAK, quorum=Quorum(approvals=2)), strong=strong)
    await world.approve(record, "bob")
    await world.group("board", "carol")
    receipt = await world.approve(record, "alice")
    assert (receipt.state, receipt.missing_policies) == (RequestState.PENDING, ("strong",))
    await world.at_s(record, 3_601)
    assert isinstance(await world.oversight.await_decision(TENANT, record.ask.request_id), TimedOut)
    file = await file_of(world, record)
    assert "counted less under strong" in "\n".join(proved(file, KEYS).word)
    whole = tuple(replace(vote, lessened=None) for vote in file.votes)
    with pytest.raises(SignatureVerificationFailed, match="what the votes made of it"):
        proved(replace(file, votes=whole).sealed(LAYER), KEYS)


async def test_a_file_says_what_all_demand_and_not_less(world: World) -> None:
    record = await two(world)
    await world.approve(record, "bob")
    await world.approve(record, "carol")
    file = await file_of(world, record)
    softer = replace(file.policy, quorum=Quorum())
    with pytest.raises(SignatureVerificationFailed, match="joint"):
        proved(replace(file, policy=softer).sealed(LAYER), KEYS)
    more = replace(file.votes[0], shares={**file.votes[0].shares, "third": ()})
    with pytest.raises(SignatureVerificationFailed, match=r"vote\.shares"):
        proved(replace(file, votes=(more, *file.votes[1:])).sealed(LAYER), KEYS)


async def test_an_edit_that_more_policies_ask_about_is_refused(world: World) -> None:
    await two(world)
    small = await world.request(WEAK, {"amount": 20})
    error = await refused("OV-403", world.approve(small, "alice", arguments=b'{"amount":50}'))
    assert (error.got, error.expected) == ("strong + weak", "weak")
    assert (await world.approve(small, "alice", arguments=b'{"amount":30}')).state is RequestState.APPROVED


async def test_an_edit_that_fewer_policies_ask_about_is_decided_by_all_and_good_for_them(world: World) -> None:
    """given a call about which two ask / when an approver makes it one about which one asks / then both still decide, and the token serves."""
    record = await two(world)
    await world.approve(record, "bob", arguments=b'{"amount":20}')
    edited = await world.now_of(record)
    assert (edited.ask.policy.policy_id, edited.progress.state) == ("strong + weak", RequestState.PENDING)
    await world.approve(edited, "carol")
    token = await token_of(world, record)
    act: dict[str, Any] = {
        "tenant": TENANT, "agent": edited.ask.agent, "action": edited.ask.action, "resource": edited.ask.resource,
        "args_digest": digest(b'{"amount":20}'),
    }  # fmt: skip
    for name in ("third", "third + weak", "strong + third + weak", ""):
        with pytest.raises(EnablementError, match="PL-706"):
            await world.authz.consume_durable(token, **act, policy_id=PolicyId(name))
    await world.authz.consume_durable(token, **act, policy_id=PolicyId("weak"))


DESK = replace(WEAK, tiers=(tier("group:desk"),), grants=GrantTerms(ttl_s_max=900, uses_max=5))
BOARD = replace(STRONG, tiers=(tier("group:board"),), grants=GrantTerms(ttl_s_max=900, uses_max=5))


async def test_who_changes_sides_takes_along_what_they_approved(world: World) -> None:
    """given an approval, and one for later, of the desk and two of the board / when one of these goes to the desk / then neither holds."""
    await world.group("desk", "alice")
    await world.group("board", "carol", "eve", "bob")
    record, wish = await two(world, DESK, BOARD), GrantWish(ttl_s=600, uses=3)
    for name in ("alice", "carol", "eve"):
        await world.approve(record, name, wish=wish)
    by_grant = await world.request(DESK, idempotency_key="by the grant")
    assert by_grant.progress.state is RequestState.APPROVED
    await world.group("desk", "alice", "carol")
    await world.group("board", "eve", "bob")
    for approved in (record, by_grant):
        error = await refused("OV-451", world.oversight.await_decision(TENANT, approved.ask.request_id))
        assert "QUORUM" in error.message
    later = await world.request(DESK, idempotency_key="later")
    assert later.progress.state is RequestState.PENDING


async def test_nobody_names_own_approvers_under_the_name_of_several(world: World) -> None:
    """given acts about which the gate alone knows that two ask / when a program asks under both with approvers of its own / then it is refused."""
    await world.policy(WEAK)
    await world.policy(STRONG)
    await world.permit_all()
    own = OversightRequirement(approvers=(id_of("mallory"),), reason="trust me")
    await refused("OV-400", world.request(joined("strong + weak", (STRONG, WEAK)), requirement=own))


@pytest.mark.parametrize(
    ("weak", "strong", "absent"), [(("trudy", "alice"), ("carol",), "carol"), (("alice",), ("trudy", "carol"), "alice")]
)
async def test_who_sits_in_seats_of_both_votes_from_the_one_that_is_needed(
    world: World, weak: tuple[str, ...], strong: tuple[str, ...], absent: str
) -> None:
    """given a stand-in of the one policy whom the other names / when somebody else can do for that / then it can be met, by two humans."""
    await world.absent(absent, "trudy")
    record = await two(
        world, replace(WEAK, tiers=(tier(*weak),)), replace(STRONG, tiers=(tier(*strong),), quorum=Quorum())
    )
    await world.approve(record, "trudy", on_behalf_of=person(absent))
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    other = "alice" if absent == "carol" else "carol"
    assert (await world.approve(record, other)).state is RequestState.APPROVED


async def test_one_human_in_seats_of_both_is_not_two(world: World) -> None:
    await world.absent("carol", "trudy")
    await refused(
        "OV-424",
        two(world, replace(WEAK, tiers=(tier("trudy"),)), replace(STRONG, tiers=(tier("carol"),), quorum=Quorum())),
    )


async def test_policies_with_the_longest_names_are_asked_together(world: World) -> None:
    """given two policies whose names fill the room of one each / when both ask / then humans are asked, and the token opens what they approved."""
    names = [letter * ID_CHARS_MAX for letter in "ab"]
    for name, who in zip(names, ("alice", "carol"), strict=True):
        await world.policy(WEAK, policy_id=PolicyId(name), tiers=(tier(who),))
    await world.permit_all(*(CEDAR % (name[0], name, 10) for name in names))
    record = await world.request(replace(WEAK, policy_id=PolicyId(names[0])))
    assert record.ask.policy.policy_id == " + ".join(names)
    for who in ("alice", "carol"):
        await world.approve(record, who)
    await consume(world, record, await token_of(world, record))
    proved(await file_of(world, record), KEYS)


async def test_no_policy_is_stored_under_the_name_of_several(world: World) -> None:
    for bad in (replace(WEAK, policy_id=PolicyId("a + b")), joined("x", (WEAK, STRONG))):
        await refused("OV-400", world.policy(bad))
    await refused("OV-400", world.policy(replace(WEAK, quorum=joined("x", (WEAK, STRONG)).quorum)))


def test_where_they_differ_the_stricter_holds() -> None:
    weak = replace(
        WEAK, assurance=Assurance.RELAYED, assurance_by_risk={RiskLevel.LOW: Assurance.SESSION}, final_action=TimeoutAction.AUTO_APPROVE,
        execution_s=60, always_ask=True, grants=GrantTerms(ttl_s_max=60, uses_max=9),
    )  # fmt: skip
    strong = replace(
        STRONG, assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY}, reason_required=True, risk=RiskLevel.HIGH,
        grants=GrantTerms(ttl_s_max=90, uses_max=3), tiers=(tier("bob", timeout_s=60), tier("carol", name="second")),
    )  # fmt: skip
    found = checked(joined("strong + weak", (strong, weak)))
    assert found.assurance_by_risk[RiskLevel.LOW] is Assurance.SESSION
    assert found.assurance_by_risk[RiskLevel.HIGH] is Assurance.OWN_KEY
    assert (found.final_action, found.execution_s, found.always_ask) == (TimeoutAction.AUTO_DENY, 60, True)
    assert (found.reason_required, found.risk) == (True, RiskLevel.HIGH)
    assert found.grants == GrantTerms(ttl_s_max=60, uses_max=3)
    assert [one.timeout_s for one in found.tiers] == [60, 3_600]
    assert joined("strong", (strong,)) is strong


NAMES = [PersonId(f"p{n}") for n in range(5)]
quorums = st.builds(
    Quorum,
    approvals=st.integers(1, 3),
    denials=st.integers(1, 2),
    groups=st.sampled_from([(), (GroupNeed(group="g"),), (GroupNeed(group="g", approvals=2), GroupNeed(group="h"))]),
)
backings = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from([(), ("g",), ("h",), ("g", "h")]))


@given(
    st.fixed_dictionaries({"a": quorums, "b": quorums, "c": quorums}),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(list(Verdict)), backings), max_size=9),
)
def test_together_says_what_each_alone_would(
    each: dict[str, Quorum], said: list[tuple[PersonId, Verdict, dict[str, tuple[str, ...]]]]
) -> None:
    """What passes together passes under each policy, by the votes of those whom it names; what one denies is denied."""
    fixed = {person: shares for person, _, shares in said}
    votes = [Vote(person=p, seat=p, groups=(), verdict=v, round=1, shares=fixed[p]) for p, v, _ in said]
    policies = [OversightPolicy(policy_id=PolicyId(name), tiers=(tier("alice"),), quorum=q) for name, q in each.items()]
    found = tally(joined("a + b + c", policies).quorum, votes, round=1).verdict
    alone = {
        name: tally(quorum, [replace(v, groups=v.shares[name]) for v in votes if name in v.shares], round=1).verdict
        for name, quorum in each.items()
    }
    if Verdict.DENY in alone.values():
        assert found is Verdict.DENY
    else:
        assert (found is Verdict.APPROVE) == (set(alone.values()) == {Verdict.APPROVE})


async def test_a_voter_who_left_one_of_several_groups_leaves_a_file_that_holds(world: World) -> None:
    """given a quorum of two groups and a voter of both / when they leave one and time runs out / then the file proves the silence."""
    for name in ("g", "h"):
        await world.oversight.put_group(
            TENANT, ApproverGroup(name=name, members=tuple(map(id_of, ("alice", "bob")))), by=id_of("eve")
        )
    needs = (GroupNeed(group="g"), GroupNeed(group="h"))
    policy = await world.policy(
        WEAK, tiers=(tier("group:g", "group:h"),), quorum=Quorum(approvals=2, groups=needs), vote_change=True
    )
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.oversight.put_group(TENANT, ApproverGroup(name="g", members=(id_of("carol"),)), by=id_of("eve"))
    assert (await world.approve(record, "bob")).state is RequestState.PENDING
    await world.at_s(record, 3_601)
    file = await file_of(world, record)
    assert file.state is RequestState.TIMED_OUT
    words = "\n".join(proved(file, KEYS).word)
    assert f"that {id_of('alice')} had left the group g" in words
    for other in (None, Backing(groups=("g", "h", "x")), Backing(groups=("x",))):
        votes = (replace(file.votes[0], lessened=other), *file.votes[1:])
        with pytest.raises(SignatureVerificationFailed):
            proved(replace(file, votes=votes).sealed(LAYER), KEYS)
