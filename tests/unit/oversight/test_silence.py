"""Silence: when nobody decides in time, and the policy says that this is a yes."""

from __future__ import annotations

import msgspec
import pytest

from creto.contracts import (
    SUBJECT_DECISION,
    DecisionApproved,
    DecisionDenied,
    OversightDecisionEvent,
    TimedOut,
    TimeoutAction,
)
from creto.edge.api.approval_views import Outcome
from creto.oversight import DecisionFile, OversightPolicy, Quorum, Verdict
from creto.oversight.arguments import args_hash
from creto.oversight.letters import decision_line
from creto.oversight.proof import verify_decision_file
from creto.platform.crypto import digest
from creto.sdk.waiting import allowed
from tests.unit.oversight.test_scenarios import approving
from tests.unit.oversight.test_separation import one
from tests.unit.oversight.test_service import events
from tests.unit.oversight.world import HUMANS, TENANT, World, keys_of

TWO = Quorum(approvals=2, denials=2)


@pytest.fixture
async def silent(world: World) -> OversightPolicy:
    await world.permit_all()
    return await world.policy(one("s", "alice", "bob", "carol", quorum=TWO, final_action=TimeoutAction.AUTO_APPROVE))


async def test_an_edit_and_then_silence_is_the_edit(world: World, silent: OversightPolicy) -> None:
    record = await world.request(silent, {"amount": 500})
    await world.approve(record, "alice", arguments=b'{"amount":40}')
    await world.pass_s(3_601)
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, TimedOut)
    assert result.arguments == b'{"amount":40}'
    now = await world.now_of(record)
    token, arguments = allowed(Outcome(request_id=record.ask.request_id, state=now.progress.state, result=result))
    assert arguments == b'{"amount":40}'
    await world.authz.consume_durable(
        token, tenant=TENANT, agent=record.ask.agent, action=record.ask.action, resource=record.ask.resource,
        args_digest=digest(arguments), policy_id=silent.policy_id,
    )  # fmt: skip


async def test_every_channel_is_told_what_silence_means(world: World, silent: OversightPolicy) -> None:
    approved, denied = await world.request(silent, {"amount": 1}), await world.request(silent, {"amount": 2})
    await world.deny(denied, "alice", reason="no")
    await world.pass_s(3_601)
    lines = [decision_line(await world.now_of(one), [], "") for one in (approved, denied)]
    assert lines[0].endswith(": nobody decided in time, which approves it")
    assert lines[1].endswith(": nobody decided in time, and somebody had denied, which denies it")


async def test_silence_about_a_batch_is_all_of_it(world: World, silent: OversightPolicy) -> None:
    record = await world.request(silent, items=approving(3))
    await world.pass_s(3_601)
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, TimedOut)
    assert (result.approved_items, result.arguments) == (("i0", "i1", "i2"), record.ask.arguments)


async def test_what_somebody_denied_is_approved_by_no_silence(world: World, silent: OversightPolicy) -> None:
    batch = await world.request(silent, items=approving(2))
    await world.approve(batch, "alice", items={"i1": Verdict.DENY})
    whole = await world.request(silent)
    await world.deny(whole, "alice", reason="no")
    await world.pass_s(3_601)
    result = await world.oversight.await_decision(TENANT, batch.ask.request_id)
    assert isinstance(result, TimedOut)
    assert result.approved_items == ("i0",)
    denied = await world.oversight.await_decision(TENANT, whole.ask.request_id)
    assert denied == TimedOut(timeout_action=TimeoutAction.AUTO_DENY)


@pytest.mark.parametrize("action", [TimeoutAction.AUTO_APPROVE, TimeoutAction.AUTO_DENY])
async def test_the_bus_and_the_file_say_what_the_waiter_learns(world: World, action: TimeoutAction) -> None:
    policy = await world.policy(one("s", "alice", final_action=action))
    record = await world.request(policy)
    await world.pass_s(3_601)
    (row,) = await events(world, SUBJECT_DECISION)
    said = msgspec.json.decode(row.payload, type=OversightDecisionEvent).decision
    assert isinstance(said, DecisionApproved if action is TimeoutAction.AUTO_APPROVE else DecisionDenied)
    data = await world.oversight.decision_file(TENANT, record.ask.request_id)
    expected = args_hash(record.ask.action, record.ask.resource, record.ask.arguments)
    approves = action is TimeoutAction.AUTO_APPROVE
    assert DecisionFile.decode(data).approved_hash == (expected if approves else None)
    assert f"nobody decided in time, which is {action}" in verify_decision_file(data, keys_of(*HUMANS, "bot-7")).shows
