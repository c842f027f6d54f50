"""Usage out: how much was used, and what it costs.

Whole days and hours come from the running totals, what no total holds yet and the edges from the events themselves; meters that filter,
group or look at single values read the events.

INVARIANT: a query sees one moment of the store, and says what a count over all events that count then would say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

from msgspec.structs import replace

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, EventId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import UNREAD_SHOWN_MAX, USAGE_SCANNED_MAX
from creto.contracts import BillableEvent
from creto.metering import event_store as rows
from creto.metering import store as billing_rows
from creto.metering import total_store
from creto.metering.aggregation import Carried, Group, Tally, carried_on, counts, group_of, quantity, read_by, tally
from creto.metering.attribution import Chain, cost_tree
from creto.metering.billing import Bill, bill
from creto.metering.billing import legible as legible_of
from creto.metering.core import Recording, known
from creto.metering.event_store import Behind, EventRow
from creto.metering.periods import Period, period_at
from creto.metering.plans import effective, phase_at
from creto.metering.rounding import ZERO, precise
from creto.metering.slices import SliceKey, Slices, agent_of, paged, slices, told_for
from creto.metering.source import Book, StoredEvents, whole
from creto.metering.subscriptions import cycle_of
from creto.metering.totals import (
    Cell,
    CellKey,
    Cover,
    Grain,
    Reading,
    Span,
    aligned,
    cover,
    facts,
    folded,
    tells,
    within,
)
from creto.metering.types import LineKind, MeterId, Payer, PayerRule, Subscription
from creto.metering.usage_types import CostReport, UsagePage, UsageQuery, UsageRow
from creto.store.types import ReadTx

SEPARATOR = "\x1f"  # stands in no name of an agent
TOGETHER = 2_000  # events that are tallied in one go

Tallies = dict[SliceKey, Tally]
K = TypeVar("K", bound=str)


class Querying(Recording):
    async def query_usage(self, tenant: TenantId, query: UsageQuery) -> UsagePage:
        """How much of a meter was used: a number, a series, by agents, by groups, the largest of them, in pages."""
        cut = slices(query)

        def look(tx: ReadTx) -> tuple[Tallies, list[EventId]]:
            scan = Scan(tx, checked_tenant(tenant), query, cut)
            return scan.tallies(), sorted(scan.unread)

        tallies, unread = await self._store.read(look)
        page = paged(query, usage_rows(query, cut, tallies))
        return replace(page, unread=tuple(unread[:UNREAD_SHOWN_MAX]), unread_count=len(unread))

    async def query_cost(
        self, tenant: TenantId, subscription_id: SubscriptionId, *, at: int | None = None
    ) -> CostReport:
        """What the period that holds an instant costs so far, by charge, by type of event and along the delegation tree."""
        moment = self._clock.now() if at is None else at

        def look(tx: ReadTx) -> CostReport:
            found = billing_rows.find_subscription(tx, checked_tenant(tenant), subscription_id)
            return cost_of(tx, known(found, subscription_id), moment, self._clock.now())

        return await self._store.read(look)


@precise
def usage_rows(query: UsageQuery, cut: Slices, tallies: Tallies) -> Iterator[UsageRow]:
    """A question that groups nothing is answered for every slice, also where nothing happened."""
    if query.agent is None and not query.meter.group_by and query.by == "all" and query.top is None:
        tallies = {**{(n, "", ()): Tally() for n in range(len(cut.bounds) - 1)}, **tallies}
    for (index, who, group), seen in tallies.items():
        period = cut.period(index)
        yield UsageRow(
            period.start, period.end, quantity(query.meter, seen, period), seen.count, agent_of(who), dict(group)
        )


class Scan:
    """One question to one view of the store."""

    def __init__(self, tx: ReadTx, tenant: TenantId, query: UsageQuery, cut: Slices) -> None:
        self._tx = tx
        self._tenant = tenant
        self._query = query
        self._cut = cut
        self._meter = query.meter
        self._chains = chains_for(tx, tenant, query)
        self._people = {chain: told_for(query, whole(behind)) for chain, behind in self._chains.items()}
        self._read = 0
        self.unread: set[EventId] = set()  # of what was looked at: these lack what the meter reads

    def tallies(self) -> Tallies:
        if tells(self._meter):
            found = self._from_totals()
            if found is not None:
                return found
        return self._from_events(self._events([Span(self._query.period.start, self._query.period.end)]))

    # From totals

    @precise
    def _from_totals(self) -> Tallies | None:
        """None if an event lacks what the meter reads: then each is looked at, and those are named."""
        period = self._query.period
        parts = cover(period.start, period.end, aligned(self._cut.bounds[1:-1]))
        found: dict[SliceKey, Reading] = {}
        for key, cell in self._cells(parts):
            index = self._cut.index(key.begins_at)
            for who in self._people.get(key.chain, ()):
                place = (index, who, ())
                known = found.get(place)
                if known is None:
                    known = found[place] = Reading()
                if not known.add(cell, self._meter.property):
                    return None
        return {place: reading.tally for place, reading in found.items()}

    def _cells(self, parts: Cover) -> Iterator[tuple[CellKey, Cell]]:
        """Cells of whole days and hours; of what no total holds and of the edges as cells made here."""
        chains = None if self._query.agent is None else sorted(self._chains)
        event_type = self._meter.event_type
        covered = [parts.days, *parts.hours]
        for grain, span in [(Grain.DAY, parts.days), *((Grain.HOUR, span) for span in parts.hours)]:
            if span.start < span.end:
                cells = total_store.cells(self._tx, self._tenant, grain, chains, span.start, span.end, event_type)
                yield from ((key, kept.cell) for key, kept in cells)
        period = self._query.period
        waiting = (
            row
            for row in total_store.waiting_events(self._tx, self._tenant, period.start, period.end)
            if row.event_type == event_type and within(covered, row.happened_at)
        )
        yield from self._single(waiting)
        yield from self._single(self._events(parts.rest))

    def _single(self, events: Iterable[EventRow]) -> Iterator[tuple[CellKey, Cell]]:
        """By slice: an hour that a boundary cuts counts in both."""
        by_slice: dict[int, list[EventRow]] = {}
        for row in events:
            if row.chain in self._chains:
                by_slice.setdefault(self._cut.index(row.happened_at), []).append(row)
        for index, own in by_slice.items():
            start = self._cut.bounds[index]
            for key, kept in folded(facts(own)).items():
                yield replace(key, begins_at=max(key.begins_at, start)), kept.cell

    # From events

    def _events(self, spans: Sequence[Span]) -> Iterator[EventRow]:
        for span in spans:
            types = [self._meter.event_type]
            for row in total_store.events_between(self._tx, self._tenant, self._chains, span.start, span.end, types):
                self._read += 1
                if self._read > USAGE_SCANNED_MAX:
                    expected = f"one with at most {USAGE_SCANNED_MAX} events, or of whole hours"
                    raise InvalidInput.of("period", got="more events", expected=expected, code="MT-400")
                yield row

    def _from_events(self, events: Iterable[EventRow]) -> Tallies:
        gathered: dict[SliceKey, list[BillableEvent]] = {}
        found: Tallies = {}
        for row in events:
            event = row.event(self._tenant, self._chains[row.chain])
            if not counts(self._meter, event):
                continue
            group: Group = group_of(self._meter, event)
            index = self._cut.index(row.happened_at)
            for who in self._people[row.chain]:
                place = (index, who, group)
                own = gathered.setdefault(place, [])
                own.append(event)
                if len(own) >= TOGETHER:
                    self._tally(found, place, gathered.pop(place))
        for place, own in gathered.items():
            self._tally(found, place, own)
        return found

    def _tally(self, found: Tallies, place: SliceKey, own: Sequence[BillableEvent]) -> None:
        period = self._cut.period(place[0])
        try:
            seen = tally(self._meter, own, period)
        except (InvalidInput, NotFound):
            legible, unread = read_by([self._meter], own)
            self.unread.update(unread)
            seen = tally(self._meter, legible, period)
        found[place] = found[place].merged(seen) if place in found else seen


def chains_for(tx: ReadTx, tenant: TenantId, query: UsageQuery) -> dict[bytes, Behind]:
    if query.agent is None:
        return rows.all_chains(tx, tenant)
    chains = rows.chains_of(tx, tenant, query.agent)
    return chains if query.delegates else {c: behind for c, behind in chains.items() if behind[0] == query.agent}


# Costs


def cost_of(tx: ReadTx, subscription: Subscription, at: int, now: int) -> CostReport:
    book = Book(tx, subscription.tenant)
    phase = phase_at(subscription.phases, at) or subscription.phases[0]
    plans = [
        plan
        for plan_id in dict.fromkeys(p.plan_id for p in subscription.phases)
        for plan in billing_rows.versions(tx, subscription.tenant, plan_id)
    ]
    holding = effective(book.plan(phase.plan_id, phase.version), subscription.override)
    period = period_at(cycle_of(holding, subscription), at)
    source = StoredEvents()
    carried: dict[MeterId, dict[Group, Carried]] = {}
    levels = [charge.meter for plan in plans for charge in plan.charges if charge.meter.carries]
    if levels and subscription.started_at < period.start:
        before = Period(subscription.started_at, period.start, period.zone)
        past = source.events(tx, subscription, before)
        carried = {meter.meter_id: carried_on(meter, read_by([meter], past)[0], before, {}) for meter in levels}
    asked = Bill(
        plans=tuple(replace(plan, payer=Payer(rule=PayerRule.LEAF)) for plan in plans),
        subscription=subscription,
        period=period,
        carried=carried,
        final=now >= period.end,
    )
    return report(asked, legible_of(asked, source.events(tx, subscription, period))[0], holding.currency)


@precise
def report(asked: Bill, events: Sequence[BillableEvent], currency: str) -> CostReport:
    """The lines of the period, each chain standing as one agent that pays for itself: so lines are shared out by chains, exactly."""
    lines = bill(asked, [as_chain(event) for event in events])
    parts: dict[Chain, Decimal] = {}
    for line in lines:
        for share in line.shares:
            chain = tuple(AgentId(agent) for agent in share.agent.split(SEPARATOR))
            parts[chain] = parts.get(chain, ZERO) + share.amount
    types = {charge.charge_id: charge.meter.event_type for plan in asked.plans for charge in plan.charges}
    usage = [line for line in lines if line.kind in (LineKind.USAGE, LineKind.BEYOND)]
    total = sum((line.amount for line in lines), ZERO)
    used = sum((line.amount for line in usage), ZERO)
    return CostReport(
        subscription_id=asked.subscription.subscription_id,
        period=asked.period,
        currency=currency,
        total=total,
        fixed=total - used,
        by_charge=summed((line.charge_id, line.amount) for line in lines),
        by_event_type=summed((types[line.charge_id], line.amount) for line in usage),
        by_agent=summed((chain[-1], amount) for chain, amount in parts.items()),
        tree=cost_tree(parts),
    )


def as_chain(event: BillableEvent) -> BillableEvent:
    agents = whole((event.agent_nhi, event.delegation_chain))
    return replace(event, agent_nhi=AgentId(SEPARATOR.join(agents)), delegation_chain=())


def summed(pairs: Iterable[tuple[K, Decimal]]) -> dict[K, Decimal]:
    found: dict[K, Decimal] = {}
    for name, amount in pairs:
        found[name] = found.get(name, ZERO) + amount
    return {name: found[name] for name in sorted(found)}
