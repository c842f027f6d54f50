"""Judging: which new events wait for a human, and what those that count cost. Ingestion asks, in its own transaction.

    metering.use_judge(triggers)              # cost triggers are one

INVARIANT: what is judged is judged with everything before it counted, and nobody counts beside it: where there are thresholds, one
transaction of a tenant at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from creto.common.errors import InvalidInput, NotFound, QuotaExceeded
from creto.common.ids import AgentId, EventId, PolicyId, TenantId
from creto.contracts import BillableEvent, OversightTrigger
from creto.metering.sorting import Asked, Sorted, refusal
from creto.metering.usage_types import Ingested, IngestStatus
from creto.store.types import Tx


class CostBook(Protocol):
    def add(self, tx: Tx, tenant: TenantId, events: Iterable[BillableEvent], *, sign: int = 1) -> None:
        """These events count now; with `sign` -1 they do not any more."""
        ...


class Sitting(Protocol):
    """The events of one batch before their judge."""

    def consider(self, event: BillableEvent) -> OversightTrigger | None:
        """None: it counts. A trigger: it is held until its policy's approval. QuotaExceeded MT-429, or InvalidInput MT-400
        where what it cost cannot be told: it does not come in."""
        ...

    def end(self) -> None:
        """Those that count are in the costs from here on, if they were not before."""
        ...


class EventJudge(Protocol):
    @property
    def costs(self) -> CostBook: ...

    def asks(self, tenant: TenantId) -> bool:
        """Whether there is anything to consider: where there is not, batches of a tenant need not wait for one another."""
        ...

    def sitting(self, tx: Tx, tenant: TenantId, events: Sequence[BillableEvent]) -> Sitting:
        """Where these are considered, one after the other."""
        ...

    def ended(self, tx: Tx, tenant: TenantId, event_id: EventId, act: str, by: AgentId) -> None:
        """A held event waits no more: it was finalized, released or voided."""
        ...

    def counted(self, tenant: TenantId, events: Sequence[BillableEvent]) -> None:
        """After the commit: these events count."""
        ...


class Verdicts(msgspec.Struct, frozen=True):
    """The places that come in, which of them wait for whom, and which were refused."""

    places: list[int]
    waits: dict[int, PolicyId]
    refused: list[int]


def lock(tx: Tx, tenant: TenantId) -> None:
    """Taken after the names of what is new, before what anybody has spent: who holds it waits for nobody's names, so none wait in a circle."""
    tx.lock(f"metering.judge/{tenant}")


def judged(
    tx: Tx, tenant: TenantId, asked: list[Asked], found: Sorted, judge: EventJudge | None, *, asks: bool
) -> Verdicts:
    """Judge the new ones, in their order, and say in the results what became of them. `asks` is what the judge said before.

    Those that count are in the costs then, where the judge asks; else they still have to be added.
    """
    waits = {place: policy for place in found.new if (policy := asked[place].policy_id) is not None}
    if judge is None or not asks:
        return Verdicts(found.new, waits, [])
    places: list[int] = []
    refused: list[int] = []
    sitting = judge.sitting(tx, tenant, [event_at(asked, place) for place in found.new if place not in waits])
    for place in found.new:
        event = event_at(asked, place)
        if place not in waits:
            try:
                trigger = sitting.consider(event)
            except (QuotaExceeded, InvalidInput, NotFound) as error:
                found.results[place] = refusal(error, event.event_id)
                refused.append(place)
                continue
            if trigger is not None:
                waits[place] = trigger.policy_id
                found.results[place] = Ingested(IngestStatus.HELD, event.event_id, trigger.policy_id)
        places.append(place)
    sitting.end()
    return Verdicts(places, waits, refused)


def judged_alone(tx: Tx, tenant: TenantId, event: BillableEvent, judge: EventJudge | None) -> PolicyId | None:
    """Whose approval one event waits for; where it waits for none, what it cost is counted. The lock is held. Raises as `Sitting.consider`."""
    if judge is None:
        return None
    if not judge.asks(tenant):
        judge.costs.add(tx, tenant, [event])
        return None
    sitting = judge.sitting(tx, tenant, [event])
    trigger = sitting.consider(event)
    sitting.end()
    return None if trigger is None else trigger.policy_id


def event_at(asked: Sequence[Asked], place: int) -> BillableEvent:
    arrival = asked[place].arrival
    assert arrival is not None
    return arrival.event
