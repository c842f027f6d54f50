"""What the gate itself says of every operation, so that policies can ask: how deep the chain is, who is at its root, how strongly it is
enforced, and when.

    forbid (principal, action, resource) when { context has chain_depth && context.chain_depth > 2 };

INVARIANT: nobody else says these: an operation that brings one of them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.common.timestamps import ConsensusTimestamp, iso
from creto.store.types import Grade

GATE_ATTRIBUTES = frozenset({"chain_depth", "root", "grade", "at"})
MILLIS = slice(0, 23)  # Cedar's datetime has milliseconds: 2026-01-31T12:00:00.123


def with_gate_attributes(
    context: Mapping[str, Any] | None, chain: Sequence[AgentId], grade: Grade, at: ConsensusTimestamp
) -> dict[str, Any]:
    """The context a policy reads. `chain` is from the root to who acts; who acts for themselves has depth 0."""
    if context and not GATE_ATTRIBUTES.isdisjoint(context):
        taken = ", ".join(sorted(GATE_ATTRIBUTES & context.keys()))
        raise InvalidInput.of("context", got=taken, expected="attributes that the gate does not set itself")
    return {
        **(context or {}),
        "chain_depth": len(chain) - 1,
        "root": chain[0],
        "grade": str(grade),
        "at": {"__extn": {"fn": "datetime", "arg": f"{iso(at)[MILLIS]}Z"}},
    }
