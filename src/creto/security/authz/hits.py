"""Decisions in memory: agent → action → resource, per tenant, found without a clock, a lock or an allocation.

A hit is three look-ups in dicts. What ends a decision works from outside: a sweeper takes out what has expired, a revocation drops the agent's
dict, a change of policies or entities swaps the tenant's, and a watchdog swaps all of them if the sweeper falls silent (`sweeper.py`).

There is a bound on each agent and on all together. An agent at its bound starts over: what it asks often is soon there again. At the bound of
all, the oldest decision makes room.

INVARIANT: what was computed before something ended is never kept after it: `keep` compares the epoch under the lock that every ending takes.
INVARIANT: without a living sweeper nothing is kept.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection

from creto.common.limits import (
    AUTHZ_AGENT_DECISIONS_MAX,
    AUTHZ_DECISIONS_MAX,
    AUTHZ_SWEEP_LATE_S,
    AUTHZ_SWEEP_S,
    AUTHZ_TTL_S,
)
from creto.common.timestamps import MILLISECOND, SECOND
from creto.security.authz.types import Decision

Table = dict[str, dict[str, dict[str, Decision]]]
Ticks = Callable[[], int]  # monotonic nanoseconds
SWEPT_AT_ONCE = 1_000  # then whoever waits for the lock has their turn
WATCH_PAUSE_S = 5 * MILLISECOND / SECOND  # between two looks at what ought to be gone


class Shelf:
    """The decisions of one tenant. Whoever checks reads `table` anew each time: it may have been swapped."""

    __slots__ = ("counts", "links", "readers", "table", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.clear()

    def clear(self) -> None:
        self.table: Table = {}
        self.counts: dict[str, int] = {}  # agent → how many decisions
        self.readers: dict[str, set[str]] = {}  # identity → agents whose decisions looked at it
        self.links = 0  # of all `readers`


class Hits:
    def __init__(
        self,
        *,
        ticks: Ticks = time.monotonic_ns,
        ttl_s: float = AUTHZ_TTL_S,
        entries_max: int = AUTHZ_DECISIONS_MAX,
        agent_entries_max: int = AUTHZ_AGENT_DECISIONS_MAX,
    ) -> None:
        self._ticks = ticks
        self._ttl_ns = int(ttl_s * SECOND)
        self._entries_max = entries_max
        self._agent_entries_max = agent_entries_max
        self._shelves: dict[str, Shelf] = {}
        self._due: deque[tuple[int, Shelf, Table, str, str, str, Decision]] = deque()  # one time to live: oldest first
        self._count = 0
        self._sweeping = False
        self.epoch = 0
        self._new_lock()
        _every.add(self)

    def _new_lock(self) -> None:
        self._lock = threading.Lock()
        self.stirred = threading.Condition(
            self._lock
        )  # something is to expire where nothing was, or the sweeper is missed

    def shelf(self, tenant: str) -> Shelf:
        with self._lock:
            return self._shelves.setdefault(tenant, Shelf(tenant))

    def __len__(self) -> int:
        return self._count

    def keep(
        self, shelf: Shelf, agent: str, action: str, resource: str, decision: Decision, epoch: int, others: Collection[str] = ()
    ) -> bool:  # fmt: skip
        """Remember a decision computed since `epoch`, unless something ended meanwhile."""
        with self._lock:
            if epoch != self.epoch or not self._sweeping or self._shelves.get(shelf.tenant) is not shelf:
                return False
            self._make_room(shelf, agent, len(others))
            table = shelf.table
            by_resource = table.setdefault(agent, {}).setdefault(action, {})
            if resource not in by_resource:
                shelf.counts[agent] = shelf.counts.get(agent, 0) + 1
                self._count += 1
            by_resource[resource] = decision
            for other in others:
                readers = shelf.readers.setdefault(other, set())
                shelf.links += agent not in readers
                readers.add(agent)
            self._due.append((self._ticks() + self._ttl_ns, shelf, table, agent, action, resource, decision))
            if len(self._due) == 1:
                self.stirred.notify_all()
            return True

    def _make_room(self, shelf: Shelf, agent: str, links: int) -> None:
        if shelf.counts.get(agent, 0) >= self._agent_entries_max:
            self._drop(shelf, agent)
        if shelf.links + links > self._entries_max:
            self._clear(shelf)
        while len(self._due) >= self._entries_max:
            self._end_oldest()

    def drop(self, tenant: str, agent: str) -> None:
        """Nothing decided about this identity, or for others by looking at it, holds any more."""
        with self._lock:
            self.epoch += 1
            shelf = self._shelves.get(tenant)
            if shelf is not None:
                self._drop(shelf, agent)
                readers = shelf.readers.pop(agent, ())
                shelf.links -= len(readers)
                for reader in readers:
                    self._drop(shelf, reader)

    def _drop(self, shelf: Shelf, agent: str) -> None:
        shelf.table.pop(agent, None)
        self._count -= shelf.counts.pop(agent, 0)

    def swap(self, tenant: str) -> None:
        with self._lock:
            self.epoch += 1
            shelf = self._shelves.get(tenant)
            if shelf is not None:
                self._clear(shelf)

    def retire(self) -> None:
        """Whoever holds a shelf finds nothing on it any more, and nothing is put there."""
        with self._lock:
            self._empty()
            self._shelves.clear()

    def _clear(self, shelf: Shelf) -> None:
        self._count -= sum(shelf.counts.values())
        shelf.clear()

    def empty(self) -> None:
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self.epoch += 1
        for shelf in self._shelves.values():
            self._clear(shelf)
        self._due.clear()

    def begin_sweeping(self) -> None:
        with self._lock:
            self._sweeping = True

    def end_sweeping(self) -> None:
        """Nobody takes out what expires any more: keep nothing."""
        with self._lock:
            self._sweeping = False
            self._empty()

    def sweep(self) -> int:
        """Take out what has expired; how many."""
        count = 0
        while True:
            with self._lock:
                now, stop = self._ticks(), count + SWEPT_AT_ONCE
                while count < stop and self._due and self._due[0][0] <= now:
                    self._end_oldest()
                    count += 1
                if count < stop:
                    return count

    def _end_oldest(self) -> None:
        _, shelf, table, agent, action, resource, decision = self._due.popleft()
        if shelf.table is not table or not forget(table, agent, action, resource, decision):
            return
        self._count -= 1
        shelf.counts[agent] -= 1
        if not shelf.counts[agent]:
            del shelf.counts[agent]
        if not table:
            shelf.clear()

    def watch(self, late_s: float = AUTHZ_SWEEP_LATE_S) -> bool:
        """Whether the sweeper lives; if something outlived its time, everything is forgotten and nothing kept until it is back."""
        with self._lock:
            alive = not self._due or self._ticks() - self._due[0][0] < late_s * SECOND
            if not alive:
                self._sweeping = False
                self._empty()
                self.stirred.notify_all()
            return alive

    def sweep_pause_s(self) -> float | None:
        """How long the sweeper may sleep; None is until something is kept."""
        if not self._sweeping:
            return 0.0  # it was missed: it is back
        return max(self._until_due_s(), AUTHZ_SWEEP_S) if self._due else None

    def watch_pause_s(self) -> float | None:
        """The same for the watchdog."""
        return max(self._until_due_s() + AUTHZ_SWEEP_LATE_S, WATCH_PAUSE_S) if self._due else None

    def _until_due_s(self) -> float:
        return (self._due[0][0] - self._ticks()) / SECOND


def forget(table: Table, agent: str, action: str, resource: str, decision: Decision) -> bool:
    """Take one decision out, if it is still the one that was meant, and the dicts it leaves empty."""
    by_action = table.get(agent)
    by_resource = by_action.get(action) if by_action is not None else None
    if by_action is None or by_resource is None or by_resource.get(resource) is not decision:
        return False
    del by_resource[resource]
    if not by_resource:
        del by_action[action]
        if not by_action:
            del table[agent]
    return True


_every: weakref.WeakSet[Hits] = weakref.WeakSet()


def forget_after_fork() -> None:
    """A forked child has no sweeper and no signals: it keeps nothing."""
    for hits in list(_every):
        hits._new_lock()
        hits.end_sweeping()


os.register_at_fork(after_in_child=forget_after_fork)
