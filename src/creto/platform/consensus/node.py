"""The time node: says what its clock reads, signed, to whoever asks.

    async with TimeNode(key, Cluster("prod", 3)) as node:
        await node.serve("127.0.0.1", 9440)

A node holds no state and knows no other node. It is as right as its machine's clock is (NTP); a node whose clock is wrong is one of the
f that the quorum bears. Frames are a length of 4 bytes and JSON, one question and one answer after the other on a connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import agent_id
from creto.common.limits import TIME_CONNECTIONS_MAX, TIME_FRAME_BYTES_MAX, TIME_IDLE_S_MAX
from creto.platform.consensus.reading import Cluster, Reading, decode_question, refused
from creto.platform.consensus.types import NodeId
from creto.platform.crypto import SigningKey, VerifyKey

LENGTH_BYTES = 4


def node_id(key: VerifyKey) -> NodeId:
    return NodeId(agent_id(key.ed25519))


class TimeNode:
    def __init__(
        self,
        key: SigningKey,
        cluster: Cluster = Cluster(),  # noqa: B008 - frozen
        *,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.cluster = cluster
        self.node = node_id(key.public)
        self._key = key
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def answer(self, request: bytes) -> bytes:
        """The signed reading for one question. The clock is read here, between the asker's sending and receiving."""
        question = decode_question(request)
        if question.cluster != self.cluster:
            raise refused("cluster", question.cluster, self.cluster)
        return wire.encode(Reading(self.cluster, question.nonce, self.node, self._clock()).signed(self._key))

    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Listen; the address that was bound."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=TIME_FRAME_BYTES_MAX)
        address = self._server.sockets[0].getsockname()
        return str(address[0]), int(address[1])

    async def run(self, host: str, port: int, ready: Callable[[str, int], None]) -> None:
        """Serve until cancelled; `ready` hears the address that was bound."""
        async with self:
            ready(*await self.serve(host, port))
            await asyncio.Event().wait()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()  # its conversation ends by itself, as if the client had hung up
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= TIME_CONNECTIONS_MAX:
            writer.close()
            return
        self._connections[task] = writer
        try:
            await self._converse(reader, writer)
        except (EnablementError, OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # who sends what is no question, or nothing, is hung up on
        finally:
            del self._connections[task]
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(TIME_IDLE_S_MAX):
                request = await read_frame(reader)
                await write_frame(writer, self.answer(request))


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(LENGTH_BYTES))
    if not 0 < size <= TIME_FRAME_BYTES_MAX:
        raise InvalidInput.of("frame", got=f"{size} bytes", expected=f"1 to {TIME_FRAME_BYTES_MAX} bytes")
    return await reader.readexactly(size)


async def write_frame(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(len(data).to_bytes(LENGTH_BYTES) + data)
    await writer.drain()
