"""Whom a revocation reaches: for each identity and link, the agents whose chains this process accepted through it.

A chain is noted before its last look at the registry. So a revocation either finds the agent here and tells the listeners, or comes
early enough for that look to see it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from creto.common.ids import AgentId, TenantId
from creto.common.limits import DEPENDENTS_MAX

Member = AgentId | bytes  # an identity, or a link by its hash


class Dependents:
    def __init__(self, pairs_max: int = DEPENDENTS_MAX) -> None:
        self._pairs_max = pairs_max
        self._pairs = 0
        self.generation = 0  # of what is noted; grows with every drain
        self._agents: dict[tuple[TenantId, Member], set[AgentId]] = {}
        self._lock = threading.Lock()

    def note(self, tenant: TenantId, members: Iterable[Member], agent: AgentId) -> int | None:
        """Remember that `agent` stands on these: the generation it is noted in, None if there is no room before a `drain`."""
        with self._lock:
            for member in members:
                agents = self._agents.setdefault((tenant, member), set())
                if agent not in agents:
                    agents.add(agent)
                    self._pairs += 1
            return self.generation if self._pairs <= self._pairs_max else None

    def of(self, tenant: TenantId, member: Member) -> set[AgentId]:
        with self._lock:
            return set(self._agents.get((tenant, member), ()))

    def drain(self) -> set[tuple[TenantId, AgentId]]:
        """Every agent noted; then nothing is."""
        with self._lock:
            every = {(tenant, agent) for (tenant, _), agents in self._agents.items() for agent in agents}
            self._agents.clear()
            self._pairs = 0
            self.generation += 1
            return every
