"""Serving: the parts and the servers of one process, from start to drain.

INVARIANT: on SIGTERM or Ctrl-C nothing new is accepted, what was accepted is answered, and the parts stop last.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import msgspec

from creto.cli.context import Cli
from creto.common.config import Config, Reload, Reloader
from creto.common.errors import InternalError
from creto.common.logs import fields
from creto.common.settings import ServerConfig

if TYPE_CHECKING:
    from creto.app import App
    from creto.cli.supervisor import Supervisor
    from creto.edge.servers import Addresses

log = logging.getLogger("creto.serving")

AS_USUAL = (700, 10, 10)  # a server is long: it looks for garbage as often as Python does, unlike a command
HTTP, GRPC, WORKER = ROLES = ("http", "grpc", "worker")


class Ready(msgspec.Struct, frozen=True):
    """What a child of the supervisor says on its standard output when it serves."""

    role: str
    addresses: dict[str, str]


@asynccontextmanager
async def served(
    cli: Cli, config: Config, roles: Collection[str], *, shared: bool = False
) -> AsyncIterator[tuple[App, Addresses]]:
    """These roles in this process: `http` and `grpc` answer, `worker` keeps the log. `shared` lets others take the same ports."""
    gc.set_threshold(*AS_USUAL)
    with server_libraries():
        from creto.app import running
        from creto.edge.live import following
        from creto.edge.servers import serving
    async with (
        running(config, work=WORKER in roles) as app,
        serving(app.parts, app.tenant, http=HTTP in roles, grpc=GRPC in roles, shared=shared) as addresses,
    ):
        reloading(cli, config, following(app.parts, for_people=not shared))
        yield app, addresses


@asynccontextmanager
async def gathered(config: Config, supervisor: Supervisor) -> AsyncIterator[Addresses]:
    """Metrics and health of all children on the configured ports."""
    with server_libraries():
        from creto.edge.gathering import Process
        from creto.edge.servers import gathering

    def processes() -> list[Process]:
        return [
            Process(name, child.addresses.get("metrics"), child.addresses.get("health"), child.restarts)
            for name, child in supervisor.children.items()
        ]

    async with gathering(config[ServerConfig], processes) as addresses:
        yield addresses


def logging_started(config: Config, *, for_people: bool = False) -> None:
    with server_libraries():
        from creto.edge.telemetry import log_as_configured
    log_as_configured(config, for_people=for_people)


@contextmanager
def server_libraries() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "pip install 'creto[server]'"
        raise InternalError("PL-501", f"{error.name} is not installed; serving needs it", hint=hint) from error


def reloading(cli: Cli, config: Config, follow: Callable[[Config], None]) -> None:
    """SIGHUP reads the configuration again and applies what may change live."""
    reloader = Reloader(config, cli.config, reported)
    reloader.on_change(follow)
    reloader.listen(asyncio.get_running_loop())


def reported(reload: Reload) -> None:
    if reload.refused is not None:
        log.error("The configuration was not reloaded", exc_info=reload.refused)
        return
    log.info(
        "The configuration was reloaded",
        extra=fields(operation="reload", applied=list(reload.applied), needs_restart=list(reload.needs_restart)),
    )


def ended_with_parent(stop: asyncio.Event) -> None:
    """Set the event when standard input ends: so a child does not outlive a supervisor that was killed."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 1_024):  # not sys.stdin: its lock would be held when the interpreter ends
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="creto-parent", daemon=True).start()


def addresses_of(addresses: Addresses) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(addresses).items() if value is not None}


async def login_secret(app: App) -> str:
    """What a login link for the operator holds; it works once."""
    return await app.parts.nhi.login_token(app.tenant, app.operator, scopes=("*",), actor=app.operator)
