"""Seats, looked at again: who leaves takes along what they said; and what can never be met is known at once."""

from __future__ import annotations

from functools import partial

import pytest

from creto.common.ids import PolicyId
from creto.common.timestamps import SECOND
from creto.contracts import RiskFactor, RiskLevel
from creto.oversight import (
    Bound,
    Channel,
    DecisionFile,
    GrantTerms,
    GrantWish,
    GroupNeed,
    Quorum,
    RequestState,
    Verdict,
    proved,
)
from creto.oversight.types import Assurance
from creto.platform.crypto import digest
from tests.unit.oversight.test_scenarios import approving, refused
from tests.unit.oversight.test_separation import one
from tests.unit.oversight.world import HUMANS, P1, P3, TENANT, World, consume, id_of, keys_of, person, tier, token_of

KEYS = keys_of(*HUMANS, "bot-7")


# Votes


async def test_a_vote_counts_as_long_as_its_seat_is_there(world: World) -> None:
    await world.permit_all()
    await world.group("g", "alice", "bob", "carol")
    policy = await world.policy(one("g3", "group:g", quorum=Quorum(approvals=2)))
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.group("g", "bob", "carol")
    receipt = await world.approve(record, "bob")
    assert (receipt.state, receipt.approvals, receipt.missing) == (RequestState.PENDING, 1, 1)
    case = await world.oversight.case(TENANT, record.ask.request_id)
    assert (case.standing.approvals, case.waiting_for) == (1, (person("carol"),))
    assert case.lost == {case.votes[0].signed.ballot.nonce: "they have lost their seat"}
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED
    await consume(world, record, await token_of(world, record))
    file = DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))
    assert set(proved(file, KEYS).people) == {person("bob"), person("carol")}


async def test_a_vote_of_who_was_revoked_does_not_count_later(world: World) -> None:
    policy = await world.policy(one("two", "alice", "bob", "carol", quorum=Quorum(approvals=2)))
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    assert (await world.approve(record, "bob")).approvals == 1
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


async def test_votes_are_looked_at_again_when_the_time_to_undo_is_over(world: World) -> None:
    policy = await world.policy(one("hold", "alice", "bob"))
    record = await world.request(policy)
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    await world.pass_s(6)
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    assert (await world.approve(record, "bob")).state is RequestState.APPROVED


async def test_a_delegates_vote_stays_when_the_absence_ends(world: World) -> None:
    await world.permit_all()
    policy = await world.policy(one("ooo", "alice", "bob", quorum=Quorum(approvals=2)))
    await world.absent("alice", "trudy")
    record = await world.request(policy)
    await world.approve(record, "trudy")
    world.clock.advance(SECOND)
    (absence,) = world.oversight.delegations(TENANT)
    await world.oversight.end_delegation(TENANT, absence.delegation_id, by=id_of("alice"))
    assert world.oversight.delegations(TENANT) == ()
    assert (await world.approve(record, "bob")).state is RequestState.APPROVED
    await consume(world, record, await token_of(world, record))


async def test_an_approval_that_may_not_be_acted_on_is_asked_for_again(world: World) -> None:
    await world.permit_all()
    await world.group("g", "alice", "bob")
    policy = await world.policy(one("g1", "group:g"))
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.group("g", "bob")
    await refused("OV-451", token_of(world, record))
    again = await world.request(policy)
    assert (again.progress.state, again.ask.request_id != record.ask.request_id) == (RequestState.PENDING, True)


# Grants


async def test_a_grant_holds_as_long_as_its_givers_have_their_seats(world: World) -> None:
    await world.permit_all()
    await world.group("g", "alice", "bob", "carol")
    policy = await world.policy(
        one("g", "group:g", quorum=Quorum(approvals=2), grants=GrantTerms(ttl_s_max=3_600, uses_max=9))
    )
    first = await world.request(policy, idempotency_key="1")
    for name in ("alice", "bob"):
        await world.approve(first, name, wish=GrantWish(ttl_s=600, uses=9))
    used, held = [await world.request(policy, idempotency_key=key) for key in ("2", "3")]
    assert {used.progress.state, held.progress.state} == {RequestState.APPROVED}
    await consume(world, used, await token_of(world, used))
    await world.group("g", "bob", "carol")  # the last who agreed is still there
    await refused("OV-451", token_of(world, held))
    assert (await world.request(policy, idempotency_key="4")).progress.state is RequestState.PENDING


async def test_who_left_the_group_they_counted_for_takes_it_along(world: World) -> None:
    """given a yes of security and one of finance / when finance's human is in security now / then they have a seat, and it is not enough."""
    policy = await world.policy(P3, grants=GrantTerms(ttl_s_max=900, uses_max=5))
    record, wish = await world.request(policy), GrantWish(ttl_s=600, uses=3)
    for name in ("sam", "fay"):
        await world.approve(record, name, wish=wish)
    await world.group("security", "sam", "fay")
    await world.group("finance", "bob")
    assert "QUORUM" in (await refused("OV-451", world.oversight.await_decision(TENANT, record.ask.request_id))).message
    assert (await world.request(policy, idempotency_key="later")).progress.state is RequestState.PENDING


async def test_what_was_approved_by_a_grant_ends_with_it(world: World) -> None:
    policy = await world.policy(one("g", "alice", grants=GrantTerms(ttl_s_max=3_600, uses_max=9)))
    await world.approve(await world.request(policy, idempotency_key="1"), "alice", wish=GrantWish(ttl_s=600, uses=9))
    held = await world.request(policy, idempotency_key="2")
    (grant,) = await world.oversight.grants(TENANT)
    await world.oversight.end_grant(TENANT, grant.grant_id, by=id_of("alice"))
    assert "REVOKED" in (await refused("OV-410", token_of(world, held))).message


async def test_a_grant_is_for_calls_of_which_its_givers_were_sure_enough(world: World) -> None:
    policy = await world.policy(
        one(
            "g", "alice", grants=GrantTerms(ttl_s_max=3_600, uses_max=9),
            assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY},
        )
    )  # fmt: skip
    await world.click(await world.request(policy, idempotency_key="1"), "alice", wish=GrantWish(ttl_s=600, uses=9))
    high = (RiskFactor(name="amount", level=RiskLevel.HIGH),)
    riskier = await world.request(policy, idempotency_key="2", risk_factors=high)
    assert riskier.progress.state is RequestState.PENDING
    assert (await world.request(policy, idempotency_key="3")).progress.state is RequestState.APPROVED


async def test_a_counter_proposal_ends_with_who_made_it(world: World) -> None:
    policy = await world.policy(one("c", "alice", "bob"))
    await world.deny(await world.request(policy), "alice", counter=(Bound(path="amount", at_most="40"),))
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    assert (await world.request(policy, {"amount": 40})).progress.state is RequestState.PENDING


# What can be met


async def test_one_human_in_two_groups_cannot_stand_for_both(world: World) -> None:
    await world.group("g1", "alice")
    await world.group("g2", "alice")
    quorum = Quorum(approvals=2, groups=(GroupNeed(group="g1"), GroupNeed(group="g2")))
    await refused("OV-424", world.request(await world.policy(one("u1", "group:g1", "group:g2", "bob", quorum=quorum))))
    await world.group("g2", "alice", "carol")
    record = await world.request(await world.policy(one("u1", "group:g1", "group:g2", "bob", quorum=quorum)))
    await world.approve(record, "carol")
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_a_seat_counts_for_who_sits_in_it(world: World) -> None:
    await world.group("g1", "alice", "bob")
    policy = one("u2", "group:g1", quorum=Quorum(groups=(GroupNeed(group="g1", approvals=2),)))
    await world.absent("alice", "bob")
    await refused("OV-424", world.request(await world.policy(policy)))


async def test_the_last_denial_that_matters_denies(world: World) -> None:
    policy = await world.policy(one("u3", "alice", "bob", "carol", quorum=Quorum(approvals=2, denials=3)))
    record = await world.request(policy)
    assert (await world.deny(record, "alice")).state is RequestState.PENDING
    assert (await world.deny(record, "bob", reason="no")).state is RequestState.DENIED
    file = DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))
    assert set(proved(file, KEYS).people) == {person("alice"), person("bob")}


async def test_of_a_batch_what_cannot_be_met_is_denied(world: World) -> None:
    policy = await world.policy(one("u4", "alice", "bob", quorum=Quorum(approvals=2, denials=2)))
    record = await world.request(policy, items=approving(2))
    await world.approve(record, "alice", items={"i1": Verdict.DENY})
    assert (await world.approve(record, "bob")).state is RequestState.APPROVED
    assert (await world.now_of(record)).progress.approved_items == ("i0",)


@pytest.mark.parametrize("denials", [2, 5])
async def test_a_policy_whose_denials_cannot_be_reached_is_refused(world: World, denials: int) -> None:
    await refused("OV-400", world.policy(one("u5", "alice", quorum=Quorum(denials=denials))))


async def test_a_grant_of_a_stand_in_holds_whichever_of_the_seats_they_gave_it_from(world: World) -> None:
    """given two absent humans of two groups with one stand-in / when this one grants from either seat, and another human too / then it covers."""
    for absent in ("alice", "bob"):
        await world.group("risk", absent)
        await world.group("desk", "alice" if absent == "bob" else "bob")
        await world.group("staff", "carol")
        policy = await world.policy(
            P1,
            policy_id=PolicyId("both"),
            tiers=(tier("group:risk", "group:desk", "group:staff"),),
            quorum=Quorum(approvals=2, groups=(GroupNeed(group="risk"), GroupNeed(group="staff"))),
            grants=GrantTerms(ttl_s_max=3600, uses_max=9),
        )
        if absent == "alice":
            await world.absent("alice", "trudy")
            await world.absent("bob", "trudy")
        record = await world.request(policy, {"who": absent})
        wish = GrantWish(ttl_s=600, uses=3)
        await world.approve(record, "trudy", wish=wish, on_behalf_of=person(absent))
        assert (await world.approve(record, "carol", wish=wish)).state is RequestState.APPROVED
        again = await world.request(policy, {"who": absent}, idempotency_key=f"again {absent}")
        assert again.progress.grant_id is not None, absent


async def test_who_leaves_after_the_token_was_fetched_takes_it_along(world: World) -> None:
    """given a token that the agent holds / when its approver leaves, or it acts under a chain in which they stand / then the act does not begin."""
    await world.permit_all()
    await world.group("g", "alice", "bob", "carol")
    policy = await world.policy(one("held", "group:g"))
    for leave in (world.group("g", "bob", "carol"), world.nhi.revoke(TENANT, id_of("bob"), reason="left")):
        record = await world.request(policy)
        await world.approve(record, "alice" if leave.__name__ == "group" else "bob")
        token = await token_of(world, record)
        await leave
        await refused("OV-451", consume(world, record, token))
    record = await world.request(policy)
    await world.approve(record, "carol")
    ask, token = record.ask, await token_of(world, record)
    act = {"agent": ask.agent, "action": ask.action, "resource": ask.resource, "policy_id": ask.policy.policy_id}
    use = partial(world.authz.consume_durable, token, tenant=TENANT, args_digest=digest(ask.arguments), **act)
    await refused("OV-451", use(chain=(id_of("carol"), ask.agent)))
    await use(chain=(id_of("dave"), ask.agent))
    await refused("PL-704", use(chain=(id_of("carol"), ask.agent)))
