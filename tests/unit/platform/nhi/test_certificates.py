from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from creto.common.errors import EnablementError
from creto.common.ids import TenantId
from creto.common.limits import CERTIFICATE_TTL_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.crypto import Kek, Keystore, SignatureSuite, SigningKey
from creto.platform.crypto.x509 import Authority, new_request
from creto.platform.nhi import IssuedCertificate, Nhi, PrincipalKind, request_proof
from creto.platform.nhi.certificates import from_spiffe_id, spiffe_id
from tests.unit.platform.nhi.town import TENANT, Person, Town, key


async def issued(
    town: Town, person: Person, hosts: tuple[str, ...] = (), ttl_s: int = 3_600
) -> tuple[bytes, IssuedCertificate]:
    private, request = new_request()
    proof = request_proof(person.key, request, tenant=TENANT)
    return private, await town.nhi.issue_certificate(TENANT, person.nhi, request, proof=proof, hosts=hosts, ttl_s=ttl_s)


async def test_a_certificate_names_its_holder_in_two_uris(town: Town) -> None:
    bot = await town.agent()
    _, certificate = await issued(town, bot)
    assert certificate.uris == (f"spiffe://creto.local/tenant/acme/agent/{bot.nhi.split(':')[-1]}", bot.nhi)
    caller = town.nhi.verify_certificate(certificate.certificate_pem)
    der = ssl.PEM_cert_to_DER_cert(certificate.certificate_pem.decode())
    assert town.nhi.verify_certificate(der) == caller
    assert (caller.tenant, caller.agent, caller.kind) == (TENANT, bot.nhi, PrincipalKind.AGENT)
    assert caller.expires_at == certificate.not_after


async def test_a_certificate_ends_on_time_and_with_its_holder(town: Town) -> None:
    bot = await town.agent()
    _, certificate = await issued(town, bot, ttl_s=60)
    pem = certificate.certificate_pem
    assert town.nhi.verify_certificate(pem, ConsensusTimestamp(certificate.not_after - 1)).agent == bot.nhi
    for now in (certificate.not_after, ConsensusTimestamp(certificate.not_after - 3_600 * SECOND)):
        with pytest.raises(EnablementError, match="PL-131"):
            town.nhi.verify_certificate(pem, now)
    await town.nhi.revoke(TENANT, bot.nhi)
    with pytest.raises(EnablementError, match="PL-103"):
        town.nhi.verify_certificate(pem)


async def test_another_authority_s_certificates_are_refused(town: Town) -> None:
    bot = await town.agent()
    _, genuine = await issued(town, bot)
    name = "creto.local NHI authority"
    stranger = Authority(SigningKey.generate(SignatureSuite.ED25519), name)
    forged = stranger.issue(
        new_request()[1], common_name="bot", uris=genuine.uris, serial=1, not_before=town.clock.now() - SECOND,
        not_after=town.clock.now() + 3_600 * SECOND,
    )  # fmt: skip
    for pem in (forged, stranger.certificate_pem, genuine.authority_pem):
        with pytest.raises(EnablementError, match="PL-131"):
            town.nhi.verify_certificate(pem)


async def test_a_certificate_is_issued_to_the_identity_s_key_alone(town: Town) -> None:
    bot = await town.agent()
    _, request = new_request()
    _, other_request = new_request()
    for proof in (
        request_proof(key(9_999), request, tenant=TENANT),
        request_proof(bot.key, other_request, tenant=TENANT),
        request_proof(bot.key, request, tenant=TenantId("other")),
    ):
        with pytest.raises(EnablementError, match="PL-210"):
            await town.nhi.issue_certificate(TENANT, bot.nhi, request, proof=proof)
    good = request_proof(bot.key, request, tenant=TENANT)
    with pytest.raises(EnablementError, match="PL-403"):  # an agent does not pose as a host
        await town.nhi.issue_certificate(TENANT, bot.nhi, request, proof=good, hosts=("bank.example",))
    for ttl_s in (0, CERTIFICATE_TTL_S_MAX + 1):
        with pytest.raises(EnablementError, match="ttl_s"):
            await town.nhi.issue_certificate(TENANT, bot.nhi, request, proof=good, ttl_s=ttl_s)


async def test_every_node_has_the_same_authority(town: Town) -> None:
    _, certificate = await issued(town, await town.agent())
    other = Nhi(town.store, town.clock, Keystore(town.store, Kek(bytes(32)), town.clock))
    assert await other.authority_certificate() == certificate.authority_pem
    assert other.verify_certificate(certificate.certificate_pem) == town.nhi.verify_certificate(
        certificate.certificate_pem
    )


@pytest.mark.parametrize("tenant", ["acme", "a.b-c_d", "Müller & Söhne", "a/b", "..", "hex-61", "%41"])
def test_a_tenant_of_any_spelling_has_one_spiffe_id(tenant: str) -> None:
    agent = Person(key(1)).nhi
    uri = spiffe_id("creto.local", TenantId(tenant), PrincipalKind.AGENT, agent)
    assert from_spiffe_id("creto.local", uri) == (tenant, PrincipalKind.AGENT, agent)


@pytest.mark.parametrize(
    "uri",
    ["", "spiffe://", "spiffe://creto.local/tenant/acme/agent/x", "spiffe://other/tenant/acme/agent/{key}",
     "spiffe://creto.local/tenant/hex-zz/agent/{key}", "spiffe://creto.local/tenant/hex-61636d65/agent/{key}",
     "spiffe://creto.local/tenant/acme/robot/{key}", "spiffe://creto.local/x/tenant/acme/agent/{key}"],
)  # fmt: skip
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(EnablementError, match="PL-131"):
        from_spiffe_id("creto.local", uri.replace("{key}", Person(key(1)).nhi.split(":")[-1]))


async def test_both_ends_of_a_tls_connection_know_each_other(town: Town, tmp_path: Path) -> None:
    town.clock.time = time.time_ns()  # the TLS library has its own clock
    gate = await town.settle(PrincipalKind.SERVICE, "gate")
    bot = await town.agent()
    server_side, server = await issued(town, gate, hosts=("localhost", "127.0.0.1"))
    client_side, client = await issued(town, bot)

    def context(purpose: int, private: bytes, certificate: bytes) -> ssl.SSLContext:
        made = ssl.SSLContext(purpose)
        path = tmp_path / f"{purpose}.pem"
        path.write_bytes(private + certificate)
        made.load_cert_chain(path)
        made.load_verify_locations(cadata=server.authority_pem.decode())
        made.verify_mode = ssl.CERT_REQUIRED
        return made

    here, there = socket.socketpair()
    seen: list[bytes] = []

    def serve() -> None:
        made = context(ssl.PROTOCOL_TLS_SERVER, server_side, server.certificate_pem)
        with made.wrap_socket(there, server_side=True) as connection:
            seen.append(connection.getpeercert(binary_form=True) or b"")
            connection.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    made = context(ssl.PROTOCOL_TLS_CLIENT, client_side, client.certificate_pem)
    with made.wrap_socket(here, server_hostname="localhost") as connection:
        assert connection.recv(5) == b"hello"
        assert town.nhi.verify_certificate(connection.getpeercert(binary_form=True) or b"").agent == gate.nhi
    thread.join()
    assert town.nhi.verify_certificate(seen[0]).agent == bot.nhi
