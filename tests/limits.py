"""Shared limits for tests and benches: a dictionary in this process, for any number of nodes that live in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from creto.common.ids import TenantId
from creto.metering.leases import Counted, Drawn, Due, GivenBack, Lease, SharedLimits, Wish, bounded, granted


class LocalLimits(SharedLimits):
    def __init__(self) -> None:
        self.counters: dict[tuple[TenantId, str], int] = {}
        self.held: dict[str, dict[tuple[TenantId, str], list[int]]] = {}  # slot, drawn and unspent, by node
        self.booked: set[tuple[TenantId, str]] = set()
        self._lock = threading.Lock()

    def join(self, node: str) -> None:
        """A dictionary does nothing after its caller has died."""

    def leave(self, node: str) -> None:
        """Nor is anything kept of it."""

    def draw(self, node: str, wishes: Sequence[Wish]) -> list[Drawn]:
        with self._lock:
            return [self._draw(node, wish) for wish in wishes]

    def _draw(self, node: str, wish: Wish) -> Drawn:
        key = (wish.tenant, wish.counter)
        before = self.counters.get(key, 0)
        amount = granted(wish, before)
        if amount:
            self.counters[key] = before + amount
            held = self.held.setdefault(node, {}).setdefault(key, [wish.slot, 0, 0])
            held[:] = wish.slot, held[1] + amount, amount - wish.need
        return Drawn(amount, before, before + amount)

    def give_back(self, node: str, parts: Sequence[GivenBack]) -> None:
        with self._lock:
            for part in parts:
                self._give_back(node, part)

    def _give_back(self, node: str, part: GivenBack) -> None:
        held = self.held.get(node, {})
        key = (part.tenant, part.counter)
        if key in held and held[key][1] >= part.amount:
            held[key][1] -= part.amount
            held[key][2] = max(0, held[key][2] - part.amount)
            self.counters[key] -= part.amount
        if part.last:
            held.pop(key, None)

    def reclaim(self, node: str, unspent: Callable[[int, int], int]) -> int:
        with self._lock:
            back = 0
            for (tenant, counter), (slot, drawn, _) in list(self.held.get(node, {}).items()):
                amount = min(unspent(slot, drawn), drawn)
                self._give_back(node, GivenBack(tenant, counter, amount, last=True))
                back += amount
            return back

    def adjust(self, tenant: TenantId, counter: str, by: int) -> None:
        with self._lock:
            if (tenant, counter) in self.counters:
                self.counters[tenant, counter] = bounded(self.counters[tenant, counter] + by)

    def book(self, dues: Sequence[Due]) -> Counted:
        found: Counted = {}
        with self._lock:
            for due in dues:
                for part in due.parts:
                    key = (due.tenant, part.counter)
                    if due[:2] not in self.booked:
                        self.counters[key] = self.counters.get(key, 0) + part.amount
                    found[key] = self.counters[key]
                self.booked.add((due.tenant, due.name))
        return found

    def forget(self, dues: Sequence[Due]) -> None:
        self.booked.difference_update(due[:2] for due in dues)

    def leases(self, tenant: TenantId, counters: Sequence[str]) -> list[Lease]:
        return [
            Lease(counter, node, held[tenant, counter][0], held[tenant, counter][2])
            for counter in counters
            for node, held in self.held.items()
            if (tenant, counter) in held
        ]

    def taken(self, tenant: TenantId, counters: Sequence[str]) -> list[int]:
        return [self.counters.get((tenant, counter), 0) for counter in counters]

    def prune(self, now: int) -> int:
        return 0
