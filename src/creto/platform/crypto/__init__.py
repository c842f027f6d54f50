"""Crypto suites: signatures, key agreement, seals, Merkle trees and the keystore; no algorithm is named outside this part.

    from creto.platform.crypto import SigningKey, random_bytes, open_sealed, seal

    key = SigningKey.generate()                                   # Ed25519 and ML-DSA-65, both must verify
    signature = key.sign(b"approve", context=b"creto/example/v1")
    key.public.verify(b"approve", signature, context=b"creto/example/v1")
    secret = random_bytes(32)
    assert open_sealed(secret, seal(secret, b"text", b"aad"), b"aad") == b"text"

`jose` has keys and signatures as JWK and JWS, `merkle` the trees.
"""

from creto.platform.crypto import jose, merkle
from creto.platform.crypto.aead import Aead, open_sealed, seal
from creto.platform.crypto.batch import BatchSeal, SealedRoot, SealProof, seal_batch, seal_hashes, verify_seal
from creto.platform.crypto.client import CryptoClient
from creto.platform.crypto.hashes import (
    digest,
    equal,
    hkdf,
    hkdf_expand,
    hkdf_extract,
    mac,
    random_bytes,
    tagged_digest,
    tagged_digest_of,
    verify_digest,
    verify_mac,
)
from creto.platform.crypto.kek import Kek, KekSource
from creto.platform.crypto.kem import KemPrivateKey, KemPublicKey
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.policy import Era, SignedSuiteList, SuiteList, SuitePolicy, agreed, check_offered
from creto.platform.crypto.service import Keystore, SecretKey, StoredKey
from creto.platform.crypto.suites import Suites, open_suites
from creto.platform.crypto.types import (
    AeadSuite,
    Algorithm,
    HashSuite,
    KemSuite,
    KeyKind,
    KeyRecord,
    MacSuite,
    SignatureSuite,
    SignRequest,
    Suite,
    VerifyRequest,
    any_suite,
    strength,
)

__all__ = [
    "Aead",
    "AeadSuite",
    "Algorithm",
    "BatchSeal",
    "CryptoClient",
    "Era",
    "HashSuite",
    "Kek",
    "KekSource",
    "KemPrivateKey",
    "KemPublicKey",
    "KemSuite",
    "KeyKind",
    "KeyRecord",
    "Keystore",
    "MacSuite",
    "SealProof",
    "SealedRoot",
    "SecretKey",
    "SignRequest",
    "SignatureSuite",
    "SignedSuiteList",
    "SigningKey",
    "StoredKey",
    "Suite",
    "SuiteList",
    "SuitePolicy",
    "Suites",
    "VerifyKey",
    "VerifyRequest",
    "agreed",
    "any_suite",
    "check_offered",
    "digest",
    "equal",
    "hkdf",
    "hkdf_expand",
    "hkdf_extract",
    "jose",
    "mac",
    "merkle",
    "open_sealed",
    "open_suites",
    "random_bytes",
    "seal",
    "seal_batch",
    "seal_hashes",
    "strength",
    "tagged_digest",
    "tagged_digest_of",
    "verify_digest",
    "verify_mac",
    "verify_seal",
]
