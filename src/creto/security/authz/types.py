"""What authorization is made of: decisions, requests, versions of policies, roles, override tokens, quota verdicts."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from creto.common.ids import AgentId, AgentIdentity, PolicyId, TenantId
from creto.common.limits import INTEGER_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.store.types import Outcome

if TYPE_CHECKING:
    from creto.platform.nhi import ValidatedChain


class Allow(msgspec.Struct, frozen=True, tag="allow", omit_defaults=True):
    policies: tuple[str, ...] = ()


class Deny(msgspec.Struct, frozen=True, tag="deny", omit_defaults=True):
    reason: str
    policies: tuple[str, ...] = ()


class TimeoutAction(StrEnum):
    AUTO_DENY = "auto_deny"
    AUTO_APPROVE = "auto_approve"
    ESCALATE = "escalate"


class RiskLevel(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class OversightRequirement(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy asks for: who, how many, by when."""

    approvers: tuple[str, ...]
    reason: str
    quorum: int = 1
    timeout_s: int = 3_600
    timeout_action: TimeoutAction = TimeoutAction.AUTO_DENY


class Demand(msgspec.Struct, frozen=True, omit_defaults=True):
    """One oversight policy that asks, and what the Cedar policy that names it says of the asking, if it does."""

    policy_id: str
    requirement: OversightRequirement | None = None


class RequiresOversight(msgspec.Struct, frozen=True, tag="requires_oversight", omit_defaults=True):
    """A human has to agree. `policy_id` is the oversight policy that asks; `also` are further ones that ask too: each has to be met.

    `requirement` is what the Cedar policy itself says of the asking, if it does; `risk` the highest that any of them says. Where several ask,
    `each` are their demands.
    """

    policy_id: str
    policies: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    requirement: OversightRequirement | None = None
    risk: RiskLevel | None = None
    each: tuple[Demand, ...] = ()

    @property
    def demands(self) -> tuple[Demand, ...]:
        return self.each or (Demand(self.policy_id, self.requirement),)

    @property
    def under(self) -> str:
        """The name of all that ask together, whatever their order: what an approval has to be under."""
        return JOINT.join(sorted({self.policy_id, *self.also}))

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.policy_id, *self.also})

    def joined(self, other: RequiresOversight) -> RequiresOversight:
        """Both ask about one act. What this one says of the asking stands where both name a policy."""
        known = self.demands + tuple(one for one in other.demands if one.policy_id not in self.names)
        return RequiresOversight(
            self.policy_id, self.policies + other.policies, tuple(one.policy_id for one in known[1:]), self.requirement,
            max(filter(None, (self.risk, other.risk)), key=[*RiskLevel].index, default=None), known if known[1:] else (),
        )  # fmt: skip


class QuotaDenied(msgspec.Struct, frozen=True, tag="quota_denied", omit_defaults=True):
    """`limit` and `used` are those of the quota that ran out, of the caller or of one above it in the chain."""

    reason: str
    retry_after_s: float | None = None
    limit: int | None = None
    used: int | None = None


JOINT = " + "  # in no name of one policy
Decision = Allow | Deny | RequiresOversight | QuotaDenied
AuthzDecision = Decision  # the client's name


class CheckRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """May `agent` do `action` on `resource`? `context` are attributes of this one request."""

    agent: AgentId | AgentIdentity
    action: str
    resource: str
    context: dict[str, Any] = {}

    @property
    def principal(self) -> AgentId | AgentIdentity:
        return self.agent


class AuthzRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same where the client says `principal`."""

    principal: AgentId | AgentIdentity
    action: str
    resource: str
    context: dict[str, Any] = {}

    @property
    def agent(self) -> AgentId | AgentIdentity:
        return self.principal


class QuotaOutcome(StrEnum):
    """What a quota does with an act. Beyond its limit: block, throttle, ask a human, allow and tell, top up, charge."""

    ALLOW = "allow"
    ALLOW_WITH_NOTIFICATION = "allow_with_notification"
    TOP_UP = "top_up"
    CHARGE = "charge"
    THROTTLE = "throttle"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"

    @property
    def allowed(self) -> bool:
        return self in (self.ALLOW, self.ALLOW_WITH_NOTIFICATION, self.TOP_UP, self.CHARGE)


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Quota that is held for one act until it is settled or released. `outcome` says on which terms."""

    reservation_id: str
    amount: int
    outcome: QuotaOutcome = QuotaOutcome.ALLOW


class Granted(Allow, frozen=True, tag="allow"):
    """An Allow for which quota is held."""

    reservation: Reservation | None = None


class QuotaDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a quota, and which ancestor and window gave it; where a human has to agree, the policy that says who."""

    outcome: QuotaOutcome
    remaining: int
    limit: int
    resets_at: ConsensusTimestamp | None = None
    decided_by: AgentId | None = None
    window: str | None = None
    retry_after_s: Decimal | None = None
    policy_id: str | None = None

    @property
    def allowed(self) -> bool:
        return self.outcome.allowed


UNLIMITED = QuotaDecision(outcome=QuotaOutcome.ALLOW, remaining=INTEGER_MAX, limit=INTEGER_MAX)


class QuotaHook(Protocol):
    """Who keeps the quotas: metering. Hand it to `Authz.use_quota`.

    All are called on any thread, many at once, on the path of every allowed check: memory alone, no lock that is held for long, no waiting.
    An exception of `reserve` refuses the act: it passes through `check`, and nothing is allowed. `settle` and `release` do not fail.
    """

    def reserve(
        self,
        tenant: TenantId,
        agent: AgentId,
        chain: ValidatedChain | None,
        action: str,
        resource: str,
        amount: int,
        *,
        approved: frozenset[str] = frozenset(),
    ) -> Reservation | QuotaDenied | RequiresOversight:
        """Hold quota of the agent and of everybody above it in the chain, within each link's budget, for an act that policy allows.

        All of it or nothing. Without a chain the agent acts for itself. `approved`: the policies whose
        humans have agreed to this very act; a quota that asks under another asks all the same.
        """

    def asks(
        self, tenant: TenantId, agent: AgentId, chain: ValidatedChain | None, action: str, amount: int
    ) -> RequiresOversight | None:
        """Whether the quotas would ask a human about this act; nothing is taken."""

    def settle(self, reservation: Reservation, amount: int | None = None) -> None:
        """The act has happened; it took what was reserved, or this."""

    def release(self, reservation: Reservation) -> None:
        """The act has not happened."""

    def check_quota(self, tenant: TenantId, agent: AgentId, event_type: str) -> QuotaDecision:
        """Whether there is something left; nothing is taken."""


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request is decided as it is. Annotations by policy; errors are the policies that could not be evaluated."""

    decision: Decision
    version: int
    permits: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()
    annotations: dict[str, dict[str, str]] = {}
    errors: dict[str, str] = {}
    considered: int = 0
    cacheable: bool = False
    principal: str = ""
    action: str = ""
    resource: str = ""
    reads_context: bool = False  # some policy that was considered looks at the context


class DryRun(msgspec.Struct, frozen=True):
    """What one request would get, and what it gets now."""

    request: CheckRequest
    now: Decision
    then: Decision

    @property
    def changed(self) -> bool:
        return self.now != self.then


class Replayed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recorded request: how it ended, what the policies that hold say of it today, and what the others would say."""

    request: CheckRequest
    now: Decision
    then: Decision
    outcome: Outcome  # of the newest
    at: ConsensusTimestamp
    times: int = 1  # it was recorded so often
    code: str | None = None
    doubtful: bool = False  # its context was not recorded, and some policy reads it

    @property
    def changed(self) -> bool:
        return self.now != self.then


class Replay(msgspec.Struct, frozen=True):
    """The decisions of the log under other policies. `items` are those that would change or cannot be told, the newest first.

    `entries` of the log were looked at, back to `since`; `requests` of them were decisions.
    """

    items: tuple[Replayed, ...]
    entries: int
    requests: int
    changed: int
    doubtful: int
    since: ConsensusTimestamp | None = None


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text of policies as it was uploaded. `with_defaults`: the shipped policies hold beside it."""

    tenant: TenantId
    version: int
    text: str = ""
    schema: str = ""  # what it adds to the shipped schema
    with_defaults: bool = True
    digest: bytes
    policies: int
    note: str = ""
    uploaded_by: str
    uploaded_at: ConsensusTimestamp
    active: bool = False


class PolicyPage(msgspec.Struct, frozen=True):
    items: tuple[PolicyVersion, ...]
    cursor: str | None = None


class RoleAssignment(msgspec.Struct, frozen=True):
    """`agent` is the origin of the line that holds the role: the first key that a person or program ever had here."""

    tenant: TenantId
    agent: AgentId
    role: str
    assigned_by: str
    assigned_at: ConsensusTimestamp


class RolePage(msgspec.Struct, frozen=True):
    """Who has a role."""

    items: tuple[RoleAssignment, ...]
    cursor: str | None = None


class EntityName(msgspec.Struct, frozen=True):
    """An entity as Cedar's JSON names it."""

    type: str
    id: str


class StoredEntity(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant has stored of an identity's line or of a resource, beside what the layer knows."""

    uri: str
    type: str
    id: str
    attrs: dict[str, Any]
    parents: tuple[EntityName, ...]


class EntityPage(msgspec.Struct, frozen=True):
    items: tuple[StoredEntity, ...]
    cursor: str | None = None


class OverrideToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A human's yes to one act: this agent, this action, this resource, these arguments, under these policies, once, until then.

    `policy_id` is the oversight policy under which it was given: it answers no other that asks.
    """

    token_id: str
    tenant: TenantId
    agent: AgentId
    action: str
    resource: str
    args_digest: bytes
    policy_version: int
    issued_at: ConsensusTimestamp
    expires_at: ConsensusTimestamp
    request_id: str = ""  # the oversight request that was approved
    policy_id: PolicyId


class OverrideStanding(StrEnum):
    """What has become of a token that is ours and in time."""

    OPEN = "open"
    USED = "used"
    REVOKED = "revoked"


class IssuedOverride(msgspec.Struct, frozen=True):
    token: OverrideToken
    standing: OverrideStanding


class OverrideDraft(msgspec.Struct, frozen=True):
    """A token and its text, not issued yet."""

    token: OverrideToken
    text: str
