"""What changes while somebody looks: server-sent events that name the request that moved, and nothing else.

    live = Live(store)
    async for chunk in live.stream(tenant): …
    live.close()                                     # before the server drains: streams end at once

INVARIANT: an event carries no state: the page asks again, with its own right to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from creto.common.errors import InternalError
from creto.common.ids import TenantId
from creto.common.limits import CONSOLE_STREAM_S_MAX, CONSOLE_STREAMS_MAX
from creto.oversight.core import DECIDED, MOVED
from creto.store import Store

RETRY = b"retry: 2000\n\n"
ALL = ""  # signals may have been missed: everything may have moved
HEARTBEAT_S = 15  # proxies close what is silent for longer
WAITING_MAX = 100  # events that one page has not taken yet; then it looks at everything

Queue = asyncio.Queue[str | None]


class Live:
    def __init__(self, store: Store) -> None:
        self._queues: dict[Queue, tuple[asyncio.AbstractEventLoop, TenantId]] = {}
        self._closed = False
        store.on_signal(MOVED, self._moved)
        store.on_signal(DECIDED, self._moved)
        store.on_signal_lost(lambda: self._tell(ALL, None))

    def _moved(self, payload: str) -> None:
        """Called on any thread, with `<tenant>/<request>`; a tenant's name may hold a slash."""
        tenant, _, request_id = payload.rpartition("/")
        self._tell(request_id, TenantId(tenant))

    def _tell(self, what: str | None, tenant: TenantId | None) -> None:
        for queue, (loop, of) in tuple(self._queues.items()):
            if tenant in (None, of):
                with suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(put, queue, what)

    def stream(self, tenant: TenantId) -> AsyncIterator[bytes]:
        """Events until the page goes, the process ends, or the browser is to show its session again."""
        if self._closed or len(self._queues) >= CONSOLE_STREAMS_MAX:
            raise InternalError("PL-503", "too many pages look on in this process", retry_after_s=5.0)
        return self._events(tenant)

    async def _events(self, tenant: TenantId) -> AsyncIterator[bytes]:
        queue: Queue = asyncio.Queue(WAITING_MAX)
        loop = asyncio.get_running_loop()
        self._queues[queue] = (loop, tenant)
        ends_at = loop.time() + CONSOLE_STREAM_S_MAX
        try:
            yield RETRY
            while loop.time() < ends_at:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        what = await queue.get()
                except TimeoutError:
                    yield b": here\n\n"
                    continue
                if what is None:
                    return
                yield f"event: moved\ndata: {what}\n\n".encode()
        finally:
            self._queues.pop(queue, None)

    def close(self) -> None:
        self._closed = True
        self._tell(None, None)


def put(queue: Queue, what: str | None) -> None:
    """What does not fit is told as: everything."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(ALL)
    queue.put_nowait(what)
