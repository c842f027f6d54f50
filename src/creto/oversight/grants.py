"""Grants: calls that a human approved in advance, within bounds, a number of times, for a while.

    grant = granted(ask, wishes, by=person, now=now, grant_id=…)     # "Approve for an hour, 10 times"
    covers(grant, ask, now)

INVARIANT: what is asked beyond the policy's cap is refused, never cut down in silence.
INVARIANT: what is granted before anybody asks is decided as a request is: by the same humans, as many, as sure as for the riskiest that it covers.
INVARIANT: what is always asked about (critical risk, or the policy says so) is covered by no standing grant.
"""

from __future__ import annotations

from collections.abc import Sequence

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskLevel
from creto.oversight.arguments import args_hash
from creto.oversight.edits import rest, within
from creto.oversight.policies import assurance_needed, between
from creto.oversight.types import (
    RISKS,
    Advance,
    Ask,
    Bound,
    BreakGlassTerms,
    Grant,
    GrantKind,
    GrantWish,
    OversightPolicy,
)
from creto.platform.consensus import PersonId

COUNTER_TTL_S = 3_600  # a counter-proposal is taken up soon or asked about again


def offered(ask: Ask) -> bool:
    """Whether an approver may say "approve for …"."""
    return ask.policy.grants is not None and not ask.always_ask and not ask.fixed


def check_wish(ask: Ask, wish: GrantWish | None) -> None:
    if wish is None:
        return
    if not offered(ask) or ask.policy.grants is None:
        raise InvalidInput.of(
            "wish", got="approve for …", expected="approve once: the policy allows no grant here", code="OV-400"
        )
    between("wish.ttl_s", wish.ttl_s, 1, ask.policy.grants.ttl_s_max)
    between("wish.uses", wish.uses, 1, ask.policy.grants.uses_max)


def agreed(wishes: Sequence[GrantWish | None]) -> GrantWish | None:
    """What all who approved agree to: the narrowest; one who approved once only makes it once only."""
    given = [wish for wish in wishes if wish is not None]
    if not given or len(given) != len(wishes):
        return None
    return GrantWish(ttl_s=min(wish.ttl_s for wish in given), uses=min(wish.uses for wish in given))


def granted(
    ask: Ask, wish: GrantWish, *, args_hash: bytes, by: PersonId, now: ConsensusTimestamp, grant_id: str
) -> Grant:
    """For the same agent, act, resource and arguments as the request that was approved."""
    return Grant(
        grant_id=grant_id, tenant=ask.tenant, kind=GrantKind.STANDING, agent=ask.agent, action=ask.action,
        resource=ask.resource, policy_id=ask.policy.policy_id, policy_version=ask.policy.version, granted_by=by,
        request_id=ask.request_id, starts_at=now, expires_at=ConsensusTimestamp(now + wish.ttl_s * SECOND),
        uses_max=wish.uses, args_hash=args_hash,
    )  # fmt: skip


def countered(
    ask: Ask, bounds: tuple[Bound, ...], *, args_hash: bytes, by: PersonId, now: ConsensusTimestamp, grant_id: str
) -> Grant | None:
    """One call within the bounds of a counter-proposal, else as it was asked; None where that is advice alone."""
    if not taken_up(ask):
        return None
    return Grant(
        grant_id=grant_id, tenant=ask.tenant, kind=GrantKind.COUNTER, agent=ask.agent, action=ask.action,
        resource=ask.resource, policy_id=ask.policy.policy_id, policy_version=ask.policy.version, granted_by=by,
        request_id=ask.request_id, starts_at=now, expires_at=ConsensusTimestamp(now + COUNTER_TTL_S * SECOND),
        uses_max=1, bounds=bounds, args_hash=args_hash,
    )  # fmt: skip


def taken_up(ask: Ask) -> bool:
    """Whether one human's counter-proposal approves a call: not where one alone cannot approve, or it is always asked."""
    quorum = ask.policy.quorum
    return not (ask.always_ask or ask.fixed or quorum.groups or quorum.each) and quorum.approvals == 1


def advance_terms(policy: OversightPolicy, wish: GrantWish) -> None:
    """Within the policy's cap; where it gives none, or always asks, nothing is approved beforehand."""
    if policy.grants is None or policy.always_ask:
        raise InvalidInput.of("policy_id", got=policy.policy_id, expected="a policy that allows grants", code="OV-400")
    between("ttl_s", wish.ttl_s, 1, policy.grants.ttl_s_max)
    between("uses", wish.uses, 1, policy.grants.uses_max)


def strictest(policy: OversightPolicy) -> RiskLevel:
    """The risk under which it is decided: that for which, of all that a grant can cover, the policy demands most."""
    covered = [level for level in RISKS if level is not RiskLevel.CRITICAL]
    return max(covered, key=lambda level: (assurance_needed(policy, level), RISKS.index(level)))


def in_advance(ask: Ask, advance: Advance, *, by: PersonId, now: ConsensusTimestamp) -> Grant:
    """What was proposed, from when enough have agreed."""
    return Grant(
        grant_id=advance.grant_id, tenant=ask.tenant, kind=GrantKind.STANDING, agent=ask.agent, action=advance.action,
        resource=advance.resource, policy_id=ask.policy.policy_id, policy_version=ask.policy.version, granted_by=by,
        request_id=ask.request_id, starts_at=now, expires_at=ConsensusTimestamp(now + advance.ttl_s * SECOND),
        uses_max=advance.uses, bounds=advance.bounds, reason=advance.reason,
    )  # fmt: skip


def armed(
    policy: OversightPolicy, *, tenant: TenantId, agent: AgentId, action: str, resource: str, by: PersonId, reason: str,
    ttl_s: int, review: RequestId, now: ConsensusTimestamp, grant_id: str,
) -> Grant:  # fmt: skip
    """Break-glass: act now, answer for it later in the review."""
    terms = break_glass_terms(policy)
    between("ttl_s", ttl_s, 1, terms.ttl_s_max)
    if not reason.strip():
        raise InvalidInput.of("reason", got="no reason", expected="why the glass is broken", code="OV-400")
    return Grant(
        grant_id=grant_id, tenant=tenant, kind=GrantKind.BREAK_GLASS, agent=agent, action=action, resource=resource,
        policy_id=policy.policy_id, policy_version=policy.version, granted_by=by, request_id=review, starts_at=now,
        expires_at=ConsensusTimestamp(now + ttl_s * SECOND), uses_max=terms.uses_max, reason=reason,
    )  # fmt: skip


def break_glass_terms(policy: OversightPolicy) -> BreakGlassTerms:
    if policy.break_glass is None:
        raise InvalidInput.of("break_glass", got=policy.policy_id, expected="a policy that allows it", code="OV-400")
    return policy.break_glass


def bound(ask: Ask, bounds: tuple[Bound, ...]) -> bytes:
    """Which arguments a grant is for: all of them, or those that no bound is about."""
    return args_hash(ask.action, ask.resource, rest(bounds, ask.arguments) if bounds else ask.arguments)


def covers(grant: Grant, ask: Ask, now: ConsensusTimestamp) -> bool:
    """Whether this call was approved in advance."""
    if not fits(grant, ask, now):
        return False
    if grant.args_hash is not None and grant.args_hash != bound(ask, grant.bounds):
        return False
    return within(grant.bounds, ask.arguments)


def fits(grant: Grant, ask: Ask, now: ConsensusTimestamp) -> bool:
    """Whether it is for such calls, whatever their arguments."""
    same = (grant.tenant, grant.agent, grant.action, grant.resource) == (
        ask.tenant,
        ask.agent,
        ask.action,
        ask.resource,
    )
    policy = (grant.policy_id, grant.policy_version) == (ask.policy.policy_id, ask.policy.version)
    if not same or not policy or not live(grant, now) or ask.items:
        return False
    return not ask.always_ask or grant.kind is GrantKind.BREAK_GLASS


def live(grant: Grant, now: ConsensusTimestamp) -> bool:
    return grant.ended_at is None and grant.uses < grant.uses_max and grant.starts_at <= now < grant.expires_at
