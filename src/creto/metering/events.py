"""Events: from what arrived to what counts.

Meters read `BillableEvent`; usage of the runtime and of messaging becomes one here, its properties side by side. What counts is
each event once, without those that were voided, with what they were corrected to.

INVARIANT: neither the order of arrival nor a repetition changes what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import EventId
from creto.common.money import parse_amount
from creto.contracts import BillableEvent, MessageBillableEvent, RuntimeUsageEvent
from creto.metering.tokens import LLM_COST, llm_cost
from creto.metering.types import Correction, UsageEvent
from creto.platform.crypto import merkle


def id_of(event: UsageEvent) -> EventId:
    """Messages are named by their idempotency key, which the spec makes unique."""
    return EventId(event.idempotency_key) if isinstance(event, MessageBillableEvent) else event.event_id


def billable(event: UsageEvent) -> BillableEvent:
    """Any usage event as meters read it."""
    if isinstance(event, BillableEvent):
        return event
    return BillableEvent(
        event_id=id_of(event),
        tenant=event.tenant,
        agent_nhi=event.agent_nhi,
        delegation_chain=event.delegation_chain,
        event_type=str(event.event_type),
        timestamp=event.timestamp,
        idempotency_key=event.idempotency_key,
        properties=msgspec.to_builtins(event.properties),
        signature=event.signature if isinstance(event, RuntimeUsageEvent) else None,
    )


def standing(events: Iterable[BillableEvent], corrections: Iterable[Correction] = ()) -> list[BillableEvent]:
    """The events that count, by time and then by id. A later correction of the same event replaces an earlier one.

    Ingestion refuses a second event of the same id; should one be here nevertheless, which of them counts is not left to chance.
    """
    corrected = {c.event_id: c.replacement for c in sorted(corrections, key=lambda c: c.at)}
    by_id: dict[EventId, BillableEvent] = {}
    for event in events:
        known = by_id.setdefault(event.event_id, event)
        if known != event:
            by_id[event.event_id] = min(known, event, key=wire.encode)
    counted = (corrected.get(event.event_id, event) for event in by_id.values())
    return sorted((e for e in counted if e is not None), key=lambda e: (e.timestamp, e.event_id))


def text_of(event: BillableEvent, name: str) -> str | None:
    """A property as filters and groups compare it."""
    value = event.properties.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def number_of(event: BillableEvent, name: str) -> Decimal:
    """A property as a quantity or an amount; what begins with @ is computed of the others."""
    if name == LLM_COST:
        try:
            return llm_cost(event)
        except EnablementError as error:
            error.with_context(f"event {event.event_id}")
            raise
    value = event.properties.get(name)
    field = f"properties.{name}"
    if value is None or isinstance(value, bool):
        raise InvalidInput.of(field, got=value, expected="an integer or a decimal string", code="MT-400")
    return Decimal(value) if isinstance(value, int) else parse_amount(value, field, "MT-400")


def events_root(events: Sequence[BillableEvent]) -> str:
    """RFC 9162 root over the canonical events, in the order of `standing`: what an invoice line proves its events by."""
    return merkle.root([merkle.leaf_hash(wire.encode(event)) for event in events]).hex()
