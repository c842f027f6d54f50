"""Who approves what, over the wire: oversight policies, groups, addresses, absences, grants, break-glass, and the health of it all."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict, force_setattr

from creto import oversight
from creto.common.ids import AgentId, Name, PolicyId, RequestId, TenantId
from creto.common.limits import (
    OVERRIDE_TTL_S_MAX,
    OVERSIGHT_APPROVERS_MAX,
    OVERSIGHT_BOUNDS_MAX,
    OVERSIGHT_BREAK_GLASS_S_MAX,
    OVERSIGHT_GRANT_S_MAX,
    OVERSIGHT_GRANT_USES_MAX,
    OVERSIGHT_KEY_GRACE_S_MAX,
    OVERSIGHT_RISK_RULES_MAX,
    OVERSIGHT_SCHEMAS_MAX,
    OVERSIGHT_TIERS_MAX,
    OVERSIGHT_TIMEOUT_S_MAX,
    PAGE_ITEMS_DEFAULT,
)
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import RiskLevel, TimeoutAction
from creto.edge.api.approval_views import (
    ApprovalView,
    AssuranceName,
    NotificationView,
    OversightPolicyView,
    Text,
    line,
    policy_view,
    told,
)
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Id, Limit, Nanos, Resource
from creto.edge.api.parts import Parts
from creto.oversight import (
    Assurance,
    Bound,
    BreakGlassTerms,
    Channel,
    Contact,
    Delegation,
    EscalationTier,
    Grant,
    GrantTerms,
    GrantWish,
    NotificationChannel,
    OversightPolicy,
    Quorum,
    RiskRule,
)

Approvers = Annotated[tuple[Id, ...], Meta(min_length=1, max_length=OVERSIGHT_APPROVERS_MAX)]


class TierTerms(Ask, frozen=True):
    """Who is asked, and for how long before the next tier is asked too; `timeout_s` as configured, if nothing is said."""

    name: Id
    approvers: Approvers
    timeout_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_TIMEOUT_S_MAX)] | None = None
    channels: Annotated[tuple[NotificationChannel, ...], Meta(max_length=len(Channel))] = ()


class PutOversightPolicy(Ask, frozen=True):
    """The next version of a policy. Approvers: an identity, `group:<name>`, or an address that is linked to a human."""

    policy_id: Id
    tiers: Annotated[tuple[TierTerms, ...], Meta(min_length=1, max_length=OVERSIGHT_TIERS_MAX)]
    title: Annotated[str, Meta(max_length=200)] = ""
    quorum: Quorum = Quorum()
    assurance: Assurance | AssuranceName = "A1"  # A0 to A3, or the number alone
    assurance_by_risk: Annotated[dict[RiskLevel, Assurance | AssuranceName], Meta(max_length=len(RiskLevel))] = {}
    final_action: TimeoutAction = TimeoutAction.AUTO_DENY
    vote_change: bool = True
    reason_required: bool = False
    revocable: bool = True
    revalidate: bool = True
    key_grace_s: Annotated[int, Meta(ge=0, le=OVERSIGHT_KEY_GRACE_S_MAX)] = 0
    warn_percent: Annotated[int, Meta(ge=0, le=90)] = 20
    execution_s: Annotated[int, Meta(ge=1, le=OVERRIDE_TTL_S_MAX)] = OVERRIDE_TTL_S_MAX
    grants: GrantTerms | None = None
    break_glass: BreakGlassTerms | None = None
    always_ask: bool = False
    risk: RiskLevel = RiskLevel.LOW
    risk_rules: Annotated[tuple[RiskRule, ...], Meta(max_length=OVERSIGHT_RISK_RULES_MAX)] = ()
    arguments_schemas: Annotated[dict[Id, str], Meta(max_length=OVERSIGHT_SCHEMAS_MAX)] = {}

    def __post_init__(self) -> None:
        """One spelling, whichever was written."""
        super().__post_init__()
        force_setattr(self, "assurance", Assurance.of(self.assurance).label)
        by_risk = {risk: Assurance.of(said).label for risk, said in self.assurance_by_risk.items()}
        force_setattr(self, "assurance_by_risk", by_risk)


class GetOversightPolicy(Ask, frozen=True):
    policy_id: Id


class ListAll(Ask, frozen=True):
    """All of the tenant's."""


class OversightPolicies(View, frozen=True):
    items: tuple[OversightPolicyView, ...]


class PutGroup(Ask, frozen=True):
    """A named set of humans; members are written as approvers are, so groups may hold groups."""

    name: Id
    members: Annotated[tuple[Id, ...], Meta(max_length=OVERSIGHT_APPROVERS_MAX)]


class ApproverGroup(View, frozen=True):
    """A named set of humans; members are written as approvers are, so groups may hold groups.

    `warnings`: of a group that was put, whom it names and does not find then. It holds all the same.
    """

    name: str
    members: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class Groups(View, frozen=True):
    items: tuple[ApproverGroup, ...]


class LinkContact(Ask, frozen=True):
    """An address is one human's at a time; a human may have several, and is still one."""

    channel: Channel
    address: Id
    person: Agent


class UnlinkContact(Ask, frozen=True):
    channel: Channel
    address: Id


class Contacts(View, frozen=True):
    items: tuple[Contact, ...]


class Unlinked(View, frozen=True):
    channel: Channel
    address: str
    found: bool


class DelegateSeats(Ask, frozen=True):
    """Out of office: `to` sits in the seats of `of`, the caller unless said, until just before `ends_at`."""

    to: Agent
    ends_at: Nanos
    starts_at: Nanos | None = None
    of: Agent | None = None
    policies: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()


class EndDelegation(Ask, frozen=True):
    delegation_id: Id


class Ended(View, frozen=True):
    """Whether there was such a thing."""

    id: str
    found: bool


class SeatDelegations(View, frozen=True):
    items: tuple[Delegation, ...]


class ListGrants(Ask, frozen=True):
    """`mine`: those that the caller could end, for which they need no role."""

    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None
    mine: bool = False


class ProposeGrant(Ask, frozen=True):
    """Let an agent act in advance of being asked: so many calls, for so long, within `bounds`. It is a request, decided under the policy."""

    policy_id: Id
    agent: Agent
    action: Name
    resource: Resource
    ttl_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_GRANT_S_MAX)]
    uses: Annotated[int, Meta(ge=1, le=OVERSIGHT_GRANT_USES_MAX)] = 1
    bounds: Annotated[tuple[Bound, ...], Meta(max_length=OVERSIGHT_BOUNDS_MAX)] = ()
    reason: Text = ""


class GrantPage(View, frozen=True):
    items: tuple[Grant, ...]
    cursor: str | None = None


class EndGrant(Ask, frozen=True):
    grant_id: Id


class BreakGlass(Ask, frozen=True):
    """Arm an agent for minutes: its calls are approved at once, counted, and reviewed by others after."""

    policy_id: Id
    agent: Agent
    action: Name
    resource: Resource
    reason: Text
    ttl_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_BREAK_GLASS_S_MAX)] | None = None


class Unreachable(View, frozen=True):
    """Tiers of a policy in which nobody has an address."""

    policy_id: PolicyId
    tiers: tuple[str, ...]


class Short(View, frozen=True):
    """A policy that everybody who can be told could not meet."""

    policy_id: PolicyId
    why: str


class Signer(View, frozen=True):
    """Who seals decisions and attests relayed votes: for `creto verify --agents`."""

    agent: AgentId
    verify_key: bytes


class DeadAddress(View, frozen=True):
    """An address that did not take its last message; the next one that it takes brings it back."""

    channel: Channel
    address: str
    person: AgentId
    error: str


class IdleChannel(View, frozen=True):
    """Messages that wait for a channel which is not configured; they leave when it is."""

    channel: Channel
    waiting: int


class DiscardNotifications(Ask, frozen=True):
    """What waits for this channel is not to be sent any more."""

    channel: Channel


class DiscardedNotifications(View, frozen=True):
    channel: Channel
    count: int


class OversightHealth(View, frozen=True):
    """What an operator should see before it hurts. `unseen` were delivered, and nobody has looked."""

    pending: int
    undelivered: tuple[NotificationView, ...]
    unseen: tuple[RequestId, ...]
    unreachable: tuple[Unreachable, ...]
    oldest_at: ConsensusTimestamp | None = None
    dead: tuple[DeadAddress, ...] = ()
    idle: tuple[IdleChannel, ...] = ()
    short: tuple[Short, ...] = ()


READ, WRITE, POLICY, GROUP, PERSON = "oversight:read", "oversight:write", "oversight:policy:{policy_id}", "oversight:group:{name}", "oversight:contact:{channel}:{address}"  # fmt: skip
PUT_POLICY = Endpoint("approvals.put_policy", "PUT", "/v1/oversight/policies/{policy_id}", PutOversightPolicy, OversightPolicyView, "update_policy", "Store the next version of an oversight policy; open requests keep theirs", errors=("OV-400",), about=POLICY)  # fmt: skip
GET_POLICY = Endpoint("approvals.policy", "GET", "/v1/oversight/policies/{policy_id}", GetOversightPolicy, OversightPolicyView, READ, "One oversight policy", errors=("OV-404",), about=POLICY)  # fmt: skip
POLICIES = Endpoint("approvals.policies", "GET", "/v1/oversight/policies", ListAll, OversightPolicies, READ, "The oversight policies that hold")  # fmt: skip
PUT_GROUP = Endpoint("approvals.put_group", "PUT", "/v1/oversight/groups/{name}", PutGroup, ApproverGroup, WRITE, "Name the members of a group", errors=("OV-400",), about=GROUP)  # fmt: skip
GROUPS = Endpoint("approvals.groups", "GET", "/v1/oversight/groups", ListAll, Groups, READ, "The groups of approvers")  # fmt: skip
LINK = Endpoint("approvals.link", "PUT", "/v1/oversight/contacts/{channel}/{address}", LinkContact, Contact, WRITE, "Say whose an address of a channel is", errors=("OV-400", "OV-403"), about=PERSON)  # fmt: skip
UNLINK = Endpoint("approvals.unlink", "DELETE", "/v1/oversight/contacts/{channel}/{address}", UnlinkContact, Unlinked, WRITE, "Say that an address is nobody's", about=PERSON)  # fmt: skip
CONTACTS = Endpoint("approvals.contacts", "GET", "/v1/oversight/contacts", ListAll, Contacts, READ, "How humans are reached")  # fmt: skip
DELEGATE = Endpoint("approvals.delegate", "POST", "/v1/oversight/delegations", DelegateSeats, Delegation, WRITE, "Out of office: somebody else sits in one's seats", status=201, errors=("OV-400", "OV-403"))  # fmt: skip
END_DELEGATION = Endpoint("approvals.end_delegation", "DELETE", "/v1/oversight/delegations/{delegation_id}", EndDelegation, Ended, WRITE, "Back in the office", about="oversight:delegation:{delegation_id}")  # fmt: skip
DELEGATIONS = Endpoint("approvals.delegations", "GET", "/v1/oversight/delegations", ListAll, SeatDelegations, READ, "Who sits in whose seats")  # fmt: skip
GRANTS = Endpoint("approvals.grants", "GET", "/v1/oversight/grants", ListGrants, GrantPage, "list_requests", "What was approved in advance")  # fmt: skip
PROPOSE_GRANT = Endpoint("approvals.propose_grant", "POST", "/v1/oversight/grants", ProposeGrant, ApprovalView, "submit_decision", "Ask the approvers of a policy to approve calls before anybody asks for them", status=201, errors=("OV-400", "OV-403", "OV-404", "OV-424", "OV-429", "PL-102"), about=POLICY)  # fmt: skip
END_GRANT = Endpoint("approvals.end_grant", "DELETE", "/v1/oversight/grants/{grant_id}", EndGrant, Grant, "submit_decision", "End what was approved in advance, or disarm", errors=("OV-403", "OV-404"), about="oversight:grant:{grant_id}")  # fmt: skip
BREAK_GLASS = Endpoint("approvals.break_glass", "POST", "/v1/oversight/break-glass", BreakGlass, Grant, "submit_decision", "Let an agent act now and answer for it in a review", status=201, errors=("OV-400", "OV-403", "OV-404", "OV-424", "PL-102"), about=POLICY)  # fmt: skip
HEALTH = Endpoint("approvals.health", "GET", "/v1/oversight/health", ListAll, OversightHealth, READ, "What was not delivered, not seen, or could reach nobody")  # fmt: skip
DISCARD = Endpoint("approvals.discard_notifications", "POST", "/v1/oversight/notifications/discard", DiscardNotifications, DiscardedNotifications, WRITE, "Send nothing of what waits for a channel", about="oversight:channel:{channel}")  # fmt: skip
SIGNER = Endpoint("approvals.signer", "GET", "/v1/oversight/signer", ListAll, Signer, "time:read", "The public key with which decisions are verified")  # fmt: skip

ENDPOINTS = (PUT_POLICY, GET_POLICY, POLICIES, PUT_GROUP, GROUPS, LINK, UNLINK, CONTACTS, DELEGATE, END_DELEGATION, DELEGATIONS, GRANTS, PROPOSE_GRANT, END_GRANT, BREAK_GLASS, HEALTH, DISCARD, SIGNER)  # fmt: skip


@concerns(DELEGATE)
async def whose_seats(parts: Parts, call: Call, ask: DelegateSeats) -> str | None:
    return ask.of or call.known.agent


@concerns(END_DELEGATION)
async def whose_absence(parts: Parts, call: Call, ask: EndDelegation) -> str | None:
    found = [one for one in parts.oversight.delegations(call.tenant) if one.delegation_id == ask.delegation_id]
    return AgentId(found[0].of) if found else None


@concerns(BREAK_GLASS)
async def who_breaks_glass(parts: Parts, call: Call, ask: BreakGlass) -> str | None:
    """The armers that the policy names need no role for it."""
    me = call.known.agent
    return me if parts.oversight.may_arm(call.tenant, PolicyId(ask.policy_id), me) else None


@concerns(GRANTS)
async def own_grants(parts: Parts, call: Call, ask: ListGrants) -> str | None:
    return call.known.agent if ask.mine else None


@concerns(PROPOSE_GRANT)
async def who_proposes_a_grant(parts: Parts, call: Call, ask: ProposeGrant) -> str | None:
    """Who sits in a tier of the policy needs no role for it."""
    me = call.known.agent
    return me if parts.oversight.sits(call.tenant, PolicyId(ask.policy_id), me) else None


@concerns(END_GRANT)
async def who_ends_a_grant(parts: Parts, call: Call, ask: EndGrant) -> str | None:
    me = call.known.agent
    return me if await parts.oversight.may_end(call.tenant, ask.grant_id, me) else None


@handles(PUT_POLICY)
async def put_policy(parts: Parts, call: Call, ask: PutOversightPolicy) -> OversightPolicyView:
    default_s = parts.oversight.default_timeout_s
    tiers = tuple(
        EscalationTier(
            name=one.name, approvers=one.approvers, channels=one.channels,
            timeout_s=default_s if one.timeout_s is None else one.timeout_s,
        )
        for one in ask.tiers
    )  # fmt: skip
    by_risk = {risk: Assurance.of(said) for risk, said in ask.assurance_by_risk.items()}
    said = {"tiers": tiers, "assurance": Assurance.of(ask.assurance), "assurance_by_risk": by_risk}
    policy = OversightPolicy(**(asdict(ask) | said))
    stored = await parts.oversight.put_policy(call.tenant, policy, by=call.known.agent)
    return as_it_is(parts, call.tenant, stored)


@handles(GET_POLICY)
async def policy(parts: Parts, call: Call, ask: GetOversightPolicy) -> OversightPolicyView:
    return as_it_is(parts, call.tenant, parts.oversight.policy(call.tenant, PolicyId(ask.policy_id)))


@handles(POLICIES)
async def policies(parts: Parts, call: Call, ask: ListAll) -> OversightPolicies:
    found = parts.oversight.policies(call.tenant)
    return OversightPolicies(items=tuple(as_it_is(parts, call.tenant, one) for one in found))


def as_it_is(parts: Parts, tenant: TenantId, policy: OversightPolicy) -> OversightPolicyView:
    """With whom it does not find now."""
    return policy_view(policy, parts.oversight.doubts(tenant, policy))


@handles(PUT_GROUP)
async def put_group(parts: Parts, call: Call, ask: PutGroup) -> ApproverGroup:
    group = oversight.ApproverGroup(name=ask.name, members=ask.members)
    await parts.oversight.put_group(call.tenant, group, by=call.known.agent)
    warnings = parts.oversight.lost(call.tenant, group.members)
    return ApproverGroup(name=group.name, members=group.members, warnings=warnings)


@handles(GROUPS)
async def groups(parts: Parts, call: Call, ask: ListAll) -> Groups:
    found = parts.oversight.groups(call.tenant)
    return Groups(items=tuple(ApproverGroup(name=one.name, members=one.members) for one in found))


@handles(LINK)
async def link(parts: Parts, call: Call, ask: LinkContact) -> Contact:
    contact = Contact(channel=ask.channel, address=ask.address, person=ask.person)
    await parts.oversight.link(call.tenant, contact, by=call.known.agent)
    return contact


@handles(UNLINK)
async def unlink(parts: Parts, call: Call, ask: UnlinkContact) -> Unlinked:
    found = await parts.oversight.unlink(call.tenant, ask.channel, ask.address, by=call.known.agent)
    return Unlinked(channel=ask.channel, address=ask.address, found=found)


@handles(CONTACTS)
async def contacts(parts: Parts, call: Call, ask: ListAll) -> Contacts:
    found = parts.oversight.contacts(call.tenant)
    return Contacts(items=tuple(one for those in found.values() for one in those))


@handles(DELEGATE)
async def delegate(parts: Parts, call: Call, ask: DelegateSeats) -> Delegation:
    me = call.known.agent
    starts_at = parts.clock.now() if ask.starts_at is None else ConsensusTimestamp(ask.starts_at)
    return await parts.oversight.delegate(
        call.tenant, of=ask.of or me, to=ask.to, starts_at=starts_at, ends_at=ConsensusTimestamp(ask.ends_at),
        policies=[PolicyId(one) for one in ask.policies], by=me,
    )  # fmt: skip


@handles(END_DELEGATION)
async def end_delegation(parts: Parts, call: Call, ask: EndDelegation) -> Ended:
    found = await parts.oversight.end_delegation(call.tenant, ask.delegation_id, by=call.known.agent)
    return Ended(id=ask.delegation_id, found=found)


@handles(DELEGATIONS)
async def delegations(parts: Parts, call: Call, ask: ListAll) -> SeatDelegations:
    return SeatDelegations(items=parts.oversight.delegations(call.tenant))


@handles(GRANTS)
async def grants(parts: Parts, call: Call, ask: ListGrants) -> GrantPage:
    found = await parts.oversight.grants(call.tenant, after=ask.cursor or "", limit=ask.limit)
    cursor = found[-1].grant_id if len(found) == ask.limit else None
    mine = [one for one in found if not ask.mine or parts.oversight.could_end(one, call.known.agent)]
    return GrantPage(items=tuple(mine), cursor=cursor)


@handles(PROPOSE_GRANT)
async def propose_grant(parts: Parts, call: Call, ask: ProposeGrant) -> ApprovalView:
    return line(
        await parts.oversight.propose_grant(
            call.tenant, PolicyId(ask.policy_id), agent=ask.agent, action=ask.action, resource=ask.resource,
            wish=GrantWish(ttl_s=ask.ttl_s, uses=ask.uses), by=call.known.agent, bounds=ask.bounds, reason=ask.reason,
        )
    )  # fmt: skip


@handles(END_GRANT)
async def end_grant(parts: Parts, call: Call, ask: EndGrant) -> Grant:
    return await parts.oversight.end_grant(call.tenant, ask.grant_id, by=call.known.agent)


@handles(BREAK_GLASS)
async def break_glass(parts: Parts, call: Call, ask: BreakGlass) -> Grant:
    return await parts.oversight.break_glass(
        call.tenant, PolicyId(ask.policy_id), agent=ask.agent, action=ask.action, resource=ask.resource,
        by=call.known.agent, reason=ask.reason, ttl_s=ask.ttl_s,
    )  # fmt: skip


@handles(HEALTH)
async def health(parts: Parts, call: Call, ask: ListAll) -> OversightHealth:
    found = await parts.oversight.health(call.tenant)
    return OversightHealth(
        pending=found.pending, undelivered=tuple(map(told, found.undelivered)), unseen=found.unseen,
        unreachable=tuple(Unreachable(policy_id=one, tiers=tiers) for one, tiers in found.unreachable.items()),
        short=tuple(Short(policy_id=one, why=why) for one, why in found.short.items()), oldest_at=found.oldest_at,
        dead=tuple(
            DeadAddress(channel=one.channel, address=one.address, person=AgentId(one.person), error=one.error) for one in found.dead
        ),
        idle=tuple(IdleChannel(channel=channel, waiting=count) for channel, count in found.idle.items()),
    )  # fmt: skip


@handles(DISCARD)
async def discard(parts: Parts, call: Call, ask: DiscardNotifications) -> DiscardedNotifications:
    count = await parts.oversight.discard(call.tenant, ask.channel, by=call.known.agent)
    return DiscardedNotifications(channel=ask.channel, count=count)


@handles(SIGNER)
async def signer(parts: Parts, call: Call, ask: ListAll) -> Signer:
    oversight = parts.oversight
    return Signer(agent=oversight.service_id, verify_key=oversight.service_key.to_bytes())
