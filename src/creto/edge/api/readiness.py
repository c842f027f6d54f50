"""Is everything there that a product needs? Each dependency with the time it is given, hard ones and soft ones apart.

A hard dependency that does not answer makes the layer not ready; a soft one makes it degraded: it works, with less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec

from creto.common.errors import ConnectionFailed, EnablementError, NotFound
from creto.common.ids import AgentId, TenantId
from creto.common.limits import AUDIT_LATE_S, OVERSIGHT_LATE_S, READY_S_MAX
from creto.common.settings import CommonConfig
from creto.common.timestamps import SECOND
from creto.edge.api.parts import Parts
from creto.store.types import Isolation, Tx

# How long a start waits for each: `app.py` for the hard ones; a soft one that is not there yet is waited for while the layer serves.
STARTUP_TIMEOUT_S = {"nhi": 30, "authz": 10, "crypto": 30, "consensus": 30, "memory": 60, "audit": 30, "store": 30, "bus": 30, "storage": 30, "oversight": 30, "metering": 30}  # fmt: skip
SOFT = frozenset({"audit", "memory", "bus", "storage", "oversight", "metering"})
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


def touch(tx: Tx) -> None:
    """A write that changes nothing."""
    tx.run("UPDATE store_node SET node = node")


def probes(parts: Parts) -> dict[str, Probe]:
    tenant = TenantId(parts.config[CommonConfig].tenant)

    async def store() -> Condition:
        await parts.store.write(touch, isolation=Isolation.READ_COMMITTED)  # a full disk still reads
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
        standing = await parts.audit.standing()
        sequencer, witnessing = parts.audit.sequencer.failure, parts.audit.witnessing.failure
        if sequencer is not None:
            raise sequencer.with_traceback(None)
        late_s = (parts.clock.now() - (standing.unsigned_since or parts.clock.now())) // SECOND
        if late_s > AUDIT_LATE_S:
            raise NotFound("PL-609", f"entries wait for a signature since {late_s} s: no worker keeps the log")
        return Condition.UP if witnessing is None else Condition.DEGRADED

    async def memory() -> Condition:
        await parts.memory.check(tenant)
        return Condition.UP

    async def bus() -> Condition:
        await parts.bus.standing()
        if not parts.bus.connected:
            raise ConnectionFailed("PL-503", "the broker is away: messages wait in the outbox")
        return Condition.UP

    async def storage() -> Condition:
        await parts.storage.check(tenant)
        return Condition.UP

    async def oversight() -> Condition:
        late = (await parts.oversight.standing()).late_s > OVERSIGHT_LATE_S
        return Condition.DEGRADED if late else Condition.UP

    async def metering() -> Condition:
        await parts.quotas.usage(PROBE_TENANT, [PROBE_AGENT])
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
        "oversight": oversight,
        "metering": metering,
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
