"""Sealing: authenticated encryption that commits to its key.

    sealed = seal(key, b"secret", aad=b"tenant/key-1")
    open_sealed(key, sealed, aad=b"tenant/key-1")

AES-GCM and ChaCha20-Poly1305 alone do not commit: one ciphertext can be made to open under two keys. `seal` draws
32 random bytes, derives from (key, them, suite, aad) an encryption key, a nonce and a commitment, and stores the commitment:

    suite (1) || random (32) || commitment (32) || ciphertext || tag (16)

INVARIANT: no derived key encrypts twice, so nonces cannot repeat whatever the number of messages under one key.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305

from creto.common.errors import CryptoError, InvalidInput
from creto.platform.crypto.hashes import digest, equal, hkdf, random_bytes
from creto.platform.crypto.types import AeadSuite, suite_of

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
RANDOM_BYTES = 32
COMMITMENT_BYTES = 32
HEADER_BYTES = 1 + RANDOM_BYTES + COMMITMENT_BYTES
SEAL_INFO = b"creto/seal/v1"

CIPHERS: dict[AeadSuite, type[AESGCM] | type[ChaCha20Poly1305] | type[AESGCMSIV]] = {
    AeadSuite.AES_256_GCM: AESGCM,
    AeadSuite.CHACHA20_POLY1305: ChaCha20Poly1305,
    AeadSuite.AES_256_GCM_SIV: AESGCMSIV,
}


class Aead:
    """Low-level: the bare algorithm, for formats that derive a key per message or chunk (ratchets, objects).

    INVARIANT: the caller never uses a nonce twice with one key, and commits to the key where two could be offered.
    """

    __slots__ = ("_cipher", "suite")

    def __init__(self, suite: AeadSuite, key: bytes) -> None:
        self.suite = suite
        self._cipher = CIPHERS[suite](checked_key(key))

    def encrypt(self, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        return self._cipher.encrypt(checked_nonce(nonce), plaintext, aad)

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Raises CryptoError PL-213."""
        try:
            return self._cipher.decrypt(checked_nonce(nonce), ciphertext, aad)
        except (InvalidTag, ValueError) as error:
            raise cannot_open() from error

    def __repr__(self) -> str:
        return f"Aead({self.suite.name})"


def seal(key: bytes, plaintext: bytes, aad: bytes = b"", suite: AeadSuite = AeadSuite.AES_256_GCM) -> bytes:
    """Encrypt under a 32-byte key. `aad` is authenticated and not stored: whoever opens must know it."""
    random = random_bytes(RANDOM_BYTES)
    cipher, nonce, commitment = derived(suite, key, random, aad)
    return bytes((suite,)) + random + commitment + cipher.encrypt(nonce, plaintext)


def open_sealed(key: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
    """Raises CryptoError: PL-218 malformed, PL-211 unknown suite, PL-213 another key, other aad, or altered."""
    if len(sealed) < HEADER_BYTES + TAG_BYTES:
        raise CryptoError.of(
            "sealed", got=f"{len(sealed)} bytes", expected=f"at least {HEADER_BYTES + TAG_BYTES} bytes", code="PL-218"
        )
    random = sealed[1 : 1 + RANDOM_BYTES]
    cipher, nonce, commitment = derived(suite_of(AeadSuite, sealed[0]), key, random, aad)
    if not equal(commitment, sealed[1 + RANDOM_BYTES : HEADER_BYTES]):
        raise cannot_open()
    return cipher.decrypt(nonce, sealed[HEADER_BYTES:])


def derived(suite: AeadSuite, key: bytes, random: bytes, aad: bytes) -> tuple[Aead, bytes, bytes]:
    """The commitment binds key, random, suite and aad: HKDF-SHA256 is collision resistant in all of them."""
    info = SEAL_INFO + bytes((suite,)) + digest(aad)
    keys = hkdf(checked_key(key), salt=random, info=info, size_bytes=KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES)
    return Aead(suite, keys[:KEY_BYTES]), keys[KEY_BYTES : KEY_BYTES + NONCE_BYTES], keys[-COMMITMENT_BYTES:]


def checked_key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise InvalidInput.of("key", got=f"{len(key)} bytes", expected=f"{KEY_BYTES} bytes", code="PL-216")
    return key


def checked_nonce(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise InvalidInput.of("nonce", got=f"{len(nonce)} bytes", expected=f"{NONCE_BYTES} bytes", code="PL-216")
    return nonce


def cannot_open() -> CryptoError:
    return CryptoError("PL-213")
