"""Which of an agent's memories an approver is shown for an action, and in which order.

First what was written for this very action, then what speaks of it (its words), then what the agent thought last. Within each, newest
first. Nothing is shown twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def ranked(tiers: Iterable[Iterable[T]], seq_of: Callable[[T], int], limit: int) -> list[T]:
    """Tier by tier, newest first within each; a row is shown in its first tier."""
    shown: dict[int, T] = {}
    for tier in tiers:
        for row in sorted(tier, key=seq_of, reverse=True):
            shown.setdefault(seq_of(row), row)
    return list(shown.values())[:limit]
