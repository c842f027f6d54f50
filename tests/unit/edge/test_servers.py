"""What the servers listen on."""

from __future__ import annotations

import asyncio
import socket

from creto.edge.servers import bound


async def test_an_answer_in_two_pieces_does_not_wait_for_an_acknowledgement() -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    listener = bound("127.0.0.1", 0, shared=False)
    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(5):
            assert await accepted, "Nagle's algorithm is on"
        writer.close()
        await writer.wait_closed()
