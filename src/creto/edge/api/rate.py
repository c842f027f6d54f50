"""How often one caller may ask, so that one who loops does not take the others' time.

rate = CallerRate(100, metrics)
rate.admit("default/agent:nhi:…")        # raises PL-429 with the time to wait beyond 100 requests a second

A bucket of one second's requests for each caller, kept as the time at which it will be full again (GCRA). Each process counts for itself.
Who shows no credential that holds is counted by address.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from creto.common.errors import QuotaExceeded
from creto.common.limits import CALLERS_RATED_MAX
from creto.common.telemetry import Metrics

BURST_S = 1.0
ROUNDING_S = 1e-9


class CallerRate:
    """INVARIANT: in any t seconds a caller is admitted at most (t + 1) * `per_second_max` times. 0 admits everything."""

    def __init__(self, per_second_max: int, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._step_s = 1 / per_second_max if per_second_max else 0.0
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._lock = threading.Lock()  # REST and gRPC ask from loops of their own
        self._refused = metrics.counter("platform_api_throttled_total", "Requests beyond their caller's rate").labels()

    def admit(self, caller: str) -> None:
        if not self._step_s:
            return
        with self._lock:
            now = self._clock()
            full_at = max(self._full_at.get(caller, now), now)
            wait_s = full_at + self._step_s - now - BURST_S
            if wait_s <= ROUNDING_S:
                self._make_room(caller, now)
                self._full_at[caller] = full_at + self._step_s
                return
        self._refused.add()
        raise QuotaExceeded(
            "PL-429",
            got=f"more than {1 / self._step_s:.0f} requests in a second",
            expected="server.requests_per_second_max",
            retry_after_s=wait_s,
        )

    def _make_room(self, caller: str, now: float) -> None:
        """A full bucket says nothing that a missing one does not; if none is full, the longest known goes."""
        if caller in self._full_at or len(self._full_at) < CALLERS_RATED_MAX:
            return
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        if len(self._full_at) == CALLERS_RATED_MAX:
            del self._full_at[next(iter(self._full_at))]
