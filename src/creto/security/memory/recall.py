"""Vector indexes in memory, one per agent, kept in step with the rows.

INVARIANT: an index holds one generation of one agent, and a search first compares its mark with the row: what another node wrote or
erased is seen by the next search.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import VECTOR_CACHE_BYTES_MAX
from creto.security.memory import store as rows
from creto.security.memory.agentkeys import AgentKey
from creto.security.memory.core import partition
from creto.security.memory.types import Metric
from creto.security.memory.vectors import Found, VectorIndex, new_index
from creto.store.types import ReadTx


class Loaded:
    """An index and up to where it has read."""

    __slots__ = ("erasures", "generation", "index", "lock", "seq")

    def __init__(self, generation: str, erasures: int, index: VectorIndex) -> None:
        self.generation = generation
        self.erasures = erasures
        self.index = index
        self.seq = 0
        self.lock = threading.Lock()


class Recall:
    def __init__(self, new: Callable[[int], VectorIndex] = new_index, bytes_max: int = VECTOR_CACHE_BYTES_MAX) -> None:
        self._new = new
        self._bytes_max = bytes_max
        self._loaded: OrderedDict[tuple[TenantId, AgentId], Loaded] = OrderedDict()
        self._lock = threading.Lock()

    def search(self, tx: ReadTx, key: AgentKey, query: array[float], limit: int, metric: Metric, now: int) -> Found:
        """Runs in the transaction's thread: the index is brought up to the view of `tx`, then asked."""
        at = partition(key)
        dimensions, erasures, last = rows.vector_mark(tx, at)
        if dimensions == 0:
            return []
        if dimensions != len(query):
            raise InvalidInput.of(
                "vector", got=f"{len(query)} numbers", expected=f"{dimensions} numbers", code="PL-821"
            )
        loaded = self._of(key, dimensions, erasures)
        with loaded.lock:
            if last > loaded.seq:
                for seq, id, expires_at, sealed in rows.vectors(tx, at, loaded.seq):
                    vector = array("f")
                    vector.frombytes(key.open(("vector", id), sealed))
                    loaded.index.add(seq, vector, expires_at)
                loaded.seq = last
            found = loaded.index.search(query, limit, metric, now)
        self._evict()
        return found

    def forget(self, tenant: TenantId, agent: AgentId) -> None:
        with self._lock:
            self._loaded.pop((tenant, agent), None)

    def _of(self, key: AgentKey, dimensions: int, erasures: int) -> Loaded:
        with self._lock:
            loaded = self._loaded.get((key.tenant, key.agent))
            if loaded is None or (loaded.generation, loaded.erasures) != (key.generation, erasures):
                loaded = Loaded(key.generation, erasures, self._new(dimensions))
                self._loaded[key.tenant, key.agent] = loaded
            self._loaded.move_to_end((key.tenant, key.agent))
            return loaded

    def _evict(self) -> None:
        with self._lock:
            while (
                len(self._loaded) > 1 and sum(one.index.size_bytes for one in self._loaded.values()) > self._bytes_max
            ):
                self._loaded.popitem(last=False)
