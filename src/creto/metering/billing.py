"""Billing: a subscription, a period and its events, to the lines of an invoice.

    lines = bill(Bill(plans=plans, subscription=subscription, period=period), standing(events))
    invoice = draft(heading, lines, terms)

Each part of the period in which one version of a plan held is billed by it: fees by its days, usage by its events. Corrections of
periods that are over are in `corrections`.

INVARIANT: the same events give the same lines, in whatever order they came and however often; the shares of a line sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from creto.common.ids import AgentId
from creto.contracts import BillableEvent
from creto.metering.aggregation import BUCKET, Carried, Group, carried_on, measured, selected
from creto.metering.attribution import borne, by_chain, chain_of
from creto.metering.charges import Rated, rate, true_up, with_overage
from creto.metering.currencies import iso
from creto.metering.events import events_root, number_of, standing
from creto.metering.invoices import in_order
from creto.metering.periods import Period, day_range, days, overlap, prorated
from creto.metering.plans import effective, trial_ends_at, version_of
from creto.metering.rounding import ZERO, precise
from creto.metering.subscriptions import billable
from creto.metering.types import (
    Aggregation,
    Charge,
    ChargeId,
    Fee,
    Line,
    LineKind,
    Meter,
    MeterId,
    Plan,
    Share,
    Subscription,
)

MINIMUM = ChargeId("minimum")


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What is billed. `carried` is what meters that carry brought into the period; `final`: whether the period is over."""

    plans: tuple[Plan, ...]
    subscription: Subscription
    period: Period
    wallets: frozenset[AgentId] = frozenset()
    carried: dict[MeterId, dict[Group, Carried]] = {}
    final: bool = True


class Part(msgspec.Struct, frozen=True):
    """A part of the period in which one version of a plan held. A day on which plans changed belongs to the later one."""

    plan: Plan
    period: Period
    days: int
    mark: str  # sets the lines of several parts apart


@precise
def bill(asked: Bill, events: Sequence[BillableEvent]) -> list[Line]:
    by_type: dict[str, list[BillableEvent]] = {}
    for event in standing(events):
        by_type.setdefault(event.event_type, []).append(event)
    carried = dict(asked.carried)
    lines: list[Line] = []
    parts = parts_of(asked)
    for part in parts:
        own = fee_lines(part, asked)
        for charge in part.plan.charges:
            counted = by_type.get(charge.meter.event_type, [])
            own += usage_lines(charge, part, asked, counted, carried.get(charge.meter.meter_id, {}))
        for meter in {charge.meter.meter_id: charge.meter for charge in part.plan.charges}.values():
            counted = by_type.get(meter.event_type, [])
            carried[meter.meter_id] = carried_on(meter, counted, part.period, carried.get(meter.meter_id, {}))
        lines += [*own, *minimum_lines(part, asked, own)]
    names = [charge_id for part in parts for charge_id in part.plan.charge_ids]
    return in_order(lines, list(dict.fromkeys(names)))


def parts_of(asked: Bill) -> list[Part]:
    held = billable(asked.subscription, asked.period)
    parts: list[Part] = []
    claimed: set[int] = set()
    for phase, period in reversed(held):
        plan = effective(version_of(asked.plans, phase.plan_id, phase.version), asked.subscription.override)
        touched = set(day_range(period, asked.period))
        mark = f"@{period.start}" if len(held) > 1 else ""
        parts.append(Part(plan, period, len(touched - claimed), mark))
        claimed |= touched
    return parts[::-1]


def fee_lines(part: Part, asked: Bill) -> list[Line]:
    """Fixed fees, for the days after the trial."""
    paid = overlap(part.period, Period(trial_ends_at(part.plan, asked.subscription), part.period.end))
    if paid is None:
        return []
    free = len(day_range(part.period, asked.period)) - len(day_range(paid, asked.period))
    return [fee_line(part, fee, paid, part.days - free, asked) for fee in part.plan.fees]


def fee_line(part: Part, fee: Fee, paid: Period, paid_days: int, asked: Bill) -> Line:
    currency = iso(part.plan.currency)
    exact = prorated(fee.amount, max(paid_days, 0), days(asked.period)) if fee.prorated else fee.amount
    return Line(
        line_id=f"{fee.charge_id}{part.mark}",
        kind=LineKind.FEE,
        charge_id=fee.charge_id,
        description=fee.name or fee.charge_id,
        period=paid,
        exact=exact,
        amount=currency.rounded(exact),
        quantity=Decimal(1),
        shares=own_share(asked, currency.rounded(exact)),
    )


def own_share(asked: Bill, amount: Decimal) -> tuple[Share, ...]:
    """What no event caused, the subscriber bears."""
    return (Share(asked.subscription.agent, amount),) if amount else ()


def usage_lines(
    charge: Charge, part: Part, asked: Bill, events: Sequence[BillableEvent], carried: Mapping[Group, Carried]
) -> list[Line]:
    """One line for each group; the slices of a bucketed meter are priced apart and stand in one line."""
    by_group = selected(charge.meter, events, part.period)
    slices: dict[Group, list[tuple[Decimal, Rated]]] = {}
    for group, usage in measured(charge.meter, by_group, part.period, carried, asked.period).items():
        rated = rate(charge, usage, final=asked.final)
        slices.setdefault(without_bucket(group), []).append((usage.quantity, rated))
    behind: dict[Group, list[BillableEvent]] = {}
    for group, own in by_group.items():
        behind.setdefault(without_bucket(group), []).extend(own)
    return [usage_line(charge, part, group, rated, asked, behind.get(group, [])) for group, rated in slices.items()]


def without_bucket(group: Group) -> Group:
    return tuple(pair for pair in group if pair[0] != BUCKET)


def usage_line(
    charge: Charge,
    part: Part,
    group: Group,
    rated: Sequence[tuple[Decimal, Rated]],
    asked: Bill,
    events: Sequence[BillableEvent],
) -> Line:
    currency = iso(part.plan.currency)
    exact = sum((r.amount for _, r in rated), ZERO)
    amount = currency.rounded(exact)
    uses = [(chain_of(e), weight(charge.meter, e)) for e in events]
    parts = by_chain(amount, uses, currency)
    name = charge.name or charge.charge_id
    return Line(
        line_id=":".join([charge.charge_id, *(f"{k}={v}" for k, v in group)]) + part.mark,
        kind=LineKind.USAGE,
        charge_id=charge.charge_id,
        description=name if not group else f"{name} ({', '.join(v for _, v in group)})",
        period=part.period,
        exact=exact,
        amount=amount,
        quantity=sum((quantity for quantity, _ in rated), ZERO),
        group=dict(group),
        steps=tuple(step for _, r in rated for step in r.steps),
        events=len(events),
        events_root=events_root(events) if events else None,
        shares=borne(parts, part.plan.payer, asked.wallets, currency) if parts else own_share(asked, amount),
    )


def weight(meter: Meter, event: BillableEvent) -> Decimal:
    """What an event counts for where a line is shared out: its value where values add up, else one like another."""
    if meter.property is None or meter.aggregation not in (Aggregation.SUM, Aggregation.WEIGHTED_SUM):
        return Decimal(1)
    return number_of(event, meter.property)


def minimum_lines(part: Part, asked: Bill, lines: Sequence[Line]) -> list[Line]:
    """The factor on what goes beyond the plan's commitment, and up to its minimum, for the days that it held."""
    plan = part.plan
    if not asked.final or (plan.minimum is None and plan.commitment is None):
        return []
    currency = iso(plan.currency)
    spent = sum((line.amount for line in lines), ZERO)
    exact = ZERO
    if plan.commitment is not None:
        owed = replace(plan.commitment, amount=prorated(plan.commitment.amount, part.days, days(asked.period)))
        exact += with_overage(spent, owed) - spent
    if plan.minimum is not None:
        exact += true_up(spent + exact, currency.rounded(prorated(plan.minimum, part.days, days(asked.period))))
    amount = currency.rounded(exact)
    if not amount:
        return []
    return [
        Line(
            line_id=f"{MINIMUM}{part.mark}",
            kind=LineKind.TRUE_UP,
            charge_id=MINIMUM,
            description="Minimum and commitment",
            period=part.period,
            exact=exact,
            amount=amount,
            quantity=Decimal(1),
            shares=own_share(asked, amount),
        )
    ]


def borne_by(lines: Sequence[Line]) -> Mapping[AgentId, Decimal]:
    """What each agent bears of all lines."""
    sums: dict[AgentId, Decimal] = {}
    for line in lines:
        for share in line.shares:
            sums[share.agent] = sums.get(share.agent, ZERO) + share.amount
    return dict(sorted(sums.items()))
