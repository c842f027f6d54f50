"""gRPC as a stranger meets it: unary calls, errors in trailers, deadlines, health, reflection, long metadata, TLS and mutual TLS."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx2
import msgspec
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from creto.app import App
from creto.common.errors import EnablementError, ErrorBody
from creto.common.timestamps import HOUR, iso
from creto.contracts import BillableEvent, NetworkEgress, RuntimeUsageEvent
from creto.edge.api import ENDPOINTS, agents, memory, objects, policies, usage
from creto.edge.api import time as times
from creto.edge.api.endpoint import Endpoint
from creto.edge.grpc.convert import to_message, to_struct
from creto.edge.grpc.schema import PACKAGE, Schema, method_name, service_name
from creto.edge.grpc.server import ERROR_TRAILER
from creto.platform.crypto import SigningKey
from creto.platform.crypto.jose import b64url_encode
from creto.platform.crypto.x509 import new_request
from creto.platform.nhi import DelegationChain, PrincipalKind, registration_proof, request_proof
from creto.sdk import Creto
from tests.layers import Layer, layer

SCHEMA = Schema(ENDPOINTS)
BIG = [("grpc.max_metadata_size", 1024 * 1024), ("grpc.absolute_max_metadata_size", 1024 * 1024)]


def path_of(endpoint: Endpoint[..., Any]) -> str:
    return f"/{PACKAGE}.{service_name(endpoint)}/{method_name(endpoint)}"


async def asked(channel: grpc.aio.Channel, endpoint: Endpoint[..., Any], request: Any, **options: Any) -> Any:
    """The answer as its struct, or the error that the trailer carries."""
    call = channel.unary_unary(
        path_of(endpoint),
        request_serializer=lambda value: to_message(value, SCHEMA).SerializeToString(),
        response_deserializer=SCHEMA.message_class(endpoint.response).FromString,
    )(request, **options)
    try:
        return to_struct(await call, endpoint.response)
    except grpc.aio.AioRpcError as error:
        trailer = dict(error.trailing_metadata() or ())
        if ERROR_TRAILER not in trailer:
            raise
        raise EnablementError.from_body(msgspec.json.decode(trailer[ERROR_TRAILER], type=ErrorBody)) from error


def bearer(token: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"), *more)


async def test_unary_calls_answer_and_refuse(served: Layer) -> None:
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        me = bearer(served.token)
        found = await asked(channel, agents.GET, agents.GetAgent(agent=served.key.nhi), metadata=me)
        assert (found.nhi, found.kind) == (served.key.nhi, PrincipalKind.HUMAN)
        with pytest.raises(EnablementError, match="PL-102") as caught:
            await asked(
                channel,
                agents.GET,
                agents.GetAgent(agent="agent:nhi:ed25519:11111111111111111111111111111111"),
                metadata=me,
            )
        assert caught.value.trace_id
        for metadata, code in (((), "PL-401"), (bearer("creto1.x"), "PL-107")):
            with pytest.raises(EnablementError, match=code):
                await asked(channel, agents.LIST, agents.ListAgents(), metadata=metadata)
        put = await asked(channel, objects.PUT, objects.PutObject(key="g", content=b"\0" * 1000), metadata=me)
        assert put.size == 1000
        assert (
            await asked(channel, objects.GET, objects.GetObject(key="g", start=5, length=7), metadata=me)
        ).data == b"\0" * 7
        check = policies.CheckAccess(agent=served.key.nhi, action="x", resource="y", context={"amount": 5})
        assert (await asked(channel, policies.CHECK, check, metadata=me)).decision.policies == ("creto.operator",)


async def test_usage_comes_in_by_its_form(served: Layer) -> None:
    """given events of several forms / when each comes in the message of its form / then it counts; 1 and "1" are two payloads."""
    me, at = served.key.nhi, time.time_ns()
    about: dict[str, Any] = {"tenant": "default", "agent_nhi": me, "delegation_chain": (me,), "timestamp": at}
    one = BillableEvent(event_id="g1", event_type="use", idempotency_key="g1", properties={"n": 1}, **about)  # type: ignore[arg-type]
    sent = NetworkEgress(sandbox_id="s", destination="example.org", bytes_transferred=5)  # type: ignore[arg-type]
    runtime = RuntimeUsageEvent(event_id="g2", event_type="egress", idempotency_key="g2", properties=sent, **about)  # type: ignore[arg-type]
    cloud = {
        "specversion": "1.0",
        "id": "3",
        "source": "g",
        "type": "use",
        "subject": me,
        "time": iso(at),
        "data": {"n": "1.5"},
    }
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        ask = partial(asked, channel, metadata=bearer(served.token))
        done = await ask(usage.SUBMIT_MANY, usage.SubmitEvents(events=(one, runtime, cloud)))
        assert [(r.status, r.event_id) for r in done.results] == [
            ("accepted", "g1"),
            ("accepted", "g2"),
            ("accepted", "g#3"),
        ]
        assert (await ask(usage.SUBMIT, usage.SubmitEvent(event=runtime))).status == "duplicate"
        text = msgspec.structs.replace(one, properties={"n": "1"})
        with pytest.raises(EnablementError, match="MT-409"):
            await ask(usage.SUBMIT, usage.SubmitEvent(event=text))


async def test_a_status_says_what_kind_of_refusal_it_is(served: Layer) -> None:
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        call = channel.unary_unary(path_of(agents.GET))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\x0a\xff")
        assert (
            caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            or caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{PACKAGE}.Agents/Nothing")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_holds(served: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    """given a handler that never ends / when the caller's time is over / then it is told, and the handler is ended."""
    import asyncio

    from creto.edge.api.dispatch import HANDLERS

    ended = threading.Event()

    async def forever(*_: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setitem(HANDLERS, times.TIMESTAMPS.name, forever)
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        with pytest.raises((EnablementError, grpc.aio.AioRpcError)) as caught:
            await asked(channel, times.TIMESTAMPS, times.GetTimestamps(), metadata=bearer(served.token), timeout=0.3)
        if isinstance(caught.value, grpc.aio.AioRpcError):
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            assert caught.value.code == "PL-504"  # type: ignore[union-attr]
        assert await asyncio.to_thread(ended.wait, 10)


async def test_health_and_reflection(served: Layer) -> None:
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", f"{PACKAGE}.Agents"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{PACKAGE}.Agents"),
        ]
        listed, described = [answer async for answer in reflect(iter(requests))]
        names = {service.name for service in listed.list_services_response.service}
        assert {f"{PACKAGE}.{service_name(e)}" for e in ENDPOINTS} <= names
        file = descriptor_pb2.FileDescriptorProto.FromString(
            described.file_descriptor_response.file_descriptor_proto[0]
        )
        assert "RegisterAgent" in {m.name for m in file.message_type}


async def test_a_long_chain_fits_in_the_metadata(served: Layer) -> None:
    with Creto.connect(served.rest, token=served.token) as creto:
        now = creto.time.get_timestamp().timestamps[0]
        chain: DelegationChain | None = None
        holder = served.key
        for depth in range(16):
            child = creto.register(f"grpc-deep-{depth}")
            chain = holder.delegate(
                child.nhi, actions=("memory:*",), not_before=now, not_after=now + HOUR, depth_left=15 - depth,
                tenant=creto.tenant, chain=chain,
            )  # fmt: skip
            holder = child
    assert chain is not None
    token = served.token_for(holder.nhi)
    header = ("creto-delegation", b64url_encode(chain.to_bytes()))
    async with grpc.aio.insecure_channel(served.grpc, options=BIG) as channel:
        request = memory.RecentContexts(agent=holder.nhi)
        assert (await asked(channel, memory.RECENT, request, metadata=bearer(token, header))).items == ()
        with pytest.raises(EnablementError, match="PL-110"):
            await asked(channel, memory.RECENT, request, metadata=bearer(token))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Layer, Path]]:
    """A layer that answers on TLS with a certificate of its own authority, and asks gRPC clients for theirs."""
    folder = tmp_path_factory.mktemp("tls")
    with layer(folder) as first:
        first.run(server_files(first.app, folder))
    env = {
        "CRETO_SERVER__TLS_CERT": str(folder / "server.pem"),
        "CRETO_SERVER__TLS_KEY": str(folder / "server.key"),
        "CRETO_SERVER__TLS_CLIENT_CA": str(folder / "ca.pem"),
    }
    with layer(folder, env) as found:
        yield found, folder


async def server_files(app: App, folder: Path) -> None:
    """The server is a service of the layer; the operator's client certificate lies beside its own."""
    nhi, service = app.parts.nhi, SigningKey.generate()
    proof = registration_proof(service, tenant=app.tenant, kind=PrincipalKind.SERVICE, name="edge")
    identity = await nhi.register(app.tenant, PrincipalKind.SERVICE, service.public, "edge", proof=proof)
    for name, agent, key, hosts in (
        ("server", identity.nhi, service, ("localhost", "127.0.0.1")),
        ("client", identity.nhi, service, ()),
    ):
        private, request = new_request()
        word = request_proof(key, request, tenant=app.tenant)
        issued = await nhi.issue_certificate(app.tenant, agent, request, proof=word, hosts=hosts)
        (folder / f"{name}.pem").write_bytes(issued.certificate_pem)
        (folder / f"{name}.key").write_bytes(private)
        (folder / "ca.pem").write_bytes(issued.authority_pem)


async def test_mutual_tls_says_who_calls(secured: tuple[Layer, Path]) -> None:
    served, folder = secured
    authority, key, certificate = ((folder / f).read_bytes() for f in ("ca.pem", "client.key", "client.pem"))
    address = served.grpc.replace("127.0.0.1", "localhost")
    known = grpc.ssl_channel_credentials(authority, key, certificate)
    async with grpc.aio.secure_channel(address, known) as channel:
        me = await asked(channel, agents.WHOAMI, agents.Nobody())
        assert me.kind is PrincipalKind.SERVICE
        with pytest.raises(EnablementError, match="PL-403"):
            await asked(channel, agents.LIST, agents.ListAgents())
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked(channel, agents.WHOAMI, agents.Nobody(), timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_rest_speaks_tls_with_the_same_certificate(secured: tuple[Layer, Path]) -> None:
    served, folder = secured
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    assert served.rest.startswith("https://")
    headers = {"Authorization": f"Bearer {served.token}"}
    assert httpx2.get(f"{served.rest}/v1/time", headers=headers, verify=context).status_code == 200
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"{served.rest}/v1/time", headers=headers, verify=ssl.create_default_context())


def test_a_port_that_is_taken_is_said_with_a_remedy(served: Layer, tmp_path: Path) -> None:
    for name, address in (("GRPC", served.grpc), ("REST", served.rest)):
        taken = {f"CRETO_SERVER__{name}_PORT": address.rsplit(":", 1)[1]}
        with pytest.raises(EnablementError, match="PL-503") as caught, layer(tmp_path, taken):
            pass
        assert caught.value.hint
