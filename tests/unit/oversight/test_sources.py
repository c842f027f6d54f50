"""Every source of requests gives one that can be asked, shown and approved."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from creto.common.errors import ProductId
from creto.common.ids import EventId, PolicyId, SandboxId
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import (
    ActionContext,
    BillableEvent,
    BillingPeriod,
    Block,
    CostThreshold,
    CostThresholdExceededEvent,
    CostThresholdType,
    ExternalApiCall,
    FilesystemWrite,
    NotifyOnly,
    PrivilegedOperation,
    RequireApproval,
    ResourceLimits,
    SandboxAction,
    SandboxActionType,
    SpawnChild,
    ThresholdAction,
)
from creto.gate import Operation
from creto.oversight import RequestState, of_cost_threshold, of_operation, of_quota_breach, of_sandbox_action, render
from creto.oversight.display import EFFECTS
from creto.oversight.sources import QUOTA_POLICY
from tests.unit.oversight.world import P1, TENANT, World, consume, id_of, token_of

BOT, AT = id_of("bot-7"), ConsensusTimestamp(1)


def crossed(action: ThresholdAction) -> CostThresholdExceededEvent:
    billed = BillableEvent(
        event_id=EventId("e1"), tenant=TENANT, agent_nhi=BOT, delegation_chain=(), event_type="payment", timestamp=AT,
        idempotency_key="k", properties={"amount": "50000.00"},
    )  # fmt: skip
    threshold = CostThreshold(
        threshold_id="t1",
        threshold_type=CostThresholdType.PER_TRANSACTION,
        limit=Decimal(10_000),
        currency="USD",
        action=action,
    )
    return CostThresholdExceededEvent(
        event_id=EventId("e2"), agent_nhi=BOT, delegation_chain=(), triggering_event=billed, threshold=threshold,
        current_cost=Decimal(50_000), period=BillingPeriod.CURRENT_DAY, timestamp=AT,
    )  # fmt: skip


async def test_a_cost_threshold_names_its_approvers(world: World) -> None:
    request = of_cost_threshold(crossed(RequireApproval(approvers=(id_of("alice"),))), PolicyId("costs"))
    assert request is not None
    record = await world.oversight.create(request)
    shown = render(record.ask)
    assert "a cost limit is crossed" in shown.effect
    assert 'current_cost = "50000"' in [str(line) for line in shown.arguments]
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


def test_a_threshold_that_blocks_asks_nobody_and_one_that_tells_does_not_wait() -> None:
    assert of_cost_threshold(crossed(Block()), PolicyId("costs")) is None
    told = of_cost_threshold(crossed(NotifyOnly(channels=("slack",))), PolicyId("costs"))
    assert told is not None
    assert not told.blocking


async def test_a_quota_breach_does_not_wait(world: World) -> None:
    await world.policy(P1, policy_id=QUOTA_POLICY)
    record = await world.oversight.create(of_quota_breach(TENANT, BOT, (), "inference", used=95_000, limit=100_000))
    assert not record.ask.blocking
    assert "current_usage = 95000" in [str(line) for line in render(record.ask).arguments]


@pytest.mark.parametrize("parameters", [b"{}", b'{"body": "x"}'])
async def test_a_sandbox_action(world: World, parameters: bytes) -> None:
    action = SandboxAction(
        action_type=ExternalApiCall(destination="api.example.com:443", method="POST"), agent_nhi=BOT, delegation_chain=(),
        context=ActionContext(reason="needs the list", parameters=msgspec.Raw(parameters)),
    )  # fmt: skip
    record = await world.oversight.create(of_sandbox_action(TENANT, SandboxId("sb-1"), action, P1.policy_id))
    shown = render(record.ask)
    assert (record.ask.action, record.ask.resource) == ("network.egress", "network:api.example.com:443")
    assert record.ask.sandbox_id == "sb-1"
    assert 'act.method = "POST"' in [str(line) for line in shown.arguments]
    assert shown.says == ("needs the list",)


@pytest.mark.parametrize(
    ("act", "name", "resource", "line"),
    [
        (SpawnChild(image="python:3.12", resources=ResourceLimits()), "sandbox.spawn", "runtime:sandbox:sb-1", 'act.image = "python:3.12"'),
        (ExternalApiCall(destination="api.example.com:443", method="POST"), "network.egress", "network:api.example.com:443", 'act.method = "POST"'),
        (FilesystemWrite(path="/etc/passwd"), "sandbox.write", "runtime:sandbox:sb-1", 'act.path = "/etc/passwd"'),
        (PrivilegedOperation(operation="mount"), "sandbox.privileged", "runtime:sandbox:sb-1", 'act.operation = "mount"'),
    ],
)  # fmt: skip
async def test_every_sandbox_action_is_asked_shown_and_approved(
    world: World, act: SandboxActionType, name: str, resource: str, line: str
) -> None:
    action = SandboxAction(action_type=act, agent_nhi=BOT, delegation_chain=(), context=ActionContext())
    record = await world.oversight.create(of_sandbox_action(TENANT, SandboxId("sb-1"), action, P1.policy_id))
    assert (record.ask.action, record.ask.resource) == (name, resource)
    assert line in [str(one) for one in render(record.ask).arguments]
    assert EFFECTS[name] in render(record.ask).effect
    await world.approve(record, "alice")
    await consume(world, record, await token_of(world, record))


async def test_what_the_gate_refused_is_what_the_token_is_for(world: World) -> None:
    operation = Operation(
        tenant=TENANT, agent=BOT, action="funds.transfer", resource="account:7", product=ProductId.RUNTIME,
        arguments=b'{ "amount": 50 }',
    )  # fmt: skip
    record = await world.oversight.create(of_operation(operation, P1.policy_id))
    assert (record.ask.action, record.ask.resource) == (operation.action, operation.resource)
    await world.approve(record, "alice")
    await consume(world, record, await token_of(world, record))
    assert record.ask.arguments == operation.arguments
