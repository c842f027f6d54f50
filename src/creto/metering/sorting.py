"""Sorting out a batch: which of its events are new, which came before, which contradict what came before.

INVARIANT: an event that is not taken takes no name: what was taken for it before that showed is given back in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import ApprovalDenied, EnablementError, IdempotencyConflict, NotFound, OversightRequired
from creto.common.ids import AgentId, EventId, PolicyId, TenantId
from creto.contracts import BillableEvent
from creto.metering import event_store as rows
from creto.metering.admission import Arrival, name_prefix, unpacked
from creto.metering.aggregation import counts
from creto.metering.event_store import EventRow, Name
from creto.metering.events import number_of
from creto.metering.types import Aggregation, Meter
from creto.metering.usage_types import EventState, Ingested, IngestStatus, StoredEvent
from creto.platform.audit.events import EventIngested
from creto.store.idempotency import packed
from creto.store.types import Entry, ReadTx, Tx

COUNTED, HELD = int(EventState.COUNTED), int(EventState.HELD)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One place of a batch: an arrival with whose approval it waits for, or why it was refused."""

    arrival: Arrival | None = None
    policy_id: PolicyId | None = None
    error: EnablementError | None = None
    event_id: EventId | None = None  # of what was refused, if it could be read


class Sorted(msgspec.Struct, frozen=True):
    """What became of each so far, the places of those that are new, and whom the repetitions within the batch repeat."""

    results: list[Ingested | None]
    new: list[int]
    repeats: dict[int, int]

    def finished(self, asked: Sequence[Asked]) -> list[Ingested]:
        """With the repetitions, which fare as what they repeat did."""
        for place, holder in self.repeats.items():
            self.results[place] = within_batch(asked, self.results, place, holder)
        return [result for result in self.results if result is not None]


def sorted_out(tx: Tx, tenant: TenantId, batch: int, asked: Sequence[Asked]) -> Sorted:
    """Which are new: those have taken their names."""
    results: list[Ingested | None] = [None if a.error is None else refusal(a.error, a.event_id) for a in asked]
    coming = [(place, a.arrival, a.policy_id) for place, a in enumerate(asked) if a.arrival is not None]
    repeats = repeats_in(coming)
    firsts = [one for one in coming if one[0] not in repeats] if repeats else coming
    wanted = [
        (name, arrival.print, arrival.agent, batch, place, COUNTED if policy is None else HELD)
        for place, arrival, policy in firsts
        for name in arrival.names
    ]
    known = rows.take_names(tx, wanted)
    new: list[int] = []
    for place, arrival, policy in firsts:
        old = [name for name in arrival.names if name in known] if known else None
        if old:
            rows.give_back(tx, [name for name in arrival.names if name not in known])
            results[place] = repeated(tx, tenant, arrival, old, known)
        else:
            new.append(place)
            results[place] = taken(arrival, policy)
    return Sorted(results, new, repeats)


def repeats_in(coming: Sequence[tuple[int, Arrival, PolicyId | None]]) -> dict[int, int]:
    """Who has a name that another one has first in the batch: which one that is."""
    every = [name for _, arrival, _ in coming for name in arrival.names]
    if len(set(every)) == len(every):
        return {}
    holders: dict[bytes, int] = {}
    repeats: dict[int, int] = {}
    for place, arrival, _ in coming:
        names = arrival.names
        before = next((holders[name] for name in names if name in holders), None)
        if before is not None:
            repeats[place] = before
        else:
            for name in names:
                holders[name] = place
    return repeats


def taken(arrival: Arrival, policy_id: PolicyId | None) -> Ingested:
    if policy_id is not None:
        return Ingested(IngestStatus.HELD, arrival.event.event_id, policy_id)
    return Ingested(IngestStatus.ACCEPTED, arrival.event.event_id)


def repeated(tx: Tx, tenant: TenantId, arrival: Arrival, old: Sequence[bytes], known: dict[bytes, Name]) -> Ingested:
    """The same event once more is a duplicate, also while it waits; the same name for another event is a conflict."""
    event_id = arrival.event.event_id
    for name in old:
        if known[name].print != arrival.print:
            return refusal(conflict(arrival, name), event_id)
    match known[old[0]].state:
        case EventState.HELD:
            return Ingested(IngestStatus.HELD, event_id, waits_for(tx, tenant, event_id))
        case EventState.RELEASED:
            return refusal(denied(event_id, why_released(tx, tenant, event_id)), event_id)
    return Ingested(IngestStatus.DUPLICATE, event_id)


def within_batch(asked: Sequence[Asked], results: Sequence[Ingested | None], place: int, holder: int) -> Ingested:
    own, first, before = asked[place].arrival, asked[holder].arrival, results[holder]
    assert own is not None
    assert first is not None
    assert before is not None
    if own.print != first.print:
        shared = next(name for name in own.names if name in first.names)
        return refusal(conflict(own, shared), own.event.event_id)
    if before.status is IngestStatus.ACCEPTED:
        return Ingested(IngestStatus.DUPLICATE, before.event_id)
    return before


def conflict(arrival: Arrival, name: bytes) -> IdempotencyConflict:
    event = arrival.event
    field, got = (
        ("event_id", event.event_id) if name == arrival.names[0] else ("idempotency_key", event.idempotency_key)
    )
    return IdempotencyConflict(
        "MT-409", f"{field} {got!r} belongs to another event", field=field, got=got,
        expected="the same event again, or a name that is free", existing_id=got,
    )  # fmt: skip


def waits_for(tx: ReadTx, tenant: TenantId, event_id: EventId) -> str:
    """The policy whose approval a held event waits for."""
    return next(act.reason for act in rows.acts_of(tx, tenant, event_id) if act.act == "held")


def why_released(tx: ReadTx, tenant: TenantId, event_id: EventId) -> str:
    return next((act.reason for act in rows.acts_of(tx, tenant, event_id) if act.act == "released"), "")


def denied(event_id: EventId, reason: str) -> ApprovalDenied:
    return ApprovalDenied(
        "OV-451", f"the approval of the event {event_id} was refused: {reason or 'no reason was given'}", reason=reason,
        details={"event_id": event_id},
    )  # fmt: skip


def refusal(error: EnablementError, event_id: EventId | None = None) -> Ingested:
    return Ingested(IngestStatus.REJECTED, event_id, error=error.body())


def raised(result: Ingested) -> Ingested:
    """The answer to a single event: what is not in is an error."""
    if result.status is IngestStatus.HELD:
        raise OversightRequired(
            "MT-202", f"the event {result.event_id} waits for an approval", policy_id=result.policy_id or "",
            details={"event_id": str(result.event_id)},
            hint="Wait for what becomes of it, or send the same event again once it is decided.",
        )  # fmt: skip
    if result.error is not None:
        raise EnablementError.from_body(result.error)
    return result


# Events that are there


def find(tx: ReadTx, tenant: TenantId, event_id: EventId) -> EventRow:
    """The version of an event that stands, by its id or its key."""
    name = name_prefix(tenant) + packed(b"", event_id)
    found = rows.find_names(tx, [name])
    if name not in found:
        raise NotFound("MT-404", f"event {event_id} does not exist")
    return rows.find_event(tx, tenant, found[name].at)


def stored_event(tx: ReadTx, tenant: TenantId, event_id: EventId) -> StoredEvent:
    row = find(tx, tenant, event_id)
    event = row.event(tenant, rows.find_chain(tx, tenant, row.chain))
    return StoredEvent(
        event=msgspec.structs.replace(event, signature=rows.signature_of(tx, tenant, row.at)),
        form=row.form,
        state=row.state,
        changed_at=row.changed_at,
        entry_id=rows.find_batch(tx, tenant, row.at.batch).entry,
        history=rows.acts_of(tx, tenant, unpacked(row.event_id)),
    )


# The entry of a single event


def value_of(event: BillableEvent, meters: Sequence[Meter] | None) -> Decimal:
    """What the event counts for: what the first meter that adds such events up reads of it, else one."""
    for meter in meters or ():
        if meter.property is not None and meter.aggregation is not Aggregation.UNIQUE_COUNT and counts(meter, event):
            return number_of(event, meter.property)
    return Decimal(1)


def single_entry(event: BillableEvent, value: Decimal, root: bytes, *, by: AgentId, **rest: Any) -> Entry:
    """The spec's EventIngested, and beside its fields those of a batch of one, by which the event is proved."""
    ingested = EventIngested(
        event_id=event.event_id, agent_nhi=event.agent_nhi, event_type=event.event_type, value=value
    )
    recorded = ingested.entry(agent=by, **rest)
    fields = {**msgspec.to_builtins(ingested), "batch_root": root, "batch_count": 1}
    return msgspec.structs.replace(recorded, metadata=msgspec.Raw(wire.encode(fields)))
