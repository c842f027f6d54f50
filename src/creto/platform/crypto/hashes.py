"""Digests, message authentication codes and key derivation, each by suite.

digest(b"...")                                    # SHA-256
tag = mac(key, b"..."); verify_mac(key, b"...", tag)
keys = hkdf(secret, salt=b"", info=b"creto/example/v1", size_bytes=64)
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from creto.common.errors import CryptoError, InvalidInput
from creto.platform.crypto.types import HashSuite, MacSuite, suite_of

HASH_NAMES = {
    HashSuite.SHA256: "sha256",
    HashSuite.SHA384: "sha384",
    HashSuite.SHA512: "sha512",
    HashSuite.SHA3_256: "sha3_256",
}
DIGEST_BYTES = {HashSuite.SHA256: 32, HashSuite.SHA384: 48, HashSuite.SHA512: 64, HashSuite.SHA3_256: 32}
HKDF_SUITES = (HashSuite.SHA256, HashSuite.SHA384, HashSuite.SHA512)

random_bytes = secrets.token_bytes


def digest(data: bytes, suite: HashSuite = HashSuite.SHA256) -> bytes:
    return hashlib.new(HASH_NAMES[suite], data).digest() if suite != HashSuite.SHA256 else hashlib.sha256(data).digest()


def tagged_digest(data: bytes, suite: HashSuite = HashSuite.SHA256) -> bytes:
    """A digest that names its suite, for what is kept long enough to see another suite chosen."""
    return bytes((suite,)) + digest(data, suite)


def tagged_digest_of(pieces: Iterable[bytes], suite: HashSuite = HashSuite.SHA256) -> bytes:
    """The tagged digest of what is too large to hold at once."""
    whole = hashlib.new(HASH_NAMES[suite])
    for piece in pieces:
        whole.update(piece)
    return bytes((suite,)) + whole.digest()


def verify_digest(data: bytes, tagged: bytes) -> None:
    """Check data against a tagged digest of any suite. Raises CryptoError PL-220, or PL-211 for an unknown suite."""
    suite = suite_of(HashSuite, tagged[0] if tagged else 0)
    if not hmac.compare_digest(tagged, tagged_digest(data, suite)):
        raise CryptoError("PL-220", "the digest does not fit the data", got=tagged.hex(), expected="the data's digest")


def mac(key: bytes, data: bytes, suite: MacSuite = MacSuite.HMAC_SHA256) -> bytes:
    if suite == MacSuite.HMAC_SHA256:
        return hmac.digest(key, data, "sha256")
    if suite == MacSuite.HMAC_SHA512:
        return hmac.digest(key, data, "sha512")
    if not 16 <= len(key) <= 32:
        raise InvalidInput.of("key", got=f"{len(key)} bytes", expected="16 to 32 bytes for BLAKE2s", code="PL-216")
    return hashlib.blake2s(data, key=key).digest()


def verify_mac(key: bytes, data: bytes, tag: bytes, suite: MacSuite = MacSuite.HMAC_SHA256) -> None:
    """In constant time; a shortened tag is refused. Raises CryptoError PL-220."""
    if not hmac.compare_digest(mac(key, data, suite), tag):
        raise CryptoError("PL-220", "the authentication code is not valid")


def equal(a: bytes, b: bytes) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(a, b)


def hkdf(
    secret: bytes, *, salt: bytes = b"", info: bytes, size_bytes: int = 32, suite: HashSuite = HashSuite.SHA256
) -> bytes:
    """RFC 5869: extract with the salt, expand with the info, which names what the key is for."""
    return hkdf_expand(hkdf_extract(secret, salt, suite), info=info, size_bytes=size_bytes, suite=suite)


def hkdf_extract(secret: bytes, salt: bytes = b"", suite: HashSuite = HashSuite.SHA256) -> bytes:
    """RFC 5869 2.2: an absent salt is a string of zeros, which HMAC pads to by itself."""
    return hmac.digest(salt, secret, checked_hkdf(suite))


def hkdf_expand(prk: bytes, *, info: bytes, size_bytes: int = 32, suite: HashSuite = HashSuite.SHA256) -> bytes:
    """RFC 5869 2.3."""
    name = checked_hkdf(suite)
    if not 0 < size_bytes <= 255 * DIGEST_BYTES[suite]:
        raise InvalidInput.of("size_bytes", got=size_bytes, expected=f"1 to {255 * DIGEST_BYTES[suite]}")
    block, out = b"", b""
    for counter in range(1, -(-size_bytes // DIGEST_BYTES[suite]) + 1):
        block = hmac.digest(prk, block + info + bytes((counter,)), name)
        out += block
    return out[:size_bytes]


def checked_hkdf(suite: HashSuite) -> str:
    if suite not in HKDF_SUITES:
        raise CryptoError.of("suite", got=suite.name, expected="SHA256, SHA384 or SHA512 for HKDF", code="PL-211")
    return HASH_NAMES[suite]
