"""Ingestion: events in, once each, with a proof.

A batch is one transaction: its new events, the names they take, their chains, and one entry in the ledger that holds the root of their
tree. Each event of a batch is judged for itself: accepted, held, the same as before, or rejected with the reason.

INVARIANT: within a tenant an id or an idempotency key stands for one event, for as long as the event is kept, which is longer than the
seven days that are promised: the same payload again does nothing, another one is a conflict.
INVARIANT: what was accepted is on disk, and in every total and bill that is counted from then on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, ProductId, SignatureVerificationFailed
from creto.common.ids import AgentId, EventId, PolicyId, TenantId, checked_tenant, new_id
from creto.common.limits import BATCH_ITEMS_MAX, USAGE_CHAINS_CACHED_MAX
from creto.common.telemetry import Metrics
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.contracts import BillableEvent, MessageBillableEvent
from creto.metering import event_store as rows
from creto.metering import judging
from creto.metering.admission import Arrival, admitted, name_prefix
from creto.metering.attribution import Chain
from creto.metering.beyond import check_reported
from creto.metering.event_quotas import EventQuotas, Owed
from creto.metering.event_store import Behind, Place
from creto.metering.events import id_of
from creto.metering.folding import Folding
from creto.metering.judging import EventJudge
from creto.metering.metered import Payers
from creto.metering.quota_types import Quota
from creto.metering.reading import form_of_event, read_event
from creto.metering.sorting import Asked, find, raised, refusal, single_entry, sorted_out, stored_event, value_of
from creto.metering.trust import Check, EventTrust, accept
from creto.metering.types import Meter, UsageEvent
from creto.metering.usage_types import (
    BatchIngested,
    EventForm,
    EventProof,
    EventState,
    Ingested,
    IngestStatus,
    StoredEvent,
)
from creto.platform.audit.batch import prove_in_batch
from creto.platform.audit.events import BatchRecorded
from creto.platform.crypto import merkle
from creto.store.entries import entry as new_entry
from creto.store.types import Entry, EntryId, Isolation, Outcome, ReadTx, Store, Tx

log = logging.getLogger("creto.metering")

KIND = "metering.events"
INGEST = "metering:ingest"
FORGED = "UsageForged"  # in the ledger: usage came with signatures that do not hold
SIGNED = b'"signature":"'
SIGNED_AT_ONCE = 4

Look = Callable[[UsageEvent, EventForm], Asked]


class Written(msgspec.Struct, frozen=True):
    """What a transaction made of a batch."""

    results: list[Ingested]
    entry_id: EntryId | None = None
    counted: tuple[BillableEvent, ...] = ()
    chains: frozenset[bytes] = frozenset()
    owed: Sequence[Owed] = ()
    unpaid: tuple[str, ...] = ()  # the types of those that no subscription pays for


class Ingesting(Folding):
    def __init__(
        self,
        store: Store,
        clock: Clock,
        trust: EventTrust,
        *,
        judge: EventJudge | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(store, clock)
        self._trust = trust
        self._judge = judge
        self._quotas: EventQuotas | None = None
        self._payers = Payers(store)
        self._known_chains: set[bytes] = set()
        metrics = metrics or Metrics()
        self._ingested = metrics.counter("metering_events_ingested_total", "Usage events accepted", "event_type")
        self._repeated = metrics.counter("metering_events_repeated_total", "Usage events that had come before")
        self._refused = metrics.counter("metering_events_refused_total", "Usage events rejected", "code")
        self._unpaid = metrics.counter(
            "metering_events_unpaid_total", "Usage events that no subscription paid for as they came", "event_type"
        )
        self._held = metrics.counter("metering_events_held_total", "Usage events that wait for an approval")

    def use_quotas(self, quotas: EventQuotas) -> None:
        """From here on events count on the quotas that measure them."""
        self._quotas = quotas

    async def ingest_event(self, tenant: TenantId, event: UsageEvent, *, by: AgentId, under: Chain = ()) -> Ingested:
        """One event, reported `by` somebody who acts `under` a validated chain: accepted, or the same as before. Raises OversightRequired
        MT-202 while it waits for an approval, ApprovalDenied OV-451 once that was refused, QuotaExceeded MT-429 beyond a limit that
        blocks, IdempotencyConflict MT-409, InvalidInput MT-400, SignatureVerificationFailed MT-401, Unauthorized MT-403.
        """
        looked = self._looker(tenant, self._trust.of(tenant, by, under))(event, form_of_event(event))
        return await self._single(tenant, looked, by)

    async def ingest_one(self, tenant: TenantId, event: bytes, *, by: AgentId, under: Chain = ()) -> Ingested:
        """As `ingest_event`, of an event as JSON in any form."""
        look = self._looker(tenant, self._trust.of(tenant, by, under))
        return await self._single(tenant, read(look, tenant, event), by)

    async def ingest_batch(
        self, tenant: TenantId, events: Sequence[UsageEvent], *, by: AgentId, under: Chain = ()
    ) -> BatchIngested:
        """Many events, each judged for itself; the good ones are in, whatever the others are."""
        check_size(events)
        look = self._looker(tenant, self._trust.of(tenant, by, under))
        signed = len([1 for event in events if getattr(event, "signature", None) is not None])
        looked = await beside(signed, lambda: [look(event, form_of_event(event)) for event in events])
        return await self._many(tenant, looked, by)

    async def ingest_encoded(
        self,
        tenant: TenantId,
        events: Sequence[bytes | msgspec.Raw],
        *,
        by: AgentId,
        under: Chain = (),
        vouched: bool = False,
    ) -> BatchIngested:
        """As `ingest_batch`, of events as JSON in any form; what cannot be read is rejected in its place."""
        check_size(events)
        look = self._looker(tenant, self._trust.of(tenant, by, under, vouched=vouched))
        signed = sum(SIGNED in bytes(data) for data in events)
        looked = await beside(signed, lambda: [read(look, tenant, bytes(data)) for data in events])
        return await self._many(tenant, looked, by)

    async def track_message_event(self, tenant: TenantId, event: MessageBillableEvent) -> EventId:
        """What the layer's own messaging reports: nobody has to vouch for it. The id under which the event is known."""
        look = self._looker(tenant, accept)
        written = await self._write(tenant, [look(event, EventForm.MESSAGE)], event.agent_nhi)
        done = raised(written.results[0])
        assert done.event_id is not None
        return done.event_id

    async def hold_event(self, tenant: TenantId, event: UsageEvent, policy_id: PolicyId, *, by: AgentId) -> Ingested:
        """Keep an event without counting it until `finalize_event` or `release_event`."""
        looked = self._looker(tenant, self._trust.of(tenant, by))(event, form_of_event(event))
        if looked.error is not None:
            raise self._refusal(looked.error)
        written = await self._write(tenant, [Asked(looked.arrival, policy_id)], by)
        return raised(written.results[0])

    async def event(self, tenant: TenantId, event_id: EventId) -> StoredEvent:
        """An event with what became of it; the version that counts, if it was corrected."""
        return await self._store.read(lambda tx: stored_event(tx, checked_tenant(tenant), event_id))

    async def prove_event(self, tenant: TenantId, event_id: EventId) -> EventProof:
        """That the event is in its batch; the audit log proves the batch's entry."""

        def prove(tx: ReadTx) -> EventProof:
            found = find(tx, checked_tenant(tenant), event_id)
            batch = rows.find_batch(tx, tenant, found.at.batch)
            together = rows.batch_events(tx, tenant, batch.batch)
            chains = {row.chain: rows.find_chain(tx, tenant, row.chain) for row in together}
            leaves = [wire.encode(row.event(tenant, chains[row.chain])) for row in together]
            index = next(n for n, row in enumerate(together) if row.at == found.at)
            return EventProof(batch.entry, prove_in_batch(leaves, index))

        return await self._store.read(prove)

    def enter(self, tx: Tx, event: BillableEvent) -> None:
        """An event of the layer's own, in the transaction of what it is about; once more it does nothing. No plan meters it as it is, and
        no human is asked: they were."""
        tenant, now = event.tenant, self._clock.now()
        arrival = admitted(event, EventForm.BILLABLE, tenant, name_prefix(tenant), unmetered, now)
        self._put(tx, tenant, [Asked(arrival)], event.agent_nhi, EntryId(new_id()), (), asks=False)

    # Before the transaction

    def _looker(self, tenant: TenantId, check: Check) -> Look:
        """What looks at each event of a call: what is the same for all of them is found once."""
        prefix, meters, now = name_prefix(checked_tenant(tenant)), self._payers.of(tenant).meters, self._clock.now()

        def look(event: UsageEvent, form: EventForm) -> Asked:
            try:
                check(event)
                arrival = admitted(event, form, tenant, prefix, meters, now)
                check_reported(arrival.event.event_type)
                return Asked(arrival)
            except EnablementError as error:
                return Asked(error=error, event_id=id_of(event))

        return look

    async def _single(self, tenant: TenantId, looked: Asked, by: AgentId) -> Ingested:
        if looked.error is not None:
            await self._note_forgeries(tenant, [looked], by)
            raise self._refusal(looked.error)
        written = await self._write(tenant, [looked], by)
        return raised(written.results[0])

    async def _many(self, tenant: TenantId, looked: list[Asked], by: AgentId) -> BatchIngested:
        await self._note_forgeries(tenant, looked, by)
        written = await self._write(tenant, looked, by)
        status = [result.status for result in written.results if result.status is not IngestStatus.ACCEPTED]
        return BatchIngested(
            results=tuple(written.results),
            accepted=len(written.results) - len(status),
            duplicates=status.count(IngestStatus.DUPLICATE),
            held=status.count(IngestStatus.HELD),
            rejected=status.count(IngestStatus.REJECTED),
            entry_id=written.entry_id,
        )

    def _refusal(self, error: EnablementError) -> EnablementError:
        self._refused.labels(error.code).add()
        return error

    async def _note_forgeries(self, tenant: TenantId, asked: Sequence[Asked], by: AgentId) -> None:
        """A signature that does not hold is dropped, recorded and told: somebody may be forging usage."""
        forged = [a.error for a in asked if isinstance(a.error, SignatureVerificationFailed)]
        if not forged:
            return
        log.warning("%d usage events with a signature that is not valid were dropped", len(forged))
        now = self._clock.now()

        def note(tx: Tx) -> None:
            tx.record(
                new_entry(
                    tenant=tenant, product=ProductId.METERING, agent=by, action=INGEST, resource="metering:events",
                    timestamp=now, event=FORGED, outcome=Outcome.DENIED, code=forged[0].code, why=forged[0].message,
                    facts={"events": len(forged)}, degraded_clock=self._clock.degraded,
                )
            )  # fmt: skip
            body = wire.encode({"events": len(forged), "by": by, "at": now, "error": forged[0].body()})
            tx.publish("metering.alerts.signature", body, tenant=tenant, agent=by)

        await self._store.write(note)

    # The transaction

    async def _write(self, tenant: TenantId, asked: list[Asked], by: AgentId) -> Written:
        entry_id = EntryId(new_id())
        if any(a.arrival is not None for a in asked):
            quotas = () if self._quotas is None else self._quotas.of(tenant)
            asks = self._judge is not None and self._judge.asks(tenant)
            written = await self._store.write(
                lambda tx: self._put(tx, tenant, asked, by, entry_id, quotas, asks=asks),
                isolation=Isolation.READ_COMMITTED,
            )
        else:
            written = Written([refusal(a.error, a.event_id) for a in asked if a.error is not None])
        self._after(tenant, written)
        await self._count(written.owed)
        if written.entry_id is not None:
            await self._keep_up(len(asked))
        return written

    def _put(
        self,
        tx: Tx,
        tenant: TenantId,
        asked: list[Asked],
        by: AgentId,
        entry_id: EntryId,
        quotas: Sequence[Quota],
        *,
        asks: bool,
    ) -> Written:
        now = self._clock.now()
        batch = rows.add_batch(tx, tenant, entry_id, len(asked), now)
        found = sorted_out(tx, tenant, batch, asked)
        coming = [(place, arrival_at(asked, place), EventState.COUNTED) for place in found.new]
        chains = self._add_chains(tx, tenant, [arrival for _, arrival, _ in coming])
        rows.add_events(tx, tenant, batch, coming, now)
        if asks:  # as late as can be: others wait from here to the commit
            judging.lock(tx, tenant)
        verdicts = judging.judged(tx, tenant, asked, found, self._judge, asks=asks)
        rows.drop_events(tx, batch, verdicts.refused)
        for place in verdicts.refused:
            rows.give_back(tx, arrival_at(asked, place).names)
        if not verdicts.places:
            rows.drop_batch(tx, batch)
            return Written(found.finished(asked), chains=chains)
        together = [
            (place, arrival_at(asked, place), EventState.HELD if place in verdicts.waits else EventState.COUNTED)
            for place in verdicts.places
        ]
        tx.record(self._batch_entry(tenant, entry_id, together, by, now))
        for place, policy_id in verdicts.waits.items():
            arrival = arrival_at(asked, place)
            at = Place(arrival.agent, batch, place)
            rows.set_state(tx, tenant, at, EventState.HELD, now)
            rows.move_names(tx, arrival.names, at, EventState.HELD)
            rows.add_act(tx, tenant, arrival.event.event_id, "held", by, policy_id, at, now)
        counted = tuple(a.event for _, a, state in together if state is EventState.COUNTED)
        owed = self._quotas.add(tx, tenant, batch, counted, quotas) if self._quotas is not None and quotas else []
        if self._judge is not None and not asks:  # last: whoever adds to the same totals waits from here to the commit
            self._judge.costs.add(tx, tenant, counted)
        unpaid = tuple(a.event.event_type for _, a, _ in together if a.meters is None)
        return Written(found.finished(asked), entry_id, counted, chains, owed, unpaid)

    async def _count(self, owed: Sequence[Owed]) -> None:
        if owed and self._quotas is not None:
            await self._quotas.booked(owed)

    def _add_chains(self, tx: Tx, tenant: TenantId, arrivals: Sequence[Arrival]) -> frozenset[bytes]:
        known = self._known_chains
        unknown: dict[bytes, Behind] = {
            arrival.chain: (arrival.event.agent_nhi, arrival.event.delegation_chain)
            for arrival in arrivals
            if arrival.chain not in known
        }
        if unknown:
            rows.add_chains(tx, tenant, unknown)
        return frozenset(unknown)

    def _batch_entry(
        self,
        tenant: TenantId,
        entry_id: EntryId,
        together: Sequence[tuple[int, Arrival, EventState]],
        by: AgentId,
        now: ConsensusTimestamp,
    ) -> Entry:
        """Of a single event the spec's own, with the root beside it; of several their number and root."""
        root, count = merkle.root([a.leaf for _, a, _ in together]), len(together)
        held = any(state is EventState.HELD for _, _, state in together)
        rest: dict[str, Any] = {
            "tenant": tenant, "timestamp": now, "event_id": entry_id, "degraded_clock": self._clock.degraded,
            "outcome": Outcome.PENDING if held and count == 1 else Outcome.SUCCESS,
        }  # fmt: skip
        if count == 1:
            arrival = together[0][1]
            return single_entry(arrival.event, value_of(arrival.event, arrival.meters), root, by=by, **rest)
        whole = BatchRecorded(kind=KIND, batch_root=root, batch_count=count)
        recorded = whole.entry(agent=by, action=INGEST, resource="metering:events", **rest)
        return msgspec.structs.replace(recorded, product=ProductId.METERING)

    def _after(self, tenant: TenantId, written: Written) -> None:
        if len(self._known_chains) > USAGE_CHAINS_CACHED_MAX:
            self._known_chains.clear()
        self._known_chains |= written.chains
        for result in written.results:
            if result.status is IngestStatus.ACCEPTED:
                continue
            if result.status is IngestStatus.DUPLICATE:
                self._repeated.labels().add()
            elif result.status is IngestStatus.HELD:
                self._held.labels().add()
            elif result.error is not None:
                self._refused.labels(result.error.code).add()
        for event_type, count in Counter(written.unpaid).items():
            self._unpaid.labels(event_type).add(count)
        for event_type, count in Counter([event.event_type for event in written.counted]).items():
            self._ingested.labels(event_type).add(count)
        if self._judge is not None and written.counted:
            self._judge.counted(tenant, written.counted)


def arrival_at(asked: Sequence[Asked], place: int) -> Arrival:
    arrival = asked[place].arrival
    assert arrival is not None
    return arrival


async def beside(signed: int, work: Callable[[], list[Asked]]) -> list[Asked]:
    """A signature takes some half a millisecond: many are verified beside the loop."""
    return await asyncio.to_thread(work) if signed > SIGNED_AT_ONCE else work()


def unmetered(event: BillableEvent) -> Sequence[Meter]:
    """As it is: nothing is asked of it."""
    return ()


def check_size(events: Sequence[object]) -> None:
    if not 1 <= len(events) <= BATCH_ITEMS_MAX:
        raise InvalidInput.of("events", got=len(events), expected=f"1 to {BATCH_ITEMS_MAX}", code="MT-400")


def read(look: Look, tenant: TenantId, data: bytes) -> Asked:
    try:
        event, form = read_event(data, tenant)
    except InvalidInput as error:
        return Asked(error=error)
    return look(event, form)
