"""The numbers that the parts keep, as metrics: read when somebody scrapes, never counted on a path."""

from __future__ import annotations

import time

from creto.common.breaker import CircuitState
from creto.common.metrics import Counter, Family, Gauge
from creto.common.timestamps import SECOND
from creto.edge.api.parts import Parts

OPENNESS = {CircuitState.CLOSED: 0.0, CircuitState.HALF_OPEN: 0.5, CircuitState.OPEN: 1.0}


class Measures:
    """`refresh` before `render`: what needs a question to the database is asked then."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._plain()
        gauge, counter = parts.metrics.gauge, parts.metrics.counter
        self._log_size = gauge("platform_audit_log_count", "Entries in the tree")
        self._signed = gauge("platform_audit_signed_count", "Entries under the newest checkpoint")
        self._witnessed = gauge("platform_audit_witnessed_count", "Entries under the newest checkpoint that enough witnesses saw")  # fmt: skip
        self._unsequenced = gauge("platform_audit_unsequenced_count", "Entries in the ledger but not in the tree yet")
        self._behind = gauge("platform_bus_backlog_count", "Rows of the outbox that a consumer (or the relay) has not looked at", "durable")  # fmt: skip
        self._pending = gauge("platform_bus_pending_count", "Messages handed out or waiting for their next delivery", "durable")  # fmt: skip
        self._dead = gauge("platform_bus_dead_letters_count", "Messages that a consumer could not take", "durable")
        self._messages = counter("platform_bus_messages_total", "Messages of this process by what became of them", "act")  # fmt: skip
        self._requests = gauge("oversight_requests_open_count", "Requests that wait for a human")
        self._queued = gauge("oversight_notifications_queued_count", "Notifications that wait to be sent")
        self._late = gauge("oversight_timer_late_seconds", "How long the oldest deadline has passed unnoticed")
        self._failures = counter("platform_nhi_failures_total", "Credentials that did not hold, by error code", "code")
        self._open = gauge("platform_breaker_open_ratio", "0 closed, 0.5 trying again, 1 open", "breaker")
        self._openings = counter("platform_breaker_openings_total", "How often it opened", "breaker")
        self._refusals = counter("platform_breaker_refusals_total", "Calls that were spared", "breaker")

    def _plain(self) -> None:
        """What is an int already."""
        parts, read = self._parts, self._parts.metrics.read
        store, authz, clock, gate = parts.store, parts.authz, parts.clock, parts.gate
        read("platform_store_queue_count", "Transactions that wait for the writer", lambda: len(store.queue))
        read("platform_store_commits_total", "Transactions on disk", lambda: store.commits)
        parts.metrics.show("platform_store_commit_seconds", "Time of a group of transactions", store.commit_times)
        read("platform_store_signals_ratio", "1 while signals flow", lambda: float(store.signals_alive))
        read("platform_audit_failed_ratio", "1 while the log cannot go on", lambda: float(parts.audit.status().failure is not None))  # fmt: skip
        read("platform_authz_cached_count", "Decisions remembered", authz.remembered)
        read("platform_authz_misses_total", "Decisions that were evaluated", lambda: authz.misses)
        read("platform_authz_hits_total", "Decisions of the gate that were remembered", lambda: gate.hits)
        read("oversight_decisions_waiters_count", "Coroutines that wait for decisions here", parts.oversight.waiting)
        read("platform_consensus_degraded_ratio", "1 while time is local", lambda: float(clock.degraded))
        read("platform_consensus_offset_seconds", "Consensus time less the machine's clock", lambda: (clock.state().reading - time.time_ns()) / SECOND)  # fmt: skip
        read("platform_consensus_uncertainty_seconds", "How far it may be from an honest node; -1 if none ever answered", self._uncertainty_s)  # fmt: skip
        read("platform_idempotency_hits_total", "Repetitions that got the first result", lambda: parts.guard.hits + parts.requests.repeated)  # fmt: skip
        read("platform_bus_connected_ratio", "1 while messages flow; 0 while they wait for the broker", lambda: float(parts.bus.connected))  # fmt: skip

    def _uncertainty_s(self) -> float:
        uncertainty_ns = self._parts.clock.state().uncertainty_ns
        return -1.0 if uncertainty_ns is None else uncertainty_ns / SECOND

    async def refresh(self) -> None:
        parts = self._parts
        for code, count in parts.nhi.failures.copy().items():
            self._failures.labels(code).value = count
        for act in ("published", "delivered", "acked", "nacked", "given_back"):
            self._messages.labels(act).value = getattr(parts.bus.counts, act)
        for breaker in parts.breakers:
            self._open.labels(breaker.name).set(OPENNESS[breaker.state])
            counted(self._openings, breaker.name, breaker.openings)
            counted(self._refusals, breaker.name, breaker.refusals)
        log = await parts.audit.standing()
        self._log_size.labels().set(log.size)
        self._signed.labels().set(log.signed_size)
        self._witnessed.labels().set(log.witnessed_size)
        self._unsequenced.labels().set(log.waiting)
        asked = await parts.oversight.standing()
        self._requests.labels().set(asked.pending)
        self._queued.labels().set(asked.queued)
        self._late.labels().set(asked.late_s)
        bus = await parts.bus.standing()
        for family, found in ((self._behind, bus.behind), (self._pending, bus.outstanding), (self._dead, bus.dead)):
            shown(family, found)


def counted(family: Family[Counter], label: str, value: int) -> None:
    family.labels(label).value = value


def shown(family: Family[Gauge], found: dict[str, int]) -> None:
    """What is no longer there is 0, not what it was."""
    for (label,), gauge in family.samples():
        gauge.set(found.get(label, 0))
    for label, value in found.items():
        family.labels(label).set(value)
