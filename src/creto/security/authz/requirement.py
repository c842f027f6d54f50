"""What a policy that asks for a human says of the asking: who, how many, by when, and what happens if nobody answers.

    @oversight("large-transfer") @approvers("cfo@company.com, role:finance") @quorum("2") @timeout_s("7200") @reason("Above 10,000")

Without `@approvers` it says nothing: then the oversight policy of that name does. `@risk("high")` says how serious the act is.
"""

from __future__ import annotations

from collections.abc import Mapping

from creto.security.authz.types import OversightRequirement, RiskLevel, TimeoutAction

NUMBERS = ("quorum", "timeout_s")
LEVELS = tuple(level.value for level in RiskLevel)
ACTIONS = tuple(action.value for action in TimeoutAction)


def requirement_of(annotations: Mapping[str, str]) -> OversightRequirement | None:
    """ValueError, in words, if they do not say it well."""
    approvers = tuple(filter(None, map(str.strip, annotations.get("approvers", "").split(","))))
    if "approvers" not in annotations:
        return None
    if not approvers:
        raise ValueError("`@approvers` names nobody")
    numbers = {name: positive(name, annotations[name]) for name in NUMBERS if name in annotations}
    action = annotations.get("timeout_action", TimeoutAction.AUTO_DENY)
    if action not in ACTIONS:
        raise ValueError(f"`@timeout_action` is one of {', '.join(ACTIONS)}")
    return OversightRequirement(
        approvers=approvers, reason=annotations.get("reason", ""), timeout_action=TimeoutAction(action), **numbers
    )


def risk_of(annotations: Mapping[str, str]) -> RiskLevel | None:
    """ValueError if it is none of the levels."""
    if "risk" not in annotations:
        return None
    if annotations["risk"] not in LEVELS:
        raise ValueError(f"`@risk` is one of {', '.join(LEVELS)}")
    return RiskLevel(annotations["risk"])


def positive(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise ValueError(f"`@{name}` is a whole number above 0")
    return int(text)
