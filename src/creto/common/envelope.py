"""The envelope that every event between products travels in: who, for whom, when, what, signed.

envelope = EventEnvelope(event_type="runtime.sandbox_allocated", ...)
signed = envelope.signed(signer)          # over canonical_bytes()
signed.verify(verifier)                   # raises SignatureVerificationFailed
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import SignatureVerificationFailed
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.timestamps import ConsensusTimestamp

P = TypeVar("P")


class Signer(Protocol):
    """Whoever can sign for an agent. The bytes returned name their suite."""

    def sign(self, message: bytes, context: bytes) -> bytes: ...


class Verifier(Protocol):
    """Whoever can check an agent's signature; raises SignatureVerificationFailed."""

    def verify(self, agent: AgentId, message: bytes, signature: bytes, context: bytes) -> None: ...


ENVELOPE_CONTEXT = b"creto/event/v1"


class EventEnvelope(msgspec.Struct, Generic[P], frozen=True):
    event_type: str
    event_id: EventId
    tenant: TenantId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    timestamp: ConsensusTimestamp
    payload: P
    signature: bytes | None = None

    def canonical_bytes(self) -> bytes:
        """What is signed: everything but the signature, in one fixed spelling."""
        return wire.encode(msgspec.structs.replace(self, signature=None))

    def signed(self, signer: Signer) -> EventEnvelope[P]:
        return msgspec.structs.replace(self, signature=signer.sign(self.canonical_bytes(), ENVELOPE_CONTEXT))

    def verify(self, verifier: Verifier) -> None:
        if self.signature is None:
            raise SignatureVerificationFailed(
                "PL-210", f"event {self.event_id} is not signed", got="no signature", expected="the agent's signature"
            )
        verifier.verify(self.agent_nhi, self.canonical_bytes(), self.signature, ENVELOPE_CONTEXT)
