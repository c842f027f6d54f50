"""Delegation chains: who acts for whom, from a human or a service down to the agent that calls.

A link is what a parent signs: this child may do these actions on these resources, within this budget, for this long, and hand on so many
times more. A link carries the hash of the link above it, so a link cannot be spliced into another chain.

    root = delegate(human_key, None, agent, tenant=tenant, actions=("runtime:*",), resources=("*",), ...)
    chain = DelegationChain((root,))
    chain = chain.extended(delegate(agent_key, chain, helper, actions=("runtime:exec",), ...))
    assert DelegationChain.from_bytes(chain.to_bytes()) == chain

INVARIANT: a chain has one spelling; bytes that decode to a chain but are not what `to_bytes` writes are refused.
INVARIANT: the hash of a link covers its terms and not its signature, so signing the same terms again does not escape a revocation.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, Unauthorized
from creto.common.ids import AgentId, AgentIdentity, TenantId
from creto.common.limits import CHAIN_BYTES_MAX, CHAINS_DECODED_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import tagged_digest

if TYPE_CHECKING:
    from creto.platform.nhi.service import Nhi
    from creto.platform.nhi.validation import ValidatedChain

LINK_CONTEXT = b"creto/delegation/v1"
NONCE_BYTES = 16


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be spent beneath a link; no budget means that the link sets no bound of its own."""

    micros: int
    currency: str


class DelegationLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One grant. `not_before` is inclusive, `not_after` exclusive; `depth_left` counts the links that may still follow."""

    tenant: TenantId
    parent: AgentId
    child: AgentId
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    budget: Budget | None
    depth_left: int
    not_before: ConsensusTimestamp
    not_after: ConsensusTimestamp
    nonce: bytes
    parent_link: bytes  # empty on the first link
    signature: bytes = b""

    @cached_property
    def canonical_bytes(self) -> bytes:
        """What the parent signs: everything but the signature."""
        return wire.encode(msgspec.structs.replace(self, signature=b"") if self.signature else self)

    @cached_property
    def hash(self) -> bytes:
        """The link's name: what its child link commits to and what a revocation names."""
        return tagged_digest(self.canonical_bytes)

    @cached_property
    def proof(self) -> bytes:
        """A name for these terms with this very signature: what was verified once need not be verified again."""
        return tagged_digest(self.canonical_bytes + self.signature)


class ChainFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chain as bytes; `v` so that a reader knows what it cannot read."""

    v: Literal[1]
    links: tuple[DelegationLink, ...]


class DelegationChain(msgspec.Struct, frozen=True, dict=True):
    """Links ordered from the root's to the caller's. Anything can be in here until `Nhi.validate` has accepted it."""

    links: tuple[DelegationLink, ...]

    @cached_property
    def agents(self) -> tuple[AgentId, ...]:
        """From the root to the current agent."""
        return (*(link.parent for link in self.links[:1]), *(link.child for link in self.links))

    @property
    def chain(self) -> list[AgentIdentity]:
        """The identities from the root to the current agent, as the names say them."""
        return [AgentIdentity.parse(agent) for agent in self.agents]

    @cached_property
    def fingerprint(self) -> bytes:
        """A name for this chain with these very signatures: the key of what was verified before."""
        return tagged_digest(self.to_bytes())

    def root(self) -> AgentIdentity:
        """The human or service that everything goes back to."""
        return AgentIdentity.parse(self._ends()[0])

    def current(self) -> AgentIdentity:
        """The agent that acts."""
        return AgentIdentity.parse(self._ends()[1])

    def _ends(self) -> tuple[AgentId, AgentId]:
        if not self.links:
            raise Unauthorized("PL-110", got="no links", expected="at least one link")
        return self.links[0].parent, self.links[-1].child

    def extended(self, link: DelegationLink) -> DelegationChain:
        return DelegationChain((*self.links, link))

    def to_bytes(self) -> bytes:
        return wire.encode(ChainFile(1, self.links))

    @staticmethod
    def from_bytes(data: bytes) -> DelegationChain:
        """The chain in these bytes, unverified; whatever they are, the answer is a chain or PL-129."""
        if len(data) > CHAIN_BYTES_MAX:
            raise InvalidInput.of(
                "chain", got=f"{len(data)} bytes", expected=f"at most {CHAIN_BYTES_MAX}", code="PL-129"
            )
        return decoded(data)

    def validate(
        self, nhi: Nhi, *, tenant: TenantId, agent: AgentId | None = None, now: ConsensusTimestamp | None = None
    ) -> ValidatedChain:
        """The client's spelling of `Nhi.validate`."""
        return nhi.validate(self, tenant=tenant, agent=agent, now=now)


@lru_cache(maxsize=CHAINS_DECODED_MAX)
def decoded(data: bytes) -> DelegationChain:
    """An agent sends the same chain with every call; what a chain is made of is worked out once."""
    chain = DelegationChain(wire.decode(data, ChainFile, code="PL-129", what="chain").links)
    if chain.to_bytes() != data:
        raise InvalidInput.of("chain", got="another spelling", expected="sorted keys without spaces", code="PL-129")
    return chain
