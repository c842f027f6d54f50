"""Keys and signatures as other systems write them: JWK (RFC 7517, RFC 8037, RFC 9964) and JWS (RFC 7515).

    jwks = to_jwks(key.public)                          # an OKP key, an AKP key, or both for a hybrid
    token = sign_general(b"{}", *halves(key))           # General JSON, one signature of each half
    payload = verify_general(token, {jwk.kid: from_jwk(jwk) for jwk in jwks})

A hybrid JWS has an EdDSA and an ML-DSA-65 signature over the same payload; both must verify, and so must every other one present.

INVARIANT: which algorithm is used follows from the key; a header that says otherwise is refused, and nothing in a header is
followed (no `jku`, `x5u`, `jwk`, `crit`).
INVARIANT: one byte string has one base64url spelling: no padding, no other characters, no stray bits.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.limits import JWS_BYTES_MAX, JWS_SIGNATURES_MAX
from creto.platform.crypto import composite, ed25519
from creto.platform.crypto.hashes import digest
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.types import SignatureSuite

EDDSA_NAMES = ("EdDSA", "Ed25519")  # RFC 8037, and the exact name of RFC 9864
ML_DSA_NAME = "ML-DSA-65"


class Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A public key. `x` belongs to OKP, `pub` to AKP."""

    kty: str
    alg: str | None = None
    crv: str | None = None
    x: str | None = None
    pub: str | None = None
    kid: str | None = None
    use: str | None = None


class JwsHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    alg: str
    kid: str | None = None


class JwsSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    protected: str
    signature: str


class GeneralJws(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    signatures: tuple[JwsSignature, ...]


# base64url and JSON, strictly


def b64url_encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_decode(text: str, field: str = "base64url", code: str = "PL-400") -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = None
    # Re-encoding catches padding, stray bits and the other alphabet's characters.
    if data is None or b64url_encode(data) != text:
        raise InvalidInput.of(field, got=f"{len(text)} characters", expected="base64url without padding", code=code)
    return data


def strict_json(data: bytes, what: str) -> Any:
    """JSON in UTF-8 in which no member is named twice: two readers never see two meanings."""
    try:
        json.loads(data.decode(), object_pairs_hook=without_duplicates)
        return msgspec.json.decode(data)  # stricter than the standard library: no NaN, no half surrogates
    except (ValueError, RecursionError) as error:
        raise InvalidInput.of(
            what, got="bytes that cannot be read", expected="JSON without duplicate members"
        ) from error


def without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("duplicate member")


# Keys


def to_jwk(key: VerifyKey, kid: str | None = None) -> Jwk:
    """The key of a single algorithm; `kid` defaults to the RFC 7638 thumbprint."""
    if key.suite == SignatureSuite.HYBRID:
        raise InvalidInput.of("key", got="a hybrid", expected="one half: `to_jwks` gives both", code="PL-216")
    if key.ml_dsa is not None:
        jwk = Jwk("AKP", alg=ML_DSA_NAME, pub=b64url_encode(key.ml_dsa), use="sig")
    else:
        jwk = Jwk("OKP", alg=EDDSA_NAMES[0], crv="Ed25519", x=b64url_encode(key.ed25519), use="sig")
    return msgspec.structs.replace(jwk, kid=kid or thumbprint(jwk))


def to_jwks(key: VerifyKey) -> tuple[Jwk, ...]:
    """Every half of a key, the Ed25519 one first."""
    if key.suite != SignatureSuite.HYBRID:
        return (to_jwk(key),)
    return tuple(to_jwk(key.component(half)) for half in (SignatureSuite.ED25519, SignatureSuite.ML_DSA_65))


def from_jwk(jwk: Jwk | bytes) -> VerifyKey:
    """Raises InvalidInput PL-216 for anything but an Ed25519 or ML-DSA-65 signature key."""
    read = jwk if isinstance(jwk, Jwk) else wire.convert(strict_json(jwk, "jwk"), Jwk, code="PL-216", what="jwk")
    if read.use not in (None, "sig"):
        raise InvalidInput.of("use", got=read.use, expected="sig", code="PL-216")
    if suite_of_jwk(read.kty, read.crv, read.alg) == SignatureSuite.ED25519:
        return VerifyKey.of(b64url_decode(read.x or "", "x", "PL-216"))
    return VerifyKey.of(None, b64url_decode(read.pub or "", "pub", "PL-216"))


def suite_of_jwk(kty: str, crv: str | None, alg: str | None) -> SignatureSuite:
    if kty == "OKP" and crv == "Ed25519" and (alg is None or alg in EDDSA_NAMES):
        return SignatureSuite.ED25519
    if kty == "AKP" and alg == ML_DSA_NAME:  # RFC 9964: `alg` is required, it names the parameter set
        return SignatureSuite.ML_DSA_65
    expected = f"OKP with Ed25519, or AKP with {ML_DSA_NAME}"
    raise InvalidInput.of("jwk", got=f"{kty} {crv or ''} {alg or ''}", expected=expected, code="PL-216")


def thumbprint(jwk: Jwk) -> str:
    """RFC 7638: SHA-256 over the required members, sorted, without spaces."""
    if jwk.kty == "AKP":
        members = {"alg": jwk.alg, "kty": jwk.kty, "pub": jwk.pub}
    else:
        members = {"crv": jwk.crv, "kty": jwk.kty, "x": jwk.x}
    return b64url_encode(digest(wire.encode(members)))


# Signatures


def halves(key: SigningKey) -> tuple[tuple[str, SigningKey], ...]:
    """(kid, key) for every half: what `sign_general` takes."""
    return tuple((jwk.kid or "", key.component(suite_of_jwk(jwk.kty, jwk.crv, jwk.alg))) for jwk in to_jwks(key.public))


def sign_general(payload: bytes, *signers: tuple[str, SigningKey]) -> bytes:
    """One payload, one signature for each (kid, key)."""
    body = b64url_encode(payload)
    made = []
    for kid, key in signers:
        header = protected_header(key, kid)
        made.append(JwsSignature(header, b64url_encode(raw_sign(key, f"{header}.{body}".encode()))))
    return wire.encode(GeneralJws(body, tuple(made)))


def verify_general(data: bytes, keys: Mapping[str, VerifyKey], suite: SignatureSuite = SignatureSuite.HYBRID) -> bytes:
    """The payload, once every signature has verified and the halves of `suite` are among them.

    `keys` are one signer's, by kid: who may sign together is the caller's to know.
    """
    checked_size(len(data))
    read = wire.convert(strict_json(data, "jws"), GeneralJws, what="jws")
    if not 1 <= len(read.signatures) <= JWS_SIGNATURES_MAX:
        raise InvalidInput.of("signatures", got=len(read.signatures), expected=f"1 to {JWS_SIGNATURES_MAX}")
    payload = b64url_decode(read.payload, "payload")
    found = {verify_one(signature, read.payload, keys) for signature in read.signatures}
    wanted = {SignatureSuite.ED25519, SignatureSuite.ML_DSA_65} if suite == SignatureSuite.HYBRID else {suite}
    if not wanted <= found:
        got, expected = (" and ".join(sorted(one.name for one in names)) for names in (found, wanted))
        raise SignatureVerificationFailed("PL-210", "a signature is missing", got=got, expected=expected)
    return payload


def verify_one(signature: JwsSignature, payload: str, keys: Mapping[str, VerifyKey]) -> SignatureSuite:
    members = strict_json(b64url_decode(signature.protected, "protected"), "protected")
    header = wire.convert(members, JwsHeader, what="protected")
    if "crit" in members or "b64" in members:
        raise InvalidInput.of("protected", got="crit or b64", expected="no extension that must be understood")
    key = keys.get(header.kid or "")
    if key is None:
        raise SignatureVerificationFailed("PL-210", "the key is not known", field="kid", got=header.kid)
    suite = suite_of_alg(header.alg)
    if key.suite != suite:
        raise SignatureVerificationFailed(
            "PL-210", "the header names another algorithm than the key's", field="alg", got=header.alg,
            expected=key.suite.name,
        )  # fmt: skip
    if not raw_verifies(
        key, b64url_decode(signature.signature, "signature"), f"{signature.protected}.{payload}".encode()
    ):
        raise SignatureVerificationFailed("PL-210", field="signature", expected=f"signed by {header.kid}")
    return suite


def suite_of_alg(alg: str) -> SignatureSuite:
    if alg in EDDSA_NAMES:
        return SignatureSuite.ED25519
    if alg == ML_DSA_NAME:
        return SignatureSuite.ML_DSA_65
    raise InvalidInput.of("alg", got=alg, expected=f"EdDSA or {ML_DSA_NAME}")


def protected_header(key: SigningKey, kid: str | None) -> str:
    jwk = to_jwk(key.public, kid)
    return b64url_encode(wire.encode(JwsHeader(jwk.alg or "", jwk.kid)))


def raw_sign(key: SigningKey, signed: bytes) -> bytes:
    """JWS has a frame of its own: no suite byte and no context (RFC 9964 5)."""
    if key.suite == SignatureSuite.ED25519:
        return key.ed25519_private().sign(signed)
    return key.ml_dsa_private().sign(signed)


def raw_verifies(key: VerifyKey, signature: bytes, signed: bytes) -> bool:
    if key.suite == SignatureSuite.ED25519:
        return ed25519.verifies(key.ed25519_public(), signature, signed)
    return composite.ml_dsa_verifies(key.ml_dsa_public(), signature, signed, b"")


def checked_size(size: int) -> None:
    if size > JWS_BYTES_MAX:
        raise InvalidInput.of("jws", got=f"{size} bytes", expected=f"at most {JWS_BYTES_MAX}", code="PL-413")
