"""The structs of consensus: time readings as they travel, and what a clock says of itself."""

from __future__ import annotations

from typing import NewType, Protocol

import msgspec

from creto.common.timestamps import ConsensusTimestamp

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

    @property
    def earliest(self) -> int | None:
        return None if self.uncertainty_ns is None else self.reading - self.uncertainty_ns

    @property
    def latest(self) -> int | None:
        return None if self.uncertainty_ns is None else self.reading + self.uncertainty_ns


class NodeState(msgspec.Struct, frozen=True):
    """One time node as the last round saw it."""

    node: NodeId
    address: str
    taken: bool = False  # part of the agreement
    offset_ns: int | None = None  # how far its clock is past the agreed time
    round_trip_ns: int | None = None
    fault: str | None = None  # why it was not heard or not believed
