"""The approval scenarios of vectors/oversight.json, one test each, named by their number.

Races are in tests/contract, crashes in tests/crash, what a browser is needed for in tests/integration/edge.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from creto.common import wire
from creto.common.errors import (
    EnablementError,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    OversightRequired,
    ProductId,
    SignatureVerificationFailed,
    Unauthorized,
)
from creto.common.ids import PolicyId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_CLAIM_LOOK_S
from creto.common.telemetry import Metrics
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.contracts import Approved, RiskFactor, RiskLevel, TimedOut, TimeoutAction
from creto.gate import Gate, Operation
from creto.oversight import (
    Approvals,
    ApproverGroup,
    Assurance,
    BatchItem,
    BreakGlassTerms,
    Channel,
    Counted,
    DecisionFile,
    GrantTerms,
    GrantWish,
    NotificationKind,
    Quorum,
    Record,
    RequestState,
    SignedBallot,
    Verdict,
    args_hash,
    of_call,
    proved,
    render,
    sign,
)
from creto.oversight import store as sql
from creto.oversight import store_people as people_rows
from creto.oversight.arguments import canonical
from creto.oversight.escalation import ends_at
from creto.platform.crypto import digest
from tests.unit.oversight.test_rules import an_ask
from tests.unit.oversight.world import (
    HUMANS,
    P1,
    P2,
    P3,
    TENANT,
    World,
    asked,
    consume,
    id_of,
    key_of,
    keys_of,
    pending,
    person,
    tier,
    token_of,
)


def test_every_scenario_has_its_test(vectors: Path) -> None:
    known = {one["id"] for one in json.loads((vectors / "oversight.json").read_text())["scenarios"]}
    tests = Path(__file__).parents[2]
    files = {*tests.rglob("oversight/**/test_*.py"), *tests.rglob("test_*oversight*.py")}
    tested = {f"OV-{number}" for file in files for number in re.findall(r"\btest_ov_(\d{3})", file.read_text())}
    assert known - tested == set()


def approving(number: int = 1) -> tuple[BatchItem, ...]:
    return tuple(BatchItem(item_id=f"i{n}", arguments=json.dumps({"n": n}).encode()) for n in range(number))


async def refused(code: str, work: Any) -> EnablementError:
    with pytest.raises(EnablementError) as caught:
        await work
    assert caught.value.code == code, caught.value
    return caught.value


async def decided(world: World, state: RequestState) -> Record:
    record = await world.request(P1, {"for": state})
    if state is RequestState.APPROVED:
        await world.approve(record, "alice")
    elif state is RequestState.DENIED:
        await world.deny(record, "alice")
    elif state is RequestState.CANCELLED:
        await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    else:
        for seconds in (301, 601, 901):
            await world.pass_s(seconds)
    record = await world.now_of(record)
    assert record.progress.state is state
    return record


# States


async def test_ov_004_cancelled_before_a_decision(world: World) -> None:
    record = await world.request()
    await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    error = await refused("OV-409", world.approve(record, "alice"))
    assert "already cancelled by the requester at" in error.message
    assert (await world.now_of(record)).progress.state is RequestState.CANCELLED
    assert (await world.now_of(record)).progress.reason == "cancelled by the requester"
    other = await world.request(P1, {"amount": 7})
    await world.oversight.cancel(TENANT, other.ask.request_id, by=id_of("eve"))
    assert (await world.now_of(other)).progress.reason == f"cancelled by {id_of('eve')}"
    assert f"already cancelled by {id_of('eve')} at" in (await refused("OV-409", world.approve(other, "alice"))).message


@pytest.mark.parametrize("state", [one for one in RequestState if not one.open])
async def test_ov_005_what_is_decided_stays(world: World, state: RequestState) -> None:
    record = await decided(world, state)
    oversight, of = world.oversight, (TENANT, record.ask.request_id)
    await world.permit_all()
    tries: list[Any] = [
        world.approve(record, "bob"),
        world.deny(record, "carol"),
        world.click(record, "bob", hold_s=5),
        world.approve(record, "alice", arguments=b'{"amount": 1}'),
        oversight.claim(*of, by=id_of("alice"), ttl_s=60),
        oversight.extend(*of, by=id_of("alice"), by_s=60),
        world.request(P1, {"other": 1}, supersedes=record.ask.request_id),
    ]
    before = await world.entries("StateTransition")
    if state is not RequestState.CANCELLED:
        tries.append(world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7")))
    for attempt in tries:
        error = await refused("OV-409", attempt)
        assert str(state).replace("_", " ") in error.message
        assert " at 20" in error.message
        if state in (RequestState.APPROVED, RequestState.DENIED):
            assert f"by {person('alice')}" in error.message
    await world.pass_s(10_000)
    assert (await world.now_of(record)).progress == record.progress
    assert await world.entries("StateTransition") == before


async def test_ov_008_taken_back_before_it_is_used(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    await world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("alice"), reason="second thoughts")
    error = await refused("OV-410", world.oversight.await_decision(TENANT, record.ask.request_id))
    assert error.message.startswith("REVOKED")


async def test_ov_008_a_token_that_is_out_is_worth_nothing_after(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    token = await token_of(world, record)
    await world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("alice"))
    await refused("PL-703", consume(world, record, token))


async def test_ov_008_what_silence_approved_is_taken_back_by_who_was_silent(world: World) -> None:
    policy = await world.policy(P2, final_action=TimeoutAction.AUTO_APPROVE)
    record = await world.request(policy)
    await world.at_s(record, policy.tiers[0].timeout_s)
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, TimedOut)
    token = result.override_token or ""
    await refused("OV-403", world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("mallory")))
    await world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("bob"))
    await refused("PL-703", consume(world, record, token))
    error = await refused("OV-410", world.oversight.await_decision(TENANT, record.ask.request_id))
    assert error.message.startswith("REVOKED")


async def test_ov_008_what_silence_denied_is_no_approval(world: World) -> None:
    policy = await world.policy(P2, final_action=TimeoutAction.AUTO_DENY)
    record = await world.request(policy)
    await world.at_s(record, policy.tiers[0].timeout_s)
    await refused("OV-409", world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("bob")))


@pytest.mark.parametrize(
    ("field", "value"), [("reason", "x" * 4_001), ("reason", "half \ud83d"), ("nonce", "x" * 201), ("nonce", "")]
)
async def test_a_ballot_of_ones_own_has_the_limits_of_all(world: World, field: str, value: str) -> None:
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    fits = sign(ballot, key_of("alice"))
    signed = msgspec.structs.replace(fits, ballot=msgspec.structs.replace(ballot, **{field: value}))
    error = await refused("OV-400", world.oversight.submit_response(TENANT, signed))
    assert error.field == field
    assert (await world.oversight.submit_response(TENANT, fits)).approvals == 1


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00"])
async def test_half_a_character_is_no_text(world: World, text: str) -> None:
    record = await world.request()
    await refused("OV-400", world.oversight.comment(TENANT, record.ask.request_id, text, by=id_of("alice")))
    await refused("OV-400", world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"), reason=text))


async def test_ov_010_the_same_request_is_one(world: World) -> None:
    await world.contact("alice", "U1")
    first = await world.request()
    for seconds in (5, 86_399):
        world.clock.set(ConsensusTimestamp(first.ask.created_at + seconds * SECOND))
        again = await world.request()
        assert again.ask.request_id == first.ask.request_id
    kinds = [n.kind for n in await world.oversight.notifications(TENANT, first.ask.request_id)]
    assert kinds.count(NotificationKind.ASKED) == 1


async def test_ov_011_one_key_for_two_payloads_is_a_conflict(world: World) -> None:
    first = await world.request(arguments={"amount": 1}, idempotency_key="K")
    error = await refused("PL-410", world.request(arguments={"amount": 2}, idempotency_key="K"))
    assert isinstance(error, IdempotencyConflict)
    assert [one.ask.request_id for one in await world.oversight.list_pending_requests(TENANT)] == [first.ask.request_id]


async def test_ov_012_a_key_outlives_its_day_while_the_request_is_open(world: World) -> None:
    long = await world.policy(P1, policy_id=PolicyId("long"), tiers=(tier("alice", timeout_s=7 * 86_400),))
    first = await world.request(long, idempotency_key="K")
    world.clock.advance(30 * 3_600 * SECOND)
    assert (await world.request(long, idempotency_key="K")).ask.request_id == first.ask.request_id


# Races are in tests/contract/test_oversight.py; what is not about engines is here


async def test_ov_025_a_double_click_is_one_vote(world: World) -> None:
    record = await world.request(P2)
    first = await world.click(record, "alice", delivery="d1")
    again = await world.click(record, "alice", delivery="d2")
    assert (first.approvals, again.approvals, again.state) == (1, 1, RequestState.PENDING)
    assert msgspec.structs.replace(again, counted=first.counted) == first
    assert (first.counted, again.counted) == (Counted.VOTE, Counted.REPEATED)


async def test_ov_026_two_channels_are_one_human(world: World) -> None:
    record = await world.request(P2)
    clicks = [world.click(record, "alice", channel=one) for one in (Channel.SLACK, Channel.WEB)]
    receipts = await asyncio.gather(*clicks)
    assert [one.approvals for one in receipts] == [1, 1]
    assert len({(one.state, one.missing) for one in receipts}) == 1


async def test_ov_030_a_token_is_used_once(world: World) -> None:
    for number in range(5):
        record = await world.request(arguments={"n": number})
        await world.approve(record, "alice")
        token = await token_of(world, record)
        tries = await asyncio.gather(*(consume(world, record, token) for _ in range(8)), return_exceptions=True)
        assert sum(not isinstance(one, BaseException) for one in tries) == 1


async def test_ov_031_who_lost_the_outcome_asks_the_humans_again(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    await consume(world, record, await token_of(world, record))
    error = await refused("OV-410", world.oversight.await_decision(TENANT, record.ask.request_id))
    assert error.message.startswith("UNKNOWN")
    again = await world.request()
    assert again.ask.request_id != record.ask.request_id
    assert again.progress.state is RequestState.PENDING
    assert "whether it took effect is not known" in render(again.ask).text()


# Time


async def test_ov_033_a_restart_during_a_tier_skips_nobody(world: World) -> None:
    record = await world.request()
    world.clock.set(ConsensusTimestamp(record.ask.created_at + 500 * SECOND))
    twin = world.twin()
    await twin.timer.advance_once(world.clock.now())
    await twin.timer.advance_once(world.clock.now())
    progress = (await twin.now_of(record)).progress
    assert (progress.state, progress.tier) == (RequestState.ESCALATED, 1)
    left_s = (progress.deadline_at - record.ask.created_at) / SECOND
    assert left_s == pytest.approx(500 + 600, abs=1)  # a tier's time counts from when it was reached
    assert len(await world.entries("Escalated")) == 1


async def test_ov_039_a_claim_holds_the_escalation_back(world: World) -> None:
    record = await world.request()
    await world.at_s(record, 100)
    await world.oversight.claim(TENANT, record.ask.request_id, by=id_of("alice"), ttl_s=600)
    await world.at_s(record, 699)
    assert (await world.now_of(record)).progress.tier == 0
    await world.at_s(record, 701)
    assert (await world.now_of(record)).progress.tier == 1
    await refused("OV-400", world.oversight.claim(TENANT, record.ask.request_id, by=id_of("alice"), ttl_s=10_000))


async def test_ov_039_a_claim_of_who_cannot_decide_any_more_holds_nothing_back(world: World) -> None:
    """given claims for an hour / when one's human leaves before the tier is over, one's after, and one's stays / then only that one waits."""
    before, after, stays = [await world.request(P3, arguments={"n": n}) for n in range(3)]
    for record, name in ((before, "sam"), (after, "sue"), (stays, "fay")):
        await world.at_s(before, 3_000)
        await world.oversight.claim(TENANT, record.ask.request_id, by=id_of(name), ttl_s=3_600)
    await world.group("security", "sue")
    await world.at_s(before, 3_601)

    async def states() -> list[RequestState]:
        return [(await world.now_of(one)).progress.state for one in (before, after, stays)]

    assert await states() == [RequestState.TIMED_OUT, RequestState.PENDING, RequestState.PENDING]
    assert await world.store.read(lambda tx: sql.due(tx, world.clock.now(), 10)) == []  # it looks again in a while
    await world.nhi.revoke(TENANT, id_of("sue"), reason="left")
    await world.at_s(before, 3_602 + OVERSIGHT_CLAIM_LOOK_S)
    assert await states() == [RequestState.TIMED_OUT, RequestState.TIMED_OUT, RequestState.PENDING]
    await world.approve(stays, "fay")  # who cannot be outvoted by time, as long as the claim lasts
    await world.at_s(before, 6_601)
    assert (await states())[2] is RequestState.TIMED_OUT


async def test_ov_040_a_warning_before_the_end(world: World) -> None:
    await world.contact("alice", "U1")
    record = await world.request()
    await world.at_s(record, 241)
    await world.at_s(record, 242)
    kinds = [n.kind for n in await world.oversight.notifications(TENANT, record.ask.request_id)]
    assert kinds.count(NotificationKind.WARNED) == 1
    before = ends_at((await world.now_of(record)).progress)
    after = await world.oversight.extend(TENANT, record.ask.request_id, by=id_of("alice"), by_s=300)
    assert ends_at(after.progress) == before + 300 * SECOND


async def test_ov_043_a_timer_that_dies_leaves_nothing_undone(world: World) -> None:
    records = [await world.request(arguments={"n": number}) for number in range(50)]
    world.clock.advance(301 * SECOND)
    assert await world.timer.advance_once(world.clock.now(), limit=20) == 20  # then it is killed
    assert await world.twin().timer.advance_once(world.clock.now()) == 30
    assert await world.timer.advance_once(world.clock.now()) == 0
    assert {(await world.now_of(one)).progress.tier for one in records} == {1}
    assert len(await world.entries("Escalated")) == 50


async def test_ov_047_a_tier_of_the_owner_is_passed_over(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("own"), tiers=(tier("alice", timeout_s=300), tier("dave", name="owner"), tier("eve", name="third")))  # fmt: skip
    record = await world.request(policy)
    await world.at_s(record, 301)
    assert (await world.now_of(record)).progress.tier == 2
    (skip,) = await world.entries("TierSkipped")
    assert b"tier owner: its people are the agent's owner" in bytes(skip.metadata)
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(record, "dave"))).message


async def test_a_tier_has_a_name_of_its_own(world: World) -> None:
    """given a policy of before in which two tiers are called alike / then it holds, and none is put like it any more."""
    alike = msgspec.structs.replace(
        P1, policy_id=PolicyId("alike"), version=1, tiers=(tier("alice", timeout_s=300), tier("bob"))
    )
    error = await refused("OV-400", world.policy(alike))
    assert (error.field, error.got) == ("tiers[1].name", "tier")
    await world.store.write(lambda tx: people_rows.add_policy(tx, TENANT, alike, id_of("eve"), world.clock.now()))
    other = world.twin()
    record = await other.request(alike)
    await other.at_s(record, 301)
    assert (await other.approve(record, "bob")).state is RequestState.APPROVED
    assert DecisionFile.decode(await other.oversight.decision_file(TENANT, record.ask.request_id)).policy == alike


# Quorum and separation of duties


async def test_ov_048_the_agent_cannot_approve(world: World) -> None:
    record = await world.request()
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(record, "bot-7"))).message


async def test_ov_050_a_delegate_of_the_owner_cannot_launder(world: World) -> None:
    now = world.clock.now()
    await world.oversight.delegate(
        TENANT,
        of=id_of("dave"),
        to=id_of("alice"),
        starts_at=now,
        ends_at=ConsensusTimestamp(now + DAY),
        by=id_of("dave"),
    )
    record = await world.request()
    error = await refused("OV-403", world.approve(record, "alice", on_behalf_of=person("dave")))
    assert "SELF_APPROVAL" in error.message
    assert str(person("dave")) in error.message
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_ov_053_two_accounts_are_one_human(world: World) -> None:
    await world.contact("alice", "U1", Channel.SLACK)
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    record = await world.request(P2)
    for channel, address in ((Channel.SLACK, "U1"), (Channel.EMAIL, "alice@corp.example")):
        assert world.oversight.who(TENANT, channel, address) == id_of("alice")
        receipt = await world.click(record, "alice", channel=channel, delivery=address)
    assert receipt.approvals == 1


async def test_ov_054_strangers_make_no_quorum(world: World) -> None:
    record = await world.request(P2)
    for name in ("mallory", "trudy"):
        assert "NOT_ELIGIBLE" in (await refused("OV-403", world.approve(record, name))).message
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


async def test_ov_055_and_of_groups(world: World) -> None:
    record = await world.request(P3)
    await world.approve(record, "sam")
    receipt = await world.approve(record, "sue")
    assert (receipt.state, receipt.missing_groups) == (RequestState.PENDING, ("finance",))
    assert (await world.approve(record, "fay")).state is RequestState.APPROVED


async def test_ov_056_a_deny_threshold(world: World) -> None:
    policy = await world.policy(P2, policy_id=PolicyId("two"), quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy)
    await world.deny(record, "alice")
    await world.approve(record, "bob")
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


async def test_ov_057_a_changed_vote(world: World) -> None:
    policy = await world.policy(P2, policy_id=PolicyId("two"), quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy)
    await world.approve(record, "alice")
    receipt = await world.deny(record, "alice")
    assert (receipt.approvals, receipt.denials) == (0, 1)
    assert len(await world.entries("ApprovalReceived")) == len(await world.entries("DenialReceived")) == 1


async def test_ov_058_groups_in_groups(world: World) -> None:
    for group in (
        ApproverGroup(name="ops", members=("group:ops-eu",)),
        ApproverGroup(name="ops-eu", members=(id_of("alice"), "group:ops")),
    ):
        await world.oversight.put_group(TENANT, group, by=id_of("eve"))
    policy = await world.policy(P1, policy_id=PolicyId("ops"), tiers=(tier("group:ops"),))
    record = await world.request(policy)
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


@pytest.mark.parametrize("revalidate", [True, False])
async def test_ov_059_who_approved_is_looked_at_again(world: World, revalidate: bool) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("again"), revalidate=revalidate)
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.nhi.suspend(TENANT, id_of("alice"), actor=id_of("eve"))
    if revalidate:
        assert "NOT_IN_FORCE" in (await refused("OV-451", token_of(world, record))).message
        assert len(await world.entries("PermitRefused")) == 1
    else:
        await token_of(world, record)
        assert len(await world.entries("OverrideIssued")) == 1


async def test_ov_062_delegations_in_a_circle_end(world: World) -> None:
    now = world.clock.now()
    for of, to in (("alice", "bob"), ("bob", "carol"), ("carol", "alice")):
        await world.oversight.delegate(
            TENANT, of=id_of(of), to=id_of(to), starts_at=now, ends_at=ConsensusTimestamp(now + DAY), by=id_of(of)
        )
    policy = await world.policy(P1, policy_id=PolicyId("loop"), tiers=(tier("alice", name="first"), tier("eve")))
    record = await world.request(policy)
    assert record.progress.tier == 1
    (skip,) = await world.entries("TierSkipped")
    assert b"run in a circle" in bytes(skip.metadata)


async def test_ov_064_a_delegation_ends_just_before_its_end(world: World) -> None:
    start = ConsensusTimestamp(world.clock.now() + 100 * SECOND)
    end = ConsensusTimestamp(start + 100 * SECOND)
    await world.oversight.delegate(TENANT, of=id_of("alice"), to=id_of("mallory"), starts_at=start, ends_at=end, by=id_of("alice"))  # fmt: skip
    policy = await world.policy(P1, policy_id=PolicyId("one"), tiers=(tier("alice"),))
    records = [await world.request(policy, {"n": n}) for n in range(2)]
    world.clock.set(start)
    assert (await world.approve(records[0], "mallory")).state is RequestState.APPROVED
    world.clock.set(end)
    assert "NOT_ELIGIBLE" in (await refused("OV-403", world.approve(records[1], "mallory"))).message
    assert (await world.approve(records[1], "alice")).state is RequestState.APPROVED


async def test_ov_065_an_ai_is_no_human(world: World) -> None:
    policy = await world.policy(P2, policy_id=PolicyId("ai"), tiers=(tier("alice", "bob", "reviewer-bot"),))
    record = await world.request(policy)
    assert "NOT_HUMAN" in (await refused("OV-403", world.approve(record, "reviewer-bot"))).message
    receipt = await world.approve(record, "alice")
    assert (receipt.approvals, receipt.state) == (1, RequestState.PENDING)


# Channels, as far as they rest on what is here


async def test_ov_071_and_074_the_same_delivery_is_one_decision(world: World) -> None:
    policy = await world.policy(P2, policy_id=PolicyId("two"), quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy)
    await world.click(record, "alice", delivery="bytes-1")
    await world.click(record, "alice", Verdict.DENY, delivery="bytes-2")
    receipt = await world.click(record, "alice", delivery="bytes-1")
    assert (receipt.approvals, receipt.denials, receipt.counted) == (0, 1, Counted.REPEATED)


async def test_ov_073_a_delivery_that_crashed_before_its_commit_counts_when_it_comes_again(world: World) -> None:
    record = await world.request()

    def killed(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed before the commit")

    world.oversight.save = killed  # type: ignore[assignment,method-assign]
    with pytest.raises(RuntimeError):
        await world.click(record, "alice", delivery="bytes-1")
    receipt = await world.twin().click(record, "alice", delivery="bytes-1")
    assert (receipt.state, receipt.counted) == (RequestState.APPROVED, Counted.VOTE)


test_ov_074_a_retry_of_what_was_committed = test_ov_071_and_074_the_same_delivery_is_one_decision


async def test_ov_076_a_card_is_found_by_where_it_was_posted(world: World) -> None:
    await world.contact("alice", "U1")
    record = await world.request()
    (card,) = await world.oversight.due_notifications(Channel.SLACK)
    await world.oversight.sent(card, reference="T1/A1/C1/17.1")
    found = await world.oversight.card(TENANT, Channel.SLACK, "T1/A1/C1/17.1")
    assert found.request_id == record.ask.request_id
    for other in ("T2/A1/C1/17.1", "T1/A2/C1/17.1", "T1/A1/C1/17.2"):
        await refused("OV-404", world.oversight.card(TENANT, Channel.SLACK, other))


async def test_ov_081_every_card_is_closed(world: World) -> None:
    await world.contact("alice", "U1", Channel.SLACK)
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    record = await world.request()
    for channel in (Channel.SLACK, Channel.EMAIL):
        (card,) = await world.oversight.due_notifications(channel)
        await world.oversight.sent(card, reference=f"{channel}-1")
    await world.click(record, "alice", channel=Channel.WEB)
    for channel in (Channel.SLACK, Channel.EMAIL):
        (closing,) = await world.twin().oversight.due_notifications(channel)
        assert closing.kind is NotificationKind.CLOSED


async def test_ov_082_a_card_works_after_a_restart(world: World) -> None:
    record = await world.request()
    assert (await world.twin().click(record, "alice", delivery="d1")).state is RequestState.APPROVED


async def test_ov_087_another_tenants_request_is_unknown(world: World) -> None:
    record = await world.request()
    said = []
    for request_id in (record.ask.request_id, RequestId("req-none")):
        with pytest.raises(NotFound) as caught:
            await world.oversight.get(TenantId("other"), request_id)
        said.append((caught.value.code, caught.value.message))
    assert said[0] == said[1]


async def test_ov_094_a_forwarded_link_is_not_alice(world: World) -> None:
    record = await world.request()
    error = await refused("OV-403", world.click(record, "alice", channel=Channel.EMAIL, assurance=Assurance.BEARER))
    assert "ASSURANCE" in error.message
    low = await world.policy(P1, policy_id=PolicyId("low"), assurance=Assurance.BEARER)
    record = await world.request(low, {"amount": 1})
    await world.click(record, "alice", channel=Channel.EMAIL, assurance=Assurance.BEARER)
    decision = DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))
    assert decision.votes[0].signed.label == "bearer:email"


def test_ov_098_markup_and_direction_are_shown(world: World) -> None:
    ask = an_ask({"reason": "<script>alert(1)</script>\u202egnp.exe\u200b"})
    shown = render(ask)
    assert "⟦U+202E⟧gnp.exe⟦U+200B⟧" in shown.text()
    assert any("markup" in warning for warning in shown.warnings)
    assert any("direction" in warning for warning in shown.warnings)
    assert "\u202e" not in shown.text()


async def test_ov_099_and_100_a_repeated_mail_is_the_same_one(world: World) -> None:
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    await world.request()
    (first,) = await world.oversight.due_notifications(Channel.EMAIL)
    await world.oversight.failed(first, "451 greylisted", retry_after_s=5)
    assert await world.oversight.due_notifications(Channel.EMAIL) == []
    world.clock.advance(5 * SECOND)
    (again,) = await world.oversight.due_notifications(Channel.EMAIL)
    assert (again.notification_id, again.attempts) == (first.notification_id, 1)
    done = await world.oversight.sent(again)
    assert done.attempts == 2


test_ov_100_cut_after_the_mail_was_taken = test_ov_099_and_100_a_repeated_mail_is_the_same_one


async def test_ov_111_a_dead_address_falls_back_to_the_next(world: World) -> None:
    await world.contact("alice", "https://alice.example/hook", Channel.WEBHOOK)
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    policy = await world.policy(P1, policy_id=PolicyId("hook"), tiers=(tier("alice"),))
    record = await world.request(policy)
    (hook,) = await world.oversight.due_notifications(Channel.WEBHOOK)
    before = len(await world.oversight.notifications(TENANT, record.ask.request_id))
    await world.oversight.unlink(TENANT, Channel.EMAIL, "alice@corp.example", by=id_of("alice"))
    await world.contact("alice", "U1", Channel.SLACK)
    await world.oversight.failed(hook, "410 Gone", retry_after_s=None)
    (other,) = await world.oversight.due_notifications(Channel.SLACK)
    assert (other.kind, other.person) == (NotificationKind.ASKED, person("alice"))
    assert len(await world.oversight.notifications(TENANT, record.ask.request_id)) == before + 1
    assert [n.channel for n in (await world.oversight.health(TENANT)).undelivered if n.error] == [Channel.WEBHOOK]


async def test_ov_112_who_asks_twice_gets_the_same_bytes(world: World) -> None:
    record = await world.request()
    waiting = asyncio.create_task(world.oversight.await_decision(TENANT, record.ask.request_id))
    await asyncio.sleep(0)
    await world.approve(record, "alice")
    results = [await waiting, await world.oversight.await_decision(TENANT, record.ask.request_id)]
    assert results[0] == results[1]
    files = [await one.oversight.decision_file(TENANT, record.ask.request_id) for one in (world, world.twin())]
    assert files[0] == files[1]


async def test_ov_113_a_decision_before_the_wait(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    assert isinstance(await world.oversight.await_decision(TENANT, record.ask.request_id, timeout_s=30), Approved)


# Durability


async def test_ov_132_what_was_done_before_the_pause_is_not_done_again(world: World) -> None:
    gate, done = Approvals(world.oversight), []

    async def agent() -> object:
        done.append("before")
        return await gate.await_approval(TENANT, None, asked())

    running = asyncio.create_task(agent())
    await pending(world)
    (record,) = await world.oversight.list_pending_requests(TENANT)
    await world.approve(record, "alice")
    assert isinstance(await running, Approved)
    assert done == ["before"]


async def test_ov_134_history_stays(world: World) -> None:
    voted = await world.request(P2, {"n": 1})
    await world.approve(voted, "alice")
    for _ in range(3):
        await world.pass_s(4_000)
    world.clock.advance(90 * DAY)
    oversight = world.oversight
    for found in (
        await oversight.history(TENANT, agent=id_of("bot-7")),
        await oversight.history(TENANT, approver=id_of("alice")),
        await oversight.history(TENANT, start=voted.ask.created_at, end=voted.ask.created_at + DAY),
    ):
        assert [(one.ask.request_id, one.progress.state) for one in found] == [
            (voted.ask.request_id, RequestState.TIMED_OUT)
        ]


# Tokens and grants


async def test_ov_141_no_token_is_stored(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Neither in the database nor in what is logged, at any level, where it is used, used again and refused."""
    caplog.set_level(logging.DEBUG)
    record = await world.request()
    await world.approve(record, "alice")
    token = await token_of(world, record)
    await consume(world, record, token)
    await refused("PL-704", consume(world, record, token))
    await refused("PL-703", consume(world, record, token[:-4] + "AAAA"))
    await refused("OV-410", world.oversight.await_decision(TENANT, record.ask.request_id))
    entries = wire.encode(await world.entries())
    world.store.close()
    said = capfd.readouterr()
    dump = b"".join((files_of(tmp_path), entries, caplog.text.encode(), said.out.encode(), said.err.encode()))
    assert record.ask.request_id.encode() in dump
    assert token.encode() not in dump
    assert token.split(".")[1].encode() not in dump


async def test_ov_144_a_grant_beyond_the_cap_is_refused(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=7 * 86_400, uses_max=10))
    record = await world.request(policy)
    await refused("OV-400", world.approve(record, "alice", wish=GrantWish(ttl_s=30 * 86_400, uses=1)))
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    assert await world.oversight.grants(TENANT) == []


async def test_ov_147_no_grant_for_what_is_always_asked(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=60, uses_max=10))
    critical = RiskFactor(name="irreversible", level=RiskLevel.CRITICAL)
    record = await world.request(policy, risk_factors=(critical,))
    await refused("OV-400", world.approve(record, "alice", wish=GrantWish(ttl_s=60, uses=1)))


async def test_ov_149_break_glass_is_disarmed_or_expires_on_record(world: World) -> None:
    terms = BreakGlassTerms(armers=(id_of("carol"),))
    policy = await world.policy(P1, policy_id=PolicyId("glass"), break_glass=terms)
    arm = {"agent": id_of("bot-7"), "action": "code.deploy", "resource": "service:web", "by": id_of("carol")}
    first = await world.oversight.break_glass(TENANT, policy.policy_id, reason="outage 7", **arm)
    world.clock.advance(120 * SECOND)
    await world.oversight.end_grant(TENANT, first.grant_id, by=id_of("carol"))
    second = await world.oversight.break_glass(TENANT, policy.policy_id, reason="outage 8", **arm)
    used = await world.request(policy, action="code.deploy", resource="service:web")
    assert (used.progress.state, used.progress.grant_id) == (RequestState.APPROVED, second.grant_id)
    await world.pass_s(901)
    assert len(await world.entries("BreakGlassArmed")) == 2
    assert len(await world.entries("BreakGlassDisarmed")) == len(await world.entries("BreakGlassExpired")) == 1
    reviews = [one for one in await world.oversight.list_pending_requests(TENANT) if one.ask.break_glass]
    assert len(reviews) == 2
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(reviews[0], "carol"))).message


# What is shown and bound


def test_ov_154_every_argument_is_shown() -> None:
    shown = render(an_ask(of_call(("secret-db",), {"drop": True})))
    assert [str(line) for line in shown.arguments] == ['args[0] = "secret-db"', "kwargs.drop = true"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"tool": "a\\nb", "id": "c"}', '{"tool": "a", "id": "b\\nc"}'),
        ('{"n": 1}', '{"n": 1.0}'),
        ('{"n": 1}', '{"n": "1"}'),
        ('{"n": 0}', '{"n": -0}'),
        ('{"n": 0.0}', '{"n": -0.0}'),
        ('{"n": 9007199254740992}', '{"n": 9007199254740993}'),
        ('{"n": "\\u00e9"}', '{"n": "e\\u0301"}'),
        ('{"n": null}', "{}"),
        ('{"a": {"b": 1}}', '{"a.b": 1}'),
        ("[1,2]", "[2,1]"),
    ],
)
def test_ov_155_two_calls_have_two_hashes(one: str, other: str) -> None:
    assert args_hash("a", "r", one.encode()) != args_hash("a", "r", other.encode())


def test_ov_155_only_the_order_of_keys_is_free() -> None:
    assert args_hash("a", "r", b'{"x": 1, "y": {"b": 2, "a": 3}}') == args_hash("a", "r", b'{"y":{"a":3,"b":2},"x":1}')


@pytest.mark.parametrize("raw", [b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": Infinity}', b"\xff", b'"\\ud800"', b"[" * 99 + b"]" * 99])  # fmt: skip
def test_ov_155_what_has_two_meanings_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        canonical(raw)


async def test_ov_159_an_edit_makes_other_votes_stale(world: World) -> None:
    await world.permit_all()
    record = await world.request(P2, {"amount": 50})
    await world.approve(record, "bob")
    receipt = await world.approve(record, "alice", arguments=b'{"amount": 40}')
    assert (receipt.round, receipt.approvals, receipt.state) == (2, 1, RequestState.PENDING)
    assert (await world.approve(record, "bob")).state is RequestState.APPROVED
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Approved)
    assert result.arguments == b'{"amount": 40}'
    await world.authz.consume_durable(
        result.override_token or "", tenant=TENANT, agent=id_of("bot-7"), action="funds.transfer", resource="account:7",
        args_digest=digest(b'{"amount": 40}'), policy_id=P2.policy_id,
    )  # fmt: skip


async def test_ov_160_a_replaced_request_decides_nothing(world: World) -> None:
    old = await world.request(arguments={"amount": 50})
    new = await world.request(arguments={"amount": 60}, supersedes=old.ask.request_id)
    assert new.ask.request_id != old.ask.request_id
    error = await refused("OV-409", world.approve(old, "alice"))
    assert f"superseded by {new.ask.request_id}" in error.message


async def test_ov_162_a_batch_is_decided_by_id(world: World) -> None:
    items = approving(4)
    record = await world.request(items=items, arguments={})
    verdicts = {"i3": Verdict.DENY, "i0": Verdict.APPROVE, "i2": Verdict.APPROVE, "i1": Verdict.DENY}
    await world.approve(record, "alice", items=verdicts)
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Approved)
    assert result.approved_items == ("i0", "i2")
    assert json.loads(result.arguments or b"")["items"] == [{"id": "i0", "arguments": {"n": 0}}, {"id": "i2", "arguments": {"n": 2}}]  # fmt: skip


def test_ov_165_the_agents_words_are_fenced() -> None:
    words = "SYSTEM: pre-approved by CFO, click Approve"
    shown = render(msgspec.structs.replace(an_ask({"amount": 1}), reasoning=(words,)))
    before, after = shown.text().split("The agent says (not verified):")
    assert words not in before
    assert f"| {words}" in after
    assert any("imitate the system" in warning for warning in shown.warnings)


def test_ov_167_long_words_are_bounded_and_marked() -> None:
    shown = render(msgspec.structs.replace(an_ask({}), reasoning=("word " * 40_000,)))
    assert len(shown.text()) < 20_000
    assert "characters more are not shown" in shown.says_note


# Signatures

BOUND: dict[str, Any] = {
    "request_id": RequestId("req-other"), "tenant": TenantId("other"), "installation": "elsewhere", "args_hash": b"x" * 33,
    "display_hash": b"x" * 33, "verdict": Verdict.DENY, "policy_version": 9, "policy_hash": b"x" * 33,
    "policy_id": PolicyId("P9"), "tier": 7, "nonce": "0" * 32, "signed_at": 1, "agent": id_of("reviewer-bot"),
    "action": "data.delete", "resource": "account:8", "round": 2, "person": person("bob"), "approver": id_of("bob"),
}  # fmt: skip


ANEW = [(field, True) for field in BOUND if field not in ("verdict", "nonce")]  # with those it is a ballot of its own


@pytest.mark.parametrize(("field", "again"), [*((field, False) for field in BOUND), *ANEW])
async def test_ov_172_a_ballot_is_bound_to_everything(world: World, field: str, again: bool) -> None:
    """Altered under the same signature, and signed anew by the approver."""
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    forged = msgspec.structs.replace(ballot, **{field: BOUND[field]})
    signed = SignedBallot(ballot=forged, proof=sign(ballot, key_of("alice")).proof)
    with pytest.raises(EnablementError) as caught:
        await world.oversight.submit_response(TENANT, sign(forged, key_of("alice")) if again else signed)
    assert caught.value.code in ("OV-401", "OV-404", "OV-409")
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


@pytest.mark.parametrize("grace_s", [0, 60])
async def test_ov_174_a_revoked_key(world: World, grace_s: int) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("grace"), key_grace_s=grace_s)
    record = await world.request(policy)

    async def signed() -> SignedBallot:
        ballot = await world.oversight.ballot(
            TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
        )
        return sign(ballot, key_of("alice"))

    early = await signed()
    world.clock.advance(SECOND)
    await world.nhi.revoke(TENANT, id_of("alice"))
    world.clock.advance(SECOND)
    late = await signed()
    await refused("OV-403", world.oversight.submit_response(TENANT, late))
    if grace_s:
        assert (await world.oversight.submit_response(TENANT, early)).state is RequestState.APPROVED
    else:
        await refused("OV-403", world.oversight.submit_response(TENANT, early))


async def test_ov_175_a_relayed_decision_says_so(world: World) -> None:
    record = await world.request()
    await world.click(record, "alice", delivery="d1")
    decision = DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))
    proved(decision, keys_of(*HUMANS))
    (vote,) = decision.votes
    assert (vote.signed.label, vote.signed.assurance) == ("relayed:slack", Assurance.RELAYED)
    with pytest.raises(SignatureVerificationFailed):
        vote.signed.verify(key_of("alice").public)


async def test_ov_185_there_is_no_side_door(world: World) -> None:
    await world.authz.upload_policies(
        TENANT, 'permit (principal, action, resource); @id("big") @oversight("P1") forbid (principal, action == Action::"funds.transfer", resource);',
        actor=id_of("eve"), activate=True,
    )  # fmt: skip
    gate = Gate(world.nhi, world.authz, world.store, world.clock, Metrics())
    direct = Operation(
        tenant=TENANT, agent=id_of("dave"), action="funds.transfer", resource="account:7", product=ProductId.RUNTIME,
        arguments=b'{"amount":50}',
    )  # fmt: skip
    with pytest.raises(OversightRequired):
        await gate.authorized_operation(direct)
    record = await world.request(agent="dave", arguments=b'{"amount":50}')
    await world.approve(record, "alice")
    allowed = msgspec.structs.replace(direct, override_token=await token_of(world, record))
    assert (await gate.authorized_operation(allowed)).overridden == "P1"
    for once_more in (allowed, msgspec.structs.replace(allowed, arguments=b'{"amount":51}')):
        with pytest.raises(Unauthorized):
            await gate.authorized_operation(once_more)


def files_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
