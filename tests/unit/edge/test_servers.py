"""Sockets as the servers open them."""

from __future__ import annotations

import asyncio
import socket

from creto.edge.servers import bound


async def test_an_answer_does_not_wait_for_its_head() -> None:
    """given a listener of ours / when a client connects / then Nagle's algorithm is off: an answer is written in two pieces."""
    delays: asyncio.Queue[int] = asyncio.Queue()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made: socket.socket = writer.get_extra_info("socket")
        delays.put_nowait(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    listener = bound("127.0.0.1", 0, False)
    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(delays.get(), 10) == 1
        writer.close()
        await writer.wait_closed()
