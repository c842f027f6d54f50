"""Links in mails: a token in the fragment that lets its bearer see one request, and proves no more than that.

    links = Links(key)
    url = f"{letter.link}#{links.token(tenant, request_id, person, until=now + week)}"
    links.opened(token, now)                # Opened(tenant, request_id, person), or OV-401

A fragment is not sent to servers and stands in no log; the page posts it. Whoever forwards the mail forwards the token, so a vote that rests
on it alone is A0: `bearer`.
"""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, SignatureVerificationFailed
from creto.common.ids import RequestId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.consensus import PersonId
from creto.platform.crypto import hkdf, mac, verify_mac
from creto.platform.crypto.jose import b64url_decode, b64url_encode

TOKEN_CHARS_MAX = 1_024
MAC_BYTES = 32


class Opened(msgspec.Struct, frozen=True, array_like=True):
    tenant: TenantId
    request_id: RequestId
    person: PersonId
    until: ConsensusTimestamp


class Links:
    def __init__(self, key: bytes) -> None:
        self._key = hkdf(key, info=b"creto/oversight/link/v1")

    def token(self, tenant: TenantId, request_id: RequestId, person: PersonId, until: ConsensusTimestamp) -> str:
        said = wire.encode(Opened(tenant, request_id, person, until))
        return b64url_encode(mac(self._key, said) + said)

    def opened(self, token: str, now: ConsensusTimestamp) -> Opened:
        try:
            data = b64url_decode(token) if len(token) <= TOKEN_CHARS_MAX else b""
            verify_mac(self._key, data[MAC_BYTES:], data[:MAC_BYTES])
            found = wire.decode(data[MAC_BYTES:], Opened)
        except EnablementError as error:
            raise no_link() from error
        if now >= found.until:
            raise no_link()
        return found


def no_link() -> SignatureVerificationFailed:
    return SignatureVerificationFailed(
        "OV-401", "the link is not valid any more", field="token", expected="the newest mail's link, or a login"
    )
