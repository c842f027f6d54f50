"""What runs here, for operators."""

from __future__ import annotations

from creto.common.errors import NotFound
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.parts import Parts
from creto.edge.api.readiness import Readiness, readiness


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


class GetSuites(Ask, frozen=True):
    """The crypto suites that are in force."""


class SuitesView(View, frozen=True):
    """`signed` is the list as it was signed (`SignedSuiteList`); whoever keeps the highest version they saw is not talked back to an older one."""

    version: int
    aead: str
    signature: str
    owner: str
    public_key: bytes
    signed: bytes


SUITES = Endpoint("system.suites", "GET", "/v1/system/suites", GetSuites, SuitesView, "system:read", "The crypto suites in force, as a signed list")  # fmt: skip

ENDPOINTS = (SYSTEM, SUITES)


@handles(SYSTEM)
async def system(parts: Parts, call: Call, ask: GetSystem) -> SystemView:
    from creto.version import VERSION  # reads the package's metadata: some milliseconds of every command

    return SystemView(
        version=VERSION,
        node=parts.store.node,
        engine=parts.store.engine,
        time=parts.clock.now(),
        degraded_clock=parts.clock.degraded,
        log_size=await parts.audit.size(),
        readiness=await readiness(parts),
    )


@handles(SUITES)
async def suites(parts: Parts, call: Call, ask: GetSuites) -> SuitesView:
    found = parts.keystore.suites
    if found.version is None or found.key is None:
        raise NotFound("PL-404", "no list of suites was signed here")
    return SuitesView(
        version=found.version.number,
        aead=found.aead.name,
        signature=found.signature.name,
        owner=found.owner,
        public_key=found.key.to_bytes(),
        signed=found.version.signed.to_bytes(),
    )
