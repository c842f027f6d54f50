"""Consensus time and leases over the wire."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.errors import NotFound, Unauthorized
from creto.common.limits import LEASE_TTL_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import Count, Id
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.platform.consensus import Lease


class GetTimestamps(Ask, frozen=True):
    count: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Timestamps(View, frozen=True):
    """Strictly increasing. `degraded` says that they are local: no quorum answers."""

    timestamps: tuple[ConsensusTimestamp, ...]
    degraded: bool


class AcquireLease(Ask, frozen=True):
    name: Id
    ttl_s: Annotated[int, Meta(ge=1, le=LEASE_TTL_S_MAX)] = 10


class GetLease(Ask, frozen=True):
    name: Id


class RenewLease(Ask, frozen=True):
    name: Id
    holder: Id
    token: Count
    ttl_s: Annotated[int, Meta(ge=1, le=LEASE_TTL_S_MAX)] = 10


class ReleaseLease(Ask, frozen=True):
    name: Id
    holder: Id
    token: Count


class LeaseView(View, frozen=True):
    """`holder` begins with the identity that holds it; `token` is the fencing token: it grows with every holder."""

    name: str
    holder: str
    token: int
    expires_at: ConsensusTimestamp


LEASE = "lease:{name}"
TIMESTAMPS = Endpoint("time.get_timestamp", "GET", "/v1/time", GetTimestamps, Timestamps, "time:read", "Consensus timestamps", errors=("PL-301", "PL-302"))  # fmt: skip
ACQUIRE = Endpoint("leases.acquire", "POST", "/v1/leases/{name}", AcquireLease, LeaseView, "leases:write", "Become the one holder of a name for a while", errors=("PL-303",), about=LEASE, effect=Effect.OUTSIDE)  # fmt: skip
CURRENT = Endpoint("leases.current", "GET", "/v1/leases/{name}", GetLease, LeaseView, "leases:read", "Who holds a name", about=LEASE)  # fmt: skip
RENEW = Endpoint("leases.renew", "PUT", "/v1/leases/{name}", RenewLease, LeaseView, "leases:write", "Hold it longer", errors=("PL-303", "PL-304"), about=LEASE, effect=Effect.OUTSIDE)  # fmt: skip
RELEASE = Endpoint("leases.release", "DELETE", "/v1/leases/{name}", ReleaseLease, Nothing, "leases:write", "Let it go", status=204, errors=("PL-304",), about=LEASE, effect=Effect.OUTSIDE)  # fmt: skip

ENDPOINTS = (TIMESTAMPS, ACQUIRE, CURRENT, RENEW, RELEASE)


def claimed(parts: Parts, call: Call, name: str, holder: str, token: int) -> Lease:
    """The caller's own lease as it describes it; the row decides whether it has it."""
    if not holder.startswith(f"{call.known.agent}/"):
        raise Unauthorized(
            "PL-304", f"{name} is not held by the caller", field="holder", got=holder, expected=f"{call.known.agent}/…"
        )
    now = parts.clock.now()
    return Lease(call.tenant, name, holder, token, now, now)


def view(lease: Lease, name: str) -> LeaseView:
    return LeaseView(name=name, holder=lease.holder, token=lease.token, expires_at=lease.expires_at)


@handles(TIMESTAMPS)
async def timestamps(parts: Parts, call: Call, ask: GetTimestamps) -> Timestamps:
    return Timestamps(timestamps=tuple(parts.clock.timestamps(ask.count)), degraded=parts.clock.degraded)


@handles(ACQUIRE)
async def acquire(parts: Parts, call: Call, ask: AcquireLease) -> LeaseView:
    return view(
        await parts.leases.acquire(ask.name, ask.ttl_s * SECOND, tenant=call.tenant, by=call.known.agent), ask.name
    )


@handles(CURRENT)
async def current(parts: Parts, call: Call, ask: GetLease) -> LeaseView:
    found = await parts.leases.current(ask.name, tenant=call.tenant)
    if found is None:
        raise NotFound("PL-404", f"nobody holds {ask.name}")
    return view(found, ask.name)


@handles(RENEW)
async def renew(parts: Parts, call: Call, ask: RenewLease) -> LeaseView:
    held = claimed(parts, call, ask.name, ask.holder, ask.token)
    return view(await parts.leases.renew(held, ask.ttl_s * SECOND), ask.name)


@handles(RELEASE)
async def release(parts: Parts, call: Call, ask: ReleaseLease) -> Nothing:
    await parts.leases.release(claimed(parts, call, ask.name, ask.holder, ask.token))
    return Nothing()
