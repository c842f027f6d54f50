"""The connection to NATS: made in the background, made again for ever, and said so when it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from creto.bus.worker import ended
from creto.common.errors import ConnectionFailed
from creto.common.logs import fields
from creto.common.redact import redacted_text

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = logging.getLogger("creto.bus")

RECONNECT_S = 0.2
REQUEST_S = 3.0


def failures() -> tuple[type[Exception], ...]:
    """What the client raises when the broker is away or refuses: all of it means to come back later."""
    import nats.errors

    return (nats.errors.Error, TimeoutError, OSError, EOFError)


class Link:
    """One connection for everything a bus does in this process."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._token = token
        self._up = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.client: Client
        self.js: JetStreamContext
        self.reconnects = 0
        self._closing = False

    @property
    def connected(self) -> bool:
        return self._up.is_set() and self.client.is_connected

    def on_up(self, fn: Callable[[], None]) -> None:
        self._callbacks.append(fn)

    def start(self) -> None:
        if self._task is not None:
            return
        try:
            from nats.aio.client import Client
        except ImportError as error:
            raise ConnectionFailed("PL-501", "NATS needs the extra creto[nats]") from error
        self.client = Client()
        self.js = self.client.jetstream(timeout=REQUEST_S)
        self._task = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        await self.client.connect(
            self._url,
            token=self._token,
            name="creto",
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type]  # it sleeps for this long
            connect_timeout=2,
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=self._failed,
            disconnected_cb=self._down,
            reconnected_cb=self._again,
        )
        await self._again()

    async def _again(self) -> None:
        self._up.set()
        self.reconnects += 1
        for fn in self._callbacks:
            fn()

    async def _down(self) -> None:
        if self._up.is_set() and not self._closing:
            log.warning("The broker is away: messages wait in the outbox", extra=fields(operation="nats"))
        self._up.clear()

    async def _failed(self, error: Exception) -> None:
        log.debug("NATS: %s", redacted_text(str(error)), extra=fields(operation="nats"))

    async def up(self) -> None:
        await self._up.wait()

    async def request(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request to JetStream's own API that the client has no method for."""
        import msgspec

        reply = await self.client.request(subject, msgspec.json.encode(body), timeout=REQUEST_S)
        return msgspec.json.decode(reply.data, type=dict[str, Any])

    async def close(self) -> None:
        if self._task is None:
            return
        self._closing = True
        await ended(self._task)
        try:
            async with asyncio.timeout(REQUEST_S):
                await self.client.close()
        except failures():
            log.debug("The connection to NATS did not close in time")
