"""Certificates for mutual TLS: the NHI stands in them as a URI name, twice.

    spiffe://<trust domain>/tenant/<tenant>/<kind>/<base58 key>      for SPIFFE-aware peers
    agent:nhi:ed25519:<base58 key>                                   for ours

The holder makes a TLS key and a request (`creto.platform.crypto.x509.new_request`) and signs the request with its identity key
(`request_proof`), so a certificate is only issued to who holds the identity. Revoking the identity ends its certificates at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AGENT_PREFIX, AgentId, TenantId, agent_key, checked_tenant
from creto.common.limits import CERTIFICATE_TTL_S_MAX, LINKS_VERIFIED_MAX
from creto.common.timestamps import MINUTE, SECOND, Clock, ConsensusTimestamp
from creto.platform.nhi import lifecycle, statements
from creto.platform.nhi import store as sql
from creto.platform.nhi.bounded import Bounded
from creto.platform.nhi.core import Core
from creto.platform.nhi.secrets import Secrets
from creto.platform.nhi.types import Caller, IssuedCertificate, PrincipalKind
from creto.store.types import Store, Tx

if TYPE_CHECKING:
    from creto.platform.crypto.x509 import CertificateFacts

TTL_S_DEFAULT = 86_400
BACKDATED_NS = 5 * MINUTE  # peers' clocks may run a little behind
SEGMENT = re.compile(r"[A-Za-z0-9._-]+")  # what SPIFFE allows in a path
HEX_MARK = "hex-"  # a tenant that SPIFFE could not spell is written in hexadecimal


class Certificates(Core):
    def __init__(self, store: Store, clock: Clock, secrets: Secrets | None) -> None:
        super().__init__(store, clock, secrets)
        self._verified: Bounded[bytes, tuple[CertificateFacts, int]] = Bounded(LINKS_VERIFIED_MAX // 16)

    async def issue_certificate(
        self,
        tenant: TenantId,
        agent: AgentId,
        request_der: bytes,
        *,
        proof: bytes,
        hosts: Sequence[str] = (),
        ttl_s: int = TTL_S_DEFAULT,
        actor: AgentId | None = None,
    ) -> IssuedCertificate:
        """For both ends of a connection; a server passes the host names and addresses it answers on."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        if not 1 <= ttl_s <= CERTIFICATE_TTL_S_MAX:
            raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"1 to {CERTIFICATE_TTL_S_MAX}")
        registered = self._in_force(tenant, agent, now)
        if hosts and not registered.identity.kind.is_root:
            raise Unauthorized(
                "PL-403", "only a service or a human may answer on a host", got=agent, expected="a service"
            )
        message = statements.request_bytes(tenant, agent, request_der)
        registered.verify_key.verify(message, proof, statements.CERTIFICATE_CONTEXT)
        authority = await self._secrets.authority()
        serial = authority.new_serial()
        uris = (spiffe_id(self._secrets.trust_domain, tenant, registered.identity.kind, agent), agent)
        not_after = ConsensusTimestamp((now // SECOND + ttl_s) * SECOND)
        certificate = authority.issue(
            request_der, common_name=registered.identity.name, uris=uris, hosts=hosts, serial=serial,
            not_before=now - BACKDATED_NS, not_after=not_after,
        )  # fmt: skip

        def note(tx: Tx) -> None:
            lifecycle.check_in_force(sql.get(tx, tenant, agent), now)
            self._record(
                tx, tenant, "certificate_issued", "CertificateIssued", actor=actor or agent, subject=agent, now=now,
                fields={"serial": f"{serial:x}", "hosts": tuple(hosts), "not_after": not_after},
            )  # fmt: skip

        await self._store.write(note)
        return IssuedCertificate(certificate, authority.certificate_pem, serial, uris, not_after)

    async def authority_certificate(self) -> bytes:
        """What both ends of a connection trust, as PEM."""
        return (await self._secrets.authority()).certificate_pem

    def verify_certificate(self, certificate: bytes, now: ConsensusTimestamp | None = None) -> Caller:
        """Who holds it (PEM or DER); PL-131, or PL-102 to PL-104 and PL-133 for what became of the holder since."""
        now = self._clock.now() if now is None else now
        facts = self._facts(certificate, now)
        tenant, kind, agent = self._holder(facts.uris)
        identity = self._in_force(tenant, agent, now).identity
        if identity.kind is not kind:
            raise not_valid(f"a {kind}", f"a {identity.kind}")
        expires_at = ConsensusTimestamp(facts.not_after)
        return Caller(tenant, agent, identity.kind, ("*",), expires_at, f"cert-{facts.serial:x}")

    def _facts(self, certificate: bytes, now: ConsensusTimestamp) -> CertificateFacts:
        """The signature is checked once per certificate, its time always."""
        known = self._verified.get(certificate)
        if known is not None and known[1] <= now < known[0].not_after:
            return known[0]
        facts = self._secrets.authority_now.verify(certificate, now)
        self._verified.put(certificate, (facts, now))
        return facts

    def _holder(self, uris: tuple[str, ...]) -> tuple[TenantId, PrincipalKind, AgentId]:
        """Exactly our two names, saying the same."""
        if len(uris) != 2:
            raise not_valid(f"{len(uris)} URI names", "two")
        tenant, kind, agent = from_spiffe_id(self._secrets.trust_domain, uris[0])
        if uris[1] != agent:
            raise not_valid("two names of different agents", "two names of one agent")
        return tenant, kind, agent


def spiffe_id(trust_domain: str, tenant: TenantId, kind: PrincipalKind, agent: AgentId) -> str:
    plain = SEGMENT.fullmatch(tenant) and tenant not in (".", "..") and not tenant.startswith(HEX_MARK)
    segment = tenant if plain else HEX_MARK + tenant.encode().hex()
    return f"spiffe://{trust_domain}/tenant/{segment}/{kind}/{agent.removeprefix(AGENT_PREFIX)}"


def from_spiffe_id(trust_domain: str, uri: str) -> tuple[TenantId, PrincipalKind, AgentId]:
    """Only the spelling that `spiffe_id` writes is read."""
    try:
        head, segment, kind_text, key = uri.rsplit("/", 3)
        tenant = bytes.fromhex(segment.removeprefix(HEX_MARK)).decode() if segment.startswith(HEX_MARK) else segment
        found = TenantId(tenant), PrincipalKind(kind_text), AgentId(AGENT_PREFIX + key)
        agent_key(found[2])
        if head != f"spiffe://{trust_domain}/tenant" or spiffe_id(trust_domain, *found) != uri:
            raise ValueError(uri)
    except (ValueError, EnablementError):
        raise not_valid(uri, f"spiffe://{trust_domain}/tenant/…/<kind>/<key>") from None
    return found


def not_valid(got: str, expected: str) -> Unauthorized:
    return Unauthorized("PL-131", field="certificate", got=got, expected=expected)
