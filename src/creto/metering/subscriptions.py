"""Subscriptions: create, change, pause, resume, cancel, terminate, each a step from one state to the next.

    ACTIVE ⇄ PAUSED;  ACTIVE, PAUSED → CANCELLED (ends with its period) → TERMINATED;  ACTIVE, PAUSED → TERMINATED (ends now)

INVARIANT: nothing that has ended is billed for what came after: `billable` gives the parts of a period that are.
"""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput
from creto.metering.periods import Cycle, Period, overlap, period_at
from creto.metering.plans import override_at, phase_at
from creto.metering.types import Override, Phase, Plan, PlanId, Subscription, SubscriptionStatus

ACTIVE, PAUSED = SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED
CANCELLED, TERMINATED = SubscriptionStatus.CANCELLED, SubscriptionStatus.TERMINATED


def cycle_of(plan: Plan, subscription: Subscription) -> Cycle:
    return Cycle(plan.cycle, subscription.anchor, subscription.zone, plan.cycle_count)


def must_be(subscription: Subscription, *wanted: SubscriptionStatus) -> None:
    if subscription.status not in wanted:
        raise AlreadyExists(
            "MT-412",
            f"{subscription.subscription_id} is {subscription.status}",
            got=subscription.status,
            expected=" or ".join(wanted),
        )


def changed(
    subscription: Subscription, plan_id: PlanId, version: int, since: int, override: Override | None = None
) -> Subscription:
    """Another plan, version or override from an instant on, now or later; what was planned for after it is dropped.

    Where it is as it was, nothing else begins.
    """
    must_be(subscription, ACTIVE, PAUSED)
    if since < subscription.started_at:
        raise InvalidInput.of("since", got=since, expected="not before the subscription began", code="MT-400")
    before = tuple(p for p in subscription.phases if p.since < since)
    wanted = Phase(plan_id, version, since, override)
    same = bool(before) and holding(before[-1], subscription) == holding(wanted, subscription)
    return replace(subscription, phases=before if same else (*before, wanted))


def holding(phase: Phase, subscription: Subscription) -> tuple[PlanId, int, Override]:
    """What a phase comes to, however it is said."""
    return phase.plan_id, phase.version, override_at(phase, subscription) or Override()


def paused(subscription: Subscription, now: int) -> Subscription:
    must_be(subscription, ACTIVE)
    return replace(subscription, status=PAUSED, paused_at=now)


def resumed(subscription: Subscription, now: int) -> Subscription:
    must_be(subscription, PAUSED)
    pauses = (*subscription.pauses, Period(subscription.paused_at or now, now, subscription.zone))
    return replace(subscription, status=ACTIVE, paused_at=None, pauses=pauses)


def cancelled(subscription: Subscription, plan: Plan, now: int) -> Subscription:
    """It lasts until the end of the period that runs."""
    must_be(subscription, ACTIVE, PAUSED)
    current = resumed(subscription, now) if subscription.status is PAUSED else subscription
    return replace(current, status=CANCELLED, ends_at=period_at(cycle_of(plan, subscription), now).end)


def terminated(subscription: Subscription, now: int) -> Subscription:
    must_be(subscription, ACTIVE, PAUSED, CANCELLED)
    current = resumed(subscription, now) if subscription.status is PAUSED else subscription
    return replace(current, status=TERMINATED, ends_at=now if current.ends_at is None else min(now, current.ends_at))


def billable(subscription: Subscription, period: Period) -> list[tuple[Phase, Period]]:
    """The parts of a period in which a plan held: from the start, to the end, without pauses, cut at each change."""
    end = period.end if subscription.ends_at is None else min(subscription.ends_at, period.end)
    paused_now = () if subscription.paused_at is None else (Period(subscription.paused_at, period.end),)
    parts = [p for p in [overlap(period, Period(subscription.started_at, end))] if p is not None]
    for pause in (*subscription.pauses, *paused_now):
        parts = [rest for part in parts for rest in without(part, pause)]
    cuts = sorted(p.since for p in subscription.phases)
    pieces = [piece for part in parts for piece in cut_at(part, cuts)]
    held = [(phase_at(subscription.phases, piece.start), piece) for piece in pieces]
    return [(phase, piece) for phase, piece in held if phase is not None]


def without(part: Period, pause: Period) -> list[Period]:
    ends = [(part.start, min(pause.start, part.end)), (max(pause.end, part.start), part.end)]
    return [Period(a, b, part.zone) for a, b in ends if a < b] if overlap(part, pause) else [part]


def cut_at(part: Period, cuts: list[int]) -> list[Period]:
    edges = [part.start, *(c for c in cuts if part.start < c < part.end), part.end]
    return [Period(a, b, part.zone) for a, b in pairwise(edges)]
