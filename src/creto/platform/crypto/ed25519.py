"""Ed25519 with strict verification.

The library checks S < L and compares R as bytes (RFC 8032 5.1.7 without the cofactor). We also refuse what makes one
signature fit many messages or one key have many spellings: non-canonical and small-order points, as key and as R.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from creto.common.errors import InvalidInput

SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        # x = 0 with the sign bit set: not canonical (RFC 8032 5.1.3 step 4)
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)
FIELD = 2**255 - 19


def load_public(data: bytes) -> Ed25519PublicKey:
    """A key in its one canonical spelling, and not of small order: such keys accept one signature for many messages."""
    if len(data) != 32:
        raise InvalidInput.of("ed25519 key", got=f"{len(data)} bytes", expected="32 bytes", code="PL-216")
    if data in SMALL_ORDER or int.from_bytes(data, "little") & (2**255 - 1) >= FIELD:
        raise InvalidInput.of("ed25519 key", got=data.hex(), expected="a canonical point of large order", code="PL-216")
    return Ed25519PublicKey.from_public_bytes(data)


def load_private(seed: bytes) -> Ed25519PrivateKey:
    if len(seed) != 32:
        raise InvalidInput.of("ed25519 seed", got=f"{len(seed)} bytes", expected="32 bytes", code="PL-216")
    return Ed25519PrivateKey.from_private_bytes(seed)


def verifies(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    if len(signature) != 64 or signature[:32] in SMALL_ORDER:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
