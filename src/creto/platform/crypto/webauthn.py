"""Passkeys (W3C WebAuthn): what a browser made of our challenge, and whether a passkey signed it.

    passkey = registered(attestation_object, client_data, challenge=challenge)
    checked_assertion(passkey, assertion, challenge=challenge)          # raises PL-210

We ask for no attestation and look at none: nothing rests on who built the authenticator.

INVARIANT: an assertion counts for one challenge, one site and one credential, and only with the human present and verified (UP and UV).
INVARIANT: which algorithm verifies follows from the registered key alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto import cbor, ed25519
from creto.platform.crypto.hashes import digest, equal
from creto.platform.crypto.jose import b64url_decode, strict_json

# COSE algorithms (RFC 9053, RFC 8812) in the order that we like them.
EDDSA, ES256, RS256 = -8, -7, -257
ALGORITHMS = (EDDSA, ES256, RS256)
KTY, ALG, CRV, X, Y = 1, 3, -1, -2, -3
MODULUS, EXPONENT = -1, -2
OKP, EC2, RSA = 1, 2, 3
RSA_BITS_MIN = 2048
USER_PRESENT, USER_VERIFIED, HAS_CREDENTIAL = 0x01, 0x04, 0x40
HEAD_BYTES = 37  # the site's digest, the flags, the counter
CREDENTIAL_BYTES_MAX = 1_023  # WebAuthn 4: a credential id is no longer
LOCAL = "localhost"  # the one name that browsers trust without TLS


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that an authenticator made for one site. `public_key` is a COSE key."""

    credential_id: bytes
    public_key: bytes
    site: str  # the RP ID: a host name


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """What the authenticator answered."""

    authenticator_data: bytes
    client_data: bytes
    signature: bytes


class ClientData(msgspec.Struct, frozen=True):
    """What the browser says of the ceremony; it may say more than this."""

    type: str
    challenge: str
    origin: str
    crossOrigin: bool = False  # the standard's name


def registered(attestation_object: bytes, client_data: bytes, *, challenge: bytes) -> Passkey:
    """The passkey that was just made (WebAuthn 7.1). PL-216 for what cannot be read, PL-210 for what is not an answer to this challenge."""
    origin = checked_client_data(client_data, "webauthn.create", challenge)
    read = cbor.decode(attestation_object)
    data = read.get("authData") if isinstance(read, dict) else None
    if not isinstance(data, bytes):
        raise unreadable("attestation object", "no authData")
    site = site_of(origin)
    check_authenticator_data(data, site)
    if not data[32] & HAS_CREDENTIAL or len(data) < HEAD_BYTES + 18:
        raise unreadable("attestation object", "no credential")
    size = int.from_bytes(data[HEAD_BYTES + 16 : HEAD_BYTES + 18], "big")
    begin, end = HEAD_BYTES + 18, HEAD_BYTES + 18 + size
    if not 1 <= size <= CREDENTIAL_BYTES_MAX or end > len(data):
        raise unreadable("credential id", f"{size} bytes")
    _, key_end = cbor.decode_at(data, end)
    passkey = Passkey(credential_id=data[begin:end], public_key=data[end:key_end], site=site)
    cose_key(passkey.public_key)
    return passkey


def checked_assertion(passkey: Passkey, assertion: Assertion, *, challenge: bytes) -> str:
    """The origin on which it was signed; PL-210 unless this passkey signed exactly this challenge on its own site (WebAuthn 7.2)."""
    origin = checked_client_data(assertion.client_data, "webauthn.get", challenge)
    if not belongs(origin, passkey.site):
        raise refused("origin", origin, passkey.site)
    check_authenticator_data(assertion.authenticator_data, passkey.site)
    signed = assertion.authenticator_data + digest(assertion.client_data)
    if not verifies(passkey.public_key, assertion.signature, signed):
        raise refused("signature", "another signature", "one by the registered passkey")
    return origin


def challenge_of(client_data: bytes) -> bytes:
    """What the browser says was to be signed; believed only once an assertion over it has been checked."""
    return b64url_decode(read_client_data(client_data).challenge, "challenge")


def checked_client_data(data: bytes, type: str, challenge: bytes) -> str:
    """The origin on which it happened."""
    said = read_client_data(data)
    if said.type != type:
        raise refused("type", said.type, type)
    if not equal(b64url_decode(said.challenge, "challenge"), challenge):
        raise refused("challenge", "another challenge", "the one that was given")
    if said.crossOrigin:
        raise refused("crossOrigin", True, "a page of the site itself")
    return said.origin


def read_client_data(data: bytes) -> ClientData:
    return wire.convert(strict_json(data, "client data"), ClientData, what="client data")


def check_authenticator_data(data: bytes, site: str) -> None:
    if len(data) < HEAD_BYTES:
        raise unreadable("authenticator data", f"{len(data)} bytes")
    if not equal(data[:32], digest(site.encode())):
        raise refused("site", "another site's passkey", site)
    if data[32] & (USER_PRESENT | USER_VERIFIED) != USER_PRESENT | USER_VERIFIED:
        raise refused("flags", f"{data[32]:#04x}", "the human present and verified")


# Sites


def site_of(origin: str) -> str:
    """The host of an origin: the narrowest site for which a browser makes a passkey there."""
    host = host_of(origin)
    if host is None:
        raise refused("origin", origin, "https, or http on localhost")
    return host


def belongs(origin: str, site: str) -> bool:
    """Whether a page there may use the site's passkeys: the site itself or a name below it, over TLS or on this machine."""
    host = host_of(origin)
    return host is not None and (host == site or host.endswith(f".{site}"))


def host_of(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return None
    local = host == LOCAL or host.endswith(f".{LOCAL}")
    return host if host and (parts.scheme == "https" or (parts.scheme == "http" and local)) else None


# Keys


def cose_key(data: bytes) -> dict[int | str, cbor.Cbor]:
    """A COSE key (RFC 9052 7) of an algorithm that we take; PL-216 for any other."""
    key = cbor.decode(data)
    if not isinstance(key, dict) or (key.get(KTY), key.get(ALG)) not in ((OKP, EDDSA), (EC2, ES256), (RSA, RS256)):
        raise unreadable("passkey", "another kind of key")
    load(key)
    return key


def load(key: dict[int | str, cbor.Cbor]) -> Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    try:
        if key[KTY] == OKP and key.get(CRV) == 6:
            return ed25519.load_public(raw(key, X))
        if key[KTY] == EC2 and key.get(CRV) == 1:
            point = b"\x04" + raw(key, X, 32) + raw(key, Y, 32)
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        if key[KTY] == RSA:
            number, exponent = (int.from_bytes(raw(key, name), "big") for name in (MODULUS, EXPONENT))
            if number.bit_length() >= RSA_BITS_MIN:
                return rsa.RSAPublicNumbers(exponent, number).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise unreadable("passkey", "a key that is none") from error
    raise unreadable("passkey", "another curve, or too short a key")


def raw(key: dict[int | str, cbor.Cbor], name: int, size: int | None = None) -> bytes:
    value = key.get(name)
    if not isinstance(value, bytes) or size not in (None, len(value)) or len(value) > 1_024:
        raise unreadable("passkey", "a part of another length")
    return value


def verifies(public_key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        key = load(cose_key(public_key))
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), SHA256())
        else:
            return ed25519.verifies(key, signature, signed)
    except (InvalidSignature, EnablementError):
        return False
    return True


def unreadable(field: str, got: str) -> InvalidInput:
    return InvalidInput.of(field, got=got, expected="what a WebAuthn authenticator writes", code="PL-216")


def refused(field: str, got: object, expected: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected=expected, code="PL-210")
