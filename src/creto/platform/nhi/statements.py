"""What principals sign, apart from links: one struct, one context each, so that no signature serves for anything else."""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, TenantId, agent_id
from creto.platform.crypto import SigningKey, VerifyKey, tagged_digest
from creto.platform.nhi.types import Challenge, PrincipalKind

REGISTRATION_CONTEXT = b"creto/registration/v1"
ROTATION_CONTEXT = b"creto/rotation/v1"
CHALLENGE_CONTEXT = b"creto/challenge/v1"
BUNDLE_CONTEXT = b"creto/key-bundle/v1"
CERTIFICATE_CONTEXT = b"creto/certificate-request/v1"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """Signed by the new key: it exists, its owner wants this name and kind in this tenant."""

    tenant: TenantId
    kind: PrincipalKind
    name: str
    owner: AgentId | None
    public_key: bytes


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """Signed by both keys: the old one appoints, the new one proves possession."""

    tenant: TenantId
    predecessor: AgentId
    public_key: bytes


def nhi_of(key: VerifyKey) -> AgentId:
    """The name that a key has."""
    return agent_id(key.ed25519)


def registration_bytes(
    tenant: TenantId, kind: PrincipalKind, name: str, owner: AgentId | None, key: VerifyKey
) -> bytes:
    return wire.encode(Registration(tenant=tenant, kind=kind, name=name, owner=owner, public_key=key.to_bytes()))


def registration_proof(
    key: SigningKey, *, tenant: TenantId, kind: PrincipalKind, name: str, owner: AgentId | None = None
) -> bytes:
    """What a principal sends to be registered."""
    return key.sign(registration_bytes(tenant, kind, name, owner, key.public), REGISTRATION_CONTEXT)


def rotation_bytes(tenant: TenantId, predecessor: AgentId, key: VerifyKey) -> bytes:
    return wire.encode(Rotation(tenant=tenant, predecessor=predecessor, public_key=key.to_bytes()))


def rotation_proofs(old: SigningKey, new: SigningKey, *, tenant: TenantId) -> tuple[bytes, bytes]:
    """The old key's and the new key's signature under a rotation."""
    message = rotation_bytes(tenant, nhi_of(old.public), new.public)
    return old.sign(message, ROTATION_CONTEXT), new.sign(message, ROTATION_CONTEXT)


def challenge_bytes(challenge: Challenge) -> bytes:
    return wire.encode(challenge)


def answer(key: SigningKey, challenge: Challenge) -> bytes:
    """An agent's answer to a challenge."""
    return key.sign(challenge_bytes(challenge), CHALLENGE_CONTEXT)


def request_bytes(tenant: TenantId, agent: AgentId, request_der: bytes) -> bytes:
    return wire.encode([tenant, agent, tagged_digest(request_der)])


def request_proof(key: SigningKey, request_der: bytes, *, tenant: TenantId) -> bytes:
    """The agent's word that the TLS key in this certificate request is its own."""
    return key.sign(request_bytes(tenant, nhi_of(key.public), request_der), CERTIFICATE_CONTEXT)
