"""Trust: who vouches for a usage event.

That the agent used it is vouched for by its signature, or by who reports it: the agent itself, whom it belongs to, or who is allowed to
vouch for others. An unsigned event counts only where the tenant's policy allows that. Under whom the agent acted, and so who bears the
cost, is vouched for by the delegation chain that the report came with, by whom the agent belongs to, or again by who may vouch: an agent
signs for itself, never for who pays. Events of an agent that nobody knows are refused, for a while: it may be on its way.

INVARIANT: what is signed is the event in the form it came in, without its signature, for this use alone.
INVARIANT: nobody's usage or cost grows by a report of an agent that neither is theirs nor acts for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, SignatureVerificationFailed, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CHAIN_LINKS_MAX
from creto.contracts import MessageBillableEvent
from creto.metering.attribution import Chain
from creto.metering.types import UsageEvent
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi

USAGE_CONTEXT = b"creto/usage-event/v1"
UNKNOWN = "PL-102"


Check = Callable[[UsageEvent], None]


class Allowed(msgspec.Struct, frozen=True):
    """What a tenant's policy lets who reports usage do."""

    unsigned: bool = False  # its reports need no signature
    vouch: bool = False  # its word goes for other agents, and for the chains they acted under


class EventTrust(Protocol):
    def of(self, tenant: TenantId, by: AgentId, under: Chain = (), *, vouched: bool = False) -> Check:
        """What looks at each event that `by` reports, acting `under` a chain that was validated; `vouched` for what comes from the layer.

        It raises SignatureVerificationFailed MT-401, Unauthorized MT-403, or NotFound PL-102 for an agent nobody knows.
        """
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
    """By the registry of identities. `allowed` says what a tenant's policy lets who reports do."""

    def __init__(self, nhi: Nhi, allowed: Callable[[TenantId, AgentId], Allowed]) -> None:
        self._nhi = nhi
        self._allowed = allowed

    def of(self, tenant: TenantId, by: AgentId, under: Chain = (), *, vouched: bool = False) -> Check:
        owners = cache(lambda agent: self._owners(tenant, agent))
        allowed = self._allowed(tenant, by)
        vouches = vouched or allowed.vouch

        def check(event: UsageEvent) -> None:
            agent, chain = event.agent_nhi, event.delegation_chain
            above, whole = owners(agent), chain if chain[-1:] == (agent,) else (*chain, agent)
            if len(whole) > 1 and not vouches and whole != under and whole != above[-len(whole) :]:
                raise Unauthorized(
                    "MT-403", "nothing shows that the agent acted under this chain", field="delegation_chain", got=chain,
                    expected="none, whom the agent belongs to, or the chain that the report came with",
                    hint="Report it with the delegation chain, or let who may vouch report it.",
                )  # fmt: skip
            if self._signed(tenant, event):
                return
            if not allowed.unsigned:
                raise Unauthorized(
                    "MT-403", "unsigned events do not count here", field="signature",
                    hint="Sign the event with the agent's key.",
                )  # fmt: skip
            if by not in above and not vouches:
                raise Unauthorized(
                    "MT-403", "nobody vouches that the agent used this", field="agent_nhi", got=agent,
                    expected=f"{by} or an agent of theirs",
                    hint="Sign the event with the agent's key, or let the agent report it.",
                )  # fmt: skip

        return check

    def _owners(self, tenant: TenantId, agent: AgentId) -> Chain:
        """Whom an agent belongs to, from the first down to itself. PL-102 if it is not known."""
        found = self._nhi.get_now(tenant, agent)
        chain = [agent]
        while found.owner is not None and len(chain) <= CHAIN_LINKS_MAX:
            chain.append(found.owner)
            found = self._nhi.get_now(tenant, found.owner)
        return tuple(reversed(chain))

    def _signed(self, tenant: TenantId, event: UsageEvent) -> bool:
        """Whether the agent has signed it; a signature that does not hold is an error, whoever reports it."""
        signature = None if isinstance(event, MessageBillableEvent) else event.signature
        if signature is None:
            return False
        try:
            self._nhi.validate_signature(event.agent_nhi, signed_bytes(event), signature, USAGE_CONTEXT, tenant=tenant)
        except EnablementError as error:
            raise SignatureVerificationFailed(
                "MT-401", "the event's signature is not valid", field="signature", caused_by=error
            ) from error
        return True


class UnsafeTrustEverybody:
    """Nothing is looked at: for a process that makes its own events, and for measurements."""

    def of(self, tenant: TenantId, by: AgentId, under: Chain = (), *, vouched: bool = False) -> Check:
        return accept


def accept(event: UsageEvent) -> None:
    """As it is."""
