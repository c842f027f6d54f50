"""Each agent's own key: it seals what the agent remembers and keys the words in the index.

It lies in the agent's row, wrapped with the tenant's memory key. Erasing the agent removes the row, so copies of sealed rows in backups
stay shut once the wrapped key is gone there too; docs/adr/0006-memory-at-rest.md says what that does and does not give.

INVARIANT: a key belongs to one generation of one agent's memory; what one generation sealed, no other opens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from creto.common import wire
from creto.common.errors import AlreadyExists, CryptoError, EnablementError, InternalError
from creto.common.ids import AgentId, TenantId, new_id
from creto.platform.crypto import Suites, hkdf, open_sealed, random_bytes, seal
from creto.security.memory import store as rows
from creto.security.tenantkeys import TenantKeys
from creto.store.types import ReadTx, Store, Tx

P = TypeVar("P")
T = TypeVar("T")

ERASED = "memory.erased"
KEYS_CACHED_MAX = 10_000
TRIES_MAX = 5  # each time the agent was erased between the key and the transaction


class AgentKey:
    """An agent's key as derived keys; `seal` and `open` bind a memory to its place."""

    __slots__ = ("_content", "_suites", "agent", "generation", "index", "tenant")

    def __init__(self, tenant: TenantId, agent: AgentId, generation: str, key: bytes, suites: Suites) -> None:
        self._suites = suites
        self.tenant = tenant
        self.agent = agent
        self.generation = generation
        self._content = hkdf(key, info=b"creto/memory/content/v1")
        self.index = hkdf(key, info=b"creto/memory/words/v1")

    def __repr__(self) -> str:
        return f"AgentKey({self.agent})"

    def seal(self, place: tuple[str, ...], content: bytes) -> bytes:
        aad = wire.encode((self.tenant, self.agent, self.generation, *place))
        return seal(self._content, content, aad, self._suites.aead)

    def open(self, place: tuple[str, ...], sealed: bytes) -> bytes:
        """PL-801 if it was altered or moved from its place."""
        try:
            return open_sealed(self._content, sealed, wire.encode((self.tenant, self.agent, self.generation, *place)))
        except EnablementError as error:
            raise CryptoError("PL-801", "a memory is damaged or was altered", caused_by=error) from error


class AgentKeys:
    def __init__(self, keys: TenantKeys, store: Store) -> None:
        self._keys = keys
        self.check = keys.check
        self._store = store
        self._known: OrderedDict[tuple[TenantId, AgentId], AgentKey] = OrderedDict()
        store.on_signal(ERASED, self._forget)

    async def write(
        self, tenant: TenantId, agent: AgentId, prepare: Callable[[AgentKey], P], fn: Callable[[AgentKey, P, Tx], T]
    ) -> T:
        """Run a change under the agent's key, which is made on first use. `prepare` seals, outside the transaction and in a
        thread; `fn` runs with the generation held."""
        for _ in range(TRIES_MAX):
            key = await self._of(tenant, agent) or await self._made(tenant, agent)

            prepared = await asyncio.to_thread(prepare, key)

            def guarded(tx: Tx, key: AgentKey = key, prepared: P = prepared) -> tuple[T] | None:
                if rows.generation(tx, tenant, agent) != key.generation:
                    return None
                return (fn(key, prepared, tx),)

            done = await self._store.write(guarded)
            if done is not None:
                return done[0]
            self.drop(tenant, agent)
        raise InternalError("PL-500", "the agent's memory was erased again and again while it was written")

    async def read(
        self, tenant: TenantId, agent: AgentId, fn: Callable[[AgentKey, ReadTx], T]
    ) -> tuple[AgentKey, T] | None:
        """A view under the agent's key; None if the agent remembers nothing."""
        for _ in range(TRIES_MAX):
            key = await self._of(tenant, agent)
            if key is None:
                return None

            def guarded(tx: ReadTx, key: AgentKey = key) -> tuple[T] | None:
                if rows.generation(tx, tenant, agent) != key.generation:
                    return None
                return (fn(key, tx),)

            done = await self._store.read(guarded)
            if done is not None:
                return key, done[0]
            self.drop(tenant, agent)
        raise InternalError("PL-500", "the agent's memory was erased again and again while it was read")

    async def _of(self, tenant: TenantId, agent: AgentId) -> AgentKey | None:
        known = self._known.get((tenant, agent))
        if known is not None:
            return known
        row = await self._store.read(lambda tx: rows.find_agent(tx, tenant, agent))
        if row is None:
            return None
        return self._keep(AgentKey(tenant, agent, row.generation, await self.unwrapped(row), self._keys.suites))

    async def unwrapped(self, row: rows.AgentRow) -> bytes:
        wrapping = await self._keys.get(row.tenant, row.key_version)
        try:
            return open_sealed(
                wrapping, row.sealed_key, place_of(row.tenant, row.agent, row.generation, row.key_version)
            )
        except EnablementError as error:
            raise CryptoError("PL-801", "an agent's memory key is damaged or was altered", caused_by=error) from error

    async def _made(self, tenant: TenantId, agent: AgentId) -> AgentKey:
        version, wrapping = await self._keys.current(tenant)
        generation, key = new_id(), random_bytes(32)
        sealed = seal(wrapping, key, place_of(tenant, agent, generation, version), self._keys.suites.aead)
        made = await self._store.write(
            lambda tx: rows.insert_agent(tx, rows.AgentRow(tenant, agent, generation, version, sealed))
        )
        if made:
            return self._keep(AgentKey(tenant, agent, generation, key, self._keys.suites))
        known = await self._of(tenant, agent)
        if known is None:
            raise AlreadyExists("PL-412", "the agent's memory was erased while it was written")
        return known

    async def rotate(self, tenant: TenantId) -> None:
        await self._keys.rotate(tenant)

    async def rewrap(self, tenant: TenantId, limit: int) -> int:
        """Wrap up to `limit` agents' keys with the newest tenant key. How many it was."""
        version, wrapping = await self._keys.current(tenant)
        stale = await self._store.read(lambda tx: rows.stale_keys(tx, tenant, version, limit))
        sealed = [
            (
                row,
                seal(
                    wrapping,
                    await self.unwrapped(row),
                    place_of(tenant, row.agent, row.generation, version),
                    self._keys.suites.aead,
                ),
            )
            for row in stale
        ]

        def fn(tx: Tx) -> None:
            for row, data in sealed:
                rows.rewrap_agent(tx, row, version, data)

        await self._store.write(fn)
        return len(sealed)

    def _keep(self, key: AgentKey) -> AgentKey:
        self._known[key.tenant, key.agent] = key
        while len(self._known) > KEYS_CACHED_MAX:
            self._known.popitem(last=False)
        return key

    def drop(self, tenant: TenantId, agent: AgentId) -> None:
        self._known.pop((tenant, agent), None)

    def _forget(self, payload: str) -> None:
        """An agent was erased, here or on another node: its key leaves memory too."""
        tenant, agent = wire.decode(payload, tuple[str, str], what="signal")
        self.drop(TenantId(tenant), AgentId(agent))


def place_of(tenant: TenantId, agent: AgentId, generation: str, version: int) -> bytes:
    return wire.encode(("creto/memory/key/v1", tenant, agent, generation, version))
