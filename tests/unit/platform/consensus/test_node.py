"""The node's server and the clock's connections to it, over loopback in one process."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.platform.consensus.fakes import ToyKey
from tests.unit.platform.consensus.quorums import cluster

from creto.common.errors import ConnectionFailed, EnablementError, SignatureVerificationFailed, Timeout
from creto.common.limits import TIME_CONNECTIONS_MAX, TIME_FRAME_BYTES_MAX
from creto.platform.consensus import Cluster, TimeNode
from creto.platform.consensus.reading import decode_reading
from creto.platform.consensus.rounds import Round
from creto.platform.consensus.testing import MANUAL_START
from creto.platform.consensus.transport import TcpTransport
from creto.platform.crypto import SigningKey


def request(chain: str = "creto", nonce: int = 0) -> bytes:
    return Round(tuple(cluster(1, lambda: 0)[1]), Cluster(chain), nonce.to_bytes(32)).request


async def test_asks_again_on_the_kept_connection() -> None:
    async with TimeNode(ToyKey(1), clock=lambda: MANUAL_START) as node:
        host, port = await node.serve()
        transport = TcpTransport()
        for nonce in range(3):
            reading = decode_reading(await transport.ask(f"{host}:{port}", request(nonce=nonce), 5))
            assert reading.nonce == nonce.to_bytes(32)
            assert reading.time == MANUAL_START
        assert len(node._connections) == 1
        await transport.close()


async def test_a_late_answer_is_never_taken_for_the_next() -> None:
    """The node is slow once; the connection is dropped with the answer still on its way."""
    late = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(b"\x00\x00\x00\x04late")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = TcpTransport()
    with pytest.raises(Timeout):
        await transport.ask(address, request(), 0.01)
    assert transport._connections == {}
    late.set()
    server.close()
    await server.wait_closed()


async def test_a_node_that_is_not_there() -> None:
    async with TimeNode(ToyKey(1)) as node:
        host, port = await node.serve()
    with pytest.raises(ConnectionFailed) as error:
        await TcpTransport().ask(f"{host}:{port}", request(), 5)
    assert error.value.code == "PL-300"


async def test_an_answer_beyond_the_limit_is_not_read() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((TIME_FRAME_BYTES_MAX + 1).to_bytes(4) + b"x")
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(EnablementError, match="frame"):
            await TcpTransport().ask(address, request(), 5)


async def test_a_question_for_another_cluster_gets_no_answer() -> None:
    node = TimeNode(ToyKey(1))
    with pytest.raises(SignatureVerificationFailed, match="cluster"):
        node.answer(request("another"))
    async with node:
        host, port = await node.serve()
        transport = TcpTransport()
        with pytest.raises(ConnectionFailed):
            await transport.ask(f"{host}:{port}", request("another"), 5)


async def test_connections_have_a_limit() -> None:
    async with TimeNode(ToyKey(1)) as node:
        host, port = await node.serve()
        address = f"{host}:{port}"
        crowd = [TcpTransport() for _ in range(TIME_CONNECTIONS_MAX)]
        for transport in crowd:
            await transport.ask(address, request(), 5)
        with pytest.raises(ConnectionFailed):
            await TcpTransport().ask(address, request(), 5)
        for transport in crowd:
            await transport.close()


async def test_runs_until_it_is_cancelled() -> None:
    ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(TimeNode(ToyKey(1)).run("127.0.0.1", 0, lambda *address: ready.set_result(address)))
    host, port = await ready
    transport = TcpTransport()
    await transport.ask(f"{host}:{port}", request(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await transport.close()


async def test_ends_in_silence_while_clients_are_connected(caplog: pytest.LogCaptureFixture) -> None:
    node, transport = TimeNode(ToyKey(1)), TcpTransport()
    host, port = await node.serve()
    await transport.ask(f"{host}:{port}", request(), 5)
    await node.close()
    assert node._connections == {}
    assert caplog.records == []
    with pytest.raises(ConnectionFailed):
        await transport.ask(f"{host}:{port}", request(), 5)


def test_a_hybrid_signed_reading_fits_a_frame() -> None:
    answer = TimeNode(SigningKey.generate()).answer(request())
    assert len(answer) < TIME_FRAME_BYTES_MAX
