"""The suites: what an algorithm is called in our bytes, how long its parts are, how strong it is.

INVARIANT: no two suites of any kind share an id, so bytes of one kind are never read as another; an id is never given to
a second algorithm.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

import msgspec

from creto.common.errors import CryptoError


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
