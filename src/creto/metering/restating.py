"""What happens to an event after it came: held until a decision, voided, corrected. Recorded each time, deleted never.

    HELD → COUNTED (finalized) | RELEASED;   COUNTED, HELD → VOID;   COUNTED → CORRECTED, and its replacement counts, or is HELD:
    released, what it was to replace counts again

INVARIANT: each step is one transaction: the state, the totals that its event is in, the act in its history, an entry in the ledger.
INVARIANT: the same step twice is as good as once, also for the habits of the agent: an event is in its history once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput, QuotaExceeded
from creto.common.ids import AgentId, EventId, TenantId, checked_tenant, new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering import archive_store, judging, total_store
from creto.metering import event_store as rows
from creto.metering.admission import admitted, leaf_of, name_prefix, unpacked
from creto.metering.beyond import check_corrected, check_reported
from creto.metering.event_history import last_version
from creto.metering.event_quotas import Owed
from creto.metering.event_store import EventRow, Place
from creto.metering.ingesting import Ingesting
from creto.metering.metered import meters_in
from creto.metering.quota_types import Quota
from creto.metering.sorting import find, single_entry, stored_event, value_of
from creto.metering.usage_types import EventState, StoredEvent
from creto.store.types import EntryId, Isolation, Tx

REASON_CHARS_MAX = 1_000
EVENT_ENDED = "metering.event.ended"  # the signal that an event waits no more


class Step(msgspec.Struct, frozen=True):
    act: str
    state: EventState
    allowed: tuple[EventState, ...]


FINALIZED = Step("finalized", EventState.COUNTED, (EventState.HELD,))
RELEASED = Step("released", EventState.RELEASED, (EventState.HELD,))
VOIDED = Step("voided", EventState.VOID, (EventState.COUNTED, EventState.HELD))
CORRECTED = Step("corrected", EventState.CORRECTED, (EventState.COUNTED,))


class Restating(Ingesting):
    async def finalize_event(
        self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = ""
    ) -> StoredEvent:
        """A held event counts from now on, on the period it belongs to."""
        done, first = await self._step(tenant, event_id, FINALIZED, by, reason)
        if first and self._judge is not None:
            self._judge.counted(tenant, [replace(done.event, signature=None)])
        return done

    async def release_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = "") -> StoredEvent:
        """A held event will never count: its approval was refused, or nobody gave it in time."""
        done, _ = await self._step(tenant, event_id, RELEASED, by, reason)
        return done

    async def void_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str) -> StoredEvent:
        """As if it had never been; final invoices that have it are corrected by the next one."""
        done, _ = await self._step(tenant, event_id, VOIDED, by, checked_reason(reason))
        return done

    async def correct_event(
        self, tenant: TenantId, replacement: BillableEvent, *, by: AgentId, reason: str
    ) -> StoredEvent:
        """The event of this id as it should have been: another time, type or properties. Who used it stays.

        It is judged as an event that comes: QuotaExceeded MT-429 where it would be blocked; where humans are to be asked it is HELD, and
        as it was it counts again if they refuse.
        """
        checked_tenant(tenant)
        checked_reason(reason)
        entry_id = EntryId(new_id())
        quotas = self._measuring(tenant)
        done, owed = await self._store.write(
            lambda tx: self._correct(tx, tenant, replacement, by, reason, entry_id, quotas),
            isolation=Isolation.READ_COMMITTED,
        )
        if isinstance(done, QuotaExceeded):
            raise done
        await self._count(owed)
        return done

    def _correct(
        self, tx: Tx, tenant: TenantId, replacement: BillableEvent, by: AgentId, reason: str, entry_id: EntryId,
        quotas: Sequence[Quota],
    ) -> tuple[StoredEvent | QuotaExceeded, list[Owed]]:  # fmt: skip
        self._lock(tx, tenant)
        now = self._clock.now()
        row = find(tx, tenant, replacement.event_id)
        meters = partial(meters_in, tx, tenant)
        arrival = admitted(replacement, row.form, tenant, name_prefix(tenant), meters, now)
        before = row.event(tenant, rows.find_chain(tx, tenant, row.chain))
        if arrival.leaf == leaf_of(before) and row.state in (EventState.COUNTED, EventState.HELD):
            return stored_event(tx, tenant, replacement.event_id), []
        check_same(arrival.event, before)
        if arrival.event.event_type != before.event_type:
            check_reported(arrival.event.event_type)
        check_corrected(before, arrival.event)
        must_be(row, CORRECTED)
        self._cost(tx, tenant, before, -1)
        try:
            policy_id = judging.judged_alone(tx, tenant, arrival.event, self._judge)
        except QuotaExceeded as error:  # what is recorded of it stays
            self._cost(tx, tenant, before, 1)
            return error, []
        state = EventState.COUNTED if policy_id is None else EventState.HELD
        batch = rows.add_batch(tx, tenant, entry_id, 1, now)
        at = Place(arrival.agent, batch, 0)
        rows.add_events(tx, tenant, batch, [(0, arrival, state)], now)
        rows.move_names(tx, arrival.names, at, state)
        self._put_state(tx, tenant, row, EventState.CORRECTED, now)
        if policy_id is not None:
            rows.add_act(tx, tenant, arrival.event.event_id, "held", by, policy_id, at, self._clock.now())
        owed = self._requote(tx, tenant, row.at, before, -1, quotas)
        owed += self._requote(tx, tenant, at, arrival.event, counting(state), quotas)
        self._note(tx, tenant, row, CORRECTED, by, reason, now, entry_id=entry_id, event=arrival.event)
        return stored_event(tx, tenant, replacement.event_id), owed

    async def _step(
        self, tenant: TenantId, event_id: EventId, step: Step, by: AgentId, reason: str
    ) -> tuple[StoredEvent, bool]:
        """The event afterwards, and whether this call took the step: what was done before is told nobody again."""
        checked_tenant(tenant)
        quotas = self._measuring(tenant)
        done, first, owed = await self._store.write(
            lambda tx: self._take_step(tx, tenant, event_id, step, by, reason, quotas),
            isolation=Isolation.READ_COMMITTED,
        )
        await self._count(owed)
        return done, first

    def _take_step(
        self, tx: Tx, tenant: TenantId, event_id: EventId, step: Step, by: AgentId, reason: str,
        quotas: Sequence[Quota],
    ) -> tuple[StoredEvent, bool, list[Owed]]:  # fmt: skip
        self._lock(tx, tenant)
        row = find(tx, tenant, event_id)
        now = self._clock.now()
        event_id = EventId(unpacked(row.event_id))  # it may have been asked for by its key
        known = stored_event(tx, tenant, event_id)
        if row.state is step.state and any(done.act == step.act for done in known.history):
            return known, False, []
        must_be(row, step)
        self._put_state(tx, tenant, row, step.state, now)
        rows.move_names(tx, names_of(tenant, row), row.at, step.state)
        owed = self._reinstate(tx, tenant, row, by, quotas) if step is RELEASED else []
        event = replace(known.event, signature=None)
        if row.state is EventState.HELD:
            tx.signal(EVENT_ENDED, ended_key(tenant, event_id))
            if self._judge is not None:
                self._judge.ended(tx, tenant, event_id, step.act, by)
        sign = counting(step.state) - counting(row.state)
        self._cost(tx, tenant, event, sign)
        owed += self._requote(tx, tenant, row.at, event, sign, quotas)
        self._note(tx, tenant, row, step, by, reason, now, entry_id=EntryId(new_id()), event=event)
        return stored_event(tx, tenant, event_id), True, owed

    def _reinstate(self, tx: Tx, tenant: TenantId, row: EventRow, by: AgentId, quotas: Sequence[Quota]) -> list[Owed]:
        """A correction that was refused: the event counts again as it was before it."""
        before, now = last_version(tx, tenant, row), self._clock.now()
        if before is None:
            return []
        self._put_state(tx, tenant, before, EventState.COUNTED, now)
        rows.move_names(tx, names_of(tenant, before), before.at, EventState.COUNTED)
        rows.add_act(tx, tenant, unpacked(row.event_id), "reinstated", by, "the correction was refused", before.at, now)
        event = before.event(tenant, rows.find_chain(tx, tenant, before.chain))
        self._cost(tx, tenant, event, 1)
        return self._requote(tx, tenant, before.at, event, 1, quotas)

    def _lock(self, tx: Tx, tenant: TenantId) -> None:
        if self._judge is not None:
            judging.lock(tx, tenant)
        total_store.lock(tx)

    def _cost(self, tx: Tx, tenant: TenantId, event: BillableEvent, sign: int) -> None:
        if self._judge is not None and sign:
            self._judge.costs.add(tx, tenant, [event], sign=sign)

    def _measuring(self, tenant: TenantId) -> Sequence[Quota]:
        return () if self._quotas is None else self._quotas.of(tenant)

    def _requote(
        self, tx: Tx, tenant: TenantId, at: Place, event: BillableEvent, sign: int, quotas: Sequence[Quota]
    ) -> list[Owed]:
        """On quotas it counts, or counts no more."""
        if self._quotas is None or not sign:
            return []
        return self._quotas.change(tx, tenant, at.batch, at.place, event, sign, quotas)

    def _put_state(self, tx: Tx, tenant: TenantId, row: EventRow, state: EventState, now: int) -> None:
        rows.set_state(tx, tenant, row.at, state, now)
        archive_store.note_change(tx, tenant, row.at, row.happened_at, now)
        if rows.find_batch(tx, tenant, row.at.batch).folded:
            total_store.refold(tx, tenant, row.chain, row.event_type, row.happened_at, now)

    def _note(
        self, tx: Tx, tenant: TenantId, row: EventRow, step: Step, by: AgentId, reason: str, now: ConsensusTimestamp, *,
        entry_id: EntryId, event: BillableEvent,
    ) -> None:  # fmt: skip
        """In the history and in the ledger. What counts from now on is proved by the entry; so it holds the event's hash."""
        event_id = unpacked(row.event_id)
        act = step.act
        rows.add_act(tx, tenant, event_id, act, by, reason, row.at, now)
        if step in (FINALIZED, CORRECTED):
            value = value_of(event, meters_in(tx, tenant, event))
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


def ended_key(tenant: TenantId, event_id: EventId) -> str:
    return f"{tenant}/{event_id}"


def names_of(tenant: TenantId, row: EventRow) -> tuple[bytes, ...]:
    prefix = name_prefix(tenant)
    return (prefix + row.event_id, prefix + row.event_key) if row.event_key else (prefix + row.event_id,)


def counting(state: EventState) -> int:
    return int(state is EventState.COUNTED)


def must_be(row: EventRow, step: Step) -> None:
    if row.state not in step.allowed:
        expected = " or ".join(state.name.lower() for state in step.allowed)
        message = f"event {unpacked(row.event_id)} is {row.state.name.lower()} and cannot be {step.act}"
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
