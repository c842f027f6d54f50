"""The types between products: every one goes to JSON and back unchanged, and none holds a float."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any, Protocol, get_type_hints

import msgspec
import pytest

from creto import contracts
from creto.common import wire
from creto.common.ids import AgentId, EventId, SandboxId, TenantId
from creto.common.timestamps import ConsensusTimestamp

STRUCTS = [c for _, c in inspect.getmembers(contracts, inspect.isclass) if issubclass(c, msgspec.Struct)]

SPEC_NAMES = [
    "CostTrigger", "CostTriggerV1", "CostTriggerV2", "OversightTrigger", "CostThresholdReason", "AccumulatedCost", "ApprovalGate",
    "ApprovalResult", "ApprovalCheckResult", "SandboxAction", "SandboxActionType", "SandboxMessenger", "ReceivedMessage",
    "MessageCostTracker", "MessageBillableEvent", "MessageEventType", "MessageProperties", "CostThresholdExceededEvent",
    "CostThresholdExceededEventV2", "CostThreshold", "CostThresholdType", "ThresholdAction", "OversightDecisionEvent",
    "OversightDecision", "SandboxLifecycleEvent", "SandboxEventType", "TerminationReason", "RuntimeUsageEvent",
    "RuntimeEventProperties", "RuntimeOversightRequest", "Action", "Resource", "RiskFactor", "OversightRequirement",
    "BillableEvent", "BillingPeriod", "QuotaDecision", "OversightRequest", "TimeoutAction", "HumanIdentity",
    "MessageEnvelope", "MessagePriority", "ResourceLimits", "RuntimeClass", "CostBreakdown", "CostForecast", "ActionContext",
]  # fmt: skip


@pytest.mark.parametrize("name", SPEC_NAMES)
def test_every_name_of_the_spec_is_here(name: str) -> None:
    assert hasattr(contracts, name)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda s: s.__name__)
def test_no_contract_holds_a_float(struct: type[msgspec.Struct]) -> None:
    assert "float" not in repr(list(get_type_hints(struct).values()))


def event() -> contracts.BillableEvent:
    return contracts.BillableEvent(
        event_id=EventId("e"),
        tenant=TenantId("acme"),
        agent_nhi=AgentId("a"),
        delegation_chain=(AgentId("h"), AgentId("a")),
        event_type="payment",
        timestamp=ConsensusTimestamp(1),
        idempotency_key="k",
        properties={"amount": "50000.00", "n": 3},
    )


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (contracts.TransactionLimit(amount=Decimal("15000"), limit=Decimal("10000")), contracts.CostThresholdReason),
        (contracts.TimedOut(timeout_action=contracts.TimeoutAction.AUTO_DENY), contracts.ApprovalResult),
        (contracts.Prohibited(reason="policy"), contracts.ApprovalCheckResult),
        (contracts.FilesystemWrite(path="/etc"), contracts.SandboxActionType),
        (contracts.DecisionDenied(reason="no"), contracts.OversightDecision),
        (contracts.Terminated(reason=contracts.TerminationReason.TIMEOUT), contracts.SandboxEventType),
        (contracts.NetworkEgress(sandbox_id=SandboxId("sb"), destination="x", bytes_transferred=1), contracts.RuntimeEventProperties),
        (contracts.Block(), contracts.ThresholdAction),
    ],
)  # fmt: skip
def test_variants_name_themselves_on_the_wire(value: Any, type_: Any) -> None:
    data = wire.encode(value)
    assert b'"type":' in data
    assert msgspec.json.decode(data, type=type_) == value


def test_amounts_are_decimal_strings_on_the_wire() -> None:
    assert b'"amount":"50000.00"' in wire.encode(event())


def test_a_reader_of_version_1_reads_version_2() -> None:
    newer = contracts.CostThresholdExceededEventV2(
        event_id=EventId("e"),
        agent_nhi=AgentId("a"),
        delegation_chain=(),
        triggering_event=event(),
        threshold=contracts.CostThreshold(
            threshold_id="t", threshold_type=contracts.CostThresholdType.PER_DAY, limit=Decimal(1), currency="USD", action=contracts.Block()
        ),
        current_cost=Decimal(2),
        period=contracts.BillingPeriod.CURRENT_DAY,
        timestamp=ConsensusTimestamp(1),
        cost_breakdown=contracts.CostBreakdown(by_event_type={"payment": Decimal(2)}, by_agent={}),
    )  # fmt: skip
    older = wire.decode(wire.encode(newer), contracts.CostThresholdExceededEvent)
    assert older.current_cost == Decimal(2)


def test_a_quota_that_notifies_still_allows() -> None:
    decision = contracts.QuotaDecision(outcome=contracts.QuotaOutcome.ALLOW_WITH_NOTIFICATION, remaining=1, limit=2)
    assert decision.allowed


PROTOCOLS = [p for p in vars(contracts).values() if getattr(p, "_is_protocol", False) and p is not Protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.__name__)
def test_every_call_names_its_tenant_first(protocol: type[Any]) -> None:
    settled = {"settle", "release"}  # they name a reservation, which its keeper gave out under a tenant
    for name, call in vars(protocol).items():
        if inspect.isfunction(call) and not name.startswith("_") and name not in settled:
            assert list(inspect.signature(call).parameters)[:2] == ["self", "tenant"], name
