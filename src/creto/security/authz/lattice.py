"""From the policies that are satisfied to one decision.

    any forbid without `@oversight`            Deny
    only forbids with it, and a permit         RequiresOversight
    only forbids with it, no permit            Deny
    no forbid, a permit                        Allow
    nothing                                    Deny

INVARIANT: a forbid that cannot be evaluated counts as one that holds. Cedar leaves it out, so that an amount sent as a string would pass by
the policy on amounts; the evaluator does as Cedar does, the decision does not.
INVARIANT: Deny > RequiresOversight > Allow. An engine that ignores the annotation denies where we ask a human, never the other way round.
"""

from __future__ import annotations

from creto.security.authz.cedar.policies import Answer
from creto.security.authz.requirement import requirement_of, risk_of
from creto.security.authz.types import Allow, Decision, Demand, Deny, OversightRequirement, RequiresOversight, RiskLevel

OVERSIGHT = "oversight"
NOTHING_PERMITS = "no policy permits it"
FORBIDDEN = "a policy forbids it"
UNCLEAR = "a policy that may forbid it could not be evaluated"
SILENT = Deny(NOTHING_PERMITS)  # of an act that no policy mentions


def decided(answer: Answer) -> Decision:
    unclear = [policy for policy, _ in answer.errors if policy.forbids]
    forbidding = answer.forbidding + unclear
    if not forbidding:
        if answer.permitting:
            return Allow(tuple(policy.name for policy in answer.permitting))
        return SILENT
    names = tuple(policy.name for policy in forbidding)
    asked = [policy.annotations.get(OVERSIGHT) for policy in forbidding]
    if not all(asked):
        certain = any(OVERSIGHT not in policy.annotations for policy in answer.forbidding)
        return Deny(FORBIDDEN if certain else UNCLEAR, tuple(n for n, ask in zip(names, asked, strict=True) if not ask))
    if not answer.permitting:
        return Deny(NOTHING_PERMITS, names)
    said: dict[str, OversightRequirement | None] = {}
    for policy in forbidding:
        policy_id = policy.annotations[OVERSIGHT]
        said[policy_id] = said.get(policy_id) or requirement_of(policy.annotations)
    first, *rest = said
    risks = filter(None, (risk_of(policy.annotations) for policy in forbidding))
    risk = max(risks, key=[*RiskLevel].index, default=None)
    each = tuple(Demand(policy_id, requirement) for policy_id, requirement in said.items()) if rest else ()
    return RequiresOversight(first, names, tuple(rest), said[first], risk, each)
