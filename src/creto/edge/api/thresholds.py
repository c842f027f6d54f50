"""Cost thresholds asked beforehand, by the contract's names: would this event cross one? Nothing is counted, held or told."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.limits import THRESHOLDS_MAX
from creto.contracts import BillableEvent, BillingPeriod, CostThreshold, OversightTrigger
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.metering_fields import Asked
from creto.edge.api.parts import Parts


class CheckCost(Asked, frozen=True):
    """Against the tenant's thresholds: those of one transaction, those of this period, those on anomalies."""

    event: BillableEvent
    period: BillingPeriod = BillingPeriod.CURRENT_MONTH


class CostChecked(View, frozen=True):
    """The strictest that it would cross; none, if it stays within all."""

    trigger: OversightTrigger | None = None


class CheckThresholds(Asked, frozen=True):
    """Against these thresholds, whether or not the tenant has them."""

    event: BillableEvent
    thresholds: Annotated[tuple[CostThreshold, ...], Meta(min_length=1, max_length=THRESHOLDS_MAX)]


class ThresholdsChecked(View, frozen=True):
    """Those that it would cross, in their order."""

    triggers: tuple[OversightTrigger, ...]


class CheckBatch(Asked, frozen=True):
    """As if they came one after the other."""

    events: Annotated[tuple[BillableEvent, ...], Meta(min_length=1, max_length=THRESHOLDS_MAX)]
    period: BillingPeriod = BillingPeriod.CURRENT_MONTH


class BatchChecked(View, frozen=True):
    """Of each event, in their order."""

    results: tuple[CostChecked, ...]


ERRORS = ("MT-400", "MT-403", "MT-404")
CHECK = Endpoint("quotas.check_cost_threshold", "POST", "/v1/threshold-checks", CheckCost, CostChecked, "check_quota", "Whether an event would cross a cost threshold, and which is the strictest", errors=ERRORS, keyed=False)  # fmt: skip
CHECK_MANY = Endpoint("quotas.check_multiple_thresholds", "POST", "/v1/threshold-checks/multiple", CheckThresholds, ThresholdsChecked, "check_quota", "Which of these thresholds an event would cross", errors=ERRORS, keyed=False)  # fmt: skip
CHECK_BATCH = Endpoint("quotas.check_batch", "POST", "/v1/threshold-checks/batch", CheckBatch, BatchChecked, "check_quota", "Which cost thresholds events would cross, one after the other", errors=ERRORS, keyed=False)  # fmt: skip

ENDPOINTS = (CHECK, CHECK_MANY, CHECK_BATCH)


@concerns(CHECK, CHECK_MANY)
async def whose_cost(parts: Parts, call: Call, ask: CheckCost | CheckThresholds) -> str | None:
    return ask.event.agent_nhi


@concerns(CHECK_BATCH)
async def whose_costs(parts: Parts, call: Call, ask: CheckBatch) -> str | None:
    """The agent's, if they are all of one; else it is a matter of the tenant."""
    agents = {event.agent_nhi for event in ask.events}
    return agents.pop() if len(agents) == 1 else None


@handles(CHECK)
async def check(parts: Parts, call: Call, ask: CheckCost) -> CostChecked:
    return CostChecked(trigger=parts.triggers.check_cost_threshold(call.tenant, ask.event, ask.period))


@handles(CHECK_MANY)
async def check_many(parts: Parts, call: Call, ask: CheckThresholds) -> ThresholdsChecked:
    found = parts.triggers.check_multiple_thresholds(call.tenant, ask.event, ask.thresholds)
    return ThresholdsChecked(triggers=tuple(found))


@handles(CHECK_BATCH)
async def check_batch(parts: Parts, call: Call, ask: CheckBatch) -> BatchChecked:
    found = parts.triggers.check_batch(call.tenant, ask.events, ask.period)
    return BatchChecked(results=tuple(CostChecked(trigger=trigger) for trigger in found))
