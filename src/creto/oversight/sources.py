"""Where requests come from: the gate, a sandbox, a cost threshold, a quota.

await oversight.create(of_sandbox_action(tenant, sandbox_id, action, policy_id))
await oversight.create(of_cost_threshold(event, policy_id))
await oversight.create(of_quota_breach(tenant, agent, chain, event_type, used=95_000, limit=100_000))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, PolicyId, SandboxId, TenantId
from creto.contracts import (
    Action,
    Block,
    CostThresholdExceededEvent,
    CostThresholdExceededEventV2,
    ExternalApiCall,
    FilesystemWrite,
    NotifyOnly,
    OversightRequest,
    OversightRequirement,
    PrivilegedOperation,
    RequireApproval,
    Resource,
    RiskFactor,
    RiskLevel,
    RuntimeOversightRequest,
    SandboxAction,
    SandboxActionType,
    SpawnChild,
)
from creto.gate import Operation

QUOTA_POLICY = PolicyId("quota_notification_policy")  # the spec's name
QUOTA_BREACH = "quota_breach"
COST_THRESHOLD = "cost_threshold"
NEW_SANDBOX = "new"


def of_operation(operation: Operation, policy_id: PolicyId, description: str = "") -> OversightRequest:
    """What the gate refused with OversightRequired: the exact arguments that it will be asked to let through."""
    return OversightRequest(
        tenant=operation.tenant, agent_nhi=operation.agent,
        delegation_chain=operation.chain.agents if operation.chain else (),
        action=Action(name=operation.action, parameters=msgspec.Raw(operation.arguments or b"{}")),
        resource=named(operation.resource), policy_id=policy_id, action_description=description, form=operation.form,
    )  # fmt: skip


def of_sandbox_action(
    tenant: TenantId, sandbox_id: SandboxId | None, action: SandboxAction, policy_id: PolicyId
) -> RuntimeOversightRequest:
    """What an agent wants to do from its sandbox."""
    name, resource = policy_names(action.action_type, sandbox_id)
    parameters = {"act": action.action_type, "with": action.context.parameters}
    return RuntimeOversightRequest(
        tenant=tenant, agent_nhi=action.agent_nhi, delegation_chain=action.delegation_chain,
        action=Action(name=name, parameters=msgspec.Raw(wire.encode(parameters))), resource=named(resource),
        policy_id=policy_id, action_description=action.context.reason, sandbox_id=sandbox_id,
    )  # fmt: skip


def of_cost_threshold(event: CostThresholdExceededEvent, policy_id: PolicyId) -> OversightRequest | None:
    """A cost that crosses a threshold; None where the threshold blocks whoever agrees. Who only wants to know is asked without waiting."""
    threshold, billed = event.threshold, event.triggering_event
    match threshold.action:
        case Block():
            return None
        case RequireApproval(approvers=approvers):
            requirement = OversightRequirement(approvers=approvers, reason=f"{threshold.threshold_type} cost limit") if approvers else None  # fmt: skip
        case NotifyOnly():
            requirement = None
        case _:
            assert_never(threshold.action)
    facts: dict[str, object] = {
        "event_type": billed.event_type, "event_id": billed.event_id, "properties": billed.properties,
        "current_cost": event.current_cost, "limit": threshold.limit, "currency": threshold.currency, "period": event.period,
    }  # fmt: skip
    if isinstance(event, CostThresholdExceededEventV2) and event.anomaly is not None:
        facts["anomaly"] = event.anomaly
    return OversightRequest(
        tenant=billed.tenant, agent_nhi=event.agent_nhi, delegation_chain=event.delegation_chain,
        action=Action(name=COST_THRESHOLD, parameters=msgspec.Raw(wire.encode(facts))),
        resource=named(f"metering:threshold:{threshold.threshold_id}"), policy_id=policy_id, action_description="",
        requirement=requirement, blocking=not isinstance(threshold.action, NotifyOnly),
        assessed=(RiskFactor(name="cost", level=RiskLevel.HIGH, description="crosses a cost limit"),),
    )  # fmt: skip


def of_quota_breach(
    tenant: TenantId, agent: AgentId, chain: Sequence[AgentId], event_type: str, *, used: int, limit: int,
    answer: msgspec.Struct | None = None, form: str = "", description: str = "",
) -> OversightRequest:  # fmt: skip
    """A quota nearly or wholly used up, where the policy lets the event through: humans look at it after.

    `answer` is what is proposed to them, with these facts, as the request of the endpoint `form`: they approve it, or what they make of it.
    """
    facts = {"event_type": event_type, "current_usage": used, "limit": limit} if answer is None else answer
    return OversightRequest(
        tenant=tenant, agent_nhi=agent, delegation_chain=tuple(chain),
        action=Action(name=QUOTA_BREACH, parameters=msgspec.Raw(wire.encode(facts))), form=form,
        resource=named(f"metering:quota:{event_type}"), policy_id=QUOTA_POLICY, action_description=description, blocking=False,
        assessed=(RiskFactor(name="quota", level=RiskLevel.MEDIUM, description="a quota is nearly or wholly used up"),),
    )  # fmt: skip


def policy_names(action: SandboxActionType, sandbox_id: SandboxId | None) -> tuple[str, str]:
    """The act and its resource as policies write them."""
    sandbox = f"runtime:sandbox:{sandbox_id or NEW_SANDBOX}"
    match action:
        case SpawnChild():
            return "sandbox.spawn", sandbox
        case ExternalApiCall(destination=destination):
            return "network.egress", f"network:{destination}"
        case FilesystemWrite():
            return "sandbox.write", sandbox
        case PrivilegedOperation():
            return "sandbox.privileged", sandbox
        case _:
            assert_never(action)


def named(resource: str) -> Resource:
    """A resource that names its type itself."""
    kind, _, _ = resource.rpartition(":")
    return Resource(resource_type=kind, resource_id=resource)
