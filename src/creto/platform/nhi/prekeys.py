"""Key bundles, for messaging: what somebody needs to write to an agent that is away.

An upload is a batch of keys under one signature: each key is a leaf that names its tenant, agent, kind and number, so a key of one kind
never passes for another and a last-resort key never for a one-time key. One-time keys are handed out once.

INVARIANT: an upload's number is higher than the last one's, so a replayed upload brings no used key back.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, AgentIdentity, TenantId
from creto.common.limits import INTEGER_MAX, KEM_KEY_BYTES_MAX, ONE_TIME_PREKEYS_MAX
from creto.platform.crypto import SealProof, SigningKey, VerifyKey, seal_batch
from creto.platform.nhi import statements


class PrekeyKind(IntEnum):
    """The number is part of what is signed: it never changes its meaning."""

    IDENTITY_DH = 1  # the long-term X25519 key
    SIGNED_DH = 2  # the X25519 prekey of some weeks
    ONE_TIME_DH = 3
    LAST_RESORT_KEM = 4  # the ML-KEM-768 key for when the one-time keys are used up
    ONE_TIME_KEM = 5

    @property
    def one_time(self) -> bool:
        return self in (PrekeyKind.ONE_TIME_DH, PrekeyKind.ONE_TIME_KEM)


LASTING = (PrekeyKind.IDENTITY_DH, PrekeyKind.SIGNED_DH, PrekeyKind.LAST_RESORT_KEM)


class Prekey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key in the form of its suite (`KemPublicKey.to_bytes`)."""

    kind: PrekeyKind
    id: int
    public: bytes


class BundleUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys, in the order of the sealed leaves, and the signature over their root."""

    batch: int
    keys: tuple[Prekey, ...]
    signature: bytes


class SealedPrekey(msgspec.Struct, frozen=True):
    key: Prekey
    batch: int
    proof: bytes

    def verify(self, verify_key: VerifyKey, tenant: TenantId, agent: AgentId) -> None:
        """Raises PL-210, PL-217 or PL-218 unless the agent sealed this key as this kind."""
        leaf = leaf_bytes(tenant, agent, self.batch, self.key)
        SealProof.from_bytes(self.proof).verify(leaf, verify_key, statements.BUNDLE_CONTEXT)


class KeyBundle(msgspec.Struct, frozen=True):
    """One set of keys to open a session with. `kem` is one-time while there are any, else the last resort: its kind says which."""

    tenant: TenantId
    agent: AgentIdentity
    identity_dh: SealedPrekey
    signed_dh: SealedPrekey
    one_time_dh: SealedPrekey | None
    kem: SealedPrekey

    def keys(self) -> tuple[SealedPrekey, ...]:
        lasting = (self.identity_dh, self.signed_dh, self.kem)
        return lasting if self.one_time_dh is None else (*lasting, self.one_time_dh)

    def verify(self) -> None:
        """Every key against the agent's hybrid key, and every key of the kind its place demands. Needs no server."""
        places = (
            (self.identity_dh, (PrekeyKind.IDENTITY_DH,)),
            (self.signed_dh, (PrekeyKind.SIGNED_DH,)),
            (self.kem, (PrekeyKind.ONE_TIME_KEM, PrekeyKind.LAST_RESORT_KEM)),
            (self.one_time_dh, (PrekeyKind.ONE_TIME_DH,)),
        )
        for sealed, kinds in places:
            if sealed is not None and sealed.key.kind not in kinds:
                raise InvalidInput.of("kind", got=sealed.key.kind.name, expected=kinds[0].name)
        verify_key = VerifyKey.of(self.agent.public_key_ed25519, self.agent.public_key_ml_dsa)
        seen: set[tuple[int, bytes, bytes]] = set()
        for key in self.keys():
            proof = SealProof.from_bytes(key.proof)
            root = proof.sealed(leaf_bytes(self.tenant, self.agent.nhi, key.batch, key.key))
            if (root.size, root.root, root.signature) not in seen:
                root.verify(verify_key, statements.BUNDLE_CONTEXT)
                seen.add((root.size, root.root, root.signature))


class PrekeyCounts(msgspec.Struct, frozen=True):
    """How many one-time keys are left: replenish before they are gone."""

    one_time_dh: int
    one_time_kem: int


def leaf_bytes(tenant: TenantId, agent: AgentId, batch: int, key: Prekey) -> bytes:
    return wire.encode(
        {"tenant": tenant, "agent": agent, "batch": batch, "kind": key.kind, "id": key.id, "public": key.public}
    )


def seal_bundle(key: SigningKey, keys: Sequence[Prekey], *, tenant: TenantId, batch: int) -> BundleUpload:
    """What an agent does before `publish_bundle`; `batch` grows with every upload (the time in nanoseconds does)."""
    agent = statements.nhi_of(key.public)
    sealed = seal_batch(key, [leaf_bytes(tenant, agent, batch, k) for k in keys], statements.BUNDLE_CONTEXT)
    return BundleUpload(batch, tuple(keys), sealed.signature)


def check_upload(upload: BundleUpload) -> None:
    """Bounds, before any hash: numbers, sizes, at most one key of each lasting kind, no key twice."""
    if not 0 < upload.batch <= INTEGER_MAX:
        raise InvalidInput.of("batch", got=upload.batch, expected=f"1 to {INTEGER_MAX}")
    counts_max = 2 * ONE_TIME_PREKEYS_MAX + len(LASTING)
    if not 1 <= len(upload.keys) <= counts_max:
        raise InvalidInput.of("keys", got=f"{len(upload.keys)} keys", expected=f"1 to {counts_max}")
    for key in upload.keys:
        if not 0 <= key.id <= INTEGER_MAX:
            raise InvalidInput.of("keys.id", got=key.id, expected=f"0 to {INTEGER_MAX}")
        if not 0 < len(key.public) <= KEM_KEY_BYTES_MAX:
            raise InvalidInput.of("keys.public", got=f"{len(key.public)} bytes", expected=f"1 to {KEM_KEY_BYTES_MAX}")
    if len({(key.kind, key.id) for key in upload.keys}) != len(upload.keys):
        raise InvalidInput.of("keys", got="a key twice", expected="one key of each kind and number")
    lasting = [key.kind for key in upload.keys if not key.kind.one_time]
    if len(set(lasting)) != len(lasting):
        raise InvalidInput.of("keys", got="two keys of one lasting kind", expected="at most one")


def decode_upload(data: bytes) -> BundleUpload:
    """An upload from outside; PL-400 names the field."""
    upload = wire.decode(data, BundleUpload, what="bundle")
    check_upload(upload)
    return upload


def decode_bundle(data: bytes) -> KeyBundle:
    """A bundle from another process, verified; any bytes give a bundle or an EnablementError."""
    bundle = wire.decode(data, KeyBundle, what="bundle")
    agent = AgentIdentity.parse(bundle.agent.nhi)
    if agent.public_key_ed25519 != bundle.agent.public_key_ed25519:
        raise InvalidInput.of("agent", got="a name that is not its key's", expected=agent.nhi)
    try:
        bundle.verify()
    except EnablementError as error:
        raise error.with_context("verifying a key bundle") from error
    return bundle
