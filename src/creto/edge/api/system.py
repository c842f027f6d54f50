"""What runs here, for operators."""

from __future__ import annotations

from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.parts import Parts
from creto.edge.api.readiness import Readiness, readiness
from creto.version import VERSION


class GetSystem(Ask, frozen=True):
    """The layer as it stands."""


class SystemView(View, frozen=True):
    version: str
    node: str
    engine: str
    time: ConsensusTimestamp
    degraded_clock: bool
    log_size: int
    readiness: Readiness


SYSTEM = Endpoint("system.get", "GET", "/v1/system", GetSystem, SystemView, "system:read", "Versions, log and dependencies")  # fmt: skip

ENDPOINTS = (SYSTEM,)


@handles(SYSTEM)
async def system(parts: Parts, call: Call, ask: GetSystem) -> SystemView:
    return SystemView(
        version=VERSION,
        node=parts.store.node,
        engine=parts.store.engine,
        time=parts.clock.now(),
        degraded_clock=parts.clock.degraded,
        log_size=await parts.audit.size(),
        readiness=await readiness(parts),
    )
