"""Approved before anybody asks: by the same humans, as many, as sure as the policy demands of a request; and no further than was said."""

from __future__ import annotations

from typing import Any

import pytest

from creto.common.errors import EnablementError
from creto.common.ids import PolicyId
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.contracts import RiskFactor, RiskLevel, TimeoutAction
from creto.oversight import (
    Assurance,
    Bound,
    Channel,
    GrantTerms,
    GrantWish,
    OversightPolicy,
    Record,
    RequestState,
    render,
)
from creto.oversight.types import GrantKind
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import P1, P2, TENANT, World, id_of, tier

TERMS = GrantTerms(ttl_s_max=3_600, uses_max=5)
WISH = GrantWish(ttl_s=600, uses=2)


async def granting(world: World, base: OversightPolicy = P1, **changes: Any) -> OversightPolicy:
    return await world.policy(base, policy_id=PolicyId("beforehand"), **{"grants": TERMS, **changes})


async def proposed(world: World, name: str = "alice", wish: GrantWish = WISH, **more: Any) -> Record:
    terms = {"agent": id_of("bot-7"), "action": "funds.transfer", "resource": "account:7"} | more
    return await world.oversight.propose_grant(TENANT, PolicyId("beforehand"), by=id_of(name), wish=wish, **terms)


async def test_a_proposal_grants_nothing_until_it_is_approved(world: World) -> None:
    """given a proposal of two transfers up to 40 / when Alice approves it / then two such calls pass, and no third, no larger one, no later one."""
    policy = await granting(world)
    record = await proposed(world, bounds=(Bound(path="amount", at_most="40"),), reason="a busy day")
    assert await world.oversight.grants(TENANT) == []
    assert (await world.request(policy, {"amount": 1})).progress.state is RequestState.PENDING
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED
    (grant,) = await world.oversight.grants(TENANT)
    assert (grant.kind, grant.uses_max, grant.reason) == (GrantKind.STANDING, 2, "a busy day")
    assert (await world.request(policy, {"amount": 41})).progress.state is RequestState.PENDING
    for amount in (40, 39):
        passed = await world.request(policy, {"amount": amount})
        assert (passed.progress.state, passed.progress.grant_id) == (RequestState.APPROVED, grant.grant_id)
    assert (await world.request(policy, {"amount": 38})).progress.state is RequestState.PENDING
    again = await proposed(world)
    await world.approve(again, "alice")
    world.clock.advance(601 * SECOND)
    assert (await world.request(policy, {"amount": 37})).progress.state is RequestState.PENDING


async def test_as_many_humans_as_the_policy_demands(world: World) -> None:
    policy = await granting(world, P2)
    record = await proposed(world)
    assert (await world.approve(record, "alice")).missing == 1
    assert (await world.request(policy, {"n": 1})).progress.state is RequestState.PENDING
    await world.approve(record, "bob")
    assert (await world.request(policy, {"n": 2})).progress.state is RequestState.APPROVED


async def test_as_sure_as_for_the_riskiest_that_it_covers(world: World) -> None:
    await granting(world, assurance_by_risk={RiskLevel.MEDIUM: Assurance.OWN_KEY})
    record = await proposed(world)
    assert record.ask.risk is RiskLevel.HIGH  # at which no less is demanded
    assert "ASSURANCE" in (await refused("OV-403", world.click(record, "alice", channel=Channel.WEB))).message
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


@pytest.mark.parametrize("name", ["mallory", "dave", "bot-7", "reviewer-bot"])
async def test_who_could_not_approve_proposes_nothing(world: World, name: str) -> None:
    await granting(world, tiers=(tier("alice", "dave", "bot-7", "reviewer-bot"),))
    await refused("OV-403", proposed(world, name))
    assert await world.oversight.list_pending_requests(TENANT) == []


@pytest.mark.parametrize(
    "wish", [GrantWish(ttl_s=3_601, uses=1), GrantWish(ttl_s=1, uses=6), GrantWish(ttl_s=0, uses=1)]
)
async def test_beyond_the_cap_is_refused(world: World, wish: GrantWish) -> None:
    await granting(world)
    await refused("OV-400", proposed(world, wish=wish))


@pytest.mark.parametrize("changes", [{"grants": None}, {"always_ask": True}])
async def test_where_the_policy_gives_no_grant_there_is_none(world: World, changes: dict[str, Any]) -> None:
    await granting(world, **changes)
    await refused("OV-400", proposed(world))


async def test_what_is_critical_is_asked_whatever_was_granted(world: World) -> None:
    policy = await granting(world)
    await world.approve(await proposed(world), "alice")
    critical = RiskFactor(name="amount", level=RiskLevel.CRITICAL)
    assert (await world.request(policy, {"n": 1}, risk_factors=(critical,))).progress.state is RequestState.PENDING


async def test_silence_grants_nothing(world: World) -> None:
    policy = await granting(world, tiers=(tier("alice", timeout_s=60),), final_action=TimeoutAction.AUTO_APPROVE)
    record = await proposed(world)
    await world.pass_s(61)
    progress = (await world.now_of(record)).progress
    assert (progress.state, progress.final_action) == (RequestState.TIMED_OUT, TimeoutAction.AUTO_DENY)
    assert (await world.request(policy, {"n": 1})).progress.state is RequestState.PENDING


async def test_its_terms_are_taken_or_left(world: World) -> None:
    """A proposal is neither edited nor widened by "approve for": what was shown is what is granted."""
    await granting(world)
    record = await proposed(world)
    for options in ({"arguments": b'{"calls": 5}'}, {"wish": WISH}):
        await refused("OV-400", world.approve(record, "alice", **options))
    await world.deny(record, "alice", counter=(Bound(path="calls", at_most="1"),))
    assert await world.oversight.grants(TENANT) == []


async def test_who_proposes_what_is_shown_and_it_is_not_the_agents_wish(world: World) -> None:
    await granting(world)
    shown = render((await proposed(world, reason="a busy day")).ask)
    assert shown.effect == "alice proposes: bot-7 may transfer money without asking: account:7"
    assert ("calls", "2") in [(one.name, one.value) for one in shown.arguments]
    assert "2 calls at most, within 10 min from the decision" in shown.reach
    assert "its arguments may be anything" in shown.reach
    assert shown.says == ()


async def test_the_agent_itself_cancels_no_proposal(world: World) -> None:
    await granting(world)
    record = await proposed(world)
    await refused("OV-403", world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7")))
    await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("eve"))


async def test_an_unknown_agent_is_refused(world: World) -> None:
    await granting(world)
    with pytest.raises(EnablementError):
        await proposed(world, agent="agent:nhi:ed25519:nobody")


async def test_who_sits_in_anothers_seat_proposes_as_they_do(world: World) -> None:
    policy = await granting(world, tiers=(tier("alice"),))
    assert not world.oversight.sits(TENANT, policy.policy_id, id_of("mallory"))
    await refused("OV-403", proposed(world, "mallory"))
    now = world.clock.now()
    await world.oversight.delegate(
        TENANT, of=id_of("alice"), to=id_of("mallory"), starts_at=now, ends_at=ConsensusTimestamp(now + DAY), by=id_of("alice")
    )  # fmt: skip
    assert world.oversight.sits(TENANT, policy.policy_id, id_of("mallory"))
    record = await proposed(world, "mallory")
    assert (await world.approve(record, "mallory")).state is RequestState.APPROVED
