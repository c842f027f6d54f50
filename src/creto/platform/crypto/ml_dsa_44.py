"""ML-DSA-44 as C2SP cosignatures use it: raw, over a message that has its own frame. Nothing else signs with it.

INVARIANT: verification takes any bytes and answers yes or no.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidKey, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from creto.common.errors import InvalidInput

SEED_BYTES = 32
PUBLIC_BYTES = 1312
SIGNATURE_BYTES = 2420


def public_key(seed: bytes) -> bytes:
    return load_private(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    return load_private(seed).sign(message)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, InvalidKey, UnsupportedAlgorithm, ValueError):
        return False
    return True


def load_private(seed: bytes) -> MLDSA44PrivateKey:
    if len(seed) != SEED_BYTES:
        raise InvalidInput.of("seed", got=f"{len(seed)} bytes", expected=f"{SEED_BYTES} bytes", code="PL-216")
    return MLDSA44PrivateKey.from_seed_bytes(seed)
