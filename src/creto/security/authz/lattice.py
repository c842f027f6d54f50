"""From the policies that are satisfied to one decision.

    any forbid without `@oversight`            Deny
    only forbids with it, and a permit         RequiresOversight
    only forbids with it, no permit            Deny
    no forbid, a permit                        Allow
    nothing                                    Deny

INVARIANT: Deny > RequiresOversight > Allow. An engine that ignores the annotation denies where we ask a human, never the other way round.
"""

from __future__ import annotations

from creto.security.authz.cedar.policies import Answer
from creto.security.authz.types import Allow, Decision, Deny, RequiresOversight

OVERSIGHT = "oversight"
NOTHING_PERMITS = "no policy permits it"
FORBIDDEN = "a policy forbids it"


def decided(answer: Answer) -> Decision:
    if not answer.forbidding:
        if answer.permitting:
            return Allow(tuple(policy.name for policy in answer.permitting))
        return Deny(NOTHING_PERMITS)
    names = tuple(policy.name for policy in answer.forbidding)
    asked = [policy.annotations.get(OVERSIGHT) for policy in answer.forbidding]
    if not all(asked):
        return Deny(FORBIDDEN, tuple(n for n, ask in zip(names, asked, strict=True) if not ask))
    if not answer.permitting:
        return Deny(NOTHING_PERMITS, names)
    first, *rest = dict.fromkeys(policy_id for policy_id in asked if policy_id)
    return RequiresOversight(first, names, tuple(rest))
