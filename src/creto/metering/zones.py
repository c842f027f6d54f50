"""The tenant's time zone: where its days and months begin.

await quotas.zones.put(tenant, "Europe/Berlin", by=human)

Quotas that are set from then on have it in every window that names none, and costs are summed in it. What was spent in the hours, days
and months up to then is moved to those of the new zone, so that a threshold holds on.
"""

from __future__ import annotations

import threading

import msgspec

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.timestamps import Clock
from creto.metering import judging
from creto.metering.periods import zone_of
from creto.metering.quota_types import UTC
from creto.metering.triggers_costs import ZONE_CHANGED, move_windows
from creto.store.entries import entry
from creto.store.types import ReadTx, Store, Tx


class MeteringSettings(msgspec.Struct, frozen=True):
    """What a tenant has said for all of its metering."""

    zone: str = UTC

    def __post_init__(self) -> None:
        zone_of(self.zone)


class Zones:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[TenantId, str] = {}
        self._lock = threading.Lock()
        store.on_signal(ZONE_CHANGED, self._on_changed)
        store.on_signal_lost(self._forget)

    def of(self, tenant: TenantId) -> str:
        found = self._known.get(tenant)
        if found is None:
            with self._lock:  # a change that comes meanwhile drops what is kept here after
                lasting = self._store.signals_alive
                found = self._store.read_now(lambda tx: settings(tx, tenant)).zone
                if lasting:
                    self._known[tenant] = found
        return found

    async def settings(self, tenant: TenantId) -> MeteringSettings:
        return await self._store.read(lambda tx: settings(tx, checked_tenant(tenant)))

    async def put(self, tenant: TenantId, zone: str, *, by: AgentId) -> MeteringSettings:
        """InvalidInput MT-400 for one that is not known."""
        new = MeteringSettings(zone=zone)

        def put(tx: Tx) -> None:
            judging.lock(tx, checked_tenant(tenant))
            before = settings(tx, tenant)
            if before == new:
                return
            tx.run(
                "INSERT INTO metering_setting (tenant, body) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET body = excluded.body",
                tenant, wire.encode(new),
            )  # fmt: skip
            move_windows(tx, tenant, zone, self._clock.now())
            tx.record(
                entry(
                    tenant=tenant, product=ProductId.METERING, agent=by, action="metering.settings.set", event="MeteringSettingsSet",
                    resource="metering:settings", timestamp=self._clock.now(),
                    facts={"before": before, "zone": zone}, degraded_clock=self._clock.degraded,
                )
            )  # fmt: skip
            tx.signal(ZONE_CHANGED, tenant)

        await self._store.write(put)
        return new

    def _on_changed(self, tenant: str) -> None:
        with self._lock:
            self._known.pop(TenantId(tenant), None)

    def _forget(self) -> None:
        with self._lock:
            self._known.clear()


def settings(tx: ReadTx, tenant: TenantId) -> MeteringSettings:
    """The tenant's, or the defaults."""
    body = tx.value("SELECT body FROM metering_setting WHERE tenant = ?", tenant)
    return MeteringSettings() if body is None else wire.decode(body, MeteringSettings, what="settings")
