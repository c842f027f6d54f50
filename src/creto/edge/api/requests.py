"""Every request leaves a count, a duration and a line in the log, whichever edge it came by."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from creto.common.telemetry import Metrics, fields

if TYPE_CHECKING:
    from creto.edge.api.dispatch import Call

log = logging.getLogger("creto.requests")


class Requests:
    def __init__(self, metrics: Metrics) -> None:
        self._count = metrics.counter("platform_api_requests_total", "Requests by their end", "endpoint", "code")
        self.repeated = 0  # requests that got the answer of the first with their key
        self._time = metrics.histogram("platform_api_request_seconds", "Time from request to answer", "endpoint")

    def done(self, endpoint: str, code: str, seconds: float, call: Call) -> None:
        self._count.labels(endpoint, code).add()
        self._time.labels(endpoint).observe(seconds)
        if log.isEnabledFor(logging.INFO):
            agent = call.caller.agent if call.caller else None
            extra = fields(operation=endpoint, agent_nhi=agent, duration_ms=round(seconds * 1000, 3), code=code)
            log.info("%s %s", endpoint, code, extra=extra)
