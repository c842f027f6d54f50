"""Risk: how serious an act is, as the installation sees it. Who asks can raise it, and never lower it.

    ask = judged(ask, cedar_risk(RiskLevel.HIGH))        # by the policy, its rules on the arguments, the Cedar policy that asks
    ask.risk                                            # the highest of these and of the agent's own

INVARIANT: what a rule cannot judge (an amount that is no number) it takes for the worst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from creto.contracts import RiskFactor, RiskLevel
from creto.oversight.arguments import Number, Value, leaves, number, parsed, spelled
from creto.oversight.types import RISKS, Ask, RiskRule

ACT = "act"  # the name of what Cedar policies say
PLACE = re.compile(r"\[\d+\]")


def judged(ask: Ask, assessed: tuple[RiskFactor, ...] = ()) -> Ask:
    """The request with what the policy says of it, and what else is known."""
    level = ask.policy.risk
    own = (
        (RiskFactor(name="policy", level=level, description="the policy says so"),)
        if level is not RiskLevel.LOW
        else ()
    )
    return rejudged(replace(ask, assessed=(*own, *assessed)))


def rejudged(ask: Ask) -> Ask:
    """The same for other arguments."""
    return replace(ask, by_arguments=tuple(by_rules(ask)))


def cedar_risk(level: RiskLevel | None) -> tuple[RiskFactor, ...]:
    return (RiskFactor(name=ACT, level=level, description="the Cedar policy that asks says so"),) if level else ()


def recast(
    assessed: tuple[RiskFactor, ...], before: RiskLevel | None, after: RiskLevel | None
) -> tuple[RiskFactor, ...]:
    """The same for other arguments, of which the Cedar policies say `after` where they said `before`.

    What was said at first is replaced only where they would say it again: else they looked at more than arguments, and the higher stays.
    """
    first = tuple(one for one in assessed if one.name == ACT)
    rest = tuple(one for one in assessed if one.name != ACT)
    said = cedar_risk(after)
    if first != cedar_risk(before):
        said = tuple(sorted((*first, *said), key=lambda one: RISKS.index(one.level))[-1:])
    return (*rest, *said)


def by_rules(ask: Ask) -> Iterator[RiskFactor]:
    """One factor for each rule that fits one of the acts."""
    rules = [rule for rule in ask.policy.risk_rules if rule.action in ("", ask.action)]
    acts = [parsed(raw) for raw in ([item.arguments for item in ask.items] or [ask.arguments])] if rules else []
    for rule in rules:
        if any(fits(rule, path, leaf) for act in acts for path, leaf in leaves(act)):
            yield RiskFactor(name=rule.path, level=rule.level, description=why(rule))


def fits(rule: RiskRule, path: str, leaf: Value) -> bool:
    if rule.path not in (path, PLACE.sub("[*]", path)):
        return False
    if rule.equal is not None and spelled(leaf) != spelled(parsed(rule.equal.encode())):
        return False
    if rule.over is None:
        return True
    amount, limit = number(leaf), number(Number(rule.over))
    return amount is None or limit is None or amount.copy_abs() > limit  # `abs` rounds to the context's digits


def why(rule: RiskRule) -> str:
    if rule.over is not None:
        return f"is above {rule.over}, or no number"
    return f"is {rule.equal}" if rule.equal is not None else "is said"
