"""Decisions in memory: agent → action → resource, per tenant, found without a clock, a lock or an allocation.

A hit is three look-ups in dicts. What ends a decision works from outside: a sweeper takes out what has expired (within 50 ms), a revocation
drops the agent's dict, a change of policies or entities swaps the tenant's, and a watchdog swaps all of them if the sweeper falls silent.

INVARIANT: what was computed before something ended is never kept after it: `keep` compares the epoch under the lock that every ending takes.
INVARIANT: without a living sweeper nothing is kept.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from creto.common.limits import AUTHZ_DECISIONS_MAX, AUTHZ_SWEEP_LATE_S, AUTHZ_SWEEP_S, AUTHZ_TTL_S
from creto.common.timestamps import SECOND
from creto.security.authz.types import Decision

Table = dict[str, dict[str, dict[str, Decision]]]
Ticks = Callable[[], int]  # monotonic nanoseconds


class Shelf:
    """The decisions of one tenant. Whoever checks reads `table` anew each time: it may have been swapped."""

    __slots__ = ("readers", "table")

    def __init__(self) -> None:
        self.table: Table = {}
        self.readers: dict[str, set[str]] = {}  # identity → agents whose decisions looked at it


class Hits:
    def __init__(
        self, *, ticks: Ticks = time.monotonic_ns, ttl_s: float = AUTHZ_TTL_S, entries_max: int = AUTHZ_DECISIONS_MAX
    ) -> None:
        self._ticks = ticks
        self._ttl_ns = int(ttl_s * SECOND)
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._shelves: dict[str, Shelf] = {}
        self._due: deque[tuple[int, Shelf, Table, str, str, str, Decision]] = (
            deque()
        )  # one time to live: the oldest is first
        self._swept_at = ticks()
        self._sweeping = False
        self.epoch = 0
        _every.add(self)

    def shelf(self, tenant: str) -> Shelf:
        with self._lock:
            return self._shelves.setdefault(tenant, Shelf())

    def __len__(self) -> int:
        return len(self._due)

    def keep(
        self, shelf: Shelf, agent: str, action: str, resource: str, decision: Decision, epoch: int, others: Iterable[str] = ()
    ) -> bool:  # fmt: skip
        """Remember a decision computed since `epoch`, unless something ended meanwhile."""
        with self._lock:
            now = self._ticks()
            if epoch != self.epoch or not self._sweeping or len(self._due) >= self._entries_max:
                return False
            if len(shelf.readers) > self._entries_max:
                return False
            table = shelf.table
            table.setdefault(agent, {}).setdefault(action, {})[resource] = decision
            for other in others:
                shelf.readers.setdefault(other, set()).add(agent)
            self._due.append((now + self._ttl_ns, shelf, table, agent, action, resource, decision))
            return True

    def drop(self, tenant: str, agent: str) -> None:
        """Nothing decided about this identity, or for others by looking at it, holds any more."""
        with self._lock:
            self.epoch += 1
            shelf = self._shelves.get(tenant)
            if shelf is not None:
                shelf.table.pop(agent, None)
                for reader in shelf.readers.pop(agent, ()):
                    shelf.table.pop(reader, None)

    def swap(self, tenant: str) -> None:
        with self._lock:
            self.epoch += 1
            shelf = self._shelves.get(tenant)
            if shelf is not None:
                shelf.table, shelf.readers = {}, {}

    def empty(self) -> None:
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        self.epoch += 1
        for shelf in self._shelves.values():
            shelf.table, shelf.readers = {}, {}
        self._due.clear()

    def begin_sweeping(self) -> None:
        with self._lock:
            self._swept_at, self._sweeping = self._ticks(), True

    def end_sweeping(self) -> None:
        """Nobody takes out what expires any more: keep nothing."""
        with self._lock:
            self._sweeping = False
            self._empty()

    def sweep(self) -> int:
        """Take out what has expired; how many."""
        count = 0
        with self._lock:
            now = self._swept_at = self._ticks()
            due = self._due
            while due and due[0][0] <= now:
                _, shelf, table, agent, action, resource, decision = due.popleft()
                count += 1
                if shelf.table is table:
                    forget(table, agent, action, resource, decision)
                    if not table:
                        shelf.readers = {}
        return count

    def watch(self, late_s: float = AUTHZ_SWEEP_LATE_S) -> bool:
        """Whether the sweeper lives; if not, everything is forgotten and nothing kept until it is back."""
        with self._lock:
            alive = not self._sweeping or self._ticks() - self._swept_at <= late_s * SECOND
            if not alive:
                self._sweeping = False
                self._empty()
            return alive


def forget(table: Table, agent: str, action: str, resource: str, decision: Decision) -> None:
    """Take one decision out, if it is still the one that was meant, and the dicts it leaves empty."""
    by_action = table.get(agent)
    by_resource = by_action.get(action) if by_action is not None else None
    if by_action is None or by_resource is None or by_resource.get(resource) is not decision:
        return
    del by_resource[resource]
    if not by_resource:
        del by_action[action]
        if not by_action:
            del table[agent]


class Sweeper:
    """Two threads: one sweeps, the other watches the first."""

    def __init__(self, hits: Hits, interval_s: float = AUTHZ_SWEEP_S) -> None:
        self._hits = hits
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._hits.begin_sweeping()
        for name, run in (("authz-sweep", self._sweep), ("authz-watch", self._watch)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _sweep(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._hits.sweep()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval_s * 4):
            if not self._hits.watch() and self._threads[0].is_alive():
                self._hits.begin_sweeping()  # it was only late

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._hits.end_sweeping()


_every: weakref.WeakSet[Hits] = weakref.WeakSet()


def forget_after_fork() -> None:
    """A forked child has no sweeper and no signals: it keeps nothing."""
    for hits in list(_every):
        hits._lock = threading.Lock()
        hits.end_sweeping()


os.register_at_fork(after_in_child=forget_after_fork)
