"""Bearer tokens: a chain of HMACs that its holder can narrow without asking anybody.

    token  = "creto1." base64url(JSON {head, caveats, mac})
    mac_0  = HMAC(root key, head)      mac_i = HMAC(mac_(i-1), caveat_i)      mac = the last one

Whoever holds a token can append caveats (fewer scopes, an earlier end), because that needs only the last mac; nobody can remove one,
because that needs the mac before it.

INVARIANT: a token has one spelling, at most TOKEN_BYTES_MAX bytes and TOKEN_CAVEATS_MAX caveats; anything else is PL-107 before any HMAC.
"""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.common.limits import TOKEN_BYTES_MAX, TOKEN_CAVEATS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import equal, mac
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.nhi import scope
from creto.platform.nhi.types import PrincipalKind

PREFIX = "creto1."
ID_PREFIX = "tok-"
ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")


class TokenHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server vouches for. `key` names the root key, so that it can be rotated."""

    id: str
    key: str
    tenant: TenantId
    agent: AgentId
    kind: PrincipalKind
    scopes: tuple[str, ...]
    issued_at: ConsensusTimestamp
    expires_at: ConsensusTimestamp


class Caveat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One narrowing: only these scopes, not after this time; None leaves it as it was."""

    scopes: tuple[str, ...] | None = None
    expires_at: ConsensusTimestamp | None = None


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    head: TokenHead
    caveats: tuple[Caveat, ...]
    mac: bytes

    def to_text(self) -> str:
        return PREFIX + b64url_encode(wire.encode(self))

    @staticmethod
    def from_text(text: str) -> Token:
        """The token in this text, unverified, or PL-107."""
        body = text.removeprefix(PREFIX)
        if len(text) > TOKEN_BYTES_MAX or body == text:
            raise invalid("another form")
        try:
            token = wire.decode(b64url_decode(body), Token)
        except InvalidInput as error:
            raise invalid("another form") from error
        if len(token.caveats) > TOKEN_CAVEATS_MAX or token.to_text() != text:
            raise invalid("another form")
        return token

    def scopes(self) -> tuple[str, ...]:
        """What all of head and caveats allow."""
        scopes = self.head.scopes
        for caveat in self.caveats:
            scopes = scopes if caveat.scopes is None else scope.intersection(scopes, caveat.scopes)
        return scopes

    def expires_at(self) -> ConsensusTimestamp:
        ends = [caveat.expires_at for caveat in self.caveats if caveat.expires_at is not None]
        return min([self.head.expires_at, *ends])


def mint(root_key: bytes, head: TokenHead) -> str:
    return Token(head, (), mac(root_key, wire.encode(head))).to_text()


def attenuate(
    token: str, *, scopes: tuple[str, ...] | None = None, expires_at: ConsensusTimestamp | None = None
) -> str:
    """The same token, able to do less; needs no server and no key."""
    held = Token.from_text(token)
    if scopes is not None:
        scope.checked_patterns(scopes, "scopes")
    caveat = Caveat(scopes=scopes, expires_at=expires_at)
    narrowed = Token(held.head, (*held.caveats, caveat), mac(held.mac, wire.encode(caveat))).to_text()
    if len(narrowed) > TOKEN_BYTES_MAX or len(held.caveats) == TOKEN_CAVEATS_MAX:
        raise InvalidInput.of(
            "token", got="too many caveats", expected=f"at most {TOKEN_CAVEATS_MAX} caveats, {TOKEN_BYTES_MAX} bytes"
        )
    return narrowed


def check_mac(token: Token, root_key: bytes) -> None:
    """In constant time over the mac; PL-107 if anything was changed or removed."""
    tag = mac(root_key, wire.encode(token.head))
    for caveat in token.caveats:
        tag = mac(tag, wire.encode(caveat))
    if not equal(tag, token.mac):
        raise invalid("an authentication code that does not fit")


def check_time(token: Token, now: int) -> None:
    if now >= token.expires_at():
        raise Unauthorized("PL-108", field="token", got=now, expected=f"before {token.expires_at()}")


def redacted(token: Token) -> Token:
    """The token without what makes it one, for people to look at."""
    return replace(token, mac=b"")


def invalid(got: str) -> EnablementError:
    return Unauthorized("PL-107", field="token", got=got, expected="a token of this deployment")
