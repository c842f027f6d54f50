"""A receiver of POSTs on this machine, which behaves as a test says: for whatever connects to the outside.

async with Receiver.open() as receiver:
    receiver.answers += [Say(503), Say(200)]
    …
    assert receiver.taken[0].headers["webhook-id"] == "msg_1"
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Taken:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Say:
    """How to answer one request: a status, or to cut the line, or to hang until the test ends."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    cut: bool = False
    hang: bool = False
    endless: bool = False
    wait: asyncio.Event | None = None  # before the answer


class Receiver:
    """Answers in the order of `answers`, then with `otherwise`."""

    def __init__(self, tls: bool) -> None:
        self.taken: list[Taken] = []
        self.answers: list[Say] = []
        self.otherwise = Say()
        self.port = 0
        self._scheme = "https" if tls else "http"
        self._over = asyncio.Event()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._came = asyncio.Condition()

    @staticmethod
    @asynccontextmanager
    async def open(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
        receiver = Receiver(tls is not None)
        server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=tls)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            receiver._over.set()
            server.close()
            await server.wait_closed()
            for task, writer in receiver._serving.items():
                task.cancel()
                writer.transport.abort()
            await asyncio.gather(*receiver._serving)

    async def until(self, count: int, timeout_s: float = 20.0) -> None:
        """Until so many requests have come."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.taken) >= count)

    def url(self, path: str = "/in", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve_one(reader, writer))
        self._serving[task] = writer
        task.add_done_callback(lambda done: self._serving.pop(done))

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.taken.append(Taken(method, target, headers, body))
            async with self._came:
                self._came.notify_all()
            await self._answer(self.answers.pop(0) if self.answers else self.otherwise, writer)
        writer.close()

    async def _answer(self, say: Say, writer: asyncio.StreamWriter) -> None:
        if say.wait is not None:
            await say.wait.wait()
        if say.hang:
            await self._over.wait()
        if say.cut or say.hang:
            return
        more = "".join(f"{name}: {value}\r\n" for name, value in say.headers.items())
        length = "" if say.endless else f"content-length: {len(say.body)}\r\n"
        writer.write(f"HTTP/1.1 {say.status} Said\r\n{more}{length}connection: close\r\n\r\n".encode() + say.body)
        while say.endless and not self._over.is_set():
            writer.write(b"x" * 65_536)
            await writer.drain()
        await writer.drain()
