"""Cost thresholds: whether an event costs too much, by itself or with what was spent before. Pure rules.

    trigger = exceeded(rule, cost, spent)                 # None while cost and what was spent lie within the limit

A threshold without an agent holds for each agent that acts; one that names an agent holds for it and all that acts below it.

INVARIANT: a limit may be reached; what goes beyond it triggers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, PolicyId, checked_name
from creto.common.limits import INTEGER_MAX
from creto.common.money import MICROS_PER_UNIT, from_micros, minor_digits, parse_amount
from creto.contracts import (
    BillableEvent,
    BillingPeriod,
    Block,
    CostThreshold,
    CostThresholdType,
    NotifyOnly,
    OversightTrigger,
    PeriodLimit,
    RequireApproval,
    TransactionLimit,
)
from creto.metering.quota_types import STAR, Window, WindowUnit
from creto.platform.nhi import scope

POLICY = PolicyId("cost_threshold_policy")
ANOMALY_POLICY = PolicyId("anomaly_policy")
COST_USD, AMOUNT, CURRENCY = "cost_usd", "amount", "currency"

PERIOD_OF = {
    CostThresholdType.PER_HOUR: BillingPeriod.CURRENT_HOUR,
    CostThresholdType.PER_DAY: BillingPeriod.CURRENT_DAY,
    CostThresholdType.PER_MONTH: BillingPeriod.CURRENT_MONTH,
    CostThresholdType.LIFETIME: BillingPeriod.LIFETIME,
}
UNIT_OF = {
    BillingPeriod.CURRENT_HOUR: WindowUnit.HOUR,
    BillingPeriod.CURRENT_DAY: WindowUnit.DAY,
    BillingPeriod.CURRENT_MONTH: WindowUnit.MONTH,
    BillingPeriod.CURRENT_QUARTER: WindowUnit.QUARTER,
    BillingPeriod.CURRENT_YEAR: WindowUnit.YEAR,
    BillingPeriod.LIFETIME: WindowUnit.LIFETIME,
}
STRICTNESS = (NotifyOnly, RequireApproval, Block)


class Threshold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A limit on cost, for whom, and which oversight policy decides."""

    threshold: CostThreshold
    agent: AgentId | None = None
    counts: tuple[str, ...] = (STAR,)
    policy_id: PolicyId = POLICY

    def __post_init__(self) -> None:
        checked_name(self.threshold.threshold_id, "threshold_id")
        minor_digits(self.threshold.currency)
        limit = self.threshold.limit
        if not limit.is_finite() or limit < 0 or micros_of(limit) > INTEGER_MAX:
            raise InvalidInput.of("limit", got=str(limit), expected="an amount, 0 or above", code="MT-400")


class Cost(NamedTuple):
    """In millionths of the currency."""

    micros: int
    currency: str


class Exceeded(NamedTuple):
    rule: Threshold
    trigger: OversightTrigger


def cost_of(event: BillableEvent) -> Cost | None:
    """What the event says that it cost: `cost_usd`, or `amount` in `currency` (US dollars where it says none)."""
    told = event.properties.get(COST_USD)
    currency = "USD"
    if told is None:
        told = event.properties.get(AMOUNT)
        currency = str(event.properties.get(CURRENCY, currency))
    if told is None or isinstance(told, bool):
        return None
    try:
        amount = Decimal(told) if isinstance(told, int) else parse_amount(told, AMOUNT)
    except (InvalidInput, InvalidOperation):
        return None
    return Cost(micros_of(amount), currency)


def micros_of(amount: Decimal) -> int:
    """To the nearest millionth: a token may cost less."""
    return int((amount * MICROS_PER_UNIT).to_integral_value(ROUND_HALF_UP))


def window_of(period: BillingPeriod, zone: str) -> Window:
    return Window(UNIT_OF[period], zone=zone)


def concerns(rule: Threshold, event: BillableEvent) -> AgentId | None:
    """Whose costs it looks at for this event; None where it does not look."""
    if not scope.any_matches(rule.counts, event.event_type):
        return None
    if rule.agent is None or rule.agent == event.agent_nhi:
        return event.agent_nhi
    return rule.agent if rule.agent in event.delegation_chain else None


def exceeded(rule: Threshold, cost: Cost, spent_micros: int) -> OversightTrigger | None:
    """`spent_micros` is what was spent before in the threshold's period."""
    threshold = rule.threshold
    if threshold.currency != cost.currency:
        return None
    total = cost.micros
    if threshold.threshold_type is not CostThresholdType.PER_TRANSACTION:
        total += spent_micros
    if total <= micros_of(threshold.limit):
        return None
    current = from_micros(total)
    if threshold.threshold_type is CostThresholdType.PER_TRANSACTION:
        reason: TransactionLimit | PeriodLimit = TransactionLimit(amount=current, limit=threshold.limit)
    else:
        period = PERIOD_OF[threshold.threshold_type]
        reason = PeriodLimit(accumulated=current, limit=threshold.limit, period=period)
    return OversightTrigger(
        policy_id=rule.policy_id, reason=reason, current_cost=current, threshold=threshold.limit, currency=cost.currency
    )


def strictest(found: Iterable[Exceeded]) -> Exceeded | None:
    """What blocks before what asks before what tells; then what is furthest beyond its limit."""

    def order(one: Exceeded) -> tuple[int, Decimal]:
        return STRICTNESS.index(type(one.rule.threshold.action)), one.trigger.current_cost - one.trigger.threshold

    return max(found, key=order, default=None)


def payers(event: BillableEvent) -> Sequence[AgentId]:
    """Whose totals an event adds to: its agent's and those of all above it."""
    return tuple(dict.fromkeys((*event.delegation_chain, event.agent_nhi)))
