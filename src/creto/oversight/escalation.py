"""Escalation: what time does to a request.

    step = due(ask, progress, now, able, seated)       # Settle, Warn, Escalate, Expire, or None

A tier has its own time, counted from the moment it was reached in fact: a service that was down gives the next tier its whole time and skips
nobody. A claim holds the escalation back until the claim ends, or who has it cannot decide any more. Time is consensus time; nothing here looks
at a wall clock.

INVARIANT: a decision counts only before the deadline of the last tier, whoever notices the deadline first.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.limits import OVERSIGHT_CLAIM_LOOK_S, OVERSIGHT_CLAIM_S_MAX, OVERSIGHT_EXTENSION_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskLevel, TimeoutAction
from creto.oversight.states import Event, check_open, ended
from creto.oversight.types import Ask, Claim, OversightPolicy, Progress, RequestState
from creto.platform.consensus import PersonId


class Settle(msgspec.Struct, frozen=True):
    """The time to undo is over: the votes have their effect."""


class Warn(msgspec.Struct, frozen=True):
    """Little time is left."""


class Escalate(msgspec.Struct, frozen=True):
    to: int
    skipped: tuple[int, ...] = ()  # tiers in which nobody can decide


class Expire(msgspec.Struct, frozen=True):
    action: TimeoutAction


Step = Settle | Warn | Escalate | Expire
Able = Callable[[int], bool]
Seated = Callable[[PersonId], bool]


def begun(ask: Ask, tier: int, now: ConsensusTimestamp) -> Progress:
    return Progress(tier=tier, tier_started_at=now, deadline_at=deadline(ask.policy, tier, now))


def deadline(policy: OversightPolicy, tier: int, now: ConsensusTimestamp) -> ConsensusTimestamp:
    return ConsensusTimestamp(now + policy.tiers[tier].timeout_s * SECOND)


def ends_at(progress: Progress) -> ConsensusTimestamp:
    """When the tier is over: its deadline, or the end of a claim that lasts longer."""
    return max(progress.deadline_at, progress.claim.until) if progress.claim else progress.deadline_at


def warns_at(policy: OversightPolicy, progress: Progress) -> ConsensusTimestamp:
    whole = progress.deadline_at - progress.tier_started_at
    return ConsensusTimestamp(progress.deadline_at - whole * policy.warn_percent // 100)


def held_back(progress: Progress, now: ConsensusTimestamp) -> bool:
    """Whether nothing but a claim keeps the tier from being over."""
    return progress.state.open and progress.settles_at is None and progress.deadline_at <= now < ends_at(progress)


def looks_at(policy: OversightPolicy, progress: Progress, now: ConsensusTimestamp) -> ConsensusTimestamp | None:
    """When the timer has to look again; None once it is decided."""
    if not progress.state.open:
        return None
    if progress.settles_at is not None:
        return progress.settles_at
    if policy.warn_percent and not progress.warned:
        return warns_at(policy, progress)
    if not held_back(progress, now):
        return progress.deadline_at
    return min(ends_at(progress), ConsensusTimestamp(now + OVERSIGHT_CLAIM_LOOK_S * SECOND))


def due(ask: Ask, progress: Progress, now: ConsensusTimestamp, able: Able, seated: Seated) -> Step | None:
    """The one thing that time demands now. `able` says whether anybody of a tier can decide, `seated` whether this human can."""
    if not progress.state.open:
        return None
    if progress.settles_at is not None:
        return Settle() if now >= progress.settles_at else None
    claim = progress.claim
    if now >= ends_at(progress) or (held_back(progress, now) and claim is not None and not seated(claim.person)):
        skipped: list[int] = []
        for tier in range(progress.tier + 1, len(ask.policy.tiers)):
            if able(tier):
                return Escalate(tier, tuple(skipped))
            skipped.append(tier)
        return Expire(final_action(ask))
    if ask.policy.warn_percent and not progress.warned and now >= warns_at(ask.policy, progress):
        return Warn()
    return None


def final_action(ask: Ask) -> TimeoutAction:
    """Silence never approves what is critical, nor what is to be reviewed, nor anything in advance."""
    never = ask.risk is RiskLevel.CRITICAL or ask.break_glass or ask.advance is not None
    return TimeoutAction.AUTO_DENY if never else ask.policy.final_action


def settled_at(progress: Progress, now: ConsensusTimestamp, hold_s: int) -> ConsensusTimestamp:
    """INVARIANT: never after the tier's end, so what was decided in time is not undone by time."""
    return min(ConsensusTimestamp(now + hold_s * SECOND), ends_at(progress))


def applied(ask: Ask, progress: Progress, step: Warn | Escalate | Expire, now: ConsensusTimestamp) -> Progress:
    if isinstance(step, Warn):
        return replace(progress, warned=True, version=progress.version + 1)
    if isinstance(step, Escalate):
        return escalated(ask.policy, progress, step.to, now)
    reason = "nobody decided in time"
    return replace(ended(progress, Event.EXPIRE, now=now, by=None, reason=reason), final_action=step.action)


def escalated(policy: OversightPolicy, progress: Progress, tier: int, now: ConsensusTimestamp) -> Progress:
    check_open(progress)
    return replace(
        progress, state=RequestState.ESCALATED, version=progress.version + 1, tier=tier, tier_started_at=now,
        deadline_at=deadline(policy, tier, now), warned=False, claim=None, claimed=(), extended_s=0,
    )  # fmt: skip


def claimed(progress: Progress, person: PersonId, ttl_s: int, now: ConsensusTimestamp) -> Progress:
    """Somebody takes it on; once each at a tier, so that nobody holds a request for ever."""
    check_open(progress)
    if not 1 <= ttl_s <= OVERSIGHT_CLAIM_S_MAX:
        raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"1 to {OVERSIGHT_CLAIM_S_MAX}", code="OV-400")
    if progress.claim is not None and progress.claim.until > now and progress.claim.person != person:
        raise InvalidInput.of(
            "claim", got=f"claimed by {progress.claim.person}", expected="a free request", code="OV-400"
        )
    if person in progress.claimed:
        raise InvalidInput.of("claim", got="a second claim", expected="one for each human at a tier", code="OV-400")
    claim = Claim(person=person, until=ConsensusTimestamp(now + ttl_s * SECOND))
    return replace(progress, claim=claim, claimed=(*progress.claimed, person), version=progress.version + 1)


def extended(progress: Progress, by_s: int) -> Progress:
    """More time at this tier, within a bound."""
    check_open(progress)
    total = progress.extended_s + by_s
    if by_s < 1 or total > OVERSIGHT_EXTENSION_S_MAX:
        raise InvalidInput.of(
            "by_s", got=by_s, expected=f"{OVERSIGHT_EXTENSION_S_MAX} s in all at one tier", code="OV-400"
        )
    return replace(
        progress, deadline_at=ConsensusTimestamp(progress.deadline_at + by_s * SECOND), extended_s=total, warned=False,
        version=progress.version + 1,
    )  # fmt: skip


def estimated_wait_s(policy: OversightPolicy) -> int:
    """How long the whole chain may take at most."""
    return sum(tier.timeout_s for tier in policy.tiers)
