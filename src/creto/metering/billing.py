"""Billing: a subscription, a period and its events, to the lines of an invoice.

    lines = bill(Bill(plans=plans, subscription=subscription, period=period), standing(events))
    invoice = draft(heading, lines, terms)

Each fee and each charge is billed for the stretch of the period in which it held: fees by its days, usage by its events (see `parts`).
Corrections of periods that are over are in `corrections`.

INVARIANT: the same events give the same lines, in whatever order they came and however often; the shares of a line sum to it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from creto.common.ids import AgentId, EventId
from creto.contracts import BillableEvent
from creto.metering.aggregation import BUCKET, Carried, Group, carried_on, read_by, selected
from creto.metering.attribution import borne, by_chain, chain_of, summed_shares
from creto.metering.beyond import UNITS, about, beyond_type, surcharges
from creto.metering.charges import Days, Rated, adjustment, for_part, rate, unbounded
from creto.metering.currencies import Currency, iso
from creto.metering.events import events_root, number_of, standing
from creto.metering.invoices import in_order
from creto.metering.parts import Part, Stretch, Terms, counted, outline, read
from creto.metering.periods import Period, days, prorated
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


class Rested(NamedTuple):
    """A charge for its stretch, what it rests on, and what was booked beyond quotas for such usage."""

    stretch: Stretch[Charge]
    bases: list[Basis]
    bookings: Sequence[BillableEvent]


@precise
def bill(asked: Bill, events: Sequence[BillableEvent]) -> list[Line]:
    lines: list[Line] = []
    names: list[ChargeId] = []
    for terms, found in counted_parts(asked, events):
        own = [line for fee in terms.fees for line in fee_lines(fee, asked)]
        for stretch, bases, bookings in found:
            usage = charge_lines(stretch, asked, bases)
            surplus = beyond_bases(stretch, bases, usage, bookings)
            own += [*usage, *(beyond_line(basis, asked) for basis in surplus)]
        lines += [*own, *plan_lines(terms, asked, own)]
        names += [s.item.charge_id for s in terms.fees] + [s.item.charge_id for s in terms.charges]
    return in_order(lines, list(dict.fromkeys(names)))


@precise
def bases(asked: Bill, events: Sequence[BillableEvent]) -> dict[str, Basis]:
    """What each usage line of the bill rests on, by the line's id."""
    found: dict[str, Basis] = {}
    for _, own in counted_parts(asked, events):
        for stretch, bases, bookings in own:
            found |= {basis.line_id: basis for basis in bases}
            if bookings:
                usage = charge_lines(stretch, asked, bases)
                found |= {basis.line_id: basis for basis in beyond_bases(stretch, bases, usage, bookings)}
    return found


def counted_parts(asked: Bill, events: Sequence[BillableEvent]) -> Iterator[tuple[Terms, list[Rested]]]:
    """What held in the period, with what each charge rests on."""
    by_type: dict[str, list[BillableEvent]] = {}
    for event in standing(events):
        by_type.setdefault(event.event_type, []).append(event)
    for terms in outline(asked.plans, asked.subscription, asked.period):
        yield (
            terms,
            [
                Rested(
                    s,
                    charge_bases(s, asked, by_type.get(s.item.meter.event_type, [])),
                    by_type.get(beyond_type(s.item.meter.event_type), []),
                )
                for s in terms.charges
            ],
        )


def legible(asked: Bill, events: Sequence[BillableEvent]) -> tuple[Sequence[BillableEvent], list[EventId]]:
    """The events that can be billed, and those that a meter of the plan cannot read: they are left for a person to correct."""
    terms = outline(asked.plans, asked.subscription, asked.period)
    return read_by({stretch.item.meter for one in terms for stretch in one.charges}, events)


def fee_lines(stretch: Stretch[Fee], asked: Bill) -> list[Line]:
    """A fixed fee, for the days after the trial."""
    fee, part = stretch.item, stretch.part
    if part.paid_from is None:
        return []
    currency = iso(part.plan.currency)
    exact = prorated(fee.amount, len(part.paid), days(asked.period)) if fee.prorated else fee.amount
    return [
        Line(
            line_id=f"{fee.charge_id}{part.mark}",
            kind=LineKind.FEE,
            charge_id=fee.charge_id,
            description=fee.name or fee.charge_id,
            period=Period(part.paid_from, part.period.end, part.period.zone),
            exact=exact,
            amount=currency.rounded(exact),
            quantity=Decimal(1),
            shares=own_share(asked, currency.rounded(exact)),
        )
    ]


def days_of(part: Part, asked: Bill) -> Days:
    return Days(len(part.days), len(part.paid), days(asked.period))


def own_share(asked: Bill, amount: Decimal) -> tuple[Share, ...]:
    """What no event caused, the subscriber bears."""
    return (Share(asked.subscription.agent, amount),) if amount else ()


def charge_bases(stretch: Stretch[Charge], asked: Bill, events: Sequence[BillableEvent]) -> list[Basis]:
    """One for each group; the slices of a bucketed meter are priced apart and stand in one."""
    part, meter = stretch.part, stretch.item.meter
    charge = for_part(stretch.item, len(part.days), part.of_days)
    before = Period(asked.period.start, part.period.start, part.period.zone)
    carried = carried_on(meter, events, before, asked.carried.get(meter.meter_id, {}))
    slices: dict[Group, list[tuple[Decimal, Rated]]] = {}
    for group, usage in read(meter, events, part, carried, asked.period).items():
        slices.setdefault(without_bucket(group), []).append((usage.quantity, rate(unbounded(charge), usage)))
    behind: dict[Group, list[BillableEvent]] = {}
    for group, own in selected(meter, counted(meter, events, part), part.period).items():
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


def charge_lines(stretch: Stretch[Charge], asked: Bill, found: Sequence[Basis]) -> list[Line]:
    """One line for each group. A maximum makes all lines less, each by its share; what a minimum or a commitment asks for
    is a line of its own.
    """
    charge, part = stretch.item, stretch.part
    held = days_of(part, asked)
    most = None if charge.maximum is None else prorated(charge.maximum, held.held, held.whole)
    exact = {basis.group: sum((r.amount for r in basis.rated), ZERO) for basis in found}
    amounts = capped(exact, most, iso(part.plan.currency))
    lines = [usage_line(basis, amounts[basis.group], asked) for basis in found]
    spent = sum((line.amount for line in lines), ZERO)
    more = adjustment(spent, charge.minimum, charge.commitment, held, final=asked.final)
    name = f"{charge.name or charge.charge_id}: minimum and commitment"
    return [*lines, *true_up_lines(f"{charge.charge_id}:minimum", charge.charge_id, name, more, part, asked)]


def beyond_bases(
    stretch: Stretch[Charge], found: Sequence[Basis], usage: Sequence[Line], bookings: Sequence[BillableEvent]
) -> list[Basis]:
    """What usage beyond quotas costs on top of what the charge came to; one for each quota and factor."""
    charge, part = stretch.item, stretch.part
    if not bookings or charge.meter.aggregation not in (Aggregation.COUNT, Aggregation.SUM):
        return []
    own = counted(charge.meter, about(charge.charge_id, bookings), part)
    spent = sum((line.exact for line in usage if line.kind is LineKind.USAGE), ZERO)
    read = sum((basis.quantity for basis in found), ZERO)
    meter = Meter(
        meter_id=MeterId("beyond"), event_type=beyond_type(charge.meter.event_type), aggregation=Aggregation.SUM, property=UNITS
    )  # fmt: skip
    plain = replace(unbounded(charge), meter=meter, conversion=None, free_units=ZERO, discount_percent=ZERO)
    return [
        Basis(
            line_id=f"{charge.charge_id}:beyond:{quote(one.quota_id)}:{one.factor:f}{part.mark}",
            charge=replace(
                plain, name=f"{charge.name or charge.charge_id} beyond quota {one.quota_id}, × {one.factor:f}"
            ),
            part=part,
            group=(),
            quantity=one.rated.units,
            rated=(one.rated,),
            events=one.events,
        )
        for one in surcharges(read, spent, own)
    ]


def beyond_line(basis: Basis, asked: Bill) -> Line:
    exact = sum((r.amount for r in basis.rated), ZERO)
    amount = iso(basis.part.plan.currency).rounded(exact)
    return replace(usage_line(basis, (exact, amount), asked), kind=LineKind.BEYOND)


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
    charge = basis.charge
    exact, amount = amounts
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
        shares=shares_of(basis, amount, asked) if basis.events else own_share(asked, amount),
    )


def shares_of(basis: Basis, amount: Decimal, asked: Bill) -> tuple[Share, ...]:
    """Who bears a line: by what each chain used, and by the rule that held when it did."""
    part, currency, meter = basis.part, iso(basis.part.plan.currency), basis.charge.meter
    rules = part.payers
    uses = [((rules.index(part.payer_at(e.timestamp)), chain_of(e)), weight(meter, e)) for e in basis.events]
    parts = by_chain(amount, uses, currency)
    return summed_shares(
        share
        for number, rule in enumerate(rules)
        for share in borne({c: part for (n, c), part in parts.items() if n == number}, rule, asked.wallets, currency)
    )


def quote(text: str) -> str:
    """Groups are named by what agents send: no name may read as another one's."""
    return urllib.parse.quote(text, safe="")


def weight(meter: Meter, event: BillableEvent) -> Decimal:
    """What an event counts for where a line is shared out: its value where values add up, else one like another."""
    if meter.property is None or meter.aggregation not in (Aggregation.SUM, Aggregation.WEIGHTED_SUM):
        return Decimal(1)
    return number_of(event, meter.property)


def plan_lines(terms: Terms, asked: Bill, lines: Sequence[Line]) -> list[Line]:
    """What the plan's commitment and minimum ask for, for the days that they held."""
    plan, spent = terms.part.plan, sum((line.amount for line in lines), ZERO)
    more = adjustment(spent, plan.minimum, plan.commitment, days_of(terms.part, asked), final=asked.final)
    return true_up_lines(MINIMUM, MINIMUM, "Minimum and commitment", more, terms.part, asked)


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
