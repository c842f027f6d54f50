"""Whether an act would need a human's yes: the client's `check_approval_required`, on every face. Nothing is asked by it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, assert_never

import msgspec
from msgspec import Meta

from creto.common.ids import AgentId, Name, PolicyId
from creto.common.limits import CHAIN_LINKS_MAX, OVERSIGHT_ITEMS_MAX
from creto.contracts import Action, NotRequired, OversightRequest, Prohibited, RiskLevel
from creto.contracts import Resource as Target
from creto.edge.api.approval_views import Json, Person
from creto.edge.api.approvals import Item, batch, chain_of
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Policies, Resource
from creto.edge.api.parts import Parts
from creto.oversight import GroupNeed
from creto.oversight.drafts import Needed
from creto.oversight.escalation import estimated_wait_s
from creto.oversight.policies import assurance_needed
from creto.platform.nhi import Nhi


class CheckApproval(Ask, frozen=True):
    """Would this need a human's yes? Nothing is asked. `arguments` are those that would be asked about.

    `policy_id` is the oversight policy under which one would ask about an act that no policy mentions.
    """

    action: Name
    resource: Resource
    arguments: Json = "{}"
    agent: Agent | None = None
    items: Annotated[tuple[Item, ...], Meta(max_length=OVERSIGHT_ITEMS_MAX)] = ()
    chain: Annotated[tuple[Agent, ...], Meta(max_length=CHAIN_LINKS_MAX)] = ()
    policy_id: Policies | None = None


class ApprovalNeed(StrEnum):
    NOT_REQUIRED = "not_required"
    REQUIRED = "required"
    PROHIBITED = "prohibited"


class DemandView(View, frozen=True):
    """What one of the policies that ask needs: so many, and so many of each group."""

    policy_id: PolicyId
    version: int
    approvals: int
    groups: tuple[GroupNeed, ...] = ()


class TierView(View, frozen=True):
    """Who could decide once this tier is asked, and for how long it is before the next one is."""

    name: str
    timeout_s: int
    approvers: tuple[Person, ...]


class ApprovalCheck(View, frozen=True):
    """`policy_id` is what to ask under, of all that ask; `grant_id` what would approve it at once. `reason`: why no human can allow it."""

    need: ApprovalNeed
    reason: str = ""
    policy_id: PolicyId | None = None
    demands: tuple[DemandView, ...] = ()
    risk: RiskLevel | None = None
    assurance: str | None = None  # the least that an approval needs, A0 to A3
    tiers: tuple[TierView, ...] = ()
    estimated_wait_s: int | None = None
    grant_id: str | None = None


CHECK = Endpoint("approvals.check_approval_required", "POST", "/v1/approvals/required", CheckApproval, ApprovalCheck, "create_request", "Whether an act would need a human's yes, by which policy, whose, and how sure; nothing is asked", errors=("OV-400", "OV-403", "OV-424"), keyed=False)  # fmt: skip

ENDPOINTS = (CHECK,)


@concerns(CHECK)
async def who_would_ask(parts: Parts, call: Call, ask: CheckApproval) -> str | None:
    return ask.agent or call.known.agent


@handles(CHECK)
async def check(parts: Parts, call: Call, ask: CheckApproval) -> ApprovalCheck:
    request = OversightRequest(
        tenant=call.tenant, agent_nhi=ask.agent or call.known.agent, delegation_chain=chain_of(call, ask.agent, ask.chain),
        action=Action(name=ask.action, parameters=msgspec.Raw(ask.arguments.encode())),
        resource=Target(resource_type="", resource_id=ask.resource), policy_id=PolicyId(ask.policy_id or ""), action_description="",
    )  # fmt: skip
    found = await parts.oversight.requirement(request, items=batch(ask.items))
    match found:
        case NotRequired():
            return ApprovalCheck(need=ApprovalNeed.NOT_REQUIRED)
        case Prohibited(reason=reason):
            return ApprovalCheck(need=ApprovalNeed.PROHIBITED, reason=reason)
        case Needed():
            return needed_view(found, parts.nhi)
        case _:
            assert_never(found)


def needed_view(found: Needed, nhi: Nhi) -> ApprovalCheck:
    asked, policy = found.ask, found.ask.policy
    each = policy.joint or (policy,)
    tiers = [
        TierView(
            name=tier.name, timeout_s=tier.timeout_s,
            approvers=tuple(Person(person=AgentId(one), name=nhi.get_now(asked.tenant, AgentId(one)).name) for one in people),
        )
        for tier, people in zip(policy.tiers[found.tier :], found.people, strict=True)
    ]  # fmt: skip
    return ApprovalCheck(
        need=ApprovalNeed.REQUIRED, policy_id=policy.policy_id, risk=asked.risk,
        demands=tuple(
            DemandView(policy_id=one.policy_id, version=one.version, approvals=one.quorum.approvals, groups=one.quorum.groups)
            for one in each
        ),
        assurance=assurance_needed(policy, asked.risk).label, tiers=tuple(tiers),
        estimated_wait_s=0 if found.grant is not None else estimated_wait_s(policy),
        grant_id=found.grant.grant_id if found.grant is not None else None,
    )  # fmt: skip
