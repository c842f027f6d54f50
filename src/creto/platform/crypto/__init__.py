"""Crypto suites: signatures, digests, seals and Merkle trees; no algorithm is named outside this part.

from creto.platform.crypto import SigningKey, open_sealed, seal

key = SigningKey.generate()                                   # Ed25519 and ML-DSA-65, both must verify
signature = key.sign(b"approve", context=b"creto/example/v1")
key.public.verify(b"approve", signature, context=b"creto/example/v1")
"""

from creto.platform.crypto import merkle
from creto.platform.crypto.aead import Aead, open_sealed, seal
from creto.platform.crypto.hashes import (
    digest,
    equal,
    hkdf,
    hkdf_expand,
    hkdf_extract,
    mac,
    random_bytes,
    tagged_digest,
    verify_digest,
    verify_mac,
)
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.types import AeadSuite, Algorithm, HashSuite, KemSuite, MacSuite, SignatureSuite

__all__ = [
    "Aead",
    "AeadSuite",
    "Algorithm",
    "HashSuite",
    "KemSuite",
    "MacSuite",
    "SignatureSuite",
    "SigningKey",
    "VerifyKey",
    "digest",
    "equal",
    "hkdf",
    "hkdf_expand",
    "hkdf_extract",
    "mac",
    "merkle",
    "open_sealed",
    "random_bytes",
    "seal",
    "tagged_digest",
    "verify_digest",
    "verify_mac",
]
