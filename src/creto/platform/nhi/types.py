"""What identities are made of: principals and their states, callers, challenges, certificates, pages."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from creto.common.ids import AgentId, AgentIdentity, SandboxId, TenantId, agent_key
from creto.common.timestamps import ConsensusTimestamp


class PrincipalKind(StrEnum):
    HUMAN = "human"  # a root: may act and delegate on their own account
    SERVICE = "service"  # a root: a part of the platform or of the customer's
    AGENT = "agent"  # acts only for a root, with a delegation chain

    @property
    def is_root(self) -> bool:
        return self is not PrincipalKind.AGENT


class IdentityState(StrEnum):
    """What is stored. Retirement after a rotation is a matter of time, not of state: see `lifecycle.standing`."""

    ACTIVE = "active"
    SUSPENDED = "suspended"  # until resumed
    REVOKED = "revoked"  # for ever


class Standing(StrEnum):
    """What an identity may do at one moment."""

    IN_FORCE = "in_force"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    RETIRED = "retired"  # rotated, and the overlap is over: the successor acts


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registered principal.

    INVARIANT: `origin` is the first key of a line of rotations, so it names the person or program behind all of them: whoever counts
    people (one human, one vote) compares origins, never `nhi`s.
    """

    tenant: TenantId
    nhi: AgentId
    kind: PrincipalKind
    name: str
    public_key_ml_dsa: bytes | None = None
    owner: AgentId | None = None
    origin: AgentId
    state: IdentityState = IdentityState.ACTIVE
    registered_at: ConsensusTimestamp
    changed_at: ConsensusTimestamp
    retires_at: ConsensusTimestamp | None = None
    predecessor: AgentId | None = None
    successor: AgentId | None = None
    reason: str | None = None
    version: int = 1

    def __repr__(self) -> str:
        return f"Identity({self.tenant!r}, {self.nhi!r}, {self.kind}, {self.name!r}, {self.state})"

    @property
    def agent(self) -> AgentIdentity:
        return AgentIdentity(self.nhi, agent_key(self.nhi), self.public_key_ml_dsa)


class IdentityPage(msgspec.Struct, frozen=True):
    items: tuple[Identity, ...]
    cursor: str | None = None  # pass it to get the next page; None at the end


class Revocation(msgspec.Struct, frozen=True):
    """The result of a revocation. In this process it holds when the call returns; `everywhere` says that each live node confirmed it."""

    identities: tuple[Identity, ...]
    links: tuple[bytes, ...] = ()
    everywhere: bool = True


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as a token or a certificate proves it, and what the credential covers."""

    tenant: TenantId
    agent: AgentId
    kind: PrincipalKind
    scopes: tuple[str, ...]
    expires_at: ConsensusTimestamp
    credential: str = ""  # the token's or certificate's id, for the record


class Challenge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an agent signs to prove that it holds its key; the server keeps nothing until it is used."""

    tenant: TenantId
    agent: AgentId
    nonce: bytes
    expires_at: ConsensusTimestamp
    mac: bytes = b""


class IssuedToken(msgspec.Struct, frozen=True):
    token: str
    caller: Caller


class TokenRevocation(msgspec.Struct, frozen=True, kw_only=True):
    """In this process it holds when the call returns; `everywhere` says that each live node confirmed it."""

    token_id: str
    first: bool  # False: it was revoked before
    everywhere: bool = True


class IssuedCertificate(msgspec.Struct, frozen=True):
    """A short-lived certificate and the authority that vouches for it, both PEM."""

    certificate_pem: bytes
    authority_pem: bytes
    serial: int
    uris: tuple[str, ...]
    not_after: ConsensusTimestamp


class Binding(msgspec.Struct, frozen=True):
    """Which agent a sandbox runs."""

    tenant: TenantId
    sandbox: SandboxId
    agent: AgentId
    bound_at: ConsensusTimestamp
