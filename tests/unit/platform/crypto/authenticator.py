"""An authenticator in software: makes passkeys and signs challenges as a browser with a security key does.

key = Authenticator("localhost")
passkey = registered(*key.make(challenge), challenge=challenge)
assertion = key.sign(challenge)
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from creto.platform.crypto.cbor import Cbor
from creto.platform.crypto.jose import b64url_encode
from creto.platform.crypto.webauthn import EDDSA, ES256, RS256, Assertion

PRESENT_AND_VERIFIED = 0x05


def cbor(value: Cbor) -> bytes:
    """RFC 8949, the shortest form, keys in the order given."""
    if isinstance(value, bool) or value is None:
        return bytes([0xF4 + (False, True, None).index(value)])
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())


def head(kind: int, size: int) -> bytes:
    if size < 24:
        return bytes([kind << 5 | size])
    short, width = next((s, w) for s, w in ((24, 1), (25, 2), (26, 4), (27, 8)) if size < 1 << 8 * w)
    return bytes([kind << 5 | short]) + size.to_bytes(width, "big")


class Authenticator:
    def __init__(self, site: str = "localhost", algorithm: int = ES256, origin: str | None = None) -> None:
        self.site = site
        self.origin = origin or f"http://{site}:8080"
        self.algorithm = algorithm
        self.credential_id = sha256(f"{site}{id(self)}".encode()).digest()
        self.key: Any = {
            ES256: lambda: ec.generate_private_key(ec.SECP256R1()),
            EDDSA: ed25519.Ed25519PrivateKey.generate,
            RS256: lambda: rsa.generate_private_key(65_537, 2_048),
        }[algorithm]()

    def cose(self) -> bytes:
        public = self.key.public_key()
        if self.algorithm == EDDSA:
            return cbor({1: 1, 3: EDDSA, -1: 6, -2: public.public_bytes_raw()})
        numbers = public.public_numbers()
        if self.algorithm == RS256:
            return cbor({1: 3, 3: RS256, -1: numbers.n.to_bytes(256, "big"), -2: numbers.e.to_bytes(3, "big")})
        return cbor({1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})

    def client(self, ceremony: str, challenge: bytes, **more: Any) -> bytes:
        said = {"type": ceremony, "challenge": b64url_encode(challenge), "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | more).encode()

    def data(self, flags: int) -> bytes:
        return sha256(self.site.encode()).digest() + bytes([flags]) + (7).to_bytes(4, "big")

    def make(self, challenge: bytes, *, flags: int = PRESENT_AND_VERIFIED, **more: Any) -> tuple[bytes, bytes]:
        """The attestation object and the client data."""
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + self.cose()
        attestation = cbor({"fmt": "none", "attStmt": {}, "authData": self.data(flags | 0x40) + credential})
        return attestation, self.client("webauthn.create", challenge, **more)

    def sign(self, challenge: bytes, *, flags: int = PRESENT_AND_VERIFIED, **more: Any) -> Assertion:
        client, data = self.client("webauthn.get", challenge, **more), self.data(flags)
        return Assertion(
            authenticator_data=data, client_data=client, signature=self._sign(data + sha256(client).digest())
        )

    def _sign(self, signed: bytes) -> bytes:
        if self.algorithm == ES256:
            return bytes(self.key.sign(signed, ec.ECDSA(SHA256())))
        if self.algorithm == RS256:
            return bytes(self.key.sign(signed, padding.PKCS1v15(), SHA256()))
        return bytes(self.key.sign(signed))
