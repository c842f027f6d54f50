"""Accounts: which subscription an event is billed by.

The nearest in the chain, the agent itself first, whose subscription held at the time of the event and meters its type; of several of one
agent the one that started last.

INVARIANT: an event is billed by one subscription at most, and neither when it came nor when the subscription was made known changes by which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from creto.common.ids import AgentId
from creto.metering.attribution import Chain
from creto.metering.plans import phase_at
from creto.metering.types import Plan, PlanId, Subscription

PlanOf = Callable[[PlanId, int], Plan]


def holds(subscription: Subscription, at: int) -> bool:
    """Also in a pause: what is used then is nobody else's."""
    return subscription.started_at <= at and (subscription.ends_at is None or at < subscription.ends_at)


def meters(subscription: Subscription, event_type: str, at: int, plan_of: PlanOf) -> bool:
    phase = phase_at(subscription.phases, at)
    if phase is None:
        return False
    plan = plan_of(phase.plan_id, phase.version)
    return any(charge.meter.event_type == event_type for charge in plan.charges)


def payer_of(
    chain: Chain, event_type: str, at: int, known: Mapping[AgentId, Sequence[Subscription]], plan_of: PlanOf
) -> Subscription | None:
    for agent in reversed(chain):
        found = [s for s in known.get(agent, ()) if holds(s, at) and meters(s, event_type, at, plan_of)]
        if found:
            return max(found, key=lambda s: (s.started_at, s.subscription_id))
    return None
