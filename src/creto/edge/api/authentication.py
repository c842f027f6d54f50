"""Who asks: a bearer token, the console's session, or a client certificate; and for whom: the delegation chain in a header.

Authorization: Bearer creto1.…          a token, from signing a challenge
Creto-Delegation: <base64url>           the chain by which an agent acts for a human or a service
Creto-Override: <token>                 a human's approval of exactly this operation
Idempotency-Key: <text>                 the same key and request again has the same answer and no second effect
"""

from __future__ import annotations

from collections.abc import Mapping

from creto.common.config import Config
from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import TenantId, checked_name, customer_tenant
from creto.common.settings import CommonConfig, TenantMode
from creto.edge.api.dispatch import Call
from creto.edge.api.rate import CallerRate
from creto.platform.crypto.jose import b64url_decode
from creto.platform.nhi import Caller, DelegationChain, Nhi
from creto.store.types import Grade

DELEGATION = "creto-delegation"
OVERRIDE = "creto-override"
IDEMPOTENCY_KEY = "idempotency-key"
SESSION_COOKIE = "creto_session"


class Authenticator:
    """INVARIANT: the tenant is the credential's. Where one tenant owns the installation, no other's credential holds."""

    def __init__(self, nhi: Nhi, rate: CallerRate, tenant: TenantId, mode: TenantMode = TenantMode.SINGLE) -> None:
        self._nhi = nhi
        self._rate = rate
        self._tenant = tenant
        self.only = tenant if mode is TenantMode.SINGLE else None

    def call(
        self,
        headers: Mapping[str, str],
        certificate: bytes | None = None,
        session: str | None = None,
        peer: str | None = None,
    ) -> Call:
        """The call that these headers make; raises PL-401 and its kin for a credential that does not hold, PL-429 for who asks too often."""
        try:
            caller = self.caller(headers, certificate, session)
        except EnablementError:
            self._rate.admit(f"{peer}")
            raise
        self._rate.admit(f"{caller.tenant}/{caller.agent}" if caller else f"{peer}")
        if caller is not None and self.only not in (None, caller.tenant):
            raise Unauthorized(
                "PL-401", "the credential belongs to another tenant", got=caller.tenant, expected=self._tenant
            )
        chain = headers.get(DELEGATION)
        key = headers.get(IDEMPOTENCY_KEY)
        return Call(
            caller,
            caller.tenant if caller else self._tenant,
            DelegationChain.from_bytes(decoded(chain)) if chain else None,
            headers.get(OVERRIDE),
            checked_name(key, "Idempotency-Key") if key is not None else None,
            Grade.GATEWAY,
            session is not None and certificate is None and "authorization" not in headers,
        )

    async def prefetch(self, headers: Mapping[str, str], session: str | None = None) -> None:
        """Read beside the loop what `call` asks for; in memory already but for the first time."""
        header = headers.get("authorization")
        token = session if header is None else header.partition(" ")[2].strip()
        if token:
            await self._nhi.prefetch_token(token)

    def caller(self, headers: Mapping[str, str], certificate: bytes | None, session: str | None) -> Caller | None:
        header = headers.get("authorization")
        if header is not None:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise Unauthorized("PL-401", field="Authorization", got=scheme, expected="Bearer <token>")
            return self._nhi.verify_token(token.strip())
        if certificate is not None:
            return self._nhi.verify_certificate(certificate)
        return self._nhi.verify_token(session) if session else None


def tenant_of(config: Config, named: str | None) -> TenantId:
    """The tenant of somebody who has no credential yet: the installation's own, or the one they name."""
    own = config[CommonConfig]
    if own.tenant_mode is TenantMode.SINGLE:
        if named not in (None, own.tenant):
            raise InvalidInput.of("tenant", got=named, expected=own.tenant)
        return TenantId(own.tenant)
    return customer_tenant(named)


def decoded(text: str) -> bytes:
    try:
        return b64url_decode(text)
    except InvalidInput as error:
        raise InvalidInput.of(
            "Creto-Delegation", got=text, expected="base64url of a delegation chain", code="PL-129"
        ) from error
