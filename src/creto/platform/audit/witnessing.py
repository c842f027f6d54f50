"""Beside the sequencer: each new checkpoint is shown to the witnesses, on a thread with a loop of its own.

A witness that is away is asked again, ever more slowly; a log that forked is told once a minute (PL-605), never silently.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from creto.common.errors import EnablementError, InternalError
from creto.common.limits import WITNESS_RETRY_S_MAX, WITNESS_RETRY_S_MIN
from creto.platform.audit.checkpoint import Checkpoint


class Witnessing:
    """Runs `attempt` whenever `notice` was called, and again after a while if it failed."""

    def __init__(self, attempt: Callable[[], Awaitable[object]]) -> None:
        self._attempt = attempt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: asyncio.Event | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self.failure: EnablementError | None = None

    def start(self) -> None:
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._run()), name="creto-audit-witness", daemon=True
            )
            self._thread.start()
            self._started.wait()

    def notice(self, checkpoint: Checkpoint | None = None) -> None:
        """There is a checkpoint to show."""
        if self._loop is not None and self._due is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._due.set)

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping = True
            self.notice()
            self._thread.join()
            self._thread = None
            self._started.clear()

    async def _run(self) -> None:
        self._loop, self._due = asyncio.get_running_loop(), asyncio.Event()
        self._due.set()  # what was signed before we started
        self._started.set()
        wait_s: float | None = None
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            if self._stopping:
                return
            try:
                await self._attempt()
            except Exception as error:  # noqa: BLE001 - nothing a witness does may end the witnessing
                self.failure = known(error)
                wait_s = min(WITNESS_RETRY_S_MAX, 2 * (wait_s or WITNESS_RETRY_S_MIN / 2))
            else:
                self.failure, wait_s = None, None


def known(error: Exception) -> EnablementError:
    if isinstance(error, EnablementError):
        return error
    fault = InternalError("PL-500", f"asking the witnesses failed: {type(error).__name__}")
    fault.__cause__ = error
    return fault
