"""Fixtures: the bus over every engine, and a consumer that tests can wait for."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from creto.bus import Bus, EmbeddedBus, Message, Redelivery
from creto.bus.nats import NatsBus
from creto.common.ids import TenantId
from creto.store import Store, open_store
from tests import engines

T = TenantId("acme")
PATIENCE_S = 20.0
QUICK = Redelivery(deliveries_max=3, initial_s=0.02, backoff_max_s=0.05)


class Broker:
    """A NATS server that tests stop, kill and start again, with the same files or without."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="creto-nats-"))
        self.port = engines.free_port()
        self.stack = ExitStack()
        self.process: Any = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        _, self.process = self.stack.enter_context(engines.nats(self.folder, self.port))

    def stop(self) -> None:
        self.stack.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stack.close()

    def lose_everything(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()


class World:
    """One store's database, perhaps a broker, and any number of nodes."""

    def __init__(self, kind: str, store_url: str, broker: Broker | None) -> None:
        self.kind = kind
        self.store_url = store_url
        self.broker = broker
        self.stores: list[Store] = []
        self.buses: list[Bus] = []

    def store(self) -> Store:
        store = open_store(self.store_url, parts=("creto.bus",))
        self.stores.append(store)
        return store

    def bus(self, store: Store | None = None, **options: Any) -> Any:
        options = {"rule": QUICK, "lease_s": 1.0, **options}
        used = store or self.store()
        bus: Bus = NatsBus(used, self.broker.url, **options) if self.broker else EmbeddedBus(used, **options)
        self.buses.append(bus)
        return bus

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()
        for store in self.stores:
            store.close()


class Inbox:
    """A consumer that remembers, and fails as told."""

    def __init__(self, fails: Callable[[Message], object] = lambda m: None) -> None:
        self.fails = fails
        self.messages: list[Message] = []  # taken
        self.attempts: list[Message] = []
        self._changed = asyncio.Condition()

    async def __call__(self, message: Message) -> None:
        self.attempts.append(message)
        failure = self.fails(message)
        if asyncio.iscoroutine(failure):
            failure = await failure
        if not failure:
            self.messages.append(message)
        async with self._changed:
            self._changed.notify_all()
        if failure:
            raise failure if isinstance(failure, Exception) else ValueError(str(failure))

    @property
    def payloads(self) -> list[str]:
        return [m.payload.decode() for m in self.messages]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(condition)

    async def has(self, count: int) -> list[str]:
        await self.until(lambda: len(self.messages) >= count)
        return self.payloads

    def of(self, agent: str) -> list[str]:
        return [m.payload.decode() for m in self.messages if m.agent == agent]


async def send(bus: Bus, *payloads: str, agent: str = "a", subject: str = "test.event") -> list[str]:
    return [await bus.publish(subject, p.encode(), tenant=T, agent=agent) for p in payloads]


async def eventually(check: Callable[[], Any], what: str = "") -> Any:
    """Ask again until the answer is true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = check()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.01)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    made.start()
    yield made
    made.stop()
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres", "nats"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    kind = request.param
    url = f"sqlite:///{tmp_path}/creto.db" if kind != "postgres" else request.getfixturevalue("postgres_url")
    made = World(kind, url, request.getfixturevalue("broker") if kind == "nats" else None)
    yield made
    await made.close()


@pytest.fixture
async def nats_world(broker: Broker, tmp_path: Path) -> AsyncIterator[World]:
    made = World("nats", f"sqlite:///{tmp_path}/creto.db", broker)
    yield made
    await made.close()
