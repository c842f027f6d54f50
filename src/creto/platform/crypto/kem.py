"""Key encapsulation: agree on a secret with the owner of a public key.

    key = KemPrivateKey.generate()                 # X-Wing: X25519 and ML-KEM-768
    secret, ciphertext = key.public.encapsulate()
    assert key.decapsulate(ciphertext) == secret

X25519 alone is DHKEM(X25519, HKDF-SHA256) of RFC 9180, ML-KEM-768 is FIPS 203, the hybrid is X-Wing (draft-connolly-cfrg-xwing-kem).
Keys and ciphertexts begin with their suite's id; X-Wing's and DHKEM's secrets bind the algorithm's name, ML-KEM's its key.

INVARIANT: private bytes leave a key only through `private_bytes`; repr, errors and pickles never hold them.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from creto.common.errors import CryptoError, InvalidInput
from creto.platform.crypto.hashes import digest, hkdf_expand, hkdf_extract, random_bytes
from creto.platform.crypto.types import KEMS, HashSuite, KemSuite, suite_of

SECRET_BYTES = 32
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")
DHKEM_ID = b"KEM\x00\x20"  # RFC 9180 4.1: "KEM" and the two bytes of DHKEM(X25519, HKDF-SHA256)


class KemPrivateKey:
    """A private key. Make one with `generate`, `from_seed` or `from_private_bytes`."""

    __slots__ = ("__dict__", "_ml_kem", "_seed", "_x25519", "suite")

    def __init__(
        self, suite: KemSuite, seed: bytes, ml_kem: MLKEM768PrivateKey | None, x25519: X25519PrivateKey | None
    ) -> None:
        self.suite = suite
        self._seed = seed
        self._ml_kem = ml_kem
        self._x25519 = x25519

    @staticmethod
    def generate(suite: KemSuite = KemSuite.HYBRID) -> KemPrivateKey:
        return KemPrivateKey.from_seed(suite, random_bytes(KEMS[suite].seed_bytes))

    @staticmethod
    def from_seed(suite: KemSuite, seed: bytes) -> KemPrivateKey:
        """X25519: the scalar; ML-KEM-768: d and z (64 bytes); hybrid: X-Wing's 32 bytes."""
        expected = KEMS[suite].seed_bytes
        if len(seed) != expected:
            raise InvalidInput.of("seed", got=f"{len(seed)} bytes", expected=f"{expected} bytes", code="PL-216")
        if suite == KemSuite.X25519:
            return KemPrivateKey(suite, seed, None, X25519PrivateKey.from_private_bytes(seed))
        if suite == KemSuite.ML_KEM_768:
            return KemPrivateKey(suite, seed, MLKEM768PrivateKey.from_seed_bytes(seed), None)
        wide = hashlib.shake_256(seed).digest(96)
        return KemPrivateKey(
            suite, seed, MLKEM768PrivateKey.from_seed_bytes(wide[:64]), X25519PrivateKey.from_private_bytes(wide[64:])
        )

    @staticmethod
    def from_private_bytes(data: bytes) -> KemPrivateKey:
        """What `private_bytes` gave."""
        if not data:
            raise InvalidInput.of("private key", got="no bytes", expected="a suite id and a seed", code="PL-216")
        return KemPrivateKey.from_seed(suite_of(KemSuite, data[0]), data[1:])

    def private_bytes(self) -> bytes:
        """Suite and seed: the secret itself. Seal it before it touches a disk."""
        return bytes((self.suite,)) + self._seed

    @cached_property
    def public(self) -> KemPublicKey:
        return KemPublicKey(
            self.suite,
            self._ml_kem.public_key() if self._ml_kem else None,
            self._x25519.public_key() if self._x25519 else None,
        )

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The 32-byte secret. An altered ML-KEM ciphertext gives another secret, not an error: authenticate with it."""
        raw = checked_ciphertext(self.suite, ciphertext)
        if self._x25519 is None:
            return self.ml_kem_private().decapsulate(raw)
        dh = exchange(self._x25519, X25519PublicKey.from_public_bytes(raw[-32:]))
        if self._ml_kem is None:
            return dhkem_secret(dh, raw, self.public.raw)
        return xwing_secret(self._ml_kem.decapsulate(raw[:-32]), dh, raw[-32:], self.public.raw[-32:])

    def exchange(self, peer: KemPublicKey) -> bytes:
        """Low-level: the bare X25519 result, for protocols that mix several into one key (RFC 7748 6.1: zero is refused)."""
        if self._x25519 is None or self.suite != peer.suite or self.suite != KemSuite.X25519:
            raise CryptoError.of("suite", got=f"{self.suite.name}, {peer.suite.name}", expected="X25519", code="PL-211")
        return exchange(self._x25519, peer.x25519_public())

    def ml_kem_private(self) -> MLKEM768PrivateKey:
        """Low-level: the library's key."""
        if self._ml_kem is None:
            raise CryptoError.of("suite", got=self.suite.name, expected="a suite with ML_KEM_768", code="PL-211")
        return self._ml_kem

    def __repr__(self) -> str:
        return f"KemPrivateKey({self.suite.name}, public {self.public.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled: its private bytes would leave it unsealed")


class KemPublicKey:
    """A public key: equal, hashable and printable by its bytes."""

    __slots__ = ("__dict__", "_ml_kem", "_x25519", "suite")

    def __init__(self, suite: KemSuite, ml_kem: MLKEM768PublicKey | None, x25519: X25519PublicKey | None) -> None:
        self.suite = suite
        self._ml_kem = ml_kem
        self._x25519 = x25519

    @staticmethod
    def from_bytes(data: bytes) -> KemPublicKey:
        """Suite id, then the ML-KEM-768 key, then the X25519 key, as far as the suite has them."""
        if not data:
            raise InvalidInput.of("kem key", got="no bytes", expected="a suite id and a key", code="PL-216")
        suite = suite_of(KemSuite, data[0])
        raw, expected = data[1:], KEMS[suite].public_bytes
        if len(raw) != expected:
            raise InvalidInput.of("kem key", got=f"{len(data)} bytes", expected=f"{expected + 1} bytes", code="PL-216")
        ml_kem = None if suite == KemSuite.X25519 else load_ml_kem(raw[:1184])
        x25519 = None if suite == KemSuite.ML_KEM_768 else X25519PublicKey.from_public_bytes(raw[-32:])
        return KemPublicKey(suite, ml_kem, x25519)

    @cached_property
    def raw(self) -> bytes:
        """The key without its suite id."""
        ml_kem = self._ml_kem.public_bytes_raw() if self._ml_kem else b""
        return ml_kem + (self._x25519.public_bytes_raw() if self._x25519 else b"")

    def to_bytes(self) -> bytes:
        return bytes((self.suite,)) + self.raw

    @cached_property
    def fingerprint(self) -> str:
        return digest(self.to_bytes()).hex()[:16]

    def encapsulate(self) -> tuple[bytes, bytes]:
        """A fresh 32-byte secret, and the ciphertext that tells it to the key's owner."""
        id = bytes((self.suite,))
        if self._x25519 is None:
            secret, ct_m = self.ml_kem_public().encapsulate()
            return secret, id + ct_m
        ephemeral = X25519PrivateKey.generate()
        ct_x = ephemeral.public_key().public_bytes_raw()
        dh = exchange(ephemeral, self._x25519)
        if self._ml_kem is None:
            return dhkem_secret(dh, ct_x, self.raw), id + ct_x
        secret, ct_m = self._ml_kem.encapsulate()
        return xwing_secret(secret, dh, ct_x, self.raw[-32:]), id + ct_m + ct_x

    def x25519_public(self) -> X25519PublicKey:
        """Low-level: the library's key."""
        if self._x25519 is None:
            raise CryptoError.of("suite", got=self.suite.name, expected="a suite with X25519", code="PL-211")
        return self._x25519

    def ml_kem_public(self) -> MLKEM768PublicKey:
        """Low-level: the library's key."""
        if self._ml_kem is None:
            raise CryptoError.of("suite", got=self.suite.name, expected="a suite with ML_KEM_768", code="PL-211")
        return self._ml_kem

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KemPublicKey) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __repr__(self) -> str:
        return f"KemPublicKey({self.suite.name}, {self.fingerprint})"


def exchange(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    try:
        return private.exchange(public)
    except ValueError as error:
        raise CryptoError("PL-213", "the X25519 key is of small order", field="x25519 key") from error


def load_ml_kem(data: bytes) -> MLKEM768PublicKey:
    """FIPS 203 7.2: the library refuses coefficients that are not reduced."""
    try:
        return MLKEM768PublicKey.from_public_bytes(data)
    except ValueError as error:
        raise InvalidInput("PL-216", "the ML-KEM-768 key cannot be read", field="kem key") from error


def dhkem_secret(dh: bytes, ciphertext: bytes, public: bytes) -> bytes:
    """RFC 9180 4.1: ExtractAndExpand with kem_context = enc || pkRm."""
    prk = hkdf_extract(b"HPKE-v1" + DHKEM_ID + b"eae_prk" + dh)
    info = SECRET_BYTES.to_bytes(2) + b"HPKE-v1" + DHKEM_ID + b"shared_secret" + ciphertext + public
    return hkdf_expand(prk, info=info, size_bytes=SECRET_BYTES)


def xwing_secret(ss_m: bytes, ss_x: bytes, ct_x: bytes, pk_x: bytes) -> bytes:
    return digest(ss_m + ss_x + ct_x + pk_x + XWING_LABEL, HashSuite.SHA3_256)


def checked_ciphertext(suite: KemSuite, ciphertext: bytes) -> bytes:
    if not ciphertext or suite_of(KemSuite, ciphertext[0]) != suite:
        got = KemSuite(ciphertext[0]).name if ciphertext else "no bytes"
        raise CryptoError.of("ciphertext", got=got, expected=f"a ciphertext for {suite.name}", code="PL-213")
    expected = 1 + KEMS[suite].ciphertext_bytes
    if len(ciphertext) != expected:
        got = f"{len(ciphertext)} bytes"
        raise CryptoError.of("ciphertext", got=got, expected=f"{expected} bytes", code="PL-218")
    return ciphertext[1:]
