"""The suites: what an algorithm is called in our bytes, how long its parts are, how strong it is.

INVARIANT: no two suites of any kind share an id, so bytes of one kind are never read as another; an id is never given to
a second algorithm.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TypeVar, assert_never

import msgspec

from creto.common.errors import CryptoError
from creto.common.ids import AgentIdentity, KeyId, TenantId


class HashSuite(IntEnum):
    """Digests. SHA256 keeps the id it has in `creto.common.fingerprint`."""

    SHA256 = 0x01
    SHA384 = 0x02
    SHA512 = 0x03
    SHA3_256 = 0x04


class MacSuite(IntEnum):
    """Message authentication with a shared key."""

    HMAC_SHA256 = 0x11
    HMAC_SHA512 = 0x12
    BLAKE2S_256 = 0x13  # keyed BLAKE2s: a third of the cost on short messages; keys of at most 32 bytes


class AeadSuite(IntEnum):
    """Authenticated encryption, all with keys of 32 bytes, nonces of 12 and tags of 16."""

    AES_256_GCM = 0x21
    CHACHA20_POLY1305 = 0x22
    AES_256_GCM_SIV = 0x23


class KemSuite(IntEnum):
    """Key encapsulation."""

    X25519 = 0x31
    ML_KEM_768 = 0x32
    HYBRID = 0x33  # X-Wing: X25519 and ML-KEM-768, safe while either holds


class SignatureSuite(IntEnum):
    """Signatures."""

    ED25519 = 0x41
    ML_DSA_65 = 0x42
    HYBRID = 0x43  # the LAMPS composite id-MLDSA65-Ed25519-SHA512: both must verify

    # The client's name for the hybrid.
    HybridEdDsaMlDsa = 0x43


Algorithm = SignatureSuite  # the client's name
Suite = HashSuite | MacSuite | AeadSuite | KemSuite | SignatureSuite


class SignatureInfo(msgspec.Struct, frozen=True):
    """Sizes in bytes of raw parts, without the suite id; `strength` orders suites when a downgrade is judged."""

    seed_bytes: int
    public_bytes: int
    signature_bytes: int
    strength: int


class KemInfo(msgspec.Struct, frozen=True):
    seed_bytes: int
    public_bytes: int
    ciphertext_bytes: int
    strength: int


SIGNATURES: dict[SignatureSuite, SignatureInfo] = {
    SignatureSuite.ED25519: SignatureInfo(32, 32, 64, 1),
    SignatureSuite.ML_DSA_65: SignatureInfo(32, 1952, 3309, 2),
    SignatureSuite.HYBRID: SignatureInfo(64, 1984, 3373, 3),
}

KEMS: dict[KemSuite, KemInfo] = {
    KemSuite.X25519: KemInfo(32, 32, 32, 1),
    KemSuite.ML_KEM_768: KemInfo(64, 1184, 1088, 2),
    KemSuite.HYBRID: KemInfo(32, 1216, 1120, 3),
}

S = TypeVar("S", HashSuite, MacSuite, AeadSuite, KemSuite, SignatureSuite)


def suite_of(kind: type[S], id: int) -> S:
    """The suite that a byte names, or PL-211."""
    try:
        return kind(id)
    except ValueError:
        known = ", ".join(f"0x{suite.value:02x} {suite.name}" for suite in kind)
        raise CryptoError.of("suite", got=f"0x{id:02x}", expected=known, code="PL-211") from None


def any_suite(id: int) -> Suite:
    """The suite that a byte names, of whatever kind, or PL-211."""
    for kind in (HashSuite, MacSuite, AeadSuite, KemSuite, SignatureSuite):
        if id in kind._value2member_map_:
            return kind(id)
    raise CryptoError.of("suite", got=f"0x{id:02x}", expected="the id of a known suite", code="PL-211")


def strength(suite: Suite) -> int:
    """Within one kind: moving to a lower number is a downgrade."""
    match suite:
        case SignatureSuite():
            return SIGNATURES[suite].strength
        case KemSuite():
            return KEMS[suite].strength
        case HashSuite() | MacSuite() | AeadSuite():
            return 1  # all of them give 128 bits and more, and hold against quantum machines
        case _:
            assert_never(suite)


class KeyKind(StrEnum):
    """What a stored key is for."""

    SIGNING = "signing"
    KEM = "kem"
    SECRET = "secret"


class KeyRecord(msgspec.Struct, frozen=True):
    """A stored key as it may be shown: everything but the secret."""

    tenant: TenantId
    key_id: KeyId
    version: int
    kind: KeyKind
    suite: int  # 0 for a secret: it has no suite of its own
    public: bytes  # empty for a secret
    kek_id: str
    created_at: int | None = None


class SignRequest(msgspec.Struct, frozen=True):
    """Sign for an agent whose key is in the keystore under the agent's id."""

    tenant: TenantId
    agent: AgentIdentity
    data: bytes
    algorithm: SignatureSuite = SignatureSuite.HYBRID
    context: bytes = b""


class VerifyRequest(msgspec.Struct, frozen=True):
    """Check an agent's signature. `algorithm` is what the caller demands: the signature cannot choose."""

    agent: AgentIdentity
    data: bytes
    signature: bytes
    algorithm: SignatureSuite = SignatureSuite.HYBRID
    context: bytes = b""
