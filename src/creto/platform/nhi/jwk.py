"""Public keys as JSON Web Keys: OKP for Ed25519 (RFC 8037), AKP for ML-DSA-65 (RFC 9964), and their RFC 7638 thumbprints."""

from __future__ import annotations

import base64

from creto.common import wire
from creto.common.ids import AgentIdentity
from creto.platform.crypto import digest

Jwk = dict[str, str]


def to_jwks(agent: AgentIdentity) -> dict[str, list[Jwk]]:
    """A key set: the Ed25519 key, and the ML-DSA-65 key if one is bound; a hybrid signature needs both."""
    keys = [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": base64url(agent.public_key_ed25519)}]
    if agent.public_key_ml_dsa is not None:
        keys.append({"kty": "AKP", "alg": "ML-DSA-65", "pub": base64url(agent.public_key_ml_dsa)})
    return {"keys": [{**key, "kid": f"{agent.nhi}#{thumbprint(key)}", "use": "sig"} for key in keys]}


def thumbprint(key: Jwk) -> str:
    """RFC 7638: SHA-256 over the required members in lexical order. RFC 9964 3 requires alg, kty and pub of an AKP."""
    required = ("alg", "kty", "pub") if key["kty"] == "AKP" else ("crv", "kty", "x")
    return base64url(digest(wire.encode({name: key[name] for name in required})))


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
