"""Policies: what makes one valid, and the policy that a requirement stands for.

    checked(policy)                      # the policy, or OV-400 with the field that does not fit
    of_requirement(policy_id, requirement)

INVARIANT: no policy can be met by nobody: every quorum is at least one human, and no more than its tiers could ever hold.
"""

from __future__ import annotations

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import PolicyId, checked_name
from creto.common.limits import (
    OVERRIDE_TTL_S_MAX,
    OVERSIGHT_APPROVERS_MAX,
    OVERSIGHT_BREAK_GLASS_S_MAX,
    OVERSIGHT_GRANT_S_MAX,
    OVERSIGHT_GRANT_USES_MAX,
    OVERSIGHT_KEY_GRACE_S_MAX,
    OVERSIGHT_RISK_RULES_MAX,
    OVERSIGHT_SCHEMA_CHARS_MAX,
    OVERSIGHT_SCHEMAS_MAX,
    OVERSIGHT_TEXT_CHARS_MAX,
    OVERSIGHT_TIERS_MAX,
    OVERSIGHT_TIMEOUT_S_MAX,
)
from creto.contracts import OversightRequirement, RiskLevel, TimeoutAction
from creto.oversight import schemas
from creto.oversight.arguments import Number, number, parsed
from creto.oversight.joint import joined
from creto.oversight.quorum import needed
from creto.oversight.types import RISKS, Assurance, EscalationTier, OversightPolicy, Quorum
from creto.platform.crypto import tagged_digest
from creto.security.authz import JOINT

POLICY_LABEL = b"creto/oversight/policy/v1\n"


def policy_hash(policy: OversightPolicy) -> bytes:
    """Which text of the policy was in force."""
    return tagged_digest(POLICY_LABEL + wire.encode(policy))


def checked(policy: OversightPolicy) -> OversightPolicy:
    """Of several together: each of them, and that they are joined as they have to be."""
    if policy.joint:
        if joined(policy.policy_id, tuple(map(checked, policy.joint))) != policy:
            raise refusal("joint", policy.policy_id, "what its policies demand together")
        return policy
    checked_name(policy.policy_id, "policy_id")
    between("tiers", len(policy.tiers), 1, OVERSIGHT_TIERS_MAX)
    for place, tier in enumerate(policy.tiers):
        checked_name(tier.name, f"tiers[{place}].name")
        between(f"tiers[{place}].approvers", len(tier.approvers), 1, OVERSIGHT_APPROVERS_MAX)
        between(f"tiers[{place}].timeout_s", tier.timeout_s, 1, OVERSIGHT_TIMEOUT_S_MAX)
        for approver in tier.approvers:
            checked_name(approver, f"tiers[{place}].approvers")
    between("title", len(policy.title), 0, OVERSIGHT_TEXT_CHARS_MAX)
    check_quorum(policy)
    check_risks(policy)
    check_schemas(policy)
    between("warn_percent", policy.warn_percent, 0, 90)
    between("execution_s", policy.execution_s, 1, OVERRIDE_TTL_S_MAX)
    between("key_grace_s", policy.key_grace_s, 0, OVERSIGHT_KEY_GRACE_S_MAX)
    if policy.final_action is TimeoutAction.ESCALATE:
        raise refusal(
            "final_action", "escalate", "auto_deny or auto_approve: after the last tier there is nobody to escalate to"
        )
    if policy.grants is not None:
        between("grants.ttl_s_max", policy.grants.ttl_s_max, 1, OVERSIGHT_GRANT_S_MAX)
        between("grants.uses_max", policy.grants.uses_max, 1, OVERSIGHT_GRANT_USES_MAX)
    if policy.break_glass is not None:
        between("break_glass.armers", len(policy.break_glass.armers), 1, OVERSIGHT_APPROVERS_MAX)
        between("break_glass.ttl_s_max", policy.break_glass.ttl_s_max, 1, OVERSIGHT_BREAK_GLASS_S_MAX)
        between("break_glass.uses_max", policy.break_glass.uses_max, 1, OVERSIGHT_GRANT_USES_MAX)
    return policy


def checked_single(policy: OversightPolicy) -> OversightPolicy:
    """One that stands for itself alone, and is not named as several together are: nobody else's approvers are those of these."""
    if policy.joint or JOINT in policy.policy_id:
        raise refusal("policy_id", policy.policy_id, f"a policy of its own, and no {JOINT!r} in its name")
    check_names(policy)
    return checked(policy)


def check_names(policy: OversightPolicy) -> None:
    """A tier is told by its name. Policies of before, which may hold two alike, keep their meaning."""
    seen: set[str] = set()
    for place, tier in enumerate(policy.tiers):
        if tier.name in seen:
            raise refusal(f"tiers[{place}].name", tier.name, "a name that no other tier of the policy has")
        seen.add(tier.name)


def check_quorum(policy: OversightPolicy) -> None:
    """An approval that needs nobody would be none: zero is refused, not read as one."""
    quorum = policy.quorum
    if quorum.each:
        raise refusal("quorum.each", len(quorum.each), "nothing: several policies meet where several ask")
    between("quorum.approvals", quorum.approvals, 1, OVERSIGHT_APPROVERS_MAX)
    between("quorum.denials", quorum.denials, 1, OVERSIGHT_APPROVERS_MAX)
    for need in quorum.groups:
        checked_name(need.group, "quorum.groups")
        between(f"quorum.groups.{need.group}", need.approvals, 1, OVERSIGHT_APPROVERS_MAX)
    if len({need.group for need in quorum.groups}) != len(quorum.groups):
        raise refusal("quorum.groups", "a group twice", "each group once")
    named = {approver for tier in policy.tiers for approver in tier.approvers}
    if any(name.startswith("group:") for name in named):
        return
    if len(named) < needed(quorum):
        raise refusal("quorum", f"{needed(quorum)} approvals of {len(named)} approvers", "as many approvers at least")
    if len(named) < quorum.denials:
        raise refusal("quorum.denials", f"{quorum.denials} of {len(named)} approvers", "no more than there are")


def check_risks(policy: OversightPolicy) -> None:
    between("risk_rules", len(policy.risk_rules), 0, OVERSIGHT_RISK_RULES_MAX)
    for rule in policy.risk_rules:
        field = f"risk_rules.{checked_name(rule.path, 'risk_rules.path')}"
        if rule.over is not None and number(Number(rule.over)) is None:
            raise refusal(f"{field}.over", rule.over, "a number")
        if rule.equal is not None:
            parsed(rule.equal.encode())


def check_schemas(policy: OversightPolicy) -> None:
    between("arguments_schemas", len(policy.arguments_schemas), 0, OVERSIGHT_SCHEMAS_MAX)
    for action, text in policy.arguments_schemas.items():
        between(
            f"arguments_schemas.{checked_name(action, 'arguments_schemas')}", len(text), 1, OVERSIGHT_SCHEMA_CHARS_MAX
        )
        schemas.checked(text)


def of_requirement(policy_id: PolicyId, requirement: OversightRequirement, title: str = "") -> OversightPolicy:
    """The policy that a product's requirement stands for, where none is stored under the id."""
    action = requirement.timeout_action
    return checked_single(
        OversightPolicy(
            policy_id=policy_id,
            title=title or requirement.reason,
            tiers=(EscalationTier(name="approvers", approvers=requirement.approvers, timeout_s=requirement.timeout_s),),
            quorum=Quorum(approvals=requirement.quorum),
            final_action=TimeoutAction.AUTO_DENY if action is TimeoutAction.ESCALATE else action,
        )
    )


def as_stored(policy: OversightPolicy, version: int) -> OversightPolicy:
    return replace(checked(policy), version=version)


def assurance_needed(policy: OversightPolicy, risk: RiskLevel) -> Assurance:
    """The highest of the policy's own and of what it says of this risk and of each lower one: who calls it worse does not make it easier."""
    known = RISKS[: RISKS.index(risk) + 1]
    return max(policy.assurance, *(policy.assurance_by_risk.get(one, policy.assurance) for one in known))


def between(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise refusal(field, value, f"{low} to {high}")


def refusal(field: str, got: object, expected: object) -> InvalidInput:
    return InvalidInput.of(field, got=got, expected=expected, code="OV-400")
