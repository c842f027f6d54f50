"""Trust: who vouches for a usage event.

A signed event is verified with the key of the agent it names; an unsigned one counts only where the tenant allows that. Events of an
agent that nobody knows are refused, for a while: it may be on its way.

INVARIANT: what is signed is the event in the form it came in, without its signature, for this use alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import NhiError, SignatureVerificationFailed, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.contracts import MessageBillableEvent
from creto.metering.types import UsageEvent
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi

USAGE_CONTEXT = b"creto/usage-event/v1"
UNKNOWN = "PL-102"


class EventTrust(Protocol):
    def check(self, tenant: TenantId, event: UsageEvent) -> None:
        """Raises SignatureVerificationFailed MT-401, Unauthorized MT-403, or NhiError PL-102 for an agent nobody knows."""
        ...


def signed_bytes(event: UsageEvent) -> bytes:
    if isinstance(event, MessageBillableEvent):
        return wire.encode(event)
    return wire.encode(replace(event, signature=None))


def sign_event(key: SigningKey, event: UsageEvent) -> UsageEvent:
    """The event with its agent's signature. Messaging's events have no place for one: they come from the layer itself."""
    if isinstance(event, MessageBillableEvent):
        return event
    return replace(event, signature=key.sign(signed_bytes(event), USAGE_CONTEXT))


class NhiTrust:
    """By the registry of identities. `unsigned` says for which tenants and agents an event needs no signature."""

    def __init__(self, nhi: Nhi, unsigned: Callable[[TenantId, AgentId], bool]) -> None:
        self._nhi = nhi
        self._unsigned = unsigned

    def check(self, tenant: TenantId, event: UsageEvent) -> None:
        self._nhi.get_now(tenant, event.agent_nhi)
        signature = None if isinstance(event, MessageBillableEvent) else event.signature
        if signature is None:
            if not self._unsigned(tenant, event.agent_nhi):
                raise Unauthorized(
                    "MT-403",
                    "unsigned events do not count here",
                    field="signature",
                    hint="Sign the event with the agent's key.",
                )
            return
        try:
            self._nhi.validate_signature(event.agent_nhi, signed_bytes(event), signature, USAGE_CONTEXT, tenant=tenant)
        except (SignatureVerificationFailed, Unauthorized, NhiError) as error:
            raise SignatureVerificationFailed(
                "MT-401", "the event's signature is not valid", field="signature", caused_by=error
            ) from error


class UnsafeTrustEverybody:
    """No signature is looked at: for a process that makes its own events, and for measurements."""

    def check(self, tenant: TenantId, event: UsageEvent) -> None:
        return None
