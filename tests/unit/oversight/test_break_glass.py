"""Break-glass: act first, answer for it in a review that means something."""

from __future__ import annotations

from typing import Any

import pytest

from creto.common.ids import PolicyId
from creto.common.timestamps import SECOND
from creto.contracts import Approved, TimedOut, TimeoutAction
from creto.oversight import (
    Approvals,
    Bound,
    BreakGlassTerms,
    Channel,
    Grant,
    GrantTerms,
    GrantWish,
    NotificationKind,
    OversightPolicy,
    Record,
    RequestState,
)
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import TENANT, World, consume, id_of, tier, token_of

GLASS = OversightPolicy(
    policy_id=PolicyId("glass"),
    tiers=(tier("bob", timeout_s=60), tier("eve", timeout_s=60, name="second")),
    break_glass=BreakGlassTerms(armers=(id_of("alice"),)),
    grants=GrantTerms(ttl_s_max=3_600, uses_max=10),
    final_action=TimeoutAction.AUTO_APPROVE,
)


@pytest.fixture
async def glass(world: World) -> OversightPolicy:
    await world.permit_all()
    return await world.policy(GLASS)


async def arm(world: World) -> tuple[Grant, Record]:
    grant = await world.oversight.break_glass(
        TENANT, GLASS.policy_id, agent=id_of("bot-7"), action="funds.transfer", resource="account:7",
        by=id_of("alice"), reason="outage",
    )  # fmt: skip
    return grant, await world.oversight.get(TENANT, grant.request_id)


async def test_a_denied_review_ends_what_it_let_through(world: World, glass: OversightPolicy) -> None:
    grant, review = await arm(world)
    used, begun, waiting = [await world.request(glass, {"n": n}) for n in range(3)]
    await consume(world, used, await token_of(world, used))
    token = await token_of(world, begun)
    assert (await world.deny(review, "bob", reason="no outage")).state is RequestState.DENIED
    await refused("PL-703", consume(world, begun, token))
    assert "REVOKED" in (await refused("OV-410", token_of(world, waiting))).message
    assert (await world.request(glass, {"n": 9})).progress.state is RequestState.PENDING
    (ended,) = [one for one in await world.oversight.grants(TENANT) if one.grant_id == grant.grant_id]
    assert ended.ended_by == id_of("bob")
    assert len(await world.entries("BreakGlassDisarmed")) == 1


async def test_an_approved_review_lets_nothing_begin(world: World, glass: OversightPolicy) -> None:
    _, review = await arm(world)
    await world.approve(review, "bob")
    result = await world.oversight.await_decision(TENANT, review.ask.request_id)
    assert isinstance(result, Approved)
    assert result.override_token is None
    assert (await world.request(glass)).progress.state is RequestState.APPROVED


async def test_nobody_takes_a_review_back(world: World, glass: OversightPolicy) -> None:
    """given a review of what an agent did without asking / when the agent or an operator cancels it, or the agent replaces it / then it is reviewed all the same."""
    _, review = await arm(world)
    for who in ("bot-7", "alice", "eve"):
        await refused("OV-403", world.oversight.cancel(TENANT, review.ask.request_id, by=id_of(who)))
    await refused("OV-403", Approvals(world.oversight).cancel_approval(TENANT, review.ask.request_id))
    await refused("OV-403", world.request(glass, {"n": 9}, supersedes=review.ask.request_id))
    assert (await world.deny(review, "bob")).state is RequestState.DENIED


async def test_silence_about_a_review_is_an_alarm(world: World, glass: OversightPolicy) -> None:
    await world.contact("bob", "UBOB")
    await world.contact("eve", "UEVE")
    _, review = await arm(world)
    for _ in range(2):
        world.clock.advance(61 * SECOND)
        await world.timer.advance_once(world.clock.now())
    result = await world.oversight.await_decision(TENANT, review.ask.request_id)
    assert result == TimedOut(timeout_action=TimeoutAction.AUTO_DENY)
    assert len(await world.entries("BreakGlassUnreviewed")) == 1
    told = await world.oversight.notifications(TENANT, review.ask.request_id)
    alarms = [one.address for one in told if one.kind is NotificationKind.ALARM]
    assert sorted(alarms) == ["UBOB", "UBOB", "UEVE", "UEVE"]  # when it was armed, and now
    headings = {(await world.oversight.letter(one)).heading for one in told if one.kind is NotificationKind.ALARM}
    assert headings == {"Break-glass was not reviewed in time"}


async def test_the_alarm_reaches_everybody_who_may_approve(world: World, glass: OversightPolicy) -> None:
    for name in ("bob", "eve", "alice", "dave"):
        await world.contact(name, f"{name}@corp.example", Channel.EMAIL)
    _, review = await arm(world)
    told = await world.oversight.notifications(TENANT, review.ask.request_id)
    alarms = {one.address for one in told if one.kind is NotificationKind.ALARM}
    assert alarms == {"bob@corp.example", "eve@corp.example"}


@pytest.mark.parametrize(
    "options",
    [
        {"wish": GrantWish(ttl_s=60, uses=2)},
        {"arguments": b'{"action":"other"}'},
        {"counter": (Bound(path="action", equal='"x"'),), "verdict": "deny"},
    ],
    ids=["approve-for", "edit", "counter"],
)
async def test_a_review_is_a_plain_yes_or_no(world: World, glass: OversightPolicy, options: dict[str, Any]) -> None:
    _, review = await arm(world)
    say = world.deny if options.pop("verdict", None) else world.approve
    await refused("OV-400", say(review, "bob", **options))


async def test_nobody_asks_for_what_looks_like_a_review(world: World, glass: OversightPolicy) -> None:
    await refused("OV-400", world.request(glass, action="break_glass_review"))


async def test_the_glass_is_broken_by_who_may_still_do_so(world: World, glass: OversightPolicy) -> None:
    await arm(world)
    held = await world.request(glass, {"n": 1})
    assert held.progress.state is RequestState.APPROVED
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    await refused("OV-451", token_of(world, held))
    assert (await world.request(glass, {"n": 2})).progress.state is RequestState.PENDING


async def test_an_ancestor_of_the_call_did_not_break_the_glass(world: World, glass: OversightPolicy) -> None:
    await arm(world)
    behind = await world.request(glass, {"n": 1}, chain=("alice", "bot-7"))
    assert behind.progress.state is RequestState.PENDING
