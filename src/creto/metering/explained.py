"""Explanations: why a line is what it is, and where an event went; as structs and as text for a person.

    print(rendered(await billing.explain_line(tenant, invoice_id, "tokens")))

Line to events: what the meter read, each step of the price, what was taken off and added, who bears it, which credits paid, and the
events themselves, of which the line's root is checked. Event to lines: every line in which it was counted, and its part of each.

INVARIANT: the parts of a line's events sum to the line, as far as its amount comes from events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from creto.common.ids import AgentId, EventId, SubscriptionId
from creto.common.timestamps import iso
from creto.contracts import BillableEvent
from creto.metering.attribution import Chain, chain_of
from creto.metering.billing import Basis, weight
from creto.metering.currencies import iso as currency_of
from creto.metering.reasons import FeeReason, Reason
from creto.metering.rounding import ZERO, plain, precise
from creto.metering.types import Charge, CreditUse, InvoiceId, InvoiceStatus, Line, LineKind
from creto.metering.usage_types import EventAct


class EventChange(StrEnum):
    """What became of an event between what was billed before and a correction."""

    SAME = "same"  # it costs otherwise, as by a tier that others fill
    NEW = "new"  # it came late, or was moved here
    CHANGED = "changed"
    GONE = "gone"  # it was voided, moved away, or is another subscription's


class EventPart(msgspec.Struct, frozen=True, kw_only=True):
    """An event behind a line: what the meter counted of it, and what of the line's amount falls on it.

    Behind a correction also what it counted for `before`; the part is then what changed.
    """

    event_id: EventId
    agent: AgentId
    chain: Chain
    timestamp: int
    counted: Decimal
    part: Decimal
    before: Decimal | None = None
    change: EventChange | None = None


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """How a quantity became an amount. `percent_off` and `capped_off` came off the gross amount."""

    charge: Charge
    read: Decimal
    billed: Decimal
    gross: Decimal
    percent_off: Decimal
    capped_off: Decimal


class LineExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything behind a line: `priced` for usage, `reason` for what no event is behind. `root_holds`: whether the events hash to the root on the line; None where it has none."""

    invoice_id: InvoiceId
    number: str | None
    status: InvoiceStatus
    plan: str
    currency: str
    line: Line
    priced: Priced | None
    events: tuple[EventPart, ...]
    events_total: int
    root_holds: bool | None
    credits: tuple[CreditUse, ...]
    reason: Reason | None = None
    token_prices: str = ""
    corrects: str | None = None  # the number of the invoice that it corrects


class LinePart(msgspec.Struct, frozen=True, kw_only=True):
    """A line in which an event was counted. `part` is what of the amount falls on it."""

    invoice_id: InvoiceId
    number: str | None
    status: InvoiceStatus
    line_id: str
    kind: LineKind
    description: str
    counted: Decimal
    part: Decimal
    amount: Decimal
    currency: str
    before: Decimal | None = None
    change: EventChange | None = None


class EventExplanation(msgspec.Struct, frozen=True):
    """Where an event went, and what was done to it. Without a subscription nobody pays for it now; without lines no charge counted it."""

    event: BillableEvent
    subscription_id: SubscriptionId | None
    lines: tuple[LinePart, ...]
    state: str = "counted"
    history: tuple[EventAct, ...] = ()


@precise
def priced(basis: Basis) -> Priced:
    rated = basis.rated
    return Priced(
        charge=basis.charge,
        read=basis.quantity,
        billed=sum((r.units for r in rated), ZERO),
        gross=sum((r.gross for r in rated), ZERO),
        percent_off=sum((r.percent_off for r in rated), ZERO),
        capped_off=sum((r.capped_off for r in rated), ZERO),
    )


@precise
def parts(basis: Basis, amount: Decimal, currency: str) -> list[EventPart]:
    """The line's amount over its events, by what each counted for; where nothing counted, over all alike."""
    if not basis.events:
        return []
    weights = [weight(basis.charge.meter, event) for event in basis.events]
    positive = [max(w, ZERO) for w in weights]
    if not any(positive):
        positive = [Decimal(1) for _ in weights]
    shares = currency_of(currency).split(amount, positive)
    return [
        EventPart(
            event_id=event.event_id, agent=event.agent_nhi, chain=chain_of(event), timestamp=event.timestamp,
            counted=counted, part=share,
        )
        for event, counted, share in zip(basis.events, weights, shares, strict=True)
    ]  # fmt: skip


@precise
def changes(before: Sequence[EventPart], after: Sequence[EventPart]) -> list[EventPart]:
    """What a correction changed for each event: those first that became others, in the order of time."""
    was, now = ({part.event_id: part for part in parts} for parts in (before, after))
    found = []
    for event_id in was.keys() | now.keys():
        old, new = was.get(event_id), now.get(event_id)
        change = EventChange.SAME
        if old is None or new is None:
            change = EventChange.NEW if old is None else EventChange.GONE
        elif (old.counted, old.timestamp) != (new.counted, new.timestamp):
            change = EventChange.CHANGED
        told = new or old
        assert told is not None
        found.append(
            replace(
                told,
                counted=ZERO if new is None else new.counted,
                before=ZERO if old is None else old.counted,
                part=(ZERO if new is None else new.part) - (ZERO if old is None else old.part),
                change=change,
            )
        )
    return sorted(found, key=lambda part: (part.change is EventChange.SAME, part.timestamp, part.event_id))


def rendered(one: LineExplanation) -> str:
    """For a terminal: what happened, in the order in which it did."""
    rows = [*line_rows(one), *money_rows(one), *event_rows(one)]
    width = max(len(name) for name, _ in rows)
    return "\n".join([headline(one), *(f"  {name.ljust(width)}  {text}".rstrip() for name, text in rows)])


def headline(one: LineExplanation) -> str:
    line, period = one.line, one.line.period
    number = one.number or one.invoice_id
    return f"{line.description}: {money(line.amount, one)} on {number} ({one.status}), {when(period.start)} to {when(period.end)}"


def line_rows(one: LineExplanation) -> Iterator[tuple[str, str]]:
    yield "line", f"{one.line.line_id} ({one.line.kind})"
    yield "plan", one.plan
    if one.line.corrects is not None:
        yield "corrects", f"{one.corrects or one.line.corrects}: this is what is billed now, less what was billed then"
    if one.reason is not None:
        yield from reason_rows(one.reason)
    if one.priced is not None:
        yield from read_rows(one.priced, one)
    for step in one.line.steps if one.line.corrects is None else ():
        flat = f" + {number(step.flat)}" if step.flat else ""
        yield step.label, f"{number(step.units)} × {number(step.rate)}{flat} = {number(step.amount)}"
    if one.priced is not None:
        yield from off_rows(one.priced)


def reason_rows(why: Reason) -> Iterator[tuple[str, str]]:
    of = f"{why.days} of {why.of_days} days"
    if isinstance(why, FeeReason):
        yield "fee", f"{number(why.amount)} for {of}" if why.prorated else f"{number(why.amount)}, whole"
        return
    yield "spent", number(why.spent)
    if why.minimum is not None:
        yield "minimum", f"{number(why.minimum)} for {of}"
    if why.commitment is not None:
        beyond = f"beyond it × {number(why.commitment.overage_factor)}"
        held = f" of all {why.days_held}" if why.days_held != why.days else ""
        yield "commitment", f"{number(why.commitment.amount)} for {of}, {beyond}{held}"


def read_rows(how: Priced, one: LineExplanation) -> Iterator[tuple[str, str]]:
    charge, meter = how.charge, how.charge.meter
    of = f" of {meter.property}" if meter.property else ""
    yield "meter", f"{meter.meter_id}: {meter.aggregation.replace('_', ' ')}{of} over {meter.event_type} events"
    yield "read", f"{number(how.read)} from {one.line.events} events"
    if one.token_prices:
        yield "token prices", f"table {one.token_prices}"
    if charge.conversion is not None:
        yield "converted", f"÷ {number(charge.conversion.divide_by)}"
    if charge.free_units:
        yield "free units", number(charge.free_units)
    if how.billed != how.read:
        yield "billed", number(how.billed)


def off_rows(how: Priced) -> Iterator[tuple[str, str]]:
    charge = how.charge
    if how.percent_off:
        yield "discount", f"{number(charge.discount_percent)} % off: −{number(how.percent_off)}"
    if how.capped_off or (charge.maximum is not None and how.gross - how.percent_off > charge.maximum):
        yield "maximum", f"{number(charge.maximum or ZERO)} for the charge"


def money_rows(one: LineExplanation) -> Iterator[tuple[str, str]]:
    line = one.line
    yield "exact", number(line.exact)
    yield "rounded", f"{money(line.amount, one)}, half-up"
    if line.discount:
        yield "coupons", f"−{money(line.discount, one)}"
    for tax in line.taxes:
        yield f"tax {tax.code}", f"{number(tax.percent)} % of {money(tax.taxable, one)} = {money(tax.amount, one)}"
    for use in one.credits:
        yield "paid", f"{money(use.amount, one)} by the credits {use.grant_id}"
    for share in line.shares:
        yield "borne by", f"{share.agent}: {money(share.amount, one)}"


def event_rows(one: LineExplanation) -> Iterator[tuple[str, str]]:
    if one.line.events_root is not None:
        what = "below" if one.line.corrects is None else "that count now"
        state = f"the events {what} hash to it" if one.root_holds else "THE EVENTS KNOWN NOW DO NOT HASH TO IT"
        yield "root", f"{one.line.events_root} over {one.line.events} events: {state}"
    for event in one.events:
        what = f"{when(event.timestamp)}  {event.event_id}  {path(event.chain)}"
        yield "event", f"{what}  {counted_as(event)} → {money(event.part, one)}"
    if one.events_total > len(one.events):
        yield "", f"and {one.events_total - len(one.events)} more"


def counted_as(part: EventPart | LinePart) -> str:
    if part.change in (None, EventChange.SAME) or part.before is None:
        return number(part.counted)
    return f"{part.change}: {number(part.counted)} instead of {number(part.before)}"


def rendered_event(one: EventExplanation) -> str:
    event = one.event
    head = f"{event.event_id}: {event.event_type} of {event.agent_nhi} at {when(event.timestamp)}"
    rows = [("subscription", one.subscription_id or "none: nobody pays for it"), ("chain", path(chain_of(event)))]
    rows += [(act.act, f"{when(act.done_at)} by {short(act.by)}: {act.reason}") for act in one.history]
    rows += [
        (
            "counted in",
            f"{part.number or part.invoice_id} ({part.status}), line {part.line_id}: {counted_as(part)} → "
            f"{number(part.part)} of {number(part.amount)} {part.currency}",
        )
        for part in one.lines
    ] or [("counted in", "no line: no charge of its plan counts it")]
    width = max(len(name) for name, _ in rows)
    return "\n".join([head, *(f"  {name.ljust(width)}  {text}" for name, text in rows)])


def path(chain: Iterable[AgentId]) -> str:
    return " → ".join(short(agent) for agent in chain)


def short(agent: AgentId) -> str:
    """The tail of an identity: enough to tell the agents of one chain apart."""
    return agent if len(agent) <= 24 else f"…{agent[-12:]}"


def when(at: int) -> str:
    """An instant; most are whole seconds, and read better so."""
    return iso(at).replace(".000000000", "")


def number(value: Decimal) -> str:
    return f"{plain(value.normalize()):f}" if value else "0"


def money(value: Decimal, one: LineExplanation) -> str:
    return f"{value:f} {one.currency}"
