from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from creto.common.ids import AgentId, TenantId, agent_id
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Backend, Blob, Storage, TenantKeys, open_backend
from creto.store import Store, open_store
from tests.contract.backends import CREDENTIALS, s3_endpoint, s3_url

__all__ = ["s3_endpoint", "s3_url"]

PARTS = ("creto.platform.crypto", "creto.security.storage")
TENANT = TenantId("default")
AGENT = agent_id(bytes(32))
OTHER = TenantId("other")


@dataclass
class World:
    """A storage and everything beneath it, for a test to reach into."""

    storage: Storage
    store: Store
    backend: Recorder
    clock: ManualClock
    keys: TenantKeys
    tenant: TenantId = TENANT
    agent: AgentId = AGENT

    async def blobs(self) -> list[Blob]:
        return [blob async for page in self.backend.list("") for blob in page]

    def twin(self) -> Storage:
        """Another process on the same store and backend."""
        return Storage(self.backend, self.keys, self.store, self.clock)


@dataclass
class Recorder:
    """A backend that says what was read from it, and can be told to fail."""

    inner: Backend
    reads: list[tuple[int, int]] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)

    async def put(self, name: str, data: bytes | bytearray) -> None:
        await self.inner.put(name, data)

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes | bytearray]) -> None:
        await self.inner.put_stream(name, chunks)

    async def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.reads += ranges
        return await self.inner.read(name, ranges)

    async def size(self, name: str) -> int:
        return await self.inner.size(name)

    async def delete(self, name: str) -> None:
        if self.broken:
            raise self.broken[0]
        await self.inner.delete(name)

    def list(self, prefix: str) -> AsyncIterator[list[Blob]]:
        return self.inner.list(prefix)

    async def tidy(self, before: int) -> int:
        return await self.inner.tidy(before)

    @contextmanager
    def failing(self, error: Exception) -> Iterator[None]:
        self.broken.append(error)
        yield
        self.broken.clear()


# Each engine and each backend, not each with each: neither knows of the other.
PAIRS = [("sqlite", "file"), ("sqlite", "s3"), ("postgres", "memory")]


@pytest.fixture(params=PAIRS, ids="-".join)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    engine, place = request.param
    address = f"sqlite:///{tmp_path}/creto.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    url = {"file": f"file://{tmp_path}/objects", "memory": "memory://"}.get(place)
    backend = open_backend(url) if url else open_backend(request.getfixturevalue("s3_url"), CREDENTIALS)
    store, clock = open_store(address, parts=PARTS), ManualClock()
    keys = TenantKeys(Keystore(store, Kek.generate()), "storage")
    recorder = Recorder(backend)
    yield World(Storage(recorder, keys, store, clock), store, recorder, clock, keys)
    store.close()
