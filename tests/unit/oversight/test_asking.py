"""Asking again, replacing, cancelling: which request it is then, and who was first."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from creto.common import ids
from creto.common.timestamps import HOUR, SECOND
from creto.contracts import Approved, RiskFactor, RiskLevel, TimeoutAction
from creto.oversight import BatchItem, Channel, Quorum, RequestState, Verdict, render
from creto.store.types import Outcome
from tests.unit.oversight.test_drafted_votes import meanwhile
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.test_separation import one
from tests.unit.oversight.world import P1, P2, TENANT, World, consume, id_of, tier, token_of

HIGH = (RiskFactor(name="amount", level=RiskLevel.HIGH),)


# The same again?


@pytest.mark.parametrize(
    "other", [{"description": "Pay invoice 18"}, {"risk_factors": HIGH}, {"blocking": False}], ids=str
)
async def test_under_a_key_of_its_own_everything_that_is_shown_is_the_question(world: World, other: Any) -> None:
    first = await world.request(idempotency_key="k", description="Pay  invoice 17\n")
    await refused("PL-410", world.request(idempotency_key="k", **other))
    noise = await world.request(idempotency_key="k", description=" Pay invoice 17")
    assert noise.ask.request_id == first.ask.request_id


async def test_the_same_call_in_other_words_is_the_same_request(world: World) -> None:
    first = await world.request(risk_factors=HIGH)
    again = await world.request(description="I pay what is due", risk_factors=())
    assert again.ask.request_id == first.ask.request_id
    critical = (RiskFactor(name="x", level=RiskLevel.CRITICAL),)
    for other in ({"risk_factors": critical}, {"blocking": False, "risk_factors": HIGH}):
        await refused("PL-410", world.request(**other))


async def test_what_an_item_comes_after_is_part_of_the_question(world: World) -> None:
    def items(*after: str) -> list[BatchItem]:
        return [BatchItem(item_id="a", arguments=b"{}"), BatchItem(item_id="b", arguments=b"{}", after=after)]

    free, bound = await world.request(P2, items=items()), await world.request(P2, items=items("a"))
    assert free.ask.request_id != bound.ask.request_id
    assert free.args_hash != bound.args_hash
    assert render(free.ask).arguments != render(bound.ask).arguments
    await world.request(P2, items=items(), idempotency_key="k")
    await refused("PL-410", world.request(P2, items=items("a"), idempotency_key="k"))


async def test_silence_is_no_answer(world: World) -> None:
    policy = await world.policy(one("t", "alice"))
    first, named = await world.request(policy), await world.request(policy, {"n": 1}, idempotency_key="k")
    await world.pass_s(3_601)
    again = await world.request(policy)
    assert (again.progress.state, again.ask.request_id != first.ask.request_id) == (RequestState.PENDING, True)
    assert (await world.request(policy, {"n": 1}, idempotency_key="k")).ask.request_id == named.ask.request_id


async def test_an_approval_by_silence_is_found_again(world: World) -> None:
    policy = await world.policy(one("t", "alice", final_action=TimeoutAction.AUTO_APPROVE))
    first = await world.request(policy)
    await world.pass_s(3_601)
    assert (await world.request(policy)).ask.request_id == first.ask.request_id


# Replacing


async def test_what_is_known_already_replaces_too(world: World) -> None:
    old, known = await world.request(P1, {"n": 1}), await world.request(P1, {"n": 2})
    for _ in range(2):
        again = await world.request(P1, {"n": 2}, supersedes=old.ask.request_id)
        assert again.ask.request_id == known.ask.request_id
    ended = (await world.now_of(old)).progress
    assert (ended.state, ended.superseded_by) == (RequestState.CANCELLED, known.ask.request_id)
    await refused("OV-400", world.request(P1, {"n": 2}, supersedes=known.ask.request_id))


# Cancelling


async def test_a_cancellation_does_not_undo_what_time_has_decided(world: World) -> None:
    policy = await world.policy(one("c", "alice"))
    record = await world.request(policy)
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    world.clock.advance(6 * SECOND)
    await refused("OV-409", world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7")))
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED
    late = await world.request(policy, {"n": 2})
    world.clock.advance(2 * HOUR)
    await refused("OV-409", world.oversight.cancel(TENANT, late.ask.request_id, by=id_of("bot-7")))
    assert (await world.now_of(late)).progress.state is RequestState.TIMED_OUT
    replaced = await world.request(policy, {"n": 3})
    world.clock.advance(2 * HOUR)
    await refused("OV-409", world.request(policy, {"n": 4}, supersedes=replaced.ask.request_id))


async def test_cancelling_before_it_settles_cancels(world: World) -> None:
    record = await world.request(await world.policy(one("c", "alice")))
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    cancelled = await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    assert cancelled.progress.state is RequestState.CANCELLED
    again = await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    assert again.progress == cancelled.progress


# Whose signature


async def test_the_signature_of_a_result_is_that_of_who_decided(world: World) -> None:
    policy = await world.policy(one("s", "alice", "bob", quorum=Quorum(approvals=1, denials=2)))
    record = await world.request(policy)
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    await world.deny(record, "bob", reason="no")
    world.clock.advance(6 * SECOND)
    result = await world.oversight.result(await settled(world, record.ask.request_id), permit=False)
    assert isinstance(result, Approved)
    by = {vote.signed.ballot.verdict: vote.signed.signature for vote in (await world.oversight.case(TENANT, record.ask.request_id)).votes}  # fmt: skip
    assert (result.approver.display_name, result.signature) == ("alice", by[Verdict.APPROVE])


async def settled(world: World, request_id: Any) -> Any:
    await world.timer.advance_once(world.clock.now())
    return await asyncio.wait_for(world.oversight.get(TENANT, request_id), 10)


# What became of it


async def test_the_outcome_of_an_approved_act_is_on_record_once(world: World) -> None:
    await world.permit_all()
    record = await world.request()
    id, bot = record.ask.request_id, id_of("bot-7")
    await world.approve(record, "alice")
    token = await token_of(world, record)
    await refused("OV-409", world.oversight.report(TENANT, id, by=bot, succeeded=True))
    await consume(world, record, token)
    await refused("OV-403", world.oversight.report(TENANT, id, by=id_of("alice"), succeeded=True))
    for _ in range(2):
        await world.oversight.report(TENANT, id, by=bot, succeeded=False, detail="TimeoutError")
    await refused("OV-409", world.oversight.report(TENANT, id, by=bot, succeeded=True))
    (begun,), (ended,) = await world.entries("OverrideUsed"), await world.entries("ApprovedActEnded")
    assert (begun.outcome, ended.outcome, ended.action) == (Outcome.SUCCESS, Outcome.FAILURE, "funds.transfer")
    assert "the agent says that it failed" in (await world.request()).ask.facts[0]


async def test_a_request_made_when_the_clock_of_the_machine_was_set_back_is_found_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await world.request()
    await world.oversight.cancel(TENANT, first.ask.request_id, by=first.ask.agent)
    now = time.time_ns()
    monkeypatch.setattr(ids, "_last", (0, 0))  # as in another process
    monkeypatch.setattr(time, "time_ns", lambda: now - HOUR)
    second = await world.request()
    assert second.ask.request_id > first.ask.request_id
    assert (await world.request()).ask.request_id == second.ask.request_id


async def test_who_was_worked_out_first_and_came_last_is_found_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask_and_cancel() -> None:
        record = await world.request()
        await world.oversight.cancel(TENANT, record.ask.request_id, by=record.ask.agent)

    meanwhile(monkeypatch, world, ask_and_cancel)
    last = await world.request()
    assert (await world.request()).ask.request_id == last.ask.request_id


async def test_what_was_enough_and_is_not_any_more_gives_no_more_time(world: World) -> None:
    """Who approved leaves while it could be undone, and meanwhile time is over."""
    await world.group("ops", "alice", "bob")
    policy = await world.policy(P2, tiers=(tier("group:ops", timeout_s=100),), quorum=Quorum())
    record = await world.request(policy)
    world.clock.advance(99 * SECOND)
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    await world.group("ops", "bob")
    world.clock.advance(SECOND)
    await refused("OV-409", world.approve(record, "bob"))
    assert (await world.now_of(record)).progress.state is RequestState.TIMED_OUT
