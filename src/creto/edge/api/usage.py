"""Usage over the wire: events in, one by one or in batches of any form, what became of them, and how much was used."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, EventId, SubscriptionId
from creto.common.limits import BATCH_ITEMS_MAX, OVERSIGHT_WAIT_S_MAX, PAGE_ITEMS_DEFAULT
from creto.common.timestamps import SECOND
from creto.contracts import AccumulatedCost, BillableEvent, BillingPeriod, MessageBillableEvent, RuntimeUsageEvent
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Id, Limit, Nanos, OneOf
from creto.edge.api.metering_fields import Asked, Currency, Why, Zone, cursor_of
from creto.edge.api.parts import Parts
from creto.metering import (
    BatchIngested,
    BucketSize,
    CloudEvent,
    CostReport,
    DeadUsage,
    EventExplanation,
    EventProof,
    Ingested,
    Meter,
    Period,
    StoredEvent,
    UsageBy,
    UsagePage,
    UsageQuery,
    tokens,
)
from creto.metering.reading import type_of
from creto.metering.tokens import ModelPrice

EVENT_FIELDS_MAX = 64  # of one event; every form has fewer
FORMS = OneOf("UsageEvent", (BillableEvent, RuntimeUsageEvent, MessageBillableEvent, CloudEvent), type_of)
CLOUD, CLOUD_BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"

if TYPE_CHECKING:
    Event = BillableEvent | RuntimeUsageEvent | MessageBillableEvent | CloudEvent | dict[str, Any]
else:
    Event = Annotated[dict[str, Any], FORMS, Meta(max_length=EVENT_FIELDS_MAX)]


class SubmitEvent(Asked, frozen=True):
    """An event in any form: billable, of the runtime, of messaging, or a CloudEvent 1.0."""

    event: Event


class SubmitEvents(Asked, frozen=True):
    """Events, each in any form."""

    events: Annotated[tuple[Event, ...], Meta(min_length=1, max_length=BATCH_ITEMS_MAX)]


class OfEvent(Asked, frozen=True):
    event_id: Id


class AwaitEvent(Asked, frozen=True):
    """For so long the answer waits for the end of the event's own waiting."""

    event_id: Id
    wait_s: Annotated[float, Meta(ge=0, le=OVERSIGHT_WAIT_S_MAX)] = 0


class EndEvent(Asked, frozen=True):
    event_id: Id
    reason: Why


class CorrectEvent(Asked, frozen=True):
    """The event as it should have been. Who used it stays."""

    event_id: Id
    event: BillableEvent
    reason: Why


class QueryUsage(Asked, frozen=True):
    """How much of a meter was used from `start` up to `end`; `bucket` makes a series of it, `top` leaves the largest."""

    meter: Meter
    start: Nanos
    end: Nanos
    zone: Zone = "UTC"
    agent: Agent | None = None
    delegates: bool = False
    by: UsageBy = UsageBy.ALL
    bucket: BucketSize | None = None
    top: Limit | None = None
    cursor: Cursor | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT


class QueryCost(Asked, frozen=True):
    """Of the period that holds an instant; of the one that runs, if nothing is said."""

    subscription_id: Id
    at: Nanos | None = None


class QuerySpent(Asked, frozen=True):
    agent: Agent
    period: BillingPeriod = BillingPeriod.CURRENT_MONTH
    currency: Currency = "USD"


class ListDeadUsage(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class DeadUsagePage(View, frozen=True):
    items: tuple[DeadUsage, ...]
    cursor: str | None = None


class OnPrices(Asked, frozen=True):
    """The prices that hold at an instant; now, if nothing is said."""

    at: Nanos | None = None


class TokenPrices(View, frozen=True):
    """The table by which calls of language models are priced: its date, and whether it came with the package or from a file."""

    version: str
    origin: str
    currency: str
    items: tuple[ModelPrice, ...]


class OfDeadUsage(Asked, frozen=True):
    letter_id: Id


class DiscardUsage(Asked, frozen=True):
    letter_id: Id
    reason: Why


class Discarded(View, frozen=True):
    letter_id: str


EVENT, OF_EVENT, LETTER = "/v1/usage/events/{event_id}", "metering:event:{event_id}", "metering:dead-letter:{letter_id}"
TAKING = ("MT-400", "MT-401", "MT-403", "MT-409", "MT-429", "MT-202", "OV-451", "PL-102")
STEP = ("MT-400", "MT-404", "MT-412")
QUERY, WRITE = "query_usage", "metering:write"

SUBMIT = Endpoint("metering.submit_event", "POST", "/v1/usage/events", SubmitEvent, Ingested, "submit_event", "Report what an agent used: counted once, or held for an approval", status=201, errors=TAKING, forms=((CLOUD, "event"),))  # fmt: skip
SUBMIT_MANY = Endpoint("metering.submit_events", "POST", "/v1/usage/batches", SubmitEvents, BatchIngested, "submit_events", "Report many events; each is answered for itself", errors=("MT-400",), forms=((CLOUD_BATCH, "events"),))  # fmt: skip
EVENT_OF = Endpoint("metering.event", "GET", EVENT, OfEvent, StoredEvent, QUERY, "An event, and what became of it", errors=("MT-404",), about=OF_EVENT)  # fmt: skip
WAIT = Endpoint("metering.wait_event", "POST", f"{EVENT}/wait", AwaitEvent, StoredEvent, QUERY, "What became of an event that waits for a human", errors=("MT-404",), about=OF_EVENT, keyed=False)  # fmt: skip
PROVE = Endpoint("metering.prove", "GET", f"{EVENT}/proof", OfEvent, EventProof, QUERY, "That an event is in its batch, whose entry the audit log proves", errors=("MT-404",), about=OF_EVENT)  # fmt: skip
EXPLAIN = Endpoint("metering.explain", "GET", f"{EVENT}/explanation", OfEvent, EventExplanation, QUERY, "Which lines of which invoices an event went into", errors=("MT-400", "MT-404"), about=OF_EVENT)  # fmt: skip
VOID = Endpoint("metering.void", "POST", f"{EVENT}/void", EndEvent, StoredEvent, WRITE, "As if the event had never been; final invoices are corrected by the next one", errors=STEP, about=OF_EVENT)  # fmt: skip
CORRECT = Endpoint("metering.correct", "POST", f"{EVENT}/correct", CorrectEvent, StoredEvent, WRITE, "The event as it should have been", errors=(*STEP, "MT-403"), about=OF_EVENT)  # fmt: skip
FINALIZE = Endpoint("metering.finalize", "POST", f"{EVENT}/finalize", EndEvent, StoredEvent, WRITE, "Count an event that waits", errors=STEP, about=OF_EVENT)  # fmt: skip
RELEASE = Endpoint("metering.release", "POST", f"{EVENT}/release", EndEvent, StoredEvent, WRITE, "Never count an event that waits", errors=STEP, about=OF_EVENT)  # fmt: skip
USAGE = Endpoint("metering.query_usage", "POST", "/v1/usage/query", QueryUsage, UsagePage, QUERY, "How much of a meter was used, as a sum or a series, by agent or group", errors=("MT-400",), keyed=False)  # fmt: skip
COST = Endpoint("metering.query_cost", "GET", "/v1/usage/costs/{subscription_id}", QueryCost, CostReport, "query_cost", "What a subscription's period costs so far, by charge, agent and delegation tree", errors=("MT-400", "MT-404"), about="metering:subscription:{subscription_id}")  # fmt: skip
SPENT = Endpoint("metering.accumulated_cost", "GET", "/v1/usage/spent/{agent}", QuerySpent, AccumulatedCost, "query_cost", "What an agent and all below it have spent, as cost thresholds count it", errors=("MT-400",), about="{agent}")  # fmt: skip
DEAD = Endpoint("metering.dead_letters", "GET", "/v1/usage/dead-letters", ListDeadUsage, DeadUsagePage, QUERY, "Events from the bus that could not be taken", errors=("MT-400",))  # fmt: skip
DEAD_LETTER = Endpoint("metering.dead_letter", "GET", "/v1/usage/dead-letters/{letter_id}", OfDeadUsage, DeadUsage, QUERY, "One such event, with what it says", errors=("MT-404",), about=LETTER)  # fmt: skip
RETRY = Endpoint("metering.retry_dead_letter", "POST", "/v1/usage/dead-letters/{letter_id}/retry", OfDeadUsage, Ingested, WRITE, "Take such an event once more", errors=(*TAKING, "MT-404"), about=LETTER)  # fmt: skip
DISCARD = Endpoint("metering.discard_dead_letter", "POST", "/v1/usage/dead-letters/{letter_id}/discard", DiscardUsage, Discarded, WRITE, "Give such an event up; the ledger says who did, and why", errors=("MT-400", "MT-404"), about=LETTER)  # fmt: skip
PRICES = Endpoint("metering.prices", "GET", "/v1/usage/prices", OnPrices, TokenPrices, QUERY, "What tokens of language models cost, by the table in use")  # fmt: skip

ENDPOINTS = (SUBMIT, SUBMIT_MANY, EVENT_OF, WAIT, PROVE, EXPLAIN, VOID, CORRECT, FINALIZE, RELEASE, USAGE, COST, SPENT, DEAD, DEAD_LETTER, RETRY, DISCARD, PRICES)  # fmt: skip


@concerns(SUBMIT)
async def whose_event(parts: Parts, call: Call, ask: SubmitEvent) -> str | None:
    return agent_of(ask.event)


@concerns(SUBMIT_MANY)
async def whose_events(parts: Parts, call: Call, ask: SubmitEvents) -> str | None:
    """The agent's, if they are all of one; else it is a matter of the tenant."""
    agents = {agent_of(one) for one in ask.events}
    return agents.pop() if len(agents) == 1 else None


def agent_of(event: Event) -> str | None:
    """Whose event it is, as it will be read."""
    fields = event if isinstance(event, dict) else msgspec.to_builtins(event, builtin_types=(bytes, Decimal))
    agent = fields.get("agent_nhi" if fields.get("specversion") is None else "subject")
    return agent if isinstance(agent, str) and agent.startswith("agent:") else None


@concerns(USAGE)
async def whose_usage(parts: Parts, call: Call, ask: QueryUsage) -> str | None:
    return ask.agent


@handles(SUBMIT)
async def submit(parts: Parts, call: Call, ask: SubmitEvent) -> Ingested:
    event = wire.encode(ask.event)
    return await parts.metering.ingest_one(call.tenant, event, by=call.known.agent, under=call.agents)


@handles(SUBMIT_MANY)
async def submit_many(parts: Parts, call: Call, ask: SubmitEvents) -> BatchIngested:
    events = [wire.encode(one) for one in ask.events]
    return await parts.metering.ingest_encoded(call.tenant, events, by=call.known.agent, under=call.agents)


@handles(EVENT_OF)
async def event(parts: Parts, call: Call, ask: OfEvent) -> StoredEvent:
    return await parts.metering.event(call.tenant, EventId(ask.event_id))


@handles(WAIT)
async def wait(parts: Parts, call: Call, ask: AwaitEvent) -> StoredEvent:
    return await parts.metering.decided_event(call.tenant, EventId(ask.event_id), int(ask.wait_s * SECOND))


@handles(PROVE)
async def prove(parts: Parts, call: Call, ask: OfEvent) -> EventProof:
    return await parts.metering.prove_event(call.tenant, EventId(ask.event_id))


@handles(EXPLAIN)
async def explain(parts: Parts, call: Call, ask: OfEvent) -> EventExplanation:
    return await parts.billing.explain_event(call.tenant, EventId(ask.event_id))


@handles(VOID)
async def void(parts: Parts, call: Call, ask: EndEvent) -> StoredEvent:
    return await parts.metering.void_event(call.tenant, EventId(ask.event_id), by=call.known.agent, reason=ask.reason)


@handles(CORRECT)
async def correct(parts: Parts, call: Call, ask: CorrectEvent) -> StoredEvent:
    event = ask.event
    if event.event_id != ask.event_id:
        raise InvalidInput.of("event.event_id", got=event.event_id, expected=ask.event_id, code="MT-400")
    return await parts.metering.correct_event(call.tenant, event, by=call.known.agent, reason=ask.reason)


@handles(FINALIZE)
async def finalize(parts: Parts, call: Call, ask: EndEvent) -> StoredEvent:
    by = call.known.agent
    return await parts.metering.finalize_event(call.tenant, EventId(ask.event_id), by=by, reason=ask.reason)


@handles(RELEASE)
async def release(parts: Parts, call: Call, ask: EndEvent) -> StoredEvent:
    by = call.known.agent
    return await parts.metering.release_event(call.tenant, EventId(ask.event_id), by=by, reason=ask.reason)


@handles(USAGE)
async def query_usage(parts: Parts, call: Call, ask: QueryUsage) -> UsagePage:
    query = UsageQuery(
        meter=ask.meter, period=Period(ask.start, ask.end, ask.zone), agent=None if ask.agent is None else AgentId(ask.agent),
        delegates=ask.delegates, by=ask.by, bucket=ask.bucket, top=ask.top, after=ask.cursor, limit=ask.limit,
    )  # fmt: skip
    return await parts.metering.query_usage(call.tenant, query)


@handles(COST)
async def query_cost(parts: Parts, call: Call, ask: QueryCost) -> CostReport:
    return await parts.metering.query_cost(call.tenant, SubscriptionId(ask.subscription_id), at=ask.at)


@handles(SPENT)
async def spent(parts: Parts, call: Call, ask: QuerySpent) -> AccumulatedCost:
    return parts.triggers.get_accumulated_cost(call.tenant, ask.agent, ask.period, ask.currency)


@handles(DEAD)
async def dead_letters(parts: Parts, call: Call, ask: ListDeadUsage) -> DeadUsagePage:
    found = await parts.metering.dead_letters(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return DeadUsagePage(items=tuple(found), cursor=cursor_of(found, ask.limit, "letter_id"))


@handles(DEAD_LETTER)
async def dead_letter(parts: Parts, call: Call, ask: OfDeadUsage) -> DeadUsage:
    return await parts.metering.dead_letter(call.tenant, ask.letter_id)


@handles(RETRY)
async def retry(parts: Parts, call: Call, ask: OfDeadUsage) -> Ingested:
    return await parts.metering.retry_dead_letter(call.tenant, ask.letter_id, by=call.known.agent)


@handles(DISCARD)
async def discard(parts: Parts, call: Call, ask: DiscardUsage) -> Discarded:
    await parts.metering.discard_dead_letter(call.tenant, ask.letter_id, by=call.known.agent, reason=ask.reason)
    return Discarded(letter_id=ask.letter_id)


@handles(PRICES)
async def prices(parts: Parts, call: Call, ask: OnPrices) -> TokenPrices:
    table = tokens.in_use()
    items = table.as_of(parts.clock.now() if ask.at is None else ask.at)
    return TokenPrices(version=table.version, origin=tokens.origin(), currency=table.currency, items=items)
