"""gRPC from another process, 1,000 calls a second on a fixed schedule: authenticated, authorized, answered."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

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
                    yield from runner.run(measured(told, scale))
            finally:
                server.stdin.close()
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()


async def measured(told: dict[str, Any], scale: Scale) -> list[Row]:
    schema = Schema(ENDPOINTS)
    credential = (("authorization", f"Bearer {told['token']}"),)
    check = {"agent": told["operator"], "action": "sandbox.spawn", "resource": "runtime:sandbox:sb-1"}
    async with grpc.aio.insecure_channel(told["address"]) as channel:

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
            latency("gRPC unary at 1,000/s, authorization decision", await samples(policies.CHECK, check), rate=PER_SECOND, must=10 * MS, aim=5 * MS),
        ]  # fmt: skip
