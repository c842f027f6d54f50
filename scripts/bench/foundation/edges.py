"""gRPC and REST from another process, 1,000 calls a second on a fixed schedule: authenticated, authorized, answered."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import msgspec

from creto.edge.api import ENDPOINTS, policies, time
from creto.edge.api.endpoint import Endpoint
from creto.edge.grpc import Schema
from creto.edge.grpc.convert import to_message
from creto.edge.grpc.schema import PACKAGE, method_name, service_name
from scripts.bench.measure import Row, Scale, latency, open_loop, precise_loop

PER_SECOND = 1_000
MS = 1_000.0


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "scripts.bench.foundation.serving", folder]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                told: dict[str, Any] = msgspec.json.decode(server.stdout.readline())
                with asyncio.Runner(loop_factory=precise_loop) as runner:
                    yield from runner.run(over_grpc(told, scale))
                with asyncio.Runner(loop_factory=precise_loop) as runner:
                    yield from runner.run(over_rest(told, scale))
            finally:
                server.stdin.close()
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()


def decision(told: dict[str, Any]) -> dict[str, Any]:
    return {"agent": told["operator"], "action": "sandbox.spawn", "resource": "runtime:sandbox:sb-1"}


async def over_grpc(told: dict[str, Any], scale: Scale) -> list[Row]:
    schema = Schema(ENDPOINTS)
    credential = (("authorization", f"Bearer {told['token']}"),)
    async with grpc.aio.insecure_channel(told["grpc"]) as channel:

        async def samples(endpoint: Endpoint[..., Any], fields: dict[str, Any]) -> list[float]:
            path = f"/{PACKAGE}.{service_name(endpoint)}/{method_name(endpoint)}"
            call = channel.unary_unary(path)
            ask = to_message(msgspec.convert(fields, endpoint.request_type), schema).SerializeToString()
            answer = schema.message_class(endpoint.response)

            async def act(_: int) -> None:
                answer.FromString(await call(ask, metadata=credential, timeout=10))

            await open_loop(act, PER_SECOND, scale.count(500))
            return await open_loop(act, PER_SECOND, scale.count(5_000))

        return [
            latency("gRPC unary at 1,000/s, time", await samples(time.TIMESTAMPS, {}), rate=PER_SECOND, must=10 * MS, aim=5 * MS),
            latency("gRPC unary at 1,000/s, authorization decision", await samples(policies.CHECK, decision(told)), rate=PER_SECOND, must=10 * MS, aim=5 * MS),
        ]  # fmt: skip


class Connections:
    """HTTP/1.1 at its plainest: a client library would cost more than the server."""

    def __init__(self, url: str, token: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._head = (
            f" HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        )
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, endpoint: Endpoint[..., Any], body: bytes) -> Any:
        reader, writer = await self._connected()
        head = f"{endpoint.method} {endpoint.path}{self._head}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", answered)
        assert answered.startswith(b"HTTP/1.1 200"), answered
        assert size is not None
        data = await reader.readexactly(int(size[1]))
        self._idle.append((reader, writer))
        return msgspec.json.decode(data, type=endpoint.response)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()  # it was idle for so long that the server let it go
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def over_rest(told: dict[str, Any], scale: Scale) -> list[Row]:
    connections = Connections(told["rest"], told["token"])

    async def samples(endpoint: Endpoint[..., Any], fields: dict[str, Any]) -> list[float]:
        body = msgspec.json.encode(fields) if endpoint.body_fields else b""
        await open_loop(lambda _: connections.ask(endpoint, body), PER_SECOND, scale.count(500))
        return await open_loop(lambda _: connections.ask(endpoint, body), PER_SECOND, scale.count(5_000))

    try:
        return [
            latency("REST at 1,000/s, time", await samples(time.TIMESTAMPS, {}), rate=PER_SECOND),
            latency("REST at 1,000/s, authorization decision", await samples(policies.CHECK, decision(told)), rate=PER_SECOND),
        ]  # fmt: skip
    finally:
        connections.close()
