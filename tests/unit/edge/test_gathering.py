"""Several processes as one: every sample says whose it is, and a dead process is seen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx2
import msgspec

from creto.common.metrics import Metrics
from creto.common.settings import ServerConfig
from creto.edge.gathering import Process, merged, standing
from creto.edge.servers import gathering

FREE = ServerConfig(metrics_port=0, health_port=0)


def text(requests: int) -> bytes:
    metrics = Metrics()
    metrics.counter("platform_api_requests_total", "Requests", "code").labels("ok").add(requests)
    metrics.histogram("platform_api_request_seconds", "Time").labels().observe(0.2)
    metrics.gauge("platform_store_queue_count", 'Who "waits"')
    return metrics.render().encode()


def test_samples_of_one_metric_stand_together_each_with_its_process() -> None:
    known = [Process("http-0", restarts=2), Process("http-1"), Process("worker-0"), Process("grpc-0")]
    whole = merged(known, {"http-0": (200, text(3)), "http-1": (200, text(5)), "worker-0": None, "grpc-0": (500, b"x")})
    lines = whole.splitlines()
    assert 'platform_api_requests_total{process="http-0",code="ok"} 3' in lines
    assert 'platform_api_requests_total{process="http-1",code="ok"} 5' in lines
    assert 'platform_store_queue_count{process="http-1"} 0' in lines
    assert 'platform_api_request_seconds_count{process="http-0"} 1' in lines
    assert [line for line in lines if line.startswith("platform_process_up_ratio")] == [
        'platform_process_up_ratio{process="grpc-0"} 0',
        'platform_process_up_ratio{process="http-0"} 1',
        'platform_process_up_ratio{process="http-1"} 1',
        'platform_process_up_ratio{process="worker-0"} 0',
    ]
    assert 'platform_process_restarts_total{process="http-0"} 2' in lines
    heads = [line for line in lines if line.startswith("# TYPE")]
    assert len(heads) == len({line.split()[2] for line in heads})
    metric, seen = "", set()
    for line in lines:  # the text format: all samples of a metric in one group
        if line.startswith("# TYPE"):
            metric = line.split()[2]
            assert metric not in seen
            seen.add(metric)
        elif not line.startswith("#"):
            assert line.startswith(metric)


def test_what_cannot_be_read_is_not_ready() -> None:
    ready = msgspec.json.encode({"ready": True, "dependencies": [{"name": "store"}]})
    assert standing((200, ready)).ready
    assert standing((200, ready)).dependencies == ({"name": "store"},)
    for answer in (None, (503, ready), (200, b""), (200, b"[]"), (200, b'{"ready":1}')):
        assert not standing(answer).ready


@contextlib.asynccontextmanager
async def child(ready: bool, *, silent: bool = False) -> AsyncIterator[str]:
    """A process that answers `/ready` and `/metrics`, or takes the question and says nothing."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readuntil(b"\r\n\r\n")
        if silent:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        else:
            body = text(1) if b"/metrics" in question else msgspec.json.encode({"ready": ready, "dependencies": []})
            status = b"200 OK" if ready else b"503 No"
            writer.write(
                b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_ready_only_if_all_are_and_a_silent_one_holds_up_nobody_for_long() -> None:
    async with child(True) as good, child(True, silent=True) as silent:
        known = [Process("http-0", good, good), Process("http-1", good, good)]
        async with gathering(FREE, lambda: known) as addresses, httpx2.AsyncClient(timeout=20) as client:
            ready = await client.get(f"{addresses.health}/ready")
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            assert (await client.get(f"{addresses.health}/live")).text == "live\n"

            known += [Process("worker-0", silent, silent), Process("grpc-0")]
            ready = await client.get(f"{addresses.health}/ready")
            assert ready.status_code == 503
            found = ready.json()["processes"]
            assert [found[name]["ready"] for name in ("http-0", "worker-0", "grpc-0")] == [True, False, False]
            assert found["grpc-0"]["error"] == "it does not answer"
            lines = (await client.get(f"{addresses.metrics}/metrics")).text.splitlines()
            assert 'platform_process_up_ratio{process="http-1"} 1' in lines
            assert 'platform_process_up_ratio{process="worker-0"} 0' in lines

            known.clear()
            assert (await client.get(f"{addresses.health}/ready")).status_code == 503
