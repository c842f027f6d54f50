"""Override tokens as bytes: `<base64url of the canonical JSON>.<base64url of the signature>`.

INVARIANT: the signature covers exactly the bytes that are decoded; a token has one spelling.
"""

from __future__ import annotations

from creto.common import wire
from creto.common.errors import EnablementError, Unauthorized
from creto.common.limits import OVERRIDE_TOKEN_BYTES_MAX
from creto.platform.crypto import SigningKey, VerifyKey
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.security.authz.types import OverrideToken

CONTEXT = b"creto/authz/override/v2"  # v1 named no oversight policy: none of them opens any more


def signed(token: OverrideToken, key: SigningKey) -> str:
    body = wire.encode(token)
    return f"{b64url_encode(body)}.{b64url_encode(key.sign(body, CONTEXT))}"


def opened(text: str, *keys: VerifyKey) -> OverrideToken:
    """The token, its signature by one of these keys checked; PL-703 for anything else."""
    if len(text) > OVERRIDE_TOKEN_BYTES_MAX:
        raise invalid(f"{len(text)} characters")
    body, dot, signature = text.partition(".")
    if not dot:
        raise invalid("no signature")
    try:
        data = b64url_decode(body, "token", "PL-703")
        raw = b64url_decode(signature, "signature", "PL-703")
        key = next((key for key in keys if raw[:1] == bytes((key.suite,))), keys[0])
        key.verify(data, raw, CONTEXT)
        token = wire.decode(data, OverrideToken, what="token")
    except EnablementError as error:
        raise Unauthorized("PL-703", caused_by=error) from error
    if wire.encode(token) != data:
        raise invalid("another spelling of the same token")
    return token


def invalid(got: str) -> Unauthorized:
    return Unauthorized("PL-703", got=got, expected="a token as it was issued")
