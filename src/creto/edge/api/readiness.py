"""Is everything there that a product needs? Each dependency with the time it is given, hard ones and soft ones apart.

A hard dependency that does not answer makes the layer not ready; a soft one makes it degraded: it works, with less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from creto.common.errors import EnablementError
from creto.common.ids import AgentId, TenantId
from creto.common.limits import READY_S_MAX
from creto.edge.api.parts import Parts

# The start-up time-outs that the products grant their dependencies.
STARTUP_TIMEOUT_S = {"nhi": 30, "authz": 10, "crypto": 30, "consensus": 30, "memory": 60, "audit": 30, "store": 30, "bus": 30, "storage": 30}  # fmt: skip
SOFT = frozenset({"audit", "memory", "bus", "storage"})
PROBE_TENANT = TenantId("default")
PROBE_AGENT = AgentId("agent:nhi:ed25519:11111111111111111111111111111111")  # nobody's: what is decided does not matter


class Condition(StrEnum):
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    condition: Condition
    required: bool
    startup_timeout_s: int
    error: str | None = None


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    dependencies: tuple[Dependency, ...]


log = logging.getLogger(__name__)
Probe = Callable[[], Awaitable[Condition]]


def probes(parts: Parts) -> dict[str, Probe]:
    async def store() -> Condition:
        await parts.store.read(lambda tx: tx.value("SELECT 1"))
        return Condition.UP if parts.store.signals_alive else Condition.DEGRADED

    async def consensus() -> Condition:
        return Condition.DEGRADED if parts.clock.degraded else Condition.UP

    async def crypto() -> Condition:
        await parts.keystore.check()
        return Condition.UP

    async def nhi() -> Condition:
        await parts.nhi.list(PROBE_TENANT, limit=1)
        return Condition.UP

    async def authz() -> Condition:
        parts.authz.check(PROBE_AGENT, "time:read", f"tenant:{PROBE_TENANT}", tenant=PROBE_TENANT)
        return Condition.UP

    async def audit() -> Condition:
        await parts.audit.size()
        return Condition.UP

    async def memory() -> Condition:
        await parts.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM memory_agent WHERE tenant = ''"))
        return Condition.UP

    async def bus() -> Condition:
        await parts.bus.durables()
        return Condition.UP

    async def storage() -> Condition:
        await parts.storage.list(PROBE_TENANT, limit=1)
        return Condition.UP

    return {
        "store": store,
        "consensus": consensus,
        "crypto": crypto,
        "nhi": nhi,
        "authz": authz,
        "audit": audit,
        "memory": memory,
        "bus": bus,
        "storage": storage,
    }


async def readiness(parts: Parts) -> Readiness:
    found = await asyncio.gather(*(probed(name, probe) for name, probe in probes(parts).items()))
    ready = all(d.condition is not Condition.DOWN for d in found if d.required)
    return Readiness(ready, tuple(found))


async def probed(name: str, probe: Probe) -> Dependency:
    error: str | None = None
    try:
        async with asyncio.timeout(READY_S_MAX):
            condition = await probe()
    except EnablementError as fault:
        condition, error = Condition.DOWN, f"{fault.code} {fault.message}"
    except TimeoutError:
        condition, error = Condition.DOWN, f"no answer in {READY_S_MAX} s"
    except Exception as fault:
        log.exception("the probe of %s failed", name)
        condition, error = Condition.DOWN, type(fault).__name__
    return Dependency(
        name=name,
        condition=condition,
        required=name not in SOFT,
        startup_timeout_s=STARTUP_TIMEOUT_S[name],
        error=error,
    )
