"""The thresholds of a tenant: kept in rows, asked from memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, ResourceId, TenantId, checked_tenant
from creto.common.limits import THRESHOLDS_MAX
from creto.common.timestamps import Clock
from creto.metering import core
from creto.metering.triggers import Rule, Threshold
from creto.platform.nhi import scope
from creto.store.types import Outcome, ReadTx, Store, Tx

CHANGED = "metering.thresholds.changed"


class Thresholds:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[TenantId, tuple[Rule, ...]] = {}
        self._reading = threading.Lock()  # a change that comes while they are read drops them after
        store.on_signal(CHANGED, self._on_changed)
        store.on_signal_lost(self._known.clear)

    async def put_threshold(self, tenant: TenantId, threshold: Threshold, *, by: AgentId) -> Threshold:
        name = threshold.threshold.threshold_id
        scope.checked_patterns(threshold.counts, "counts", code="MT-400")

        def put(tx: Tx) -> None:
            known = read_thresholds(tx, checked_tenant(tenant))
            if len(known) >= THRESHOLDS_MAX and name not in {one.threshold.threshold_id for one in known}:
                raise InvalidInput.of("threshold_id", got=name, expected=f"at most {THRESHOLDS_MAX}", code="MT-400")
            tx.run(
                "INSERT INTO metering_threshold (tenant, threshold_id, body) VALUES (?, ?, ?) "
                "ON CONFLICT (tenant, threshold_id) DO UPDATE SET body = excluded.body",
                tenant, name, wire.encode(threshold),
            )  # fmt: skip
            self._note(tx, tenant, "threshold.set", "CostThresholdSet", by, name, threshold)
            tx.signal(CHANGED, tenant)

        await self._store.write(put)
        return threshold

    async def delete_threshold(self, tenant: TenantId, threshold_id: str, *, by: AgentId) -> None:
        def delete(tx: Tx) -> None:
            sql = "DELETE FROM metering_threshold WHERE tenant = ? AND threshold_id = ?"
            if not tx.run(sql, checked_tenant(tenant), threshold_id):
                raise NotFound("MT-404", f"threshold {threshold_id} does not exist")
            self._note(tx, tenant, "threshold.deleted", "CostThresholdDeleted", by, threshold_id, None)
            tx.signal(CHANGED, tenant)

        await self._store.write(delete)

    async def thresholds(self, tenant: TenantId) -> list[Threshold]:
        return list(await self._store.read(lambda tx: read_thresholds(tx, checked_tenant(tenant))))

    def _rules(self, tenant: TenantId) -> tuple[Rule, ...]:
        found = self._known.get(tenant)
        if found is None:
            with self._reading:
                alive = self._store.signals_alive
                found = tuple(map(Rule, self._store.read_now(lambda tx: read_thresholds(tx, checked_tenant(tenant)))))
                if alive:
                    self._known[tenant] = found
        return found

    def _on_changed(self, tenant: str) -> None:
        with self._reading:
            self._known.pop(TenantId(tenant), None)

    def _note(
        self, tx: Tx, tenant: TenantId, act: str, event: str, by: AgentId, name: str, what: msgspec.Struct | None,
        outcome: Outcome = Outcome.SUCCESS,
    ) -> None:  # fmt: skip
        core.note(tx, self._clock, tenant, act, event, by, ResourceId("metering", "threshold", name), what, outcome)


def read_thresholds(tx: ReadTx, tenant: TenantId) -> tuple[Threshold, ...]:
    rows = tx.all("SELECT body FROM metering_threshold WHERE tenant = ? ORDER BY threshold_id", tenant)
    return tuple(wire.decode(body, Threshold, what="threshold") for (body,) in rows)


def checked_count(items: Sequence[object], field: str) -> None:
    if len(items) > THRESHOLDS_MAX:
        raise InvalidInput.of(field, got=len(items), expected=f"at most {THRESHOLDS_MAX}", code="MT-400")
