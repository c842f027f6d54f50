"""Signing keys of every suite behind one face.

    key = SigningKey.generate()                        # hybrid: Ed25519 and ML-DSA-65
    signature = key.sign(b"...", context=b"creto/example/v1")
    key.public.verify(b"...", signature, context=b"creto/example/v1")

A signature's first byte is its suite. The suite and the context stand inside the signed bytes too: the composite has its own
frame, the single algorithms sign `FRAME || suite || len(context) || context || message`.

INVARIANT: a key verifies signatures of its own suite only: a hybrid key never accepts half a signature.
INVARIANT: private bytes leave a key only through `private_bytes`; repr, errors and pickles never hold them.
"""

from __future__ import annotations

from functools import cached_property
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from creto.common.errors import CryptoError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto import composite, ed25519
from creto.platform.crypto.hashes import digest, random_bytes
from creto.platform.crypto.types import SIGNATURES, SignatureSuite, suite_of

FRAME = b"creto/signature/v1\x00"
CONTEXT_BYTES_MAX = 255  # FIPS 204 and the composite keep the length in one byte


def framed(suite: SignatureSuite, message: bytes, context: bytes) -> bytes:
    return FRAME + bytes((suite, len(context))) + context + message


def checked_context(context: bytes) -> bytes:
    if len(context) > CONTEXT_BYTES_MAX:
        raise InvalidInput.of("context", got=f"{len(context)} bytes", expected=f"at most {CONTEXT_BYTES_MAX} bytes")
    return context


class SigningKey:
    """A private key. Make one with `generate`, `from_seed` or `from_private_bytes`."""

    __slots__ = ("__dict__", "_ed25519", "_ml_dsa", "suite")

    def __init__(self, suite: SignatureSuite, ml_dsa: MLDSA65PrivateKey | None, ed: Ed25519PrivateKey | None) -> None:
        self.suite = suite
        self._ml_dsa = ml_dsa
        self._ed25519 = ed

    @staticmethod
    def generate(suite: SignatureSuite = SignatureSuite.HYBRID) -> SigningKey:
        return SigningKey.from_seed(suite, random_bytes(SIGNATURES[suite].seed_bytes))

    @staticmethod
    def from_seed(suite: SignatureSuite, seed: bytes) -> SigningKey:
        """32 bytes; for the hybrid the ML-DSA-65 seed and then the Ed25519 seed, as the LAMPS draft orders them."""
        expected = SIGNATURES[suite].seed_bytes
        if len(seed) != expected:
            raise InvalidInput.of("seed", got=f"{len(seed)} bytes", expected=f"{expected} bytes", code="PL-216")
        ml_dsa = None if suite == SignatureSuite.ED25519 else MLDSA65PrivateKey.from_seed_bytes(seed[:32])
        ed = None if suite == SignatureSuite.ML_DSA_65 else ed25519.load_private(seed[-32:])
        return SigningKey(suite, ml_dsa, ed)

    @staticmethod
    def from_private_bytes(data: bytes) -> SigningKey:
        """What `private_bytes` gave."""
        if not data:
            raise InvalidInput.of("private key", got="no bytes", expected="a suite id and a seed", code="PL-216")
        return SigningKey.from_seed(suite_of(SignatureSuite, data[0]), data[1:])

    def private_bytes(self) -> bytes:
        """Suite and seed: the secret itself. Seal it before it touches a disk."""
        ml_dsa = self._ml_dsa.private_bytes_raw() if self._ml_dsa else b""
        ed = self._ed25519.private_bytes_raw() if self._ed25519 else b""
        return bytes((self.suite,)) + ml_dsa + ed

    @cached_property
    def public(self) -> VerifyKey:
        return VerifyKey(
            self.suite,
            self._ml_dsa.public_key() if self._ml_dsa else None,
            self._ed25519.public_key() if self._ed25519 else None,
        )

    def sign(self, message: bytes, context: bytes = b"") -> bytes:
        """Suite id and signature. The context says what the signature is for; at most 255 bytes."""
        checked_context(context)
        id = bytes((self.suite,))
        if self._ml_dsa is not None and self._ed25519 is not None:
            return id + composite.sign(self._ml_dsa, self._ed25519, message, context)
        if self._ml_dsa is not None:
            return id + self._ml_dsa.sign(framed(self.suite, message, context))
        return id + self.ed25519_private().sign(framed(self.suite, message, context))

    def component(self, suite: SignatureSuite) -> SigningKey:
        """One half of a hybrid key as a key of its own; for a promise that a hybrid seal will follow."""
        if suite == self.suite:
            return self
        if suite == SignatureSuite.ED25519:
            return SigningKey(suite, None, self.ed25519_private())
        if suite == SignatureSuite.ML_DSA_65:
            return SigningKey(suite, self.ml_dsa_private(), None)
        raise without(suite, self.suite)

    def ed25519_private(self) -> Ed25519PrivateKey:
        """Low-level: the library's key, for formats with frames of their own (X.509, JWS, notes). It adds no context."""
        if self._ed25519 is None:
            raise without(SignatureSuite.ED25519, self.suite)
        return self._ed25519

    def ml_dsa_private(self) -> MLDSA65PrivateKey:
        """Low-level: as `ed25519_private`."""
        if self._ml_dsa is None:
            raise without(SignatureSuite.ML_DSA_65, self.suite)
        return self._ml_dsa

    def __repr__(self) -> str:
        return f"SigningKey({self.suite.name}, public {self.public.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key is not pickled: its private bytes would leave it unsealed")


class VerifyKey:
    """A public key: equal, hashable and printable by its bytes."""

    __slots__ = ("__dict__", "_ed25519", "_ml_dsa", "suite")

    def __init__(self, suite: SignatureSuite, ml_dsa: MLDSA65PublicKey | None, ed: Ed25519PublicKey | None) -> None:
        self.suite = suite
        self._ml_dsa = ml_dsa
        self._ed25519 = ed

    @staticmethod
    def from_bytes(data: bytes) -> VerifyKey:
        """Suite id, then the ML-DSA-65 key, then the Ed25519 key, as far as the suite has them."""
        if not data:
            raise InvalidInput.of("public key", got="no bytes", expected="a suite id and a key", code="PL-216")
        suite = suite_of(SignatureSuite, data[0])
        expected = 1 + SIGNATURES[suite].public_bytes
        if len(data) != expected:
            raise InvalidInput.of("public key", got=f"{len(data)} bytes", expected=f"{expected} bytes", code="PL-216")
        return VerifyKey.of(
            data[-32:] if suite != SignatureSuite.ML_DSA_65 else None,
            data[1 : 1 + SIGNATURES[SignatureSuite.ML_DSA_65].public_bytes]
            if suite != SignatureSuite.ED25519
            else None,
        )

    @staticmethod
    def of(public_key_ed25519: bytes | None, public_key_ml_dsa: bytes | None = None) -> VerifyKey:
        """From raw halves, as an AgentIdentity holds them; the suite follows from which are there."""
        ed = None if public_key_ed25519 is None else ed25519.load_public(public_key_ed25519)
        ml_dsa = None if public_key_ml_dsa is None else load_ml_dsa(public_key_ml_dsa)
        if ed is not None and ml_dsa is not None:
            return VerifyKey(SignatureSuite.HYBRID, ml_dsa, ed)
        if ml_dsa is not None:
            return VerifyKey(SignatureSuite.ML_DSA_65, ml_dsa, None)
        if ed is not None:
            return VerifyKey(SignatureSuite.ED25519, None, ed)
        raise InvalidInput.of("public key", got="no halves", expected="an Ed25519 or ML-DSA-65 key", code="PL-216")

    @cached_property
    def _bytes(self) -> bytes:
        ml_dsa = self._ml_dsa.public_bytes_raw() if self._ml_dsa else b""
        ed = self._ed25519.public_bytes_raw() if self._ed25519 else b""
        return bytes((self.suite,)) + ml_dsa + ed

    def to_bytes(self) -> bytes:
        return self._bytes

    @cached_property
    def ed25519(self) -> bytes:
        """The raw Ed25519 key, which names an agent."""
        if self._ed25519 is None:
            raise without(SignatureSuite.ED25519, self.suite)
        return self._ed25519.public_bytes_raw()

    @cached_property
    def ml_dsa(self) -> bytes | None:
        """The raw ML-DSA-65 key, if the suite has one."""
        return self._ml_dsa.public_bytes_raw() if self._ml_dsa else None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits for people and logs."""
        return digest(self._bytes).hex()[:16]

    def verify(self, message: bytes, signature: bytes, context: bytes = b"") -> None:
        """Raises SignatureVerificationFailed PL-210 unless this key signed this message for this context."""
        checked_context(context)
        if not signature or signature[0] != self.suite:
            raise SignatureVerificationFailed(
                "PL-210", "the signature is of another suite than the key", got=suite_name(signature),
                expected=self.suite.name,
            )  # fmt: skip
        if not self._verifies(message, signature[1:], context):
            raise SignatureVerificationFailed("PL-210", field="signature", expected=f"signed by {self.fingerprint}")

    def _verifies(self, message: bytes, raw: bytes, context: bytes) -> bool:
        if self._ml_dsa is not None and self._ed25519 is not None:
            return composite.verifies(self._ml_dsa, self._ed25519, raw, message, context)
        if self._ml_dsa is not None:
            return composite.ml_dsa_verifies(self._ml_dsa, raw, framed(self.suite, message, context), b"")
        return ed25519.verifies(self.ed25519_public(), raw, framed(self.suite, message, context))

    def component(self, suite: SignatureSuite) -> VerifyKey:
        """One half of a hybrid key as a key of its own."""
        if suite == self.suite:
            return self
        if suite == SignatureSuite.ED25519:
            return VerifyKey(suite, None, self.ed25519_public())
        if suite == SignatureSuite.ML_DSA_65:
            return VerifyKey(suite, self.ml_dsa_public(), None)
        raise without(suite, self.suite)

    def ed25519_public(self) -> Ed25519PublicKey:
        """Low-level: the library's key, for formats with frames of their own. It adds no context, checks less strictly."""
        if self._ed25519 is None:
            raise without(SignatureSuite.ED25519, self.suite)
        return self._ed25519

    def ml_dsa_public(self) -> MLDSA65PublicKey:
        """Low-level: as `ed25519_public`."""
        if self._ml_dsa is None:
            raise without(SignatureSuite.ML_DSA_65, self.suite)
        return self._ml_dsa

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"VerifyKey({self.suite.name}, {self.fingerprint})"

    def __reduce__(self) -> tuple[object, ...]:
        return VerifyKey.from_bytes, (self._bytes,)


def load_ml_dsa(data: bytes) -> MLDSA65PublicKey:
    expected = SIGNATURES[SignatureSuite.ML_DSA_65].public_bytes
    if len(data) != expected:
        raise InvalidInput.of("ml_dsa key", got=f"{len(data)} bytes", expected=f"{expected} bytes", code="PL-216")
    try:
        return MLDSA65PublicKey.from_public_bytes(data)
    except ValueError as error:
        raise InvalidInput("PL-216", "the ML-DSA-65 key cannot be read", field="ml_dsa key") from error


def without(wanted: SignatureSuite, has: SignatureSuite) -> CryptoError:
    return CryptoError.of("suite", got=f"a key of {has.name}", expected=f"a key with {wanted.name}", code="PL-211")


def suite_name(signature: bytes) -> str:
    if not signature:
        return "no signature"
    known = {suite.value: suite.name for suite in SignatureSuite}
    return known.get(signature[0], f"unknown suite 0x{signature[0]:02x}")
