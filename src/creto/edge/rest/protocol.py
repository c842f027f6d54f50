"""HTTP with a bounded head: whoever sends headers without end, or without haste, is let go before they cost memory or a place.

uvicorn bounds neither with its fast parser. Bodies are bounded where they are read (`reading.body_of`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from creto.common.limits import HEAD_BYTES_MAX, HEAD_S_MAX


class BoundedHttp(HttpToolsProtocol):
    _in_head = True
    _head_bytes = 0
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._overdue is None:  # the next request of a connection that was kept
                self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._have_head()
                self.send_400_response("The headers are too long.")
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._overdue = self.loop.call_later(HEAD_S_MAX, self.transport.close)

    def _have_head(self) -> None:
        self._in_head = False
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
