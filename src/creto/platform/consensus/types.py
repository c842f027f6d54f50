"""The structs and Protocols of consensus: nodes, what a clock says of itself, leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import NewType, Protocol, TypeVar

import msgspec

from creto.common.ids import TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.consensus.fence import FenceGuard
from creto.store.types import Tx

T = TypeVar("T")

NodeId = NewType("NodeId", str)  # a time node's identity, of the same form as an agent's
PersonId = NewType("PersonId", str)  # a human, whatever keys and groups they have


class Signer(Protocol):
    """Whoever signs with one key: crypto's SigningKey, or a key in hardware."""

    def sign(self, message: bytes, context: bytes = b"") -> bytes: ...


class Verifier(Protocol):
    """Whoever checks one key's signatures: crypto's VerifyKey. Raises SignatureVerificationFailed."""

    def verify(self, message: bytes, signature: bytes, context: bytes = b"") -> None: ...


class ClockState(msgspec.Struct, frozen=True):
    """What a clock knows of its own time, for health pages and `creto doctor`."""

    reading: ConsensusTimestamp
    degraded: bool
    uncertainty_ns: int | None  # how far from an honest node at most; None where no quorum ever answered
    age_ns: int | None  # since the quorum's last word
    nodes: tuple[NodeState, ...] = ()


class NodeState(msgspec.Struct, frozen=True):
    """One time node as the last round saw it."""

    node: NodeId
    address: str
    taken: bool = False  # part of the agreement
    offset_ns: int | None = None  # how far its clock is past the agreed time
    round_trip_ns: int | None = None
    fault: str | None = None  # why it was not heard or not believed


class Lease(msgspec.Struct, frozen=True):
    tenant: TenantId
    name: str
    holder: str
    token: int  # grows at every change of hands
    acquired_at: ConsensusTimestamp
    expires_at: ConsensusTimestamp

    @property
    def fence(self) -> FenceGuard:
        return FenceGuard(self.tenant, self.name, self.token)

    def fenced(self, fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
        """The same transaction, refused (PL-304) unless this lease is still the last one given."""
        return self.fence.around(fn)


class LeaseKeeper(Protocol):
    """Whoever keeps leases: rows (`Leases`) or a JetStream bucket (`KvLeases`)."""

    async def acquire(self, name: str, ttl_ns: int) -> Lease:
        """The lease, with a greater token than any before; PL-303 while another holds it."""
        ...

    async def renew(self, lease: Lease, ttl_ns: int) -> Lease:
        """The same lease for longer; PL-304 when it was given to another meanwhile."""
        ...

    async def release(self, lease: Lease) -> bool:
        """Give it back; False when it was not ours any more."""
        ...

    async def current(self, name: str) -> Lease | None:
        """The lease that holds now."""
        ...
