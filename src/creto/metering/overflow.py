"""Beyond a limit: what happens to an act for which there is no room.

    ALLOW ──limit reached──▶ block                      DENY until the window ends
                             throttle                   THROTTLE, but for so much at a time
                             ask                        REQUIRE_APPROVAL; approved acts go on
                             allow with notification    ALLOW_WITH_NOTIFICATION, up to a cap
                             top up                     TOP_UP, so many times; then DENY
                             charge                     CHARGE by a factor, up to a cap; then DENY

What goes beyond is counted too, in a lane of its own with its own limit, by the same leases: so caps hold over all nodes, and what
is charged beyond a limit is known to the unit. An act lies wholly within its limit or wholly beyond it.
"""

from __future__ import annotations

from collections.abc import Set
from typing import assert_never

import msgspec

from creto.common.limits import INTEGER_MAX
from creto.metering.quota_types import (
    AllowWithNotification,
    Ask,
    Block,
    ChargeBeyond,
    OverflowAction,
    Throttle,
    TopUpLimit,
    Window,
)
from creto.security.authz.types import QuotaOutcome

STRICTNESS = tuple(QuotaOutcome)  # from allow to deny, in the order of their definition


class Lane(msgspec.Struct, frozen=True):
    """How much may go beyond; in windows of its own if one is named."""

    limit: int
    window: Window | None = None
    marks: tuple[int, ...] = ()


def lane_of(overflow: OverflowAction, limit: int) -> Lane | None:
    match overflow:
        case Block():
            return None
        case AllowWithNotification(up_to_percent=percent):
            return Lane(INTEGER_MAX if percent is None else limit * (percent - 100) // 100)
        case Throttle(limit=slow):
            return Lane(slow.amount, slow.window)
        case Ask():
            return Lane(INTEGER_MAX)
        case TopUpLimit(amount=amount, times=times):
            return Lane(amount * times, marks=tuple(amount * n + 1 for n in range(times)))
        case ChargeBeyond(up_to=up_to):
            return Lane(INTEGER_MAX if up_to is None else up_to, marks=(1,))
        case _:
            assert_never(overflow)


def beyond(overflow: OverflowAction, *, approved: Set[str] = frozenset()) -> QuotaOutcome:
    """On which terms an act goes beyond a limit, if its lane has room. `approved`: the policies under which humans have agreed to it."""
    match overflow:
        case Block():
            return QuotaOutcome.DENY
        case AllowWithNotification():
            return QuotaOutcome.ALLOW_WITH_NOTIFICATION
        case Throttle():
            return QuotaOutcome.ALLOW
        case Ask(policy_id=policy_id):
            return QuotaOutcome.ALLOW if policy_id in approved else QuotaOutcome.REQUIRE_APPROVAL
        case TopUpLimit():
            return QuotaOutcome.TOP_UP
        case ChargeBeyond():
            return QuotaOutcome.CHARGE
        case _:
            assert_never(overflow)


def exhausted(overflow: OverflowAction) -> QuotaOutcome:
    """What is said when its lane has no room either."""
    return QuotaOutcome.THROTTLE if isinstance(overflow, Throttle) else QuotaOutcome.DENY


def stricter(one: QuotaOutcome, other: QuotaOutcome) -> QuotaOutcome:
    return max(one, other, key=STRICTNESS.index)
