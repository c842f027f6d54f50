"""What authorization is made of: decisions, requests, versions of policies, roles, override tokens, quota verdicts."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from creto.common.ids import AgentId, AgentIdentity, TenantId
from creto.common.timestamps import ConsensusTimestamp


class Allow(msgspec.Struct, frozen=True, tag="allow", omit_defaults=True):
    policies: tuple[str, ...] = ()


class Deny(msgspec.Struct, frozen=True, tag="deny", omit_defaults=True):
    reason: str
    policies: tuple[str, ...] = ()


class RequiresOversight(msgspec.Struct, frozen=True, tag="requires_oversight", omit_defaults=True):
    """A human has to agree. `policy_id` is the oversight policy that asks; `also` are further ones that ask too."""

    policy_id: str
    policies: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class QuotaDenied(msgspec.Struct, frozen=True, tag="quota_denied", omit_defaults=True):
    reason: str
    retry_after_s: float | None = None


Decision = Allow | Deny | RequiresOversight | QuotaDenied
AuthzDecision = Decision  # the client's name


class CheckRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """May `agent` do `action` on `resource`? `context` are attributes of this one request."""

    agent: AgentId | AgentIdentity
    action: str
    resource: str
    context: dict[str, Any] = {}


AuthzRequest = CheckRequest  # the client's name


class QuotaVerdict(msgspec.Struct, frozen=True):
    allowed: bool
    reason: str = ""
    retry_after_s: float | None = None


class QuotaHook(Protocol):
    """What takes quota inside a check. It must not wait."""

    def take(self, tenant: TenantId, agent: AgentId, action: str, resource: str) -> QuotaVerdict: ...


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


class DryRun(msgspec.Struct, frozen=True):
    """What one request would get, and what it gets now."""

    request: CheckRequest
    now: Decision
    then: Decision

    @property
    def changed(self) -> bool:
        return self.now != self.then


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


class RoleAssignment(msgspec.Struct, frozen=True):
    tenant: TenantId
    agent: AgentId
    role: str
    assigned_by: str
    assigned_at: ConsensusTimestamp


class OverrideToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A human's yes to one act: this agent, this action, this resource, these arguments, under these policies, once, until then."""

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


class OverrideDraft(msgspec.Struct, frozen=True):
    """A token and its text, not issued yet."""

    token: OverrideToken
    text: str
