from __future__ import annotations

from dataclasses import dataclass

import pytest

from creto.common import wire
from creto.common.ids import TenantId, agent_id
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.security.memory import Memory, TenantKeys
from creto.store import Entry, Position, Store
from tests.contract.stores import MakeStore, make_store, store_url

__all__ = ["make_store", "store_url"]

PARTS = ("creto.platform.crypto", "creto.security.memory")
TENANT = TenantId("default")
OTHER = TenantId("other")
ALICE = agent_id(bytes([1]) * 32)
BOB = agent_id(bytes([2]) * 32)
OPERATOR = agent_id(bytes([9]) * 32)


@dataclass
class World:
    memory: Memory
    store: Store
    clock: ManualClock
    keystore: Keystore

    def twin(self) -> Memory:
        """Another process on the same rows: with no key and no index in memory."""
        return Memory(TenantKeys(self.keystore, "memory"), self.store, self.clock)

    async def entries(self) -> list[Entry]:
        rows = await self.store.read(lambda tx: tx.ledger_tail(Position(), 1000))
        return [wire.decode(row.body, Entry) for row in rows]


@pytest.fixture
def world(make_store: MakeStore) -> World:
    store, clock = make_store(parts=PARTS), ManualClock()
    keystore = Keystore(store, Kek.generate())
    return World(Memory(TenantKeys(keystore, "memory"), store, clock), store, clock, keystore)
