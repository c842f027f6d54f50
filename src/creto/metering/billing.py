"""Billing: a subscription, a period and its events, to the lines of an invoice.

    lines = bill(Bill(plans=plans, subscription=subscription, period=period), standing(events))
    invoice = draft(heading, lines, terms)

Each part of the period in which one version of a plan held is billed by it: fees by its days, usage by its events. Corrections of
periods that are over are in `corrections`.

INVARIANT: the same events give the same lines, in whatever order they came and however often; the shares of a line sum to it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
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


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What a usage line rests on: what the meter read, how it was priced, and which events were behind it."""

    line_id: str
    charge: Charge
    part: Part
    group: Group
    quantity: Decimal
    rated: tuple[Rated, ...]
    events: tuple[BillableEvent, ...]


@precise
def bill(asked: Bill, events: Sequence[BillableEvent]) -> list[Line]:
    lines: list[Line] = []
    names: list[ChargeId] = []
    for part, found in counted_parts(asked, events):
        own = fee_lines(part, asked)
        for charge, bases in found:
            own += charge_lines(charge, part, asked, bases)
        lines += [*own, *plan_lines(part, asked, own)]
        names += part.plan.charge_ids
    return in_order(lines, list(dict.fromkeys(names)))


@precise
def bases(asked: Bill, events: Sequence[BillableEvent]) -> dict[str, Basis]:
    """What each usage line of the bill rests on, by the line's id."""
    parts = counted_parts(asked, events)
    return {basis.line_id: basis for _, found in parts for _, own in found for basis in own}


def counted_parts(
    asked: Bill, events: Sequence[BillableEvent]
) -> Iterator[tuple[Part, list[tuple[Charge, list[Basis]]]]]:
    """The parts of the period, with what each charge rests on. Levels that meters carry go on from part to part."""
    by_type: dict[str, list[BillableEvent]] = {}
    for event in standing(events):
        by_type.setdefault(event.event_type, []).append(event)
    carried = dict(asked.carried)
    for part in parts_of(asked.plans, asked.subscription, asked.period):
        found = []
        for charge in part.plan.charges:
            of_type = by_type.get(charge.meter.event_type, [])
            level = carried.get(charge.meter.meter_id, {})
            found.append((charge, charge_bases(charge, part, asked, of_type, level)))
        for meter in {charge.meter.meter_id: charge.meter for charge in part.plan.charges}.values():
            of_type = by_type.get(meter.event_type, [])
            carried[meter.meter_id] = carried_on(meter, of_type, part.period, carried.get(meter.meter_id, {}))
        yield part, found


def fee_lines(part: Part, asked: Bill) -> list[Line]:
    """Fixed fees, for the days after the trial."""
    paid = paid_part(part, asked)
    if paid is None:
        return []
    return [fee_line(part, fee, paid, paid_days(part, paid, asked), asked) for fee in part.plan.fees]


def paid_part(part: Part, asked: Bill) -> Period | None:
    return overlap(part.period, Period(trial_ends_at(part.plan, asked.subscription), part.period.end))


def paid_days(part: Part, paid: Period, asked: Bill) -> int:
    return len(part.days.intersection(day_range(paid, asked.period)))


def fee_line(part: Part, fee: Fee, paid: Period, count: int, asked: Bill) -> Line:
    currency = iso(part.plan.currency)
    exact = prorated(fee.amount, count, days(asked.period)) if fee.prorated else fee.amount
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


def charge_bases(
    charge: Charge, part: Part, asked: Bill, events: Sequence[BillableEvent], carried: Mapping[Group, Carried]
) -> list[Basis]:
    """One for each group; the slices of a bucketed meter are priced apart and stand in one."""
    slices: dict[Group, list[tuple[Decimal, Rated]]] = {}
    for group, usage in read(charge.meter, events, part, carried, asked.period).items():
        slices.setdefault(without_bucket(group), []).append((usage.quantity, rate(unbounded(charge), usage)))
    behind: dict[Group, list[BillableEvent]] = {}
    for group, own in selected(charge.meter, counted(charge.meter, events, part), part.period).items():
        behind.setdefault(without_bucket(group), []).extend(own)
    return [
        Basis(
            line_id=":".join([charge.charge_id, *(f"{quote(k)}={quote(v)}" for k, v in group)]) + part.mark,
            charge=charge,
            part=part,
            group=group,
            quantity=sum((quantity for quantity, _ in rated), ZERO),
            rated=tuple(r for _, r in rated),
            events=tuple(behind.get(group, ())),
        )
        for group, rated in slices.items()
    ]


def charge_lines(charge: Charge, part: Part, asked: Bill, found: Sequence[Basis]) -> list[Line]:
    """One line for each group. A maximum makes all lines less, each by its share; what a minimum or a commitment asks for
    is a line of its own.
    """
    bounded = for_days(charge, len(part.days), days(asked.period))
    exact = {basis.group: sum((r.amount for r in basis.rated), ZERO) for basis in found}
    amounts = capped(exact, bounded.maximum, iso(part.plan.currency))
    lines = [usage_line(basis, amounts[basis.group], asked) for basis in found]
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


def usage_line(basis: Basis, amounts: tuple[Decimal, Decimal], asked: Bill) -> Line:
    charge, plan = basis.charge, basis.part.plan
    currency = iso(plan.currency)
    exact, amount = amounts
    parts = by_chain(amount, [(chain_of(e), weight(charge.meter, e)) for e in basis.events], currency)
    name = charge.name or charge.charge_id
    return Line(
        line_id=basis.line_id,
        kind=LineKind.USAGE,
        charge_id=charge.charge_id,
        description=name if not basis.group else f"{name} ({', '.join(v for _, v in basis.group)})",
        period=basis.part.period,
        exact=exact,
        amount=amount,
        quantity=basis.quantity,
        group=dict(basis.group),
        steps=tuple(step for r in basis.rated for step in r.steps),
        events=len(basis.events),
        events_root=events_root(basis.events) if basis.events else None,
        shares=borne(parts, plan.payer, asked.wallets, currency) if parts else own_share(asked, amount),
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
