"""Storage against a dictionary: random sequences of everything, the same answers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from creto.common.errors import AlreadyExists, EnablementError, NotFound, Unauthorized
from creto.common.limits import BLOB_GRACE_S, CHUNK_BYTES
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.store import open_store
from tests.unit.security.storage.conftest import AGENT, OTHER, PARTS, TENANT

T = TypeVar("T")
KEYS = st.sampled_from(["a", "a/b", "a/c", "b", "ä"])
TENANTS = st.sampled_from([TENANT, OTHER])
CONTENTS = st.one_of(
    st.binary(max_size=40), st.integers(CHUNK_BYTES - 2, CHUNK_BYTES + 2).map(lambda n: bytes([n % 251]) * n)
)


class StorageMachine(RuleBasedStateMachine):
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_store(f"sqlite:///{Path(self.folder.name)}/s.db", parts=PARTS)
        self.clock = ManualClock()
        self.storage = Storage(
            open_backend("memory://"),
            TenantKeys(Keystore(self.store, Kek.generate()), "storage"),
            self.store,
            self.clock,
        )
        self.model: dict[tuple[str, str], bytes] = {}
        self.versions: dict[tuple[str, str], str] = {}
        self.until: dict[tuple[str, str], int] = {}
        self.held: set[tuple[str, str]] = set()
        self.parts: dict[str, tuple[str, str, dict[int, bytes]]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.loop.close()
        self.folder.cleanup()

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(act)

    def free(self, at: tuple[str, str]) -> bool:
        return at not in self.held and self.until.get(at, 0) <= self.clock.now()

    def stored(self, at: tuple[str, str], content: bytes, version: str) -> None:
        self.model[at], self.versions[at] = content, version
        self.until.pop(at, None)

    @rule(tenant=TENANTS, key=KEYS, content=CONTENTS)
    def put(self, tenant: Any, key: str, content: bytes) -> None:
        at = (tenant, key)
        if self.free(at):
            stat = self.run(self.storage.put(tenant, key, content, agent=AGENT))
            self.stored(at, content, stat.version)
        else:
            with pytest.raises(Unauthorized):
                self.run(self.storage.put(tenant, key, content, agent=AGENT))

    @rule(tenant=TENANTS, key=KEYS, content=CONTENTS)
    def put_if_absent(self, tenant: Any, key: str, content: bytes) -> None:
        at = (tenant, key)
        if at in self.model:
            with pytest.raises(AlreadyExists):
                self.run(self.storage.put_if_absent(tenant, key, content, agent=AGENT))
        else:
            self.stored(at, content, self.run(self.storage.put_if_absent(tenant, key, content, agent=AGENT)).version)

    @rule(tenant=TENANTS, key=KEYS, content=CONTENTS, stale=st.booleans())
    def put_if_match(self, tenant: Any, key: str, content: bytes, stale: bool) -> None:
        at = (tenant, key)
        version = "stale" if stale else self.versions.get(at, "none")
        try:
            stat = self.run(self.storage.put(tenant, key, content, agent=AGENT, if_match=version))
        except EnablementError as error:
            assert error.code in ("PL-412", "PL-802", "PL-803")
            assert stale or at not in self.model or not self.free(at)
        else:
            assert not stale
            self.stored(at, content, stat.version)

    @rule(tenant=TENANTS, key=KEYS)
    def delete(self, tenant: Any, key: str) -> None:
        at = (tenant, key)
        if at not in self.model:
            with pytest.raises(NotFound):
                self.run(self.storage.delete(tenant, key, agent=AGENT))
        elif self.free(at):
            self.run(self.storage.delete(tenant, key, agent=AGENT))
            for known in (self.model, self.versions, self.until):
                known.pop(at, None)
        else:
            with pytest.raises(Unauthorized):
                self.run(self.storage.delete(tenant, key, agent=AGENT))

    @rule(tenant=TENANTS, key=KEYS, on=st.booleans())
    def hold(self, tenant: Any, key: str, on: bool) -> None:
        if (tenant, key) in self.model:
            self.run(self.storage.hold(tenant, key, on, agent=AGENT, reason="r"))
            (self.held.add if on else self.held.discard)((tenant, key))

    @rule(tenant=TENANTS, key=KEYS, seconds=st.integers(1, 100))
    def retain(self, tenant: Any, key: str, seconds: int) -> None:
        at, until = (tenant, key), self.clock.now() + seconds * SECOND
        if at in self.model and until >= self.until.get(at, 0):
            self.run(self.storage.retain(tenant, key, ConsensusTimestamp(until), agent=AGENT))
            self.until[at] = until

    @rule(seconds=st.sampled_from([10, 200, BLOB_GRACE_S + 1]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds * SECOND)

    @rule(tenant=TENANTS)
    def rotate(self, tenant: Any) -> None:
        self.run(self.storage.rotate_key(tenant, agent=AGENT))

    @rule()
    def sweep(self) -> None:
        self.run(self.storage.sweep(agent=AGENT))

    @rule(target=uploads, tenant=TENANTS, key=KEYS)
    def create(self, tenant: Any, key: str) -> Any:
        upload = self.run(self.storage.uploads.create(tenant, key, agent=AGENT)).upload
        self.parts[upload] = (tenant, key, {})
        return upload

    @rule(upload=uploads, number=st.integers(1, 4), content=CONTENTS)
    def put_part(self, upload: str, number: int, content: bytes) -> None:
        tenant, _, parts = self.parts[upload]
        self.run(self.storage.uploads.put_part(tenant, upload, number, content))  # type: ignore[arg-type]
        parts[number] = content

    @rule(target=uploads, upload=consumes(uploads))
    def complete(self, upload: str) -> Any:
        tenant, key, parts = self.parts[upload]
        at = (tenant, key)
        if not parts or not self.free(at):
            with pytest.raises(EnablementError):
                self.run(self.storage.uploads.complete(tenant, upload, agent=AGENT))  # type: ignore[arg-type]
            return upload
        stat = self.run(self.storage.uploads.complete(tenant, upload, agent=AGENT))  # type: ignore[arg-type]
        self.stored(at, b"".join(parts[n] for n in sorted(parts)), stat.version)
        return multiple()

    @rule(upload=consumes(uploads))
    def abort(self, upload: str) -> None:
        self.run(self.storage.uploads.abort(self.parts[upload][0], upload, agent=AGENT))  # type: ignore[arg-type]

    @rule(tenant=TENANTS, key=KEYS, start=st.integers(0, CHUNK_BYTES + 10), length=st.integers(1, CHUNK_BYTES))
    def read_range(self, tenant: Any, key: str, start: int, length: int) -> None:
        content = self.model.get((tenant, key))
        try:
            found = self.run(self.storage.get_range(tenant, key, start, length))
        except EnablementError as error:
            assert error.code == ("PL-404" if content is None else "PL-805")
            assert content is None or start >= max(len(content), 1)
        else:
            assert content is not None
            assert found == content[start : start + length]

    @rule(tenant=TENANTS, key=KEYS)
    def read(self, tenant: Any, key: str) -> None:
        if (tenant, key) in self.model:
            assert self.run(self.storage.get(tenant, key)) == self.model[tenant, key]
            stat = self.run(self.storage.stat(tenant, key))
            assert (stat.version, stat.size) == (self.versions[tenant, key], len(self.model[tenant, key]))

    @invariant()
    def the_listing_is_the_model(self) -> None:
        for tenant in (TENANT, OTHER):
            page = self.run(self.storage.list(tenant))
            expected = sorted((key for t, key in self.model if t == tenant), key=str.encode)
            assert [item.key for item in page.items] == expected


def test_storage_behaves_like_a_dictionary(deep: bool) -> None:
    run_state_machine_as_test(
        StorageMachine,
        settings=settings(
            max_examples=500 if deep else 15,
            stateful_step_count=60 if deep else 30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
