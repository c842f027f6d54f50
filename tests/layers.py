"""A whole layer in a temporary folder, served on free ports from a thread of its own, so that tests of both worlds can ask it.

with layer(tmp_path) as served:
    Creto.connect(served.rest, token=served.token)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from creto.app import App, create_kek, running
from creto.common.config import Config, load
from creto.edge.servers import Addresses, serving
from creto.sdk import AgentKey
from creto.tenants import OPERATOR_KEY

T = TypeVar("T")


@dataclass
class Layer:
    app: App
    addresses: Addresses
    token: str  # the operator's
    key: AgentKey  # the operator's
    loop: asyncio.AbstractEventLoop
    leave: asyncio.Event

    @property
    def rest(self) -> str:
        return str(self.addresses.rest)

    @property
    def grpc(self) -> str:
        return str(self.addresses.grpc)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the layer's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def token_for(self, agent: str, *scopes: str, ttl_s: int = 600) -> str:
        nhi = self.app.parts.nhi
        return self.run(nhi.issue_token(self.app.tenant, agent, scopes=scopes or ("*",), ttl_s=ttl_s)).token  # type: ignore[arg-type]


def settings(folder: Path, **more: str) -> Config:
    create_kek(folder / "creto.kek")
    env = {
        "CRETO_STORE__URL": f"sqlite:///{folder}/creto.db",
        "CRETO_CRYPTO__KEK": f"file:{folder}/creto.kek",
        "CRETO_STORAGE__URL": f"file://{folder}/objects",
        "CRETO_SERVER__REST_PORT": "0",
        "CRETO_SERVER__GRPC_PORT": "0",
        "CRETO_SERVER__METRICS_PORT": "0",
        "CRETO_SERVER__HEALTH_PORT": "0",
    }
    return load(defaults=(), env=env | more)


@contextmanager
def layer(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Layer]:
    """Started, and stopped as a process would be: drained."""
    config = settings(folder, **(env or {}))
    ready = threading.Event()
    found: list[Layer] = []
    faults: list[BaseException] = []

    async def main() -> None:
        async with running(config) as app, serving(app.parts, app.tenant) as addresses:
            issued = await app.parts.nhi.issue_token(app.tenant, app.operator, scopes=("*",))
            key = AgentKey(await app.parts.keystore.signing_key(app.tenant, OPERATOR_KEY))
            here = Layer(app, addresses, issued.token, key, asyncio.get_running_loop(), asyncio.Event())
            found.append(here)
            ready.set()
            await here.leave.wait()

    def body() -> None:
        try:
            asyncio.run(main())
        except BaseException as fault:  # noqa: BLE001 - it is raised again in the test's own thread
            faults.append(fault)
        finally:
            ready.set()

    thread = threading.Thread(target=body, name="layer")
    thread.start()
    ready.wait()
    try:
        if not found:
            raise faults[0]
        yield found[0]
    finally:
        if found and not found[0].loop.is_closed():
            found[0].loop.call_soon_threadsafe(found[0].leave.set)
        thread.join()
    if faults:
        raise faults[0]
