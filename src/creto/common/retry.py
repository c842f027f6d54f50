"""Trying again, as an error's retry strategy says: with waits, within a deadline, and never for what cannot get better.

    result = await retry(lambda: client.send(batch), deadline_s=clock() + 30)

Only retryable errors are tried again. The last error is raised as it came, with the number of attempts in its context.
In tests, `with without_waiting(): …` takes the waits out of everything that runs inside.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from creto.common.codes import ExponentialBackoff, FixedDelay, Never, RetryAfter, RetryStrategy
from creto.common.errors import EnablementError
from creto.common.limits import RETRY_DELAY_S_MAX

T = TypeVar("T")

JITTER: Final = 0.5  # a wait is between half of what is due and all of it, so that callers spread out
_attempts_in_test: ContextVar[int | None] = ContextVar("creto_retry_attempts_in_test", default=None)
_system_rng: Final = random.SystemRandom()


@contextmanager
def without_waiting(attempts_max: int = 1_000) -> Iterator[None]:
    """Inside, nobody waits, and nobody tries more than `attempts_max` times."""
    token = _attempts_in_test.set(attempts_max)
    try:
        yield
    finally:
        _attempts_in_test.reset(token)


def delays(strategy: RetryStrategy, uniform: Callable[[], float]) -> Iterator[float]:
    """The waits between attempts, as many as the strategy allows. `uniform` gives numbers from 0 to 1."""
    match strategy:
        case Never():
            return
        case ExponentialBackoff(initial_delay_s, max_delay_s, max_attempts):
            for attempt in range(max_attempts - 1):
                due = min(initial_delay_s * 2.0 ** min(attempt, 62), max_delay_s)
                yield due * (1 - JITTER * uniform())
        case FixedDelay(delay_s, max_attempts):
            yield from (delay_s for _ in range(max_attempts - 1))
        case RetryAfter(delay_s):
            yield delay_s


class Attempts:
    """The rule of one retried call: after each failure, how long to wait, or that it is over.

    The strategy is the caller's, or else that of the first error. A period that an error names is kept.
    """

    def __init__(self, strategy: RetryStrategy | None, deadline_s: float | None, uniform: Callable[[], float]) -> None:
        self.made = 0
        self._strategy = strategy
        self._deadline_s = deadline_s
        self._uniform = uniform
        self._delays: Iterator[float] | None = None

    def after(self, error: EnablementError, now_s: float) -> float:
        """Seconds to wait before the next attempt; raises the error if there is none."""
        self.made += 1
        strategy = self._strategy or error.retry_strategy()
        if not error.retryable and not (
            isinstance(self._strategy, RetryAfter) and isinstance(error.retry_strategy(), RetryAfter)
        ):
            raise error
        if self._delays is None:
            self._delays = delays(strategy, self._uniform)
        delay_s = next(self._delays, None)
        in_test = _attempts_in_test.get()
        if delay_s is None or (in_test is not None and self.made >= in_test):
            raise error.with_context(f"trying {self.made} times")
        delay_s = min(max(delay_s, error.retry_after_s or 0.0), RETRY_DELAY_S_MAX)
        if in_test is not None:
            return 0.0
        if self._deadline_s is not None and now_s + delay_s >= self._deadline_s:
            raise error.with_context(f"trying {self.made} times until the deadline")
        return delay_s


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    strategy: RetryStrategy | None = None,
    deadline_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    uniform: Callable[[], float] = _system_rng.random,
) -> T:
    """The result of `call`, tried again as the strategy says; `deadline_s` is a reading of `clock`."""
    attempts = Attempts(strategy, deadline_s, uniform)
    while True:
        try:
            return await call()
        except EnablementError as error:
            delay_s = attempts.after(error, clock())
        await sleep(delay_s)
