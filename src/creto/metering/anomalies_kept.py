"""Anomalies that were found: kept in rows for humans to see, known to every process, cleared by whoever has looked.

    await anomalies.flagged("acme", now)                  # who, why, since when
    await anomalies.forgive("acme", agent, by=human)      # it may go on: this is its habit from now on
    anomalies.alarm("acme", agent, now)                   # memory: what is held against it

The habits themselves come from the events that are in the store (`habits.py`).

INVARIANT: what one process found, or a human cleared, every process knows within a signal's time, and every one that starts after.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import LiteralString

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, EventId, ResourceId, TenantId, checked_tenant
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.paging import cut, place_of
from creto.common.timestamps import Clock
from creto.contracts import AnomalyDetected, BillableEvent
from creto.metering.anomalies import QUIET_NS, Anomaly, Loop, Watch, reason
from creto.metering.core import note, paged
from creto.metering.habits import Habits
from creto.store.types import ReadTx, Row, Store, Tx

SUBJECT_ANOMALY = "metering.anomalies"
CHANGED = "metering.anomalies.changed"
ROW: LiteralString = "SELECT agent, told_at, until, body FROM metering_anomaly WHERE tenant = ?"


class AnomalyKind(StrEnum):
    RUNAWAY = "runaway"  # more in an hour than the agent ever does in it
    LOOP = "loop"  # the same call, or cycle of calls, over and over


class Flagged(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that does what it never did. `event_id` is the act at which it was noticed; the alarm lasts `until` then, unless it goes on.

    The rates are acts in an hour; of a loop, how often the same came in a row.
    """

    agent: AgentId
    kind: AnomalyKind
    reason: AnomalyDetected
    event_id: EventId
    event_type: str
    told_at: int
    until: int


Alarms = Mapping[AgentId, Flagged]


class FlaggedPage(msgspec.Struct, frozen=True):
    items: tuple[Flagged, ...]
    cursor: str | None = None


class Anomalies:
    def __init__(self, store: Store, clock: Clock, watch: Watch) -> None:
        self._store = store
        self._clock = clock
        self.watch = watch
        self.habits = Habits(store, clock, watch)
        self._known: dict[TenantId, Alarms] = {}
        self._reading = threading.Lock()  # a change that comes while they are read drops them after
        store.on_signal(CHANGED, self._on_changed)
        store.on_signal_lost(self._known.clear)

    def tell(self, tx: Tx, tenant: TenantId, event: BillableEvent, found: Anomaly) -> None:
        now, why = self._clock.now(), reason(found)
        flagged = Flagged(
            agent=event.agent_nhi, kind=AnomalyKind.LOOP if isinstance(found, Loop) else AnomalyKind.RUNAWAY, reason=why,
            event_id=event.event_id, event_type=event.event_type, told_at=now, until=event.timestamp + QUIET_NS,
        )  # fmt: skip
        tx.run(
            "INSERT INTO metering_anomaly (tenant, agent, told_at, until, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, agent)"
            " DO UPDATE SET told_at = excluded.told_at, until = excluded.until, body = excluded.body",
            tenant, flagged.agent, now, flagged.until, wire.encode(flagged),
        )  # fmt: skip
        self._note(tx, tenant, "anomaly", "AnomalyDetected", event.agent_nhi, event.agent_nhi, flagged)
        tx.publish(SUBJECT_ANOMALY, wire.encode(flagged), tenant=tenant, agent=event.agent_nhi)

    async def forgive(self, tenant: TenantId, agent: AgentId, *, by: AgentId) -> None:
        """A human has looked."""

        def clear(tx: Tx) -> None:
            flagged = find(tx, checked_tenant(tenant), agent)
            tx.run("DELETE FROM metering_anomaly WHERE tenant = ? AND agent = ?", tenant, agent)
            tx.run(
                "INSERT INTO metering_forgiven (tenant, agent, forgiven_at) VALUES (?, ?, ?) "
                "ON CONFLICT (tenant, agent) DO UPDATE SET forgiven_at = excluded.forgiven_at",
                tenant, agent, self._clock.now(),
            )  # fmt: skip
            self._note(tx, tenant, "anomaly.cleared", "AnomalyCleared", by, agent, flagged)

        await self._store.write(clear)

    async def flagged(
        self, tenant: TenantId, since: int, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> FlaggedPage:
        """Those whose alarm lasts beyond an instant, the newest first."""
        at, agent = place_of(cursor, tuple[int, str], (-1, ""))
        paged(limit)
        further: LiteralString = " AND (told_at, agent) < (?, ?)" if cursor else ""
        sql: LiteralString = f"{ROW} AND until > ?{further} ORDER BY told_at DESC, agent DESC LIMIT ?"
        place = (at, agent) if cursor else ()
        found = await self._store.read(lambda tx: tx.all(sql, checked_tenant(tenant), since, *place, limit + 1))
        return FlaggedPage(*cut([flagged_row(row) for row in found], limit, lambda last: (last.told_at, last.agent)))

    def alarm(self, tenant: TenantId, agent: AgentId, at: int) -> Flagged | None:
        """What is held against an agent at an instant. An event from before the alarm is no excuse."""
        found = self._known.get(tenant)
        if found is None:
            with self._reading:
                alive = self._store.signals_alive
                found = self._store.read_now(lambda tx: alarms(tx, checked_tenant(tenant), self._clock.now()))
                if alive:
                    self._known[tenant] = found
        flagged = found.get(agent)
        return flagged if flagged is not None and at < flagged.until else None

    async def flag(self, tenant: TenantId, agent: AgentId) -> Flagged | None:
        """What is held against an agent now."""
        found = await self._store.read(lambda tx: find(tx, checked_tenant(tenant), agent))
        return found if found is not None and found.until > self._clock.now() else None

    def _note(
        self, tx: Tx, tenant: TenantId, act: str, event: str, by: AgentId, agent: AgentId, what: Flagged | None
    ) -> None:
        note(tx, self._clock, tenant, act, event, by, ResourceId("metering", "agent", agent), what)
        tx.signal(CHANGED, wire.encode((tenant, agent)).decode())

    def _on_changed(self, payload: str) -> None:
        tenant, agent = wire.decode(payload, tuple[TenantId, AgentId], what="signal")
        with self._reading:
            self._known.pop(tenant, None)
        if self._store.read_now(lambda tx: find(tx, tenant, agent)) is None:
            self.watch.forgive(tenant, agent)


def alarms(tx: ReadTx, tenant: TenantId, since: int) -> Alarms:
    """Those that last beyond an instant."""
    sql: LiteralString = f"{ROW} AND until > ?"
    found = map(flagged_row, tx.all(sql, tenant, since))
    return {flagged.agent: flagged for flagged in found}


def find(tx: ReadTx, tenant: TenantId, agent: AgentId) -> Flagged | None:
    sql: LiteralString = f"{ROW} AND agent = ?"
    row = tx.one(sql, tenant, agent)
    return None if row is None else flagged_row(row)


def flagged_row(row: Row) -> Flagged:
    return wire.decode(bytes(row[3]), Flagged, what="anomaly")
