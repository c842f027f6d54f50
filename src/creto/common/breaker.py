"""A circuit breaker: after enough failures it answers for the failing service, until a probe succeeds.

    breaker = CircuitBreaker("audit", failure_threshold=5, timeout_s=30)
    await breaker.call(lambda: audit.append(entry))       # raises CircuitOpen (PL-503, with retry_after) while open
    with breaker.guarding():                              # the same for a block

CLOSED passes everything. OPEN refuses until the timeout has passed. HALF_OPEN lets a few probes through:
one success closes it, one failure opens it again.

INVARIANT: the outcome of a call counts only in the period in which the call began.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

from creto.common.codes import row
from creto.common.errors import ConnectionFailed, EnablementError
from creto.common.logs import fields

log = logging.getLogger("creto.breaker")
T = TypeVar("T")


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitOpen(ConnectionFailed):
    """The breaker refused: nothing was called."""

    default_code = "PL-503"


def is_outage(error: BaseException) -> bool:
    """Whether an error speaks of the service rather than of the question: a refused input is an answer."""
    if isinstance(error, EnablementError):
        return error.retryable or row(error.code).http >= 500
    return isinstance(error, Exception)


def log_change(name: str, before: CircuitState, after: CircuitState) -> None:
    """The line that a person finds: something is failing and is spared, or it is back."""
    level = logging.INFO if after is CircuitState.CLOSED else logging.WARNING
    log.log(
        level, "The circuit of %s is %s", name, after, extra=fields(operation="circuit", breaker=name, before=before)
    )


class CircuitBreaker:
    """Counters are plain ints, read by a scrape."""

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 5,
        timeout_s: float = 30.0,
        probes_max: int = 1,
        clock: Callable[[], float] = time.monotonic,
        counts: Callable[[BaseException], bool] = is_outage,
        on_change: Callable[[str, CircuitState, CircuitState], None] | None = log_change,
    ) -> None:
        self.name = name
        self.successes = self.failures = self.refusals = self.openings = 0
        self._failure_threshold = failure_threshold
        self._timeout_s = timeout_s
        self._probes_max = probes_max
        self._clock = clock
        self._counts = counts
        self._on_change = on_change
        self._lock = threading.Lock()
        self._state = CircuitState.CLOSED
        self._period = 0  # grows with every change of state
        self._failed_in_row = 0
        self._probes = 0
        self._open_until_s = 0.0

    @property
    def state(self) -> CircuitState:
        return self._state

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        with self.guarding():
            return await fn()

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """The block is the call: how it ends counts."""
        period = self._enter()
        try:
            yield
        except BaseException as error:
            self._leave(period, error)
            raise
        self._leave(period, None)

    def _enter(self) -> int:
        with self._lock:
            changed = None
            if self._state is CircuitState.OPEN and self._clock() >= self._open_until_s:
                changed = self._become(CircuitState.HALF_OPEN)
            if self._state is CircuitState.OPEN:
                self.refusals += 1
                raise self._refusal(self._open_until_s - self._clock())
            if self._state is CircuitState.HALF_OPEN:
                if self._probes >= self._probes_max:
                    self.refusals += 1
                    raise self._refusal(self._timeout_s)
                self._probes += 1
            period = self._period
        self._announce(changed)
        return period

    def _leave(self, period: int, error: BaseException | None) -> None:
        with self._lock:
            changed = None
            counted = error is not None and self._counts(error)
            answered = error is None or (not counted and isinstance(error, Exception))  # a cancelled call says nothing
            self.failures += counted
            self.successes += answered
            if period != self._period:
                return
            if self._state is CircuitState.HALF_OPEN:
                self._probes -= 1
            if counted:
                self._failed_in_row += 1
                if self._state is CircuitState.HALF_OPEN or self._failed_in_row >= self._failure_threshold:
                    changed = self._become(CircuitState.OPEN)
            elif answered:
                self._failed_in_row = 0
                if self._state is CircuitState.HALF_OPEN:
                    changed = self._become(CircuitState.CLOSED)
        self._announce(changed)

    def _become(self, state: CircuitState) -> tuple[CircuitState, CircuitState]:
        before, self._state = self._state, state
        self._period += 1
        self._probes = self._failed_in_row = 0
        if state is CircuitState.OPEN:
            self.openings += 1
            self._open_until_s = self._clock() + self._timeout_s
        return before, state

    def _announce(self, changed: tuple[CircuitState, CircuitState] | None) -> None:
        if changed is not None and self._on_change is not None:
            self._on_change(self.name, *changed)

    def _refusal(self, wait_s: float) -> CircuitOpen:
        return CircuitOpen("PL-503", f"{self.name} is failing and is not called", retry_after_s=max(wait_s, 0.0))
