"""Cost thresholds: whether an event costs too much, by itself or with what was spent before. Pure rules.

    trigger = Rule(threshold).exceeded(micros)            # None while cost and what was spent lie within the limit

One on anomalies looks at agents that are flagged: what each of their events may cost all the same; of 0 it lets none pass.

A threshold without an agent holds for each agent that acts; one that names an agent holds for it and all that acts below it.

INVARIANT: a limit may be reached; what goes beyond it triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, PolicyId, checked_name
from creto.common.limits import INTEGER_MAX
from creto.common.money import MICROS_PER_UNIT, from_micros, minor_digits, parse_amount
from creto.contracts import (
    AnomalyDetected,
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
from creto.metering.periods import Period
from creto.metering.quota_types import STAR, Window, WindowUnit
from creto.metering.tokens import KINDS, llm_cost
from creto.platform.nhi import scope

POLICY = PolicyId("cost_threshold_policy")
ANOMALY_POLICY = PolicyId("anomaly_policy")
COST_USD, AMOUNT, CURRENCY = "cost_usd", "amount", "currency"
MODEL = "model_id"

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


class Total(NamedTuple):
    """What was spent by one agent, with all below it, in a period and a currency."""

    within: Period
    by_event_type: dict[str, int]
    micros: int


class Alarm(NamedTuple):
    """What is held against an agent, and how long."""

    reason: AnomalyDetected
    until: int


class Exceeded(NamedTuple):
    """`until`: of an anomaly, when its alarm ends."""

    threshold: Threshold
    whose: AgentId
    trigger: OversightTrigger
    until: int = 0


def cost_of(event: BillableEvent) -> Cost | None:
    """What the event says that it cost: `cost_usd`, or `amount` in `currency` (US dollars where it says none), or the tokens of a language
    model by the table of their prices. None where it says nothing.

    InvalidInput MT-400 for a cost that cannot be read or is below zero: neither may pass as nothing, nor make room for more.
    """
    properties, name, currency = event.properties, COST_USD, "USD"
    told = properties.get(COST_USD)
    if told is None:
        name, told = AMOUNT, properties.get(AMOUNT)
        currency = str(properties.get(CURRENCY, currency))
    if told is None:
        tells = MODEL in properties and not KINDS.keys().isdisjoint(properties)
        return Cost(micros_of(llm_cost(event)), "USD") if tells else None
    if isinstance(told, bool):
        raise InvalidInput.of(f"properties.{name}", got=told, expected="an amount", code="MT-400")
    amount = Decimal(told) if isinstance(told, int) else parse_amount(told, f"properties.{name}", "MT-400")
    if amount < 0:
        raise InvalidInput.of(
            f"properties.{name}", got=str(amount), expected="0 or above; what was not used is voided or corrected", code="MT-400"
        )  # fmt: skip
    return Cost(micros_of(amount), currency)


def micros_of(amount: Decimal) -> int:
    """To the nearest millionth: a token may cost less."""
    return int((amount * MICROS_PER_UNIT).to_integral_value(ROUND_HALF_UP))


def window_of(period: BillingPeriod, zone: str) -> Window:
    return Window(UNIT_OF[period], zone=zone)


def tells(threshold: Threshold) -> bool:
    """Whether it only wants to be told."""
    return isinstance(threshold.threshold.action, NotifyOnly)


class Rule:
    """A threshold as it is asked at every event: what can be known beforehand is."""

    __slots__ = ("agent", "currency", "everything", "limit_micros", "of_anomalies", "period", "tells", "threshold")

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold
        self.agent = threshold.agent
        self.currency = threshold.threshold.currency
        self.everything = STAR in threshold.counts
        self.tells = tells(threshold)
        self.limit_micros = micros_of(threshold.threshold.limit)
        self.period = PERIOD_OF.get(threshold.threshold.threshold_type)  # None: of a single transaction
        self.of_anomalies = threshold.threshold.threshold_type is CostThresholdType.ANOMALY

    def concerns(self, event: BillableEvent) -> AgentId | None:
        """Whose costs it looks at for this event; None where it does not look."""
        if not self.counts(event.event_type):
            return None
        if self.agent is None or self.agent == event.agent_nhi:
            return event.agent_nhi
        return self.agent if self.agent in event.delegation_chain else None

    def counts(self, event_type: str) -> bool:
        return self.everything or scope.any_matches(self.threshold.counts, event_type)

    def counted(self, spent: Mapping[str, int]) -> int:
        """What it counts of costs by the type of their events."""
        if self.everything:
            return sum(spent.values())
        return sum(micros for event_type, micros in spent.items() if self.counts(event_type))

    def exceeded(self, micros: int) -> OversightTrigger | None:
        """`micros` is what the event costs, with what was spent before in the period."""
        if micros <= self.limit_micros:
            return None
        threshold, current = self.threshold.threshold, from_micros(micros)
        reason: TransactionLimit | PeriodLimit
        if self.period is None:
            reason = TransactionLimit(amount=current, limit=threshold.limit)
        else:
            reason = PeriodLimit(accumulated=current, limit=threshold.limit, period=self.period)
        return OversightTrigger(
            policy_id=self.threshold.policy_id, reason=reason, current_cost=current, threshold=threshold.limit,
            currency=threshold.currency,
        )  # fmt: skip

    def alarmed(self, event: BillableEvent, cost: Cost | None, alarms: Alarms) -> Exceeded | None:
        """Where its agent is flagged and it costs more than such an agent's may; in another currency nobody can say that it does not."""
        whose = self.concerns(event)
        alarm = None if whose is None else alarms(event.agent_nhi, event.timestamp)
        if whose is None or alarm is None:
            return None
        micros = 0 if cost is None else cost.micros
        if self.limit_micros and (cost is None or (cost.currency == self.currency and micros <= self.limit_micros)):
            return None
        trigger = OversightTrigger(
            policy_id=self.threshold.policy_id, reason=alarm.reason, current_cost=from_micros(micros),
            threshold=self.threshold.threshold.limit, currency=self.currency if cost is None else cost.currency,
        )  # fmt: skip
        return Exceeded(self.threshold, whose, trigger, alarm.until)


Alarms = Callable[[AgentId, int], Alarm | None]  # what is held against an agent at an instant
Lookup = Callable[[Rule, AgentId], Mapping[str, int]]  # what was spent in a rule's period, by the type of its events


def quiet(agent: AgentId, at: int) -> Alarm | None:
    """Nothing is held against anybody."""
    return None


def crossed(
    event: BillableEvent,
    cost: Cost | None,
    known: Sequence[Rule],
    spent: Lookup,
    period: BillingPeriod | None = None,
    alarms: Alarms = quiet,
) -> list[Exceeded]:
    """The thresholds that it would cross: those of one transaction, those on anomalies, and those of the period, or of all periods
    where none is named.

    InvalidInput MT-400 where it is limited, but in no threshold of its own currency.
    """
    found: list[Exceeded] = []
    other: Rule | None = None
    is_covered = False
    for rule in known:
        if rule.of_anomalies:
            one = rule.alarmed(event, cost, alarms)
            if one is not None:
                found.append(one)
            continue
        if cost is None:
            continue
        of = rule.period
        if of is not None and period is not None and of is not period:
            continue
        whose = rule.concerns(event)
        if whose is None:
            continue
        if rule.currency != cost.currency:
            other = other if rule.tells else rule
            continue
        is_covered = True
        before = 0 if of is None else rule.counted(spent(rule, whose))
        trigger = rule.exceeded(cost.micros + before)
        if trigger is not None:
            found.append(Exceeded(rule.threshold, whose, trigger))
    if cost is not None and other is not None and not is_covered:
        raise InvalidInput.of(
            "properties.currency", got=cost.currency, code="MT-400",
            expected=f"{other.currency}, in which {other.threshold.threshold.threshold_id} limits it, or a threshold in {cost.currency}",
        )  # fmt: skip
    return found


def strictest(found: Iterable[Exceeded]) -> Exceeded | None:
    """What blocks before what asks before what tells; then what is furthest beyond its limit."""

    def order(one: Exceeded) -> tuple[int, Decimal]:
        return STRICTNESS.index(type(one.threshold.threshold.action)), one.trigger.current_cost - one.trigger.threshold

    return max(found, key=order, default=None)


def payers(event: BillableEvent) -> Sequence[AgentId]:
    """Whose totals an event adds to: its agent's and those of all above it."""
    return tuple(dict.fromkeys((*event.delegation_chain, event.agent_nhi)))
