"""Billing: a subscription, a period and its events, to the lines of an invoice.

    lines = bill(Bill(plans=plans, subscription=subscription, period=period), standing(events))
    invoice = draft(heading, lines, terms)

Each part of the period in which one version of a plan held is billed by it: fees by its days, usage by its events. Corrections of
periods that are over are in `corrections`.

INVARIANT: the same events give the same lines, in whatever order they came and however often; the shares of a line sum to it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from creto.common.ids import AgentId
from creto.contracts import BillableEvent
from creto.metering.aggregation import BUCKET, Carried, Group, carried_on, selected
from creto.metering.attribution import borne, by_chain, chain_of
from creto.metering.charges import Rated, adjustment, commitment_for, for_days, rate, unbounded
from creto.metering.currencies import Currency, iso
from creto.metering.events import events_root, number_of, standing
from creto.metering.invoices import in_order
from creto.metering.parts import Part, counted, parts_of, read
from creto.metering.periods import Period, day_range, days, overlap, prorated
from creto.metering.plans import trial_ends_at
from creto.metering.rounding import ZERO, precise
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


@precise
def bill(asked: Bill, events: Sequence[BillableEvent]) -> list[Line]:
    by_type: dict[str, list[BillableEvent]] = {}
    for event in standing(events):
        by_type.setdefault(event.event_type, []).append(event)
    carried = dict(asked.carried)
    lines: list[Line] = []
    parts = parts_of(asked.plans, asked.subscription, asked.period)
    for part in parts:
        own = fee_lines(part, asked)
        for charge in part.plan.charges:
            of_type = by_type.get(charge.meter.event_type, [])
            own += charge_lines(charge, part, asked, of_type, carried.get(charge.meter.meter_id, {}))
        for meter in {charge.meter.meter_id: charge.meter for charge in part.plan.charges}.values():
            of_type = by_type.get(meter.event_type, [])
            carried[meter.meter_id] = carried_on(meter, of_type, part.period, carried.get(meter.meter_id, {}))
        lines += [*own, *plan_lines(part, asked, own)]
    names = [charge_id for part in parts for charge_id in part.plan.charge_ids]
    return in_order(lines, list(dict.fromkeys(names)))


def fee_lines(part: Part, asked: Bill) -> list[Line]:
    """Fixed fees, for the days after the trial."""
    paid = overlap(part.period, Period(trial_ends_at(part.plan, asked.subscription), part.period.end))
    if paid is None:
        return []
    paid_days = len(part.days.intersection(day_range(paid, asked.period)))
    return [fee_line(part, fee, paid, paid_days, asked) for fee in part.plan.fees]


def fee_line(part: Part, fee: Fee, paid: Period, paid_days: int, asked: Bill) -> Line:
    currency = iso(part.plan.currency)
    exact = prorated(fee.amount, paid_days, days(asked.period)) if fee.prorated else fee.amount
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


def charge_lines(
    charge: Charge, part: Part, asked: Bill, events: Sequence[BillableEvent], carried: Mapping[Group, Carried]
) -> list[Line]:
    """One line for each group; the slices of a bucketed meter are priced apart and stand in one line.

    A maximum makes all lines less, each by its share; what a minimum or a commitment asks for is a line of its own.
    """
    slices: dict[Group, list[tuple[Decimal, Rated]]] = {}
    for group, usage in read(charge.meter, events, part, carried, asked.period).items():
        slices.setdefault(without_bucket(group), []).append((usage.quantity, rate(unbounded(charge), usage)))
    behind: dict[Group, list[BillableEvent]] = {}
    for group, own in selected(charge.meter, counted(charge.meter, events, part), part.period).items():
        behind.setdefault(without_bucket(group), []).extend(own)
    bounded = for_days(charge, len(part.days), days(asked.period))
    exact = {group: sum((r.amount for _, r in rated), ZERO) for group, rated in slices.items()}
    amounts = capped(exact, bounded.maximum, iso(part.plan.currency))
    lines = [
        usage_line(charge, part, group, rated, amounts[group], asked, behind.get(group, []))
        for group, rated in slices.items()
    ]
    spent = sum((line.amount for line in lines), ZERO)
    more = adjustment(spent, bounded.minimum, bounded.commitment, final=asked.final)
    name = f"{charge.name or charge.charge_id}: minimum and commitment"
    return [*lines, *true_up_lines(f"{charge.charge_id}:minimum", charge.charge_id, name, more, part, asked)]


def capped(
    exact: Mapping[Group, Decimal], maximum: Decimal | None, currency: Currency
) -> dict[Group, tuple[Decimal, Decimal]]:
    """The exact and the rounded amount of each group, within the maximum of all."""
    total = sum(exact.values(), ZERO)
    if maximum is None or total <= maximum:
        return {group: (amount, currency.rounded(amount)) for group, amount in exact.items()}
    parts = currency.split(currency.rounded(maximum), [max(amount, ZERO) for amount in exact.values()])
    return {group: (amount * maximum / total, part) for (group, amount), part in zip(exact.items(), parts, strict=True)}


def without_bucket(group: Group) -> Group:
    return tuple(pair for pair in group if pair[0] != BUCKET)


def usage_line(
    charge: Charge,
    part: Part,
    group: Group,
    rated: Sequence[tuple[Decimal, Rated]],
    amounts: tuple[Decimal, Decimal],
    asked: Bill,
    events: Sequence[BillableEvent],
) -> Line:
    currency = iso(part.plan.currency)
    exact, amount = amounts
    uses = [(chain_of(e), weight(charge.meter, e)) for e in events]
    parts = by_chain(amount, uses, currency)
    name = charge.name or charge.charge_id
    return Line(
        line_id=":".join([charge.charge_id, *(f"{quote(k)}={quote(v)}" for k, v in group)]) + part.mark,
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


def quote(text: str) -> str:
    """Groups are named by what agents send: no name may read as another one's."""
    return urllib.parse.quote(text, safe="")


def weight(meter: Meter, event: BillableEvent) -> Decimal:
    """What an event counts for where a line is shared out: its value where values add up, else one like another."""
    if meter.property is None or meter.aggregation not in (Aggregation.SUM, Aggregation.WEIGHTED_SUM):
        return Decimal(1)
    return number_of(event, meter.property)


def plan_lines(part: Part, asked: Bill, lines: Sequence[Line]) -> list[Line]:
    """What the plan's commitment and minimum ask for, for the days that it held."""
    plan, held, whole = part.plan, len(part.days), days(asked.period)
    minimum = None if plan.minimum is None else prorated(plan.minimum, held, whole)
    spent = sum((line.amount for line in lines), ZERO)
    more = adjustment(spent, minimum, commitment_for(plan.commitment, held, whole), final=asked.final)
    return true_up_lines(MINIMUM, MINIMUM, "Minimum and commitment", more, part, asked)


def true_up_lines(id: str, charge_id: ChargeId, name: str, exact: Decimal, part: Part, asked: Bill) -> list[Line]:
    """A line for what is missing; none where nothing is. Amounts before it are rounded, so it is what is missing to the cent."""
    amount = iso(part.plan.currency).rounded(exact)
    if not amount:
        return []
    return [
        Line(
            line_id=f"{id}{part.mark}",
            kind=LineKind.TRUE_UP,
            charge_id=charge_id,
            description=name,
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
