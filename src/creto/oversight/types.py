"""What oversight is made of: policies, requests and where they stand, votes, grants, people and how they are reached.

The client's names that other parts need too (OversightRequest, RuntimeOversightRequest, SandboxAction, OversightDecision,
OversightDecisionEvent, ApprovalResult …) are in `creto.contracts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

import msgspec

from creto.common.ids import AgentId, PolicyId, RequestId, SandboxId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import ArgumentBound, RiskFactor, RiskLevel, TimeoutAction
from creto.platform.consensus import PersonId


class Strict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The base of what is kept: frozen, named fields, no unknown ones."""


class RequestState(StrEnum):
    PENDING = "pending"
    ESCALATED = "escalated"  # pending at a higher tier: the tiers reached so far can decide
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self in (RequestState.PENDING, RequestState.ESCALATED)


class Verdict(StrEnum):
    APPROVE = "approve"
    DENY = "deny"


class Assurance(IntEnum):
    """How sure it is that this human decided."""

    BEARER = 0  # A0: somebody who held the link
    RELAYED = 1  # A1: a channel says who clicked
    SESSION = 2  # A2: a session after login
    OWN_KEY = 3  # A3: a signature by the human's own key

    @property
    def label(self) -> str:
        return f"A{self.value}"

    @staticmethod
    def of(said: Assurance | int | str) -> Assurance:
        """`A3`, as people say it, or 3."""
        number = said.removeprefix("A") if isinstance(said, str) else said
        return Assurance(int(number))


class Channel(StrEnum):
    SLACK = "slack"
    EMAIL = "email"
    WEBHOOK = "webhook"
    MESSAGING = "messaging"
    WEB = "web"
    API = "api"


# Policies


class GroupNeed(Strict, frozen=True, kw_only=True):
    """So many distinct humans of this group, whoever else agrees."""

    group: str
    approvals: int = 1


class Quorum(Strict, frozen=True, kw_only=True):
    """How many distinct humans: in all, and of each group; and how many denials deny. Of several policies: what each of them needs."""

    approvals: int = 1
    groups: tuple[GroupNeed, ...] = ()
    denials: int = 1
    each: tuple[Share, ...] = ()


class Share(Strict, frozen=True, kw_only=True):
    """What one of several policies needs, of those whom it names."""

    policy_id: PolicyId
    quorum: Quorum


class NotificationChannel(Strict, frozen=True, kw_only=True):
    """Where a tier is told. `full_arguments`: the channel may show more than the summary and the digest."""

    channel: Channel
    full_arguments: bool = False


class EscalationTier(Strict, frozen=True, kw_only=True):
    """Who is asked, and for how long before the next tier is asked too. Approvers: `agent:nhi:…`, `group:<name>` or an address."""

    name: str
    approvers: tuple[str, ...]
    timeout_s: int = 3_600
    channels: tuple[NotificationChannel, ...] = ()


class GrantTerms(Strict, frozen=True, kw_only=True):
    """How far "Approve for …" may go."""

    ttl_s_max: int
    uses_max: int


class BreakGlassTerms(Strict, frozen=True, kw_only=True):
    """Who may act first and answer later, and for how long.

    `own_agents`: also for agents that the armer owns or has delegated to; those are others' to arm unless the policy says so.
    """

    armers: tuple[str, ...]
    ttl_s_max: int = 900
    uses_max: int = 10
    own_agents: bool = False


class RiskRule(Strict, frozen=True, kw_only=True):
    """How serious an act is by its arguments: where the one at `path` (`amount`, `to.country`, `rows[*].id`) is above a number, is a JSON
    value, or is there at all. Of one action alone, if that is said."""

    path: str
    level: RiskLevel
    over: str | None = None
    equal: str | None = None
    action: str = ""


class OversightPolicy(Strict, frozen=True, kw_only=True):
    """Who decides about an act, how many of them, how sure, and by when."""

    policy_id: PolicyId
    tiers: tuple[EscalationTier, ...]
    version: int = 1
    title: str = ""
    quorum: Quorum = Quorum()
    assurance: Assurance = Assurance.RELAYED
    assurance_by_risk: dict[RiskLevel, Assurance] = {}
    final_action: TimeoutAction = TimeoutAction.AUTO_DENY
    vote_change: bool = True
    reason_required: bool = False
    revocable: bool = True
    revalidate: bool = True  # who approved must still be in force and eligible when the act begins
    key_grace_s: int = 0  # how long a vote signed before its key was revoked may be on its way
    warn_percent: int = 20  # of a tier's time left when its people are warned; 0: never
    execution_s: int = 3_600  # how long an approval may be acted upon
    grants: GrantTerms | None = None
    break_glass: BreakGlassTerms | None = None
    always_ask: bool = False
    risk: RiskLevel = RiskLevel.LOW  # of what it is about, at least
    risk_rules: tuple[RiskRule, ...] = ()
    arguments_schemas: dict[str, str] = {}  # what the arguments of an action look like, `*`: of any other
    joint: tuple[OversightPolicy, ...] = ()  # of what several policies ask about together: these


class ApproverGroup(Strict, frozen=True, kw_only=True):
    """A named set of humans; members are written as approvers are, so groups may hold groups."""

    name: str
    members: tuple[str, ...]


class Delegation(Strict, frozen=True, kw_only=True):
    """Out of office: `to` sits in the seats of `of` from `starts_at` until just before `ends_at`; for some policies, or for all."""

    delegation_id: str
    of: PersonId
    to: PersonId
    starts_at: ConsensusTimestamp
    ends_at: ConsensusTimestamp
    policies: tuple[PolicyId, ...] = ()
    circle: tuple[PersonId, ...] = ()  # with those that stood when it was made: then nobody sits in any of these seats


class Contact(Strict, frozen=True, kw_only=True):
    """An address of a human on a channel, by the channel's own immutable id; several addresses are still one human."""

    channel: Channel
    address: str
    person: AgentId


# A request


class ItemHash(Strict, frozen=True, kw_only=True):
    """An act of a batch without its arguments: what a batch's own hash is made of."""

    item_id: str
    args_hash: bytes
    after: tuple[str, ...] = ()


class BatchItem(Strict, frozen=True, kw_only=True):
    """One of several acts in one request, decided by its id; `after` are items it is pointless without."""

    item_id: str
    arguments: bytes
    after: tuple[str, ...] = ()


class Advance(Strict, frozen=True, kw_only=True):
    """Calls that an approver would have approved before anybody asks: so many, within so long, within bounds. No request of an agent's."""

    grant_id: str
    action: str
    resource: str
    ttl_s: int
    uses: int
    proposed_by: PersonId
    proposer: str  # their name
    bounds: tuple[ArgumentBound, ...] = ()
    reason: str = ""


class Ask(Strict, frozen=True, kw_only=True):
    """What is asked: fixed, but for an edit, which makes the next round."""

    request_id: RequestId
    tenant: TenantId
    agent: AgentId
    agent_name: str
    chain: tuple[AgentId, ...]  # from the root to the agent
    excluded: tuple[PersonId, ...]  # the agent, its owner, its ancestors and who asked for it: they cannot approve
    action: str
    resource: str
    arguments: bytes  # the exact bytes that an approval is for
    policy: OversightPolicy
    created_at: ConsensusTimestamp
    description: str = ""
    risk_factors: tuple[RiskFactor, ...] = ()  # the agent's own: they only raise it
    assessed: tuple[RiskFactor, ...] = ()  # ours, whatever the arguments
    by_arguments: tuple[RiskFactor, ...] = ()  # ours, by the policy's rules
    reasoning: tuple[str, ...] = ()
    reasoning_code: str | None = None  # OV-503: it could not be fetched
    items: tuple[BatchItem, ...] = ()
    blocking: bool = True
    sandbox_id: SandboxId | None = None
    round: int = 1
    before: bytes | None = None  # the arguments of the last similar approved call
    asked: bytes | None = None  # after an edit: the arguments as the agent asked
    facts: tuple[str, ...] = ()  # what else we know and an approver should
    break_glass: bool = False
    advance: Advance | None = None
    trace_id: str | None = None
    form: str = ""  # of a call that the gate holds: the endpoint by which an edit is read
    asked_by: AgentId | None = None  # somebody else, for the agent

    @property
    def risk(self) -> RiskLevel:
        factors = (*self.assessed, *self.by_arguments, *self.risk_factors)
        return highest(factors) if factors else RiskLevel.LOW

    @property
    def fixed(self) -> bool:
        """Whether the arguments are what they are: items are decided each, a review and an advance say what it is about."""
        return bool(self.items) or self.break_glass or self.advance is not None

    @property
    def always_ask(self) -> bool:
        return self.policy.always_ask or self.risk is RiskLevel.CRITICAL


RISKS = list(RiskLevel)


def highest(factors: Iterable[RiskFactor]) -> RiskLevel:
    return max((factor.level for factor in factors), key=RISKS.index, default=RiskLevel.LOW)


class Claim(Strict, frozen=True, kw_only=True):
    """Somebody is looking into it: no escalation until then."""

    person: PersonId
    until: ConsensusTimestamp


class GrantWish(Strict, frozen=True, kw_only=True):
    """Approve for so long and so many times."""

    ttl_s: int
    uses: int


Bound = ArgumentBound


class Permit(Strict, frozen=True, kw_only=True):
    """What became of an approval: the token that stands for it, or that it was taken back."""

    token_id: str | None = None
    revoked_at: ConsensusTimestamp | None = None
    revoked_by: PersonId | None = None
    succeeded: bool | None = None  # what the agent says became of the act; None: nothing


class Backing(Strict, frozen=True, kw_only=True):
    """What a vote stands for: groups, and, where several policies ask, of each that names its seat the groups by which it does."""

    groups: tuple[str, ...] = ()
    shares: dict[str, tuple[str, ...]] = {}


class Progress(Strict, frozen=True, kw_only=True):
    """Where a request stands: what transitions change."""

    state: RequestState = RequestState.PENDING
    version: int = 1
    tier: int = 0
    tier_started_at: ConsensusTimestamp
    deadline_at: ConsensusTimestamp
    warned: bool = False
    claim: Claim | None = None
    claimed: tuple[PersonId, ...] = ()  # who claimed at this tier: once each
    extended_s: int = 0  # at this tier
    settles_at: ConsensusTimestamp | None = (
        None  # the votes are enough, and have their effect then: until then they can be undone
    )
    decided_at: ConsensusTimestamp | None = None
    decided_by: PersonId | None = None
    cancelled_by: AgentId | None = None  # who did so that is not the requester
    reason: str = ""
    final_action: TimeoutAction | None = None
    approved_items: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()  # the nonces of votes that did not count any more when it was decided
    lessened: dict[
        str, Backing
    ] = {}  # by nonce: of votes that did, what they still stood for, where that was less than when they were given
    superseded_by: RequestId | None = None
    grant_id: str | None = None  # the grant that approved it
    permit: Permit = Permit()


class NoteKind(StrEnum):
    COMMENT = "comment"
    QUESTION = "question"  # to the agent; the clock goes on
    ANSWER = "answer"


class Note(Strict, frozen=True, kw_only=True):
    kind: NoteKind
    author: AgentId
    text: str
    at: ConsensusTimestamp


# Grants


class GrantKind(StrEnum):
    STANDING = "standing"
    COUNTER = "counter"  # one call within the bounds of a counter-proposal
    BREAK_GLASS = "break_glass"


class Grant(Strict, frozen=True, kw_only=True):
    """Calls that are approved in advance: this agent, action and resource, within bounds, so many, until then."""

    grant_id: str
    tenant: TenantId
    kind: GrantKind
    agent: AgentId
    action: str
    resource: str
    policy_id: PolicyId
    policy_version: int
    granted_by: PersonId
    request_id: RequestId  # the approved request, the denied one, or for break-glass its review
    starts_at: ConsensusTimestamp
    expires_at: ConsensusTimestamp
    uses_max: int
    args_hash: bytes | None = None  # these arguments alone
    bounds: tuple[Bound, ...] = ()
    reason: str = ""
    uses: int = 0
    ended_at: ConsensusTimestamp | None = None
    ended_by: PersonId | None = None  # None: it expired
    givers: tuple[PersonId, ...] = ()  # everybody who agreed to it: it holds as long as each of them could give it
    assurance: Assurance = Assurance.OWN_KEY  # the least of theirs


# Notifications


class NotificationKind(StrEnum):
    ASKED = "asked"
    ESCALATED = "escalated"
    WARNED = "warned"  # little time is left; it can be extended
    EDITED = "edited"  # a new round: earlier votes are stale
    CLOSED = "closed"
    QUESTION = "question"
    ANSWERED = "answered"
    ALARM = "alarm"  # break-glass was armed


class DeliveryState(StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"  # for good: the next channel is tried
    DROPPED = "dropped"  # the request was over before it left, or there was no card to close


class Notification(Strict, frozen=True, kw_only=True):
    """One message to one human on one channel, and how far it got. `reference` is the provider's own name of it."""

    notification_id: str
    tenant: TenantId
    request_id: RequestId
    person: PersonId
    channel: Channel
    address: str
    kind: NotificationKind
    round: int
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0
    next_at: ConsensusTimestamp
    reference: str | None = None
    sent_at: ConsensusTimestamp | None = None
    seen_at: ConsensusTimestamp | None = None
    error: str | None = None


class Notice(Strict, frozen=True, kw_only=True):
    """What an answer is given in spite of: the code of a fault that holds nothing up."""

    code: str
    message: str
