"""What a quota says to who asks: what is left, or why not and until when."""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal

from creto.common.limits import INTEGER_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.metering import overflow
from creto.metering.quota_counters import Counter
from creto.metering.quota_room import Short
from creto.security.authz.types import Demand, QuotaDecision, QuotaDenied, QuotaOutcome, RequiresOversight


def outcome_near(counter: Counter, left: int) -> QuotaOutcome:
    """Allowed; and somebody has been told, where a mark was reached and the quota lets acts beyond it."""
    terms = overflow.beyond(counter.overflow)
    told = counter.marks and counter.limit - left >= counter.marks[0]
    return terms if told and terms is QuotaOutcome.ALLOW_WITH_NOTIFICATION else QuotaOutcome.ALLOW


def decision(counter: Counter, left: int, outcome: QuotaOutcome, retry_ns: int | None = None) -> QuotaDecision:
    return QuotaDecision(
        outcome=outcome,
        remaining=max(left, 0),
        limit=counter.limit,
        resets_at=ConsensusTimestamp(counter.resets_at) if counter.resets_at < INTEGER_MAX else None,
        decided_by=counter.owner,
        window=counter.name,
        retry_after_s=None if retry_ns is None else Decimal(max(retry_ns, 0)) / SECOND,
    )


def asking(policies: Set[str]) -> RequiresOversight:
    first, *rest = sorted(policies)
    each = tuple(Demand(policy) for policy in (first, *rest)) if rest else ()
    return RequiresOversight(first, also=tuple(rest), each=each)


def refusal(short: Short, now: int) -> QuotaDenied | RequiresOversight:
    counter = short.counter
    if short.outcome is QuotaOutcome.REQUIRE_APPROVAL:
        return asking(short.asked)
    whose = f" of {counter.owner}" if counter.owner else ""
    return QuotaDenied(
        f"quota {counter.quota_id}{whose} for this {counter.name} is used up{short.why}"
        if short.outcome is QuotaOutcome.DENY
        else f"quota {counter.quota_id}{whose} is throttled",
        None if short.resets_at >= INTEGER_MAX else max(0, short.resets_at - now) / SECOND,
        limit=counter.limit,
        used=min(counter.taken, counter.limit),
    )
