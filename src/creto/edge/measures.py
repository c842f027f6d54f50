"""The numbers that the parts keep, as metrics: read when somebody scrapes, never counted on a path."""

from __future__ import annotations

from creto.common.telemetry import Family, Gauge
from creto.edge.api.parts import Parts


class Measures:
    """`refresh` before `render`: what needs a question to the database is asked then."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        metrics, store, audit = parts.metrics, parts.store, parts.audit
        queue = getattr(store, "queue", ())
        metrics.read("platform_store_queue_count", "Transactions that wait for the writer", lambda: len(queue))
        metrics.read("platform_store_signals_ratio", "1 while signals flow", lambda: float(store.signals_alive))
        metrics.read("platform_audit_log_count", "Entries in the tree", lambda: audit.status().size)
        metrics.read(
            "platform_audit_signed_count", "Entries under the newest checkpoint", lambda: audit.status().signed_size
        )
        metrics.read("platform_audit_failed_ratio", "1 while the log cannot go on", lambda: float(audit.status().failure is not None))  # fmt: skip
        metrics.read("platform_authz_cached_count", "Decisions remembered", parts.authz.remembered)
        metrics.read("platform_consensus_degraded_ratio", "1 while time is local", lambda: float(parts.clock.degraded))
        self._pending: Family[Gauge] = metrics.gauge(
            "platform_bus_pending_count", "Messages handed out or waiting for their next delivery", "durable"
        )

    async def refresh(self) -> None:
        for durable in await self._parts.bus.durables():
            self._pending.labels(str(durable.name)).set(durable.outstanding)
