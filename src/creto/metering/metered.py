"""What the tenants' meters read, kept in memory: an event that a meter counts has to have it.

The newest version of each plan says it: what an old version misread can be set right by the next one.
INVARIANT: plans read before a change are never kept after it; while signals may be lost nothing is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from creto.common.ids import TenantId
from creto.common.limits import PAGE_ITEMS_MAX
from creto.metering import store as rows
from creto.metering.core import PLANS_CHANGED
from creto.metering.types import Meter, Plan
from creto.store.types import ReadTx, Store

Meters = Mapping[str, Sequence[Meter]]


class MetersInUse:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[TenantId, Meters] = {}
        self._changes = 0
        self._lock = threading.Lock()
        store.on_signal(PLANS_CHANGED, self._on_change)
        store.on_signal_lost(self._forget)

    def of(self, tenant: TenantId) -> Meters:
        """By the type of event that they count."""
        found = self._known.get(tenant) if self._store.signals_alive else None
        return self._read(tenant) if found is None else found

    def _read(self, tenant: TenantId) -> Meters:
        changes = self._changes
        meters = by_type(self._store.read_now(lambda tx: newest(tx, tenant)))
        with self._lock:
            if changes == self._changes and self._store.signals_alive:
                self._known[tenant] = meters
        return meters

    def _on_change(self, tenant: str) -> None:
        with self._lock:
            self._changes += 1
            self._known.pop(TenantId(tenant), None)

    def _forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._known.clear()


def newest(tx: ReadTx, tenant: TenantId) -> list[Plan]:
    found: list[Plan] = []
    while page := rows.newest_plans(tx, tenant, found[-1].plan_id if found else "", PAGE_ITEMS_MAX):
        found += page
    return found


def by_type(plans: Sequence[Plan]) -> Meters:
    found: dict[str, list[Meter]] = {}
    for plan in plans:
        for charge in plan.charges:
            known = found.setdefault(charge.meter.event_type, [])
            if charge.meter not in known:
                known.append(charge.meter)
    return found
