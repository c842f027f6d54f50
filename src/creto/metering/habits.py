"""Habits that last: what an agent did before this process saw it is read from the events that are in the store.

    habits = Habits(store, watch)            # from here on: whoever is new to the watch is looked up beside what goes on

The running totals have the hours, the batches that wait the rest; a restart or another process comes to the same habit. A thread reads,
for as long as there is somebody to read of.

INVARIANT: whoever reports usage never waits for it; an agent whose history cannot be read is learnt as it is seen.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from itertools import islice

from creto.common.errors import EnablementError
from creto.common.ids import AgentId, TenantId
from creto.common.limits import HABIT_CHAINS_MAX, HABIT_DAYS, HABITS_ASKED_MAX, HABITS_BATCH
from creto.common.timestamps import DAY, HOUR, Clock
from creto.metering import total_store
from creto.metering.anomalies import History, Watch
from creto.metering.event_store import acting_in
from creto.metering.totals import Grain
from creto.store.types import ReadTx, Store

log = logging.getLogger("creto.metering")


class Habits:
    def __init__(self, store: Store, clock: Clock, watch: Watch) -> None:
        self._store = store
        self._clock = clock
        self._watch = watch
        self._asked: dict[tuple[TenantId, AgentId], None] = {}
        self._lock = threading.Lock()
        self._reading = False
        watch.unseen = self.ask

    def ask(self, tenant: TenantId, agent: AgentId) -> None:
        with self._lock:
            if len(self._asked) < HABITS_ASKED_MAX:
                self._asked[tenant, agent] = None
            if self._reading:
                return
            self._reading = True
        threading.Thread(target=self._read_all, name="creto-habits", daemon=True).start()

    def _read_all(self) -> None:
        while batch := self._next():
            tenant, agents = batch
            try:
                found = self._store.read_now(lambda tx, t=tenant, a=agents: histories(tx, t, a, self._clock.now()))  # type: ignore[misc]
            except EnablementError as error:  # the store is away, or has gone with the process
                log.warning("habits of %d agents could not be read: %s", len(agents), error)
                continue
            except Exception:
                log.exception("habits of %d agents could not be read", len(agents))
                continue
            for agent, history in found.items():
                self._watch.recall(tenant, agent, history)

    def _next(self) -> tuple[TenantId, list[AgentId]] | None:
        """Some that were asked for, of one tenant; None ends the reading."""
        with self._lock:
            first = next(iter(self._asked), None)
            if first is None:
                self._reading = False
                return None
            batch = list(islice((key for key in self._asked if key[0] == first[0]), HABITS_BATCH))
            for key in batch:
                del self._asked[key]
            return first[0], [agent for _, agent in batch]


def histories(tx: ReadTx, tenant: TenantId, agents: Sequence[AgentId], now: int) -> Mapping[AgentId, History]:
    """What agents did in the hours of the last weeks, and what was said of it."""
    start, end = (now - HABIT_DAYS * DAY) // HOUR * HOUR, now // HOUR * HOUR + HOUR
    acts: dict[AgentId, dict[int, int]] = {agent: {} for agent in agents}
    whose = {chain: agent for agent in agents for chain in acting_in(tx, tenant, agent, HABIT_CHAINS_MAX)}
    for key, kept in total_store.cells(tx, tenant, Grain.HOUR, sorted(whose), start, end, None):
        add(acts[whose[key.chain]], key.begins_at // HOUR, kept.cell.events)
    for row in total_store.waiting_events(tx, tenant, start, end):
        if row.chain in whose:
            add(acts[whose[row.chain]], row.happened_at // HOUR, 1)
    return {agent: History(hours, *said_of(tx, tenant, agent)) for agent, hours in acts.items()}


def add(hours: dict[int, int], hour: int, events: int) -> None:
    hours[hour] = hours.get(hour, 0) + events


def said_of(tx: ReadTx, tenant: TenantId, agent: AgentId) -> tuple[int, int | None]:
    """Until when its alarm lasts, and when it was last forgiven."""
    until = tx.value("SELECT until FROM metering_anomaly WHERE tenant = ? AND agent = ?", tenant, agent)
    forgiven = tx.value("SELECT forgiven_at FROM metering_forgiven WHERE tenant = ? AND agent = ?", tenant, agent)
    return until or 0, forgiven
