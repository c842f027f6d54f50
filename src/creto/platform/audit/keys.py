"""Keys of notes: who signs, with which algorithm, over which bytes (c2sp.org/signed-note, c2sp.org/tlog-cosignature).

    0x01  Ed25519 over the text: what every C2SP tool verifies
    0x04  cosignature/v1: a witness's Ed25519 over "cosignature/v1", the time and the text
    0x06  a witness's ML-DSA-44 over its name, the time, the origin, the size and the root
    0xff  ours, identified by `creto/hybrid-note/v1`: the composite of ML-DSA-65 and Ed25519 over the text. The key is the
          32-byte Ed25519 key after the 1952-byte ML-DSA-65 key, the signature that of `SigningKey.sign` with this context

A key id is the first four bytes of SHA-256(name, newline, type, [identifier], public key): a hint, never a proof.
Keys travel as vkeys: `<name>+<key id in hex>+<base64 of type, [identifier], public key>`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import msgspec

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.timestamps import SECOND
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.note import KEY_ID_BYTES, NoteSignature, checked_key_name, from_base64, malformed, to_base64
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey, digest, ed25519, ml_dsa_44

HYBRID_CONTEXT = b"creto/hybrid-note/v1"
COSIGNED_LABEL = b"subtree/v1\n\0"
TIMESTAMP_BYTES = 8


class NoteType(IntEnum):
    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_ML_DSA_44 = 0x06
    HYBRID = 0xFF

    @property
    def is_witness(self) -> bool:
        return self in (NoteType.COSIGNATURE_ED25519, NoteType.COSIGNATURE_ML_DSA_44)

    @property
    def prefix(self) -> bytes:
        return bytes((self,)) + (HYBRID_CONTEXT if self is NoteType.HYBRID else b"")


PUBLIC_BYTES = {
    NoteType.ED25519: 32,
    NoteType.COSIGNATURE_ED25519: 32,
    NoteType.COSIGNATURE_ML_DSA_44: ml_dsa_44.PUBLIC_BYTES,
    NoteType.HYBRID: 1952 + 32,
}


class NoteKey(msgspec.Struct, frozen=True):
    """A public key with the name it signs under."""

    name: str
    type: NoteType
    public: bytes

    @property
    def key_id(self) -> bytes:
        return digest(self.name.encode() + b"\n" + self.type.prefix + self.public)[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(self.type.prefix + self.public)}"

    @staticmethod
    def parse(vkey: str) -> NoteKey:
        name, _, rest = vkey.partition("+")
        id_text, _, encoded = rest.partition("+")
        blob = from_base64(encoded, "vkey")
        for type in NoteType:
            if blob.startswith(type.prefix) and len(blob) == len(type.prefix) + PUBLIC_BYTES[type]:
                key = NoteKey(checked_key_name(name), type, blob[len(type.prefix) :])
                if key.key_id.hex() == id_text:
                    return key.checked()
        raise malformed("vkey", vkey, "<name>+<key id>+<base64 of a known type and its public key>")

    def checked(self) -> NoteKey:
        """Refuse a key that could not verify anything, here and not at the first signature."""
        match self.type:
            case NoteType.ED25519 | NoteType.COSIGNATURE_ED25519:
                ed25519.load_public(self.public)
            case NoteType.HYBRID:
                self._hybrid()
            case NoteType.COSIGNATURE_ML_DSA_44:
                pass
        return self

    def _hybrid(self) -> VerifyKey:
        return VerifyKey.from_bytes(bytes((SignatureSuite.HYBRID,)) + self.public)

    def made(self, signature: NoteSignature) -> bool:
        return signature.name == self.name and signature.key_id == self.key_id

    def verify(self, checkpoint: Checkpoint, signature: NoteSignature) -> int:
        """Seconds since 1970 at which a witness signed, 0 for the log itself. Raises PL-606."""
        try:
            timestamp, holds = self._check(checkpoint, signature.signature)
        except EnablementError as error:
            raise not_signed(self) from error
        if not holds:
            raise not_signed(self)
        return timestamp

    def _check(self, checkpoint: Checkpoint, signature: bytes) -> tuple[int, bool]:
        text = checkpoint.text.encode()
        if self.type is NoteType.ED25519:
            return 0, ed25519.verifies(ed25519.load_public(self.public), signature, text)
        if self.type is NoteType.HYBRID:
            self._hybrid().verify(text, signature, HYBRID_CONTEXT)
            return 0, True
        timestamp, raw = int.from_bytes(signature[:TIMESTAMP_BYTES]), signature[TIMESTAMP_BYTES:]
        if timestamp >= 2**63 or len(signature) < TIMESTAMP_BYTES:
            return 0, False
        if self.type is NoteType.COSIGNATURE_ED25519:
            key = ed25519.load_public(self.public)
            return timestamp, ed25519.verifies(key, raw, cosigned_v1(checkpoint, timestamp))
        return timestamp, ml_dsa_44.verifies(self.public, raw, cosigned_subtree(self.name, checkpoint, timestamp))


def cosigned_v1(checkpoint: Checkpoint, timestamp_s: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp_s}\n{checkpoint.text}".encode()


def cosigned_subtree(name: str, checkpoint: Checkpoint, timestamp_s: int) -> bytes:
    """The `cosigned_message` of tlog-cosignature; it says nothing of extension lines."""
    names = (name.encode(), checkpoint.origin.encode())
    if any(not 1 <= len(n) <= 255 for n in names):
        raise InvalidInput.of("name", got=name, expected="names of 1 to 255 bytes", code="PL-610")
    cosigner, origin = (bytes((len(n),)) + n for n in names)
    interval = bytes(8) + checkpoint.size.to_bytes(8)
    return COSIGNED_LABEL + cosigner + timestamp_s.to_bytes(8) + origin + interval + checkpoint.root


class NoteSigner(Protocol):
    """Whoever signs checkpoints: the log with its key, a witness with its own."""

    @property
    def key(self) -> NoteKey: ...

    def sign(self, checkpoint: Checkpoint, now: int) -> NoteSignature: ...


class Ed25519Signer:
    """The plain note signature that standard tools verify."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self._private = key.component(SignatureSuite.ED25519)
        self.key = NoteKey(checked_key_name(name), NoteType.ED25519, self._private.public.ed25519)

    def sign(self, checkpoint: Checkpoint, now: int) -> NoteSignature:
        raw = self._private.ed25519_private().sign(checkpoint.text.encode())
        return NoteSignature(self.key.name, self.key.key_id, raw)


class HybridSigner:
    """Our own note signature: it stands as long as either of its two algorithms does."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self._private = key
        if key.suite is not SignatureSuite.HYBRID:
            raise InvalidInput.of("signer", got=key.suite.name, expected="a hybrid key", code="PL-216")
        self.key = NoteKey(checked_key_name(name), NoteType.HYBRID, key.public.to_bytes()[1:])

    def sign(self, checkpoint: Checkpoint, now: int) -> NoteSignature:
        raw = self._private.sign(checkpoint.text.encode(), HYBRID_CONTEXT)
        return NoteSignature(self.key.name, self.key.key_id, raw)


class CosignerEd25519:
    """A witness's cosignature/v1."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self._private = key.component(SignatureSuite.ED25519)
        self.key = NoteKey(checked_key_name(name), NoteType.COSIGNATURE_ED25519, self._private.public.ed25519)

    def sign(self, checkpoint: Checkpoint, now: int) -> NoteSignature:
        timestamp_s = now // SECOND
        raw = self._private.ed25519_private().sign(cosigned_v1(checkpoint, timestamp_s))
        return NoteSignature(self.key.name, self.key.key_id, timestamp_s.to_bytes(TIMESTAMP_BYTES) + raw)


class CosignerMlDsa44:
    """A witness's post-quantum cosignature."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._seed = seed
        self.key = NoteKey(checked_key_name(name), NoteType.COSIGNATURE_ML_DSA_44, ml_dsa_44.public_key(seed))

    def sign(self, checkpoint: Checkpoint, now: int) -> NoteSignature:
        timestamp_s = now // SECOND
        raw = ml_dsa_44.sign(self._seed, cosigned_subtree(self.key.name, checkpoint, timestamp_s))
        return NoteSignature(self.key.name, self.key.key_id, timestamp_s.to_bytes(TIMESTAMP_BYTES) + raw)


def log_signers(origin: str, key: SigningKey) -> tuple[NoteSigner, ...]:
    """How a log signs: plainly for standard tools, and with the hybrid if its key is one."""
    plain = Ed25519Signer(origin, key)
    return (plain, HybridSigner(origin, key)) if key.suite is SignatureSuite.HYBRID else (plain,)


def not_signed(key: NoteKey) -> SignatureVerificationFailed:
    return SignatureVerificationFailed(
        "PL-606",
        f"the checkpoint's signature by {key.name} ({key.type.name}) is not valid",
        field="signature",
        expected=f"a signature by {key.vkey[:80]}",
    )
