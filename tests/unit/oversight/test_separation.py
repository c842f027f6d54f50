"""Separation of duties: who asks, who stands behind, and whoever they appoint cannot approve."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from creto.common.ids import AgentId, PolicyId
from creto.contracts import Approved
from creto.oversight import (
    Approvals,
    BreakGlassTerms,
    Counted,
    GrantTerms,
    GrantWish,
    OversightPolicy,
    Quorum,
    RequestState,
    Verdict,
    sign,
)
from creto.platform.crypto import SigningKey
from creto.platform.nhi import nhi_of, rotation_proofs
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import (
    P1,
    P2,
    TENANT,
    World,
    asked,
    consume,
    id_of,
    key_of,
    pending,
    person,
    tier,
    token_of,
)
from tests.unit.platform.nhi.town import key


def one(name: str, *approvers: str, **terms: object) -> OversightPolicy:
    return OversightPolicy(policy_id=PolicyId(name), tiers=(tier(*approvers),), **terms)  # type: ignore[arg-type]


async def waiting_for(world: World, request: OversightPolicy) -> set[str]:
    record = await world.request(request)
    return set((await world.oversight.case(TENANT, record.ask.request_id)).waiting_for)


async def rotated(world: World, old: SigningKey, new: SigningKey, overlap_s: int = 0) -> AgentId:
    old_proof, new_proof = rotation_proofs(old, new, tenant=TENANT)
    await world.nhi.rotate(TENANT, nhi_of(old.public), new.public, old_proof=old_proof, new_proof=new_proof, overlap_s=overlap_s)  # fmt: skip
    return nhi_of(new.public)


# Out of office


async def test_an_owner_appoints_nobody(world: World) -> None:
    policy = await world.policy(one("d", "alice"))
    await world.absent("alice", "dave")
    await world.absent("dave", "trudy")
    record = await world.request(policy)
    assert "NOT_ELIGIBLE" in (await refused("OV-403", world.approve(record, "trudy"))).message
    assert await waiting_for(world, policy) == {person("alice")}
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_the_seat_of_who_was_revoked_is_empty(world: World) -> None:
    policy = await world.policy(one("d", "alice", "carol"))
    await world.absent("alice", "bob")
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    record = await world.request(policy)
    assert "NOT_ELIGIBLE" in (await refused("OV-403", world.approve(record, "bob"))).message
    await refused("OV-424", world.request(await world.policy(one("alone", "alice"))))


async def test_a_delegate_who_was_revoked_holds_no_seat_and_hands_none_on(world: World) -> None:
    policy = await world.policy(one("d", "alice"))
    await world.absent("alice", "bob")
    await world.absent("bob", "carol")
    await world.nhi.revoke(TENANT, id_of("bob"), reason="left")
    assert await waiting_for(world, policy) == {person("alice")}
    record = await world.request(policy)
    for name in ("bob", "carol"):
        await refused("OV-403", world.approve(record, name))


async def test_who_has_another_key_since_keeps_the_seat(world: World) -> None:
    policy = await world.policy(one("d", "alice"))
    await rotated(world, key_of("alice"), key(4_299_001))
    assert await waiting_for(world, policy) == {person("alice")}


@pytest.mark.parametrize("vote_change", [True, False])
async def test_whose_vote_was_lost_with_a_stolen_key_says_the_same_with_another(
    world: World, vote_change: bool
) -> None:
    record = await world.request(await world.policy(P2, vote_change=vote_change))
    new = key(4_299_002)
    old_proof, new_proof = rotation_proofs(key_of("alice"), new, tenant=TENANT)
    await world.nhi.rotate(TENANT, id_of("alice"), new.public, old_proof=old_proof, new_proof=new_proof, overlap_s=60)
    stolen = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    await world.oversight.submit_response(TENANT, sign(stolen, key_of("alice")))
    await world.nhi.revoke(TENANT, id_of("alice"), whole_line=False)
    assert (await world.approve(record, "bob")).approvals == 1
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=nhi_of(new.public), verdict=Verdict.APPROVE
    )
    receipt = await world.oversight.submit_response(TENANT, sign(ballot, new))
    assert (receipt.counted, receipt.state) == (Counted.VOTE, RequestState.APPROVED)
    assert (await world.oversight.submit_response(TENANT, sign(ballot, new))).counted is Counted.REPEATED
    assert (await world.oversight.submit_response(TENANT, sign(stolen, key_of("alice")))).counted is Counted.REPEATED


# Who asks


async def test_who_asks_for_an_agent_cannot_approve_it(world: World) -> None:
    record = await world.oversight.create(asked(P2), by=id_of("alice"))
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(record, "alice"))).message
    assert record.ask.facts == (f"It was asked for by alice ({id_of('alice')}).",)
    await world.approve(record, "bob")
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED
    await refused("OV-424", world.oversight.create(asked(await world.policy(one("a", "alice"))), by=id_of("alice")))


async def test_an_agent_asks_for_itself(world: World) -> None:
    record = await world.oversight.create(asked(P1), by=id_of("bot-7"))
    assert record.ask.facts == ()
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_who_asks_for_an_agent_without_an_owner_says_on_whose_behalf_it_acts(world: World) -> None:
    await refused("OV-400", world.oversight.create(asked(P2, agent="reviewer-bot"), by=id_of("eve")))
    await refused("OV-400", world.oversight.create(asked(P2, agent="bot-7", chain=("alice",)), by=id_of("eve")))
    asks = asked(P2, agent="reviewer-bot", chain=("alice", "reviewer-bot"))
    record = await world.oversight.create(asks, by=id_of("eve"))
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(record, "alice"))).message


async def test_nobody_in_the_chain_under_which_it_acts_has_approved(world: World) -> None:
    record = await world.oversight.create(asked(P1, agent="bot-7"), by=id_of("eve"))
    await world.approve(record, "alice")
    decided = await world.now_of(record)
    error = await refused("OV-451", world.oversight.result(decided, chain=(id_of("alice"), id_of("bot-7"))))
    assert "SELF_APPROVAL" in error.message
    await world.oversight.result(decided, chain=(id_of("bob"), id_of("bot-7")))


# Break-glass


async def test_nobody_breaks_the_glass_for_their_own_agent(world: World) -> None:
    arm = {"agent": id_of("bot-7"), "action": "code.deploy", "resource": "service:web", "reason": "outage"}
    closed = await world.policy(one("g", "alice", break_glass=BreakGlassTerms(armers=(id_of("dave"),))))
    error = await refused("OV-403", world.oversight.break_glass(TENANT, closed.policy_id, by=id_of("dave"), **arm))
    assert "SELF_APPROVAL" in error.message
    terms = BreakGlassTerms(armers=(id_of("dave"),), own_agents=True)
    told = await world.policy(one("own", "alice", break_glass=terms))
    grant = await world.oversight.break_glass(TENANT, told.policy_id, by=id_of("dave"), **arm)
    assert grant.granted_by == person("dave")


async def test_what_was_asked_under_one_chain_is_not_let_through_under_another_by_who_stands_in_it(
    world: World,
) -> None:
    """given a call asked about under one chain and approved by Alice / when the same agent waits for it under her chain / then it is refused, and asked anew of others."""
    gate, mine = Approvals(world.oversight), asked(P1, chain=("alice", "bot-7"))
    record = await world.request(P1, chain=("carol", "bot-7"))
    waiting = asyncio.create_task(gate.await_approval(TENANT, None, mine))
    await pending(world)
    await world.approve(record, "alice")
    assert "SELF_APPROVAL" in (await refused("OV-451", waiting)).message
    assert isinstance(await gate.await_approval(TENANT, None, asked(P1, chain=("carol", "bot-7"))), Approved)
    again = await world.oversight.create(mine)
    assert (again.ask.request_id == record.ask.request_id, again.progress.state) == (False, RequestState.PENDING)
    await refused("OV-403", world.approve(again, "alice"))
    await world.approve(again, "bob")
    assert isinstance(await gate.await_approval(TENANT, None, mine), Approved)


# Under another key


async def test_what_an_agent_asked_follows_it_to_its_next_key(world: World) -> None:
    record = await world.request()
    new = await rotated(world, key_of("bot-7"), key(4_299_002))
    again = await world.oversight.create(replace(asked(), agent_nhi=new))
    assert again.ask.request_id == record.ask.request_id
    await world.approve(record, "alice")
    result = await world.oversight.result(await world.now_of(record), to=new)
    assert isinstance(result, Approved)
    assert result.override_token is not None
    assert world.authz.validate_override_token(result.override_token, tenant=TENANT).agent == new
    assert await world.oversight.result(await world.now_of(record), to=new) == result
    other = await world.oversight.create(
        replace(asked(arguments={"n": 2}), agent_nhi=new),
        supersedes=(await world.request(arguments={"n": 3})).ask.request_id,
    )
    assert other.ask.agent == new


async def test_a_token_is_one_keys_alone(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    before = await token_of(world, record)
    new = await rotated(world, key_of("bot-7"), key(4_299_003), overlap_s=600)
    result = await world.oversight.result(await world.now_of(record), to=new)
    assert isinstance(result, Approved)
    await refused("PL-703", consume(world, record, before))
    await refused("PL-706", consume(world, record, result.override_token or ""))


async def test_an_approval_ends_with_the_key_that_asked_for_it(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    new = await rotated(world, key_of("bot-7"), key(4_299_007), overlap_s=600)
    result = await world.oversight.result(await world.now_of(record), to=new)
    assert isinstance(result, Approved)
    await world.nhi.revoke(TENANT, id_of("bot-7"), whole_line=False, reason="stolen")
    moved = replace(record, ask=replace(record.ask, agent=new))
    assert "REVOKED" in (await refused("OV-410", consume(world, moved, result.override_token or ""))).message


async def test_no_other_key_gets_what_an_agent_asked(world: World) -> None:
    old, first, second = key_of("bot-7"), key(4_299_004), key(4_299_005)
    record = await world.request()
    assert not world.oversight.own(TENANT, id_of("reviewer-bot"), record.ask.agent)
    assert not world.oversight.own(TENANT, AgentId("agent:nhi:ed25519:nobody"), record.ask.agent)
    middle = await rotated(world, old, first, overlap_s=600)
    newest = await rotated(world, first, second, overlap_s=600)
    assert world.oversight.own(TENANT, newest, id_of("bot-7"))
    assert not world.oversight.own(TENANT, id_of("bot-7"), newest)
    await world.nhi.revoke(TENANT, middle, whole_line=False, reason="stolen")
    for former in (middle, id_of("bot-7")):
        assert not world.oversight.own(TENANT, newest, former)
    again = await world.oversight.create(replace(asked(), agent_nhi=newest))
    assert again.ask.request_id != record.ask.request_id


async def test_an_agent_cancels_no_proposal_about_itself_under_another_key(world: World) -> None:
    policy = await world.policy(
        one("d", "alice", "bob", grants=GrantTerms(ttl_s_max=600, uses_max=5), quorum=Quorum(approvals=2))
    )
    proposed = await world.oversight.propose_grant(
        TENANT, policy.policy_id, agent=id_of("bot-7"), action="funds.transfer", resource="account:7", by=id_of("alice"),
        wish=GrantWish(ttl_s=60, uses=1),
    )  # fmt: skip
    new = await rotated(world, key_of("bot-7"), key(4_299_006))
    await refused("OV-403", world.oversight.cancel(TENANT, proposed.ask.request_id, by=new))
