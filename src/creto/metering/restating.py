"""What happens to an event after it came: held until a decision, voided, corrected. Recorded each time, deleted never.

    HELD → COUNTED (finalized) | RELEASED;   COUNTED, HELD → VOID;   COUNTED → CORRECTED, and its replacement counts

INVARIANT: each step is one transaction: the state, the totals that its event is in, the act in its history, an entry in the ledger.
INVARIANT: the same step twice is as good as once.
"""

from __future__ import annotations

import msgspec

from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.ids import AgentId, EventId, TenantId, checked_tenant, new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering import event_store as rows
from creto.metering import total_store
from creto.metering.admission import admitted, leaf_of, name_prefix, unpacked
from creto.metering.event_store import EventRow, Place
from creto.metering.ingesting import Ingesting
from creto.metering.metered import Meters
from creto.metering.sorting import find, single_entry, stored_event, value_of
from creto.metering.usage_types import EventState, StoredEvent
from creto.store.types import EntryId, Isolation, Tx

REASON_CHARS_MAX = 1_000


class Restating(Ingesting):
    async def finalize_event(
        self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = ""
    ) -> StoredEvent:
        """A held event counts from now on, on the period it belongs to."""
        held = (EventState.HELD,)
        done, first = await self._step(tenant, event_id, EventState.COUNTED, "finalized", held, by, reason)
        if first:
            self._judge.counted(tenant, [msgspec.structs.replace(done.event, signature=None)])
        return done

    async def release_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = "") -> StoredEvent:
        """A held event will never count: its approval was refused, or nobody gave it in time."""
        held = (EventState.HELD,)
        done, _ = await self._step(tenant, event_id, EventState.RELEASED, "released", held, by, reason)
        return done

    async def void_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str) -> StoredEvent:
        """As if it had never been; final invoices that have it are corrected by the next one."""
        allowed = (EventState.COUNTED, EventState.HELD)
        done, _ = await self._step(tenant, event_id, EventState.VOID, "voided", allowed, by, checked_reason(reason))
        return done

    async def correct_event(
        self, tenant: TenantId, replacement: BillableEvent, *, by: AgentId, reason: str
    ) -> StoredEvent:
        """The event of this id as it should have been: another time, type or properties. Who used it stays."""
        checked_tenant(tenant)
        checked_reason(reason)
        entry_id, meters = EntryId(new_id()), self._meters.of(tenant)

        def correct(tx: Tx) -> StoredEvent:
            total_store.lock(tx)
            now = self._clock.now()
            row = find(tx, tenant, replacement.event_id)
            arrival = admitted(replacement, row.form, tenant, name_prefix(tenant), meters, now)
            before = row.event(tenant, rows.find_chain(tx, tenant, row.chain))
            if arrival.leaf == leaf_of(before):
                return stored_event(tx, tenant, replacement.event_id)
            check_same(arrival.event, before)
            must_be(row, (EventState.COUNTED,), "corrected")
            batch = rows.add_batch(tx, tenant, entry_id, now)
            place = Place(arrival.agent, batch, 0)
            rows.add_events(tx, tenant, batch, [(0, arrival, EventState.COUNTED)], now)
            rows.move_names(tx, arrival.names, place, EventState.COUNTED)
            self._put_state(tx, tenant, row, EventState.CORRECTED, now)
            self._note(
                tx, tenant, row, "corrected", by, reason, now, entry_id=entry_id, event=arrival.event, meters=meters
            )
            return stored_event(tx, tenant, replacement.event_id)

        return await self._store.write(correct, isolation=Isolation.READ_COMMITTED)

    async def _step(
        self,
        tenant: TenantId,
        event_id: EventId,
        state: EventState,
        act: str,
        allowed: tuple[EventState, ...],
        by: AgentId,
        reason: str,
    ) -> tuple[StoredEvent, bool]:
        """The event afterwards, and whether this was the first time."""
        entry_id, meters = EntryId(new_id()), self._meters.of(checked_tenant(tenant))

        def step(tx: Tx) -> tuple[StoredEvent, bool]:
            total_store.lock(tx)
            row = find(tx, tenant, event_id)
            now = self._clock.now()
            known = stored_event(tx, tenant, event_id)
            if row.state is state and any(done.act == act for done in known.history):
                return known, False
            must_be(row, allowed, act)
            self._put_state(tx, tenant, row, state, now)
            rows.move_names(tx, names_of(tenant, row), row.at, state)
            event = msgspec.structs.replace(known.event, signature=None)
            self._note(tx, tenant, row, act, by, reason, now, entry_id=entry_id, event=event, meters=meters)
            return stored_event(tx, tenant, event_id), True

        return await self._store.write(step, isolation=Isolation.READ_COMMITTED)

    def _put_state(self, tx: Tx, tenant: TenantId, row: EventRow, state: EventState, now: int) -> None:
        rows.set_state(tx, tenant, row.at, state, now)
        if rows.find_batch(tx, tenant, row.at.batch).folded:
            total_store.refold(tx, tenant, row.chain, row.event_type, row.happened_at, now)

    def _note(
        self, tx: Tx, tenant: TenantId, row: EventRow, act: str, by: AgentId, reason: str, now: ConsensusTimestamp, *,
        entry_id: EntryId, event: BillableEvent, meters: Meters,
    ) -> None:  # fmt: skip
        """In the history and in the ledger. What counts from now on is proved by the entry; so it holds the event's hash."""
        event_id = unpacked(row.event_id)
        rows.add_act(tx, tenant, event_id, act, by, reason, row.at, now)
        if act in ("finalized", "corrected"):
            value = value_of(event, meters)
            tx.record(
                single_entry(
                    event, value, leaf_of(event), by=by, tenant=tenant, timestamp=now, event_id=entry_id,
                    action=f"metering:{act}", why=reason or None, degraded_clock=self._clock.degraded,
                )
            )  # fmt: skip
            return
        fields: dict[str, object] = {"event_id": event_id, "reason": reason}
        self._record(
            tx, tenant, f"event.{act}", f"Event{act.capitalize()}", by=by, subject=f"metering:event:{event_id}",
            now=now, fields=fields,
        )  # fmt: skip


def names_of(tenant: TenantId, row: EventRow) -> tuple[bytes, ...]:
    prefix = name_prefix(tenant)
    return (prefix + row.event_id, prefix + row.event_key) if row.event_key else (prefix + row.event_id,)


def must_be(row: EventRow, allowed: tuple[EventState, ...], act: str) -> None:
    if row.state not in allowed:
        expected = " or ".join(state.name.lower() for state in allowed)
        message = f"event {unpacked(row.event_id)} is {row.state.name.lower()} and cannot be {act}"
        raise AlreadyExists("MT-412", message, got=row.state.name.lower(), expected=expected)


def check_same(new: BillableEvent, old: BillableEvent) -> None:
    """Another agent's usage is another event: void the wrong one."""
    for field in ("event_id", "idempotency_key", "agent_nhi", "delegation_chain"):
        if getattr(new, field) != getattr(old, field):
            raise InvalidInput.of(field, got=getattr(new, field), expected=getattr(old, field), code="MT-400")


def checked_reason(reason: str) -> str:
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise InvalidInput.of("reason", got=reason, expected=f"1 to {REASON_CHARS_MAX} characters", code="MT-400")
    return reason
