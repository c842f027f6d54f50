"""Listening: which application on which port, in one process or in several.

    async with serving(app.parts, app.tenant) as addresses:
        print(addresses.rest)

INVARIANT: gRPC has a loop of its own: beside busy HTTP it starves.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from creto.common.errors import ConnectionFailed
from creto.common.ids import TenantId
from creto.common.settings import CommonConfig, ServerConfig
from creto.edge.api import ENDPOINTS, Authenticator, Dispatcher
from creto.edge.api.parts import Parts
from creto.edge.console import Live, console_routes
from creto.edge.gathering import Process, gathering_apps
from creto.edge.operations import health_app, metrics_app
from creto.edge.rest import rest_app
from creto.edge.rest.callbacks import callback_routes
from creto.edge.rest.protocol import BoundedHttp
from creto.edge.telemetry import traces_as_configured
from creto.version import VERSION

DRAIN_S = 10
LOOPBACK = "127.0.0.1"


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where it listens; None for what does not run here."""

    rest: str | None = None
    grpc: str | None = None
    metrics: str | None = None
    health: str | None = None


class HttpServer:
    """One uvicorn on one port, started and stopped from our own loop; signals stay ours."""

    def __init__(self, app: Any, config: ServerConfig, port: int, *, tls: bool, shared: bool = False) -> None:
        options: dict[str, Any] = {}
        if tls and config.tls_cert is not None:
            options = {"ssl_certfile": config.tls_cert, "ssl_keyfile": config.tls_key}
            if config.tls_client_ca is not None:
                options |= {"ssl_ca_certs": config.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
        self.scheme = "https" if options else "http"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=config.host,
                port=port,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
                http=BoundedHttp,
                **options,
            )
        )
        self._socket = bound(config.host, port, shared)
        self.port: int = self._socket.getsockname()[1]
        self.address = f"{self.scheme}://{config.host}:{self.port}"

    async def start(self) -> None:
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        while not self._server.started:
            if self._task.done():
                await self._task
                raise ConnectionFailed("PL-503", f"the server on port {self.port} did not start")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task

    def close(self) -> None:
        """Also of one that was never started."""
        self._socket.close()


def bound(host: str, port: int, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it an answer's body waits 40 ms for its head.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConnectionFailed(
            "PL-503",
            f"port {port} on {host} cannot be used: {error.strerror}",
            hint="Stop what holds it, or set another port in [server].",
        ) from error
    listener.set_inheritable(False)
    return listener


class GrpcThread:
    """The gRPC server on a loop of its own thread."""

    def __init__(self, parts: Parts, tenant: TenantId, *, shared: bool = False) -> None:
        self._config = parts.config[ServerConfig]
        self._parts = parts
        self._tenant = tenant
        self._shared = shared
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="creto-grpc", daemon=True)
        self.port = 0

    async def start(self) -> None:
        self._thread.start()
        try:
            self.port = await self._over_there(self._start)
        except BaseException:
            await self._end()
            raise

    async def _start(self) -> int:
        os.environ.setdefault(
            "GRPC_VERBOSITY", "NONE"
        )  # its faults are raised; the lines it writes itself have no format
        from creto.edge.grpc import GrpcServer
        from creto.edge.grpc.server import tls

        wanted, parts = self._config, self._parts
        self._server = GrpcServer(Dispatcher(parts), authenticator(parts, self._tenant), ENDPOINTS, shared=self._shared)
        files = [wanted.tls_cert, wanted.tls_key, wanted.tls_client_ca]
        certificate, key, authority = await asyncio.to_thread(lambda: [read_file(f) for f in files])
        credentials = tls(certificate, key, authority) if certificate is not None and key is not None else None
        return await self._server.start(f"{wanted.host}:{wanted.grpc_port}", credentials)

    async def stop(self) -> None:
        try:
            await self._over_there(self._stop)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def _stop(self) -> int:
        await self._server.stop(DRAIN_S)
        return 0

    async def _over_there(self, work: Callable[[], Any]) -> int:
        return int(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self._loop)))


def read_file(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path is not None else None


def authenticator(parts: Parts, tenant: TenantId) -> Authenticator:
    return Authenticator(parts.nhi, parts.rate, tenant, parts.config[CommonConfig].tenant_mode)


@asynccontextmanager
async def serving(
    parts: Parts, tenant: TenantId, *, http: bool = True, grpc: bool = True, shared: bool = False
) -> AsyncIterator[Addresses]:
    """Serve until the block ends, then drain: what was accepted is answered.

    `shared` is for one of several processes: others may take the same ports, and what it says of itself is on free ports of this
    machine alone, for whoever gathers it.
    """
    config = parts.config[ServerConfig]
    apart = msgspec.structs.replace(config, host=LOOPBACK, metrics_port=0, health_port=0) if shared else config
    async with AsyncExitStack() as stack:
        stack.enter_context(traces_as_configured(parts.config))
        found: dict[str, str] = {}
        if grpc:
            await parts.nhi.authority_certificate()  # so that the first caller does not wait for it
            grpc_server = GrpcThread(parts, tenant, shared=shared)
            await grpc_server.start()
            stack.push_async_callback(grpc_server.stop)
            found["grpc"] = f"{config.host}:{grpc_server.port}"
        servers: dict[str, HttpServer] = {}

        def listen(name: str, app: Any, config: ServerConfig, port: int, *, tls: bool, shared: bool = False) -> None:
            servers[name] = HttpServer(app, config, port, tls=tls, shared=shared)
            stack.callback(servers[name].close)

        live = Live(parts.store)
        if http:
            dispatcher, who = Dispatcher(parts), authenticator(parts, tenant)
            rest = rest_app(
                dispatcher,
                who,
                ENDPOINTS,
                version=VERSION,
                extra_routes=[*console_routes(dispatcher, who, live), *callback_routes(parts)],
            )
            listen("rest", rest, config, config.rest_port, tls=True, shared=shared)
        listen("metrics", metrics_app(parts), apart, apart.metrics_port, tls=False)
        listen("health", health_app(parts), apart, apart.health_port, tls=False)
        for name, server in servers.items():
            await server.start()
            stack.push_async_callback(server.stop)
            found[name] = server.address
        stack.callback(parts.metering.send_away)
        stack.callback(parts.oversight.send_away)  # first: a question that waits for humans must not hold the drain up
        stack.callback(live.close)  # before the servers drain: a page that looks on would keep them waiting
        stack.enter_context(settled())
        yield Addresses(**found)


@asynccontextmanager
async def gathering(config: ServerConfig, processes: Callable[[], Sequence[Process]]) -> AsyncIterator[Addresses]:
    """The health and the metrics of all processes of this machine, on the ports that the configuration names."""
    apps = gathering_apps(processes)
    async with AsyncExitStack() as stack:
        found = {}
        for name, app, port in (
            ("metrics", apps.metrics, config.metrics_port),
            ("health", apps.health, config.health_port),
        ):
            server = HttpServer(app, config, port, tls=False)
            stack.callback(server.close)
            await server.start()
            stack.push_async_callback(server.stop)
            found[name] = server.address
        yield Addresses(**found)


@contextmanager
def settled() -> Iterator[None]:
    """What start-up made stays as long as it is served: without it a full collection stops every call for 10 to 25 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
