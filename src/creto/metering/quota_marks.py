"""Marks: amounts of a counter at which somebody is told, and that an act found no room."""

from __future__ import annotations

from typing import NamedTuple

from creto.common.ids import AgentId
from creto.metering import overflow
from creto.metering.quota_counters import Counter
from creto.security.authz.types import QuotaOutcome

EXCEEDED = 0  # the mark of an act that finds no room: below all that are amounts


class Crossed(NamedTuple):
    """A mark that a counter has reached."""

    counter: Counter
    mark: int
    used: int
    outcome: QuotaOutcome
    event_type: str
    chain: tuple[AgentId, ...]


def marks_reached(counter: Counter, used: int, event_type: str, chain: tuple[AgentId, ...]) -> list[Crossed]:
    """Those that this process has not told of yet, the greatest last."""
    found = [mark for mark in counter.marks if counter.told < mark <= used]
    if found:
        counter.told = found[-1]
    terms = overflow.beyond(counter.overflow)
    outcome = terms if terms.allowed else QuotaOutcome.ALLOW
    return [Crossed(counter, mark, used, outcome, event_type, chain) for mark in found]
