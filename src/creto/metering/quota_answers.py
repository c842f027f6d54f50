"""What humans answer when a quota is nearly or wholly used up: a higher limit, no more beyond it, or nothing.

changed(quota, "month", QuotaAnswer.INCREASE, 200_000)      # the quota with that limit
changed(quota, "month", QuotaAnswer.BLOCK, 0)               # the same limits, and nothing goes beyond them
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec
from msgspec.structs import replace

from creto.common.errors import NotFound
from creto.common.limits import INTEGER_MAX
from creto.metering.quota_types import Block, Limit, Quota


class QuotaAnswer(StrEnum):
    INCREASE = "increase"
    BLOCK = "block"
    NOTHING = "nothing"


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger keeps of it. `before` and `after` are the limit of the window; `request_id` names the humans' decision, if there was one;
    `exceeded` is what they approved, where the limit was higher already."""

    quota_id: str
    window: str
    answer: QuotaAnswer
    before: int
    after: int
    request_id: str | None = None
    exceeded: int | None = None


def proposed(limit: int) -> int:
    """What is proposed as a new limit: twice the old one."""
    return min(max(1, limit * 2), INTEGER_MAX)


def limit_of(quota: Quota, window: str) -> int:
    found = next((limit.amount for limit in quota.limits if limit.window.name == window), None)
    if found is None:
        raise NotFound("MT-404", f"quota {quota.quota_id} has no limit for a {window}")
    return found


def changed(quota: Quota, window: str, answer: QuotaAnswer, new_limit: int) -> Quota:
    limit_of(quota, window)
    match answer:
        case QuotaAnswer.INCREASE:
            limits = (Limit(new_limit, one.window) if one.window.name == window else one for one in quota.limits)
            return replace(quota, limits=tuple(limits))
        case QuotaAnswer.BLOCK:
            return replace(quota, overflow=Block())
        case QuotaAnswer.NOTHING:
            return quota
        case _:
            assert_never(answer)


def sentence(done: Answered) -> str:
    """For the agent."""
    match done.answer:
        case QuotaAnswer.INCREASE if done.exceeded is not None:
            return f"Quota {done.quota_id} stays {done.after} for this {done.window}: more than the {done.exceeded} that was approved"
        case QuotaAnswer.INCREASE:
            return f"Quota {done.quota_id} is {done.after} for this {done.window} now; it was {done.before}"
        case QuotaAnswer.BLOCK:
            return f"Quota {done.quota_id} blocks beyond {done.after} for this {done.window} from now on"
        case QuotaAnswer.NOTHING:
            return f"Quota {done.quota_id} stays as it is: {done.after} for this {done.window}"
        case _:
            assert_never(done.answer)
