"""Health, metrics, shutting down, tenants, telemetry: what operators rely on."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest

from creto.app import running
from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, Unauthorized
from creto.common.limits import UPLOAD_TTL_S
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.edge.api.readiness import STARTUP_TIMEOUT_S
from creto.edge.upkeep import tidied
from creto.platform.crypto import SigningKey
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import PrincipalKind
from creto.sdk import AgentKey, Creto
from creto.tenants import OPERATOR_KEY
from tests.layers import Layer, layer, settings


def test_live_and_ready(served: Layer) -> None:
    assert httpx2.get(f"{served.addresses.health}/live").text == "live\n"
    ready = httpx2.get(f"{served.addresses.health}/ready")
    assert ready.status_code == 200
    found = {d["name"]: d for d in ready.json()["dependencies"]}
    assert {
        "store",
        "nhi",
        "authz",
        "crypto",
        "consensus",
        "audit",
        "memory",
        "bus",
        "storage",
        "oversight",
        "metering",
    } == set(found)
    assert {d["condition"] for d in found.values()} == {"up"}


def test_what_a_layer_made_is_garbage_once_it_is_stopped(tmp_path: Path) -> None:
    with layer(tmp_path) as served:
        app = weakref.ref(served.app)
        assert gc.get_freeze_count()
        del served
    gc.collect()
    assert gc.get_freeze_count() == 0
    assert app() is None


def test_a_layer_whose_port_is_taken_holds_no_other(tmp_path: Path) -> None:
    def start(port: int) -> None:
        with (
            pytest.raises(ConnectionFailed, match=f"port {port} .* cannot be used"),
            layer(tmp_path, {"CRETO_SERVER__HEALTH_PORT": str(port)}),
        ):
            pass

    with socket.create_server(("127.0.0.1", 0)) as taken:
        start(taken.getsockname()[1])
    gc.collect()  # what is open still says so


def test_without_its_time_nodes_the_layer_starts_on_local_time_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(STARTUP_TIMEOUT_S, "consensus", 1)
    keys = [SigningKey.generate().public for _ in range(4)]
    nodes = ",".join(f"127.0.0.1:{port}={b64url_encode(key.to_bytes())}" for port, key in enumerate(keys, 1))
    with layer(tmp_path, {"CRETO_CONSENSUS__NODES": nodes}) as served:
        found = {d["name"]: d for d in httpx2.get(f"{served.addresses.health}/ready").json()["dependencies"]}
        assert found["consensus"]["condition"] == "degraded"
        assert "The time quorum is lost" in caplog.text
        assert served.run(served.app.parts.nhi.list(served.app.tenant)).items


def test_a_store_that_is_gone_makes_it_not_ready(tmp_path: Path) -> None:
    with layer(tmp_path) as served:
        served.app.parts.store.close()
        ready = httpx2.get(f"{served.addresses.health}/ready")
        assert ready.status_code == 503
        found = {d["name"]: d for d in ready.json()["dependencies"]}
        assert found["store"]["condition"] == "down"
        assert found["store"]["required"]
        assert httpx2.get(f"{served.addresses.health}/live").status_code == 200
        answer = httpx2.get(f"{served.rest}/v1/system", headers={"Authorization": f"Bearer {served.token}"})
        assert answer.status_code < 500 or answer.json()["error"]["code"] == "PL-503"


def test_metrics_can_be_scraped(served: Layer) -> None:
    httpx2.get(f"{served.rest}/v1/time", headers={"Authorization": f"Bearer {served.token}"})
    answer = httpx2.get(f"{served.addresses.metrics}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert int(values['platform_api_requests_total{endpoint="time.get_timestamp",code="ok"}']) >= 1
    assert float(values["platform_audit_log_count"]) >= 0
    for name in (
        "platform_store_queue_count",
        "platform_store_commits_total",
        "platform_store_commit_seconds_count",
        "platform_audit_unsequenced_count",
        "platform_authz_misses_total",
        "platform_authz_hits_total",
        "platform_consensus_offset_seconds",
        "platform_idempotency_hits_total",
        'platform_bus_messages_total{act="published"}',
        "platform_authz_cached_count",
        "platform_consensus_degraded_ratio",
        "platform_store_signals_ratio",
        "platform_audit_signed_count",
    ):
        assert name in values


def test_what_goes_wrong_is_counted(served: Layer) -> None:
    """given numbers before / when a token does not hold, a request is repeated, a decision is asked again / then they have grown."""

    def values() -> dict[str, float]:
        text = httpx2.get(f"{served.addresses.metrics}/metrics").text
        return {
            name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        }

    before = values()
    assert httpx2.get(f"{served.rest}/v1/time", headers={"Authorization": "Bearer creto1.x"}).status_code == 401
    mine = {"Authorization": f"Bearer {served.token}"}
    for _ in range(3):
        kept = {**mine, "Idempotency-Key": "counted-once"}
        httpx2.post(f"{served.rest}/v1/leases/counted", json={"ttl_s": 60}, headers=kept)
    after = values()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown['platform_nhi_failures_total{code="PL-107"}'] == 1
    assert grown["platform_idempotency_hits_total"] == 2
    assert grown["platform_store_commits_total"] >= 1
    assert grown["platform_authz_hits_total"] + grown["platform_authz_misses_total"] >= 1
    assert abs(after["platform_consensus_offset_seconds"]) < 5


def test_shutting_down_answers_what_was_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """given a write that takes its time / when the layer is told to stop / then the write is answered, and it is kept."""
    from creto.edge.api import dispatch

    entered, go = threading.Event(), asyncio.Event()
    real = dispatch.HANDLERS["leases.acquire"]

    async def slow(*args: Any) -> Any:
        entered.set()
        await go.wait()
        return await real(*args)

    monkeypatch.setitem(dispatch.HANDLERS, "leases.acquire", slow)
    with ThreadPoolExecutor(1) as thread:
        with layer(tmp_path) as served:
            headers = {"Authorization": f"Bearer {served.token}"}
            accepted = thread.submit(
                httpx2.post, f"{served.rest}/v1/leases/drained", json={"ttl_s": 600}, headers=headers
            )
            assert entered.wait(10)
            served.loop.call_soon_threadsafe(served.leave.set)
            served.loop.call_soon_threadsafe(served.loop.call_later, 0.3, go.set)
        assert accepted.result(10).status_code == 200
    with Creto.local(tmp_path / "creto.db", config=settings(tmp_path)) as creto:
        assert creto.time.current_lease(name="drained").token >= 1


def test_an_upload_that_nobody_finishes_is_tidied_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """given a part of an upload / when its time is over and upkeep goes round / then upload and part are gone."""
    with layer(tmp_path) as served, Creto.connect(served.rest, token=served.token) as creto:
        upload = creto.objects.create_upload(key="half").upload
        creto.objects.put_part(upload=upload, number=1, content=b"half")
        parts = served.app.parts
        served.run(tidied(parts, served.app.operator))
        assert len(creto.objects.list_parts(upload=upload).items) == 1
        later = ConsensusTimestamp(parts.clock.now() + (UPLOAD_TTL_S + 1) * SECOND)
        monkeypatch.setattr(type(parts.clock), "now", lambda _: later)
        served.run(parts.storage.sweep(agent=served.app.operator))
        monkeypatch.undo()
        assert creto.objects.list_uploads().items == ()
        served.run(parts.audit.sequence_once())
        assert creto.audit.query(action="storage.abort").items[0].event == "UploadAborted"


def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    """given one request a second for each caller / when one comes often / then it is refused, by REST and gRPC alike, and others are not."""
    with layer(tmp_path, {"CRETO_SERVER__REQUESTS_PER_SECOND_MAX": "1"}) as served:
        url, me = f"{served.rest}/v1/time", {"Authorization": f"Bearer {served.token}"}
        answers = [httpx2.get(url, headers=me) for _ in range(20)]
        late = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200
        assert late[0].headers["retry-after"] == "1"
        assert late[0].json()["error"]["code"] == "PL-429"
        other = served.token_for(served.run(registered(served)))
        assert httpx2.get(url, headers={"Authorization": f"Bearer {other}"}).status_code == 200
        strangers = [httpx2.get(url, headers={"Authorization": "Bearer creto1.x"}).status_code for _ in range(20)]
        assert set(strangers) == {401, 429}
        with grpc.insecure_channel(served.grpc) as channel:
            ask = channel.unary_unary("/creto.v1.Time/GetTimestamp")
            codes = {code_of(ask, me["Authorization"]) for _ in range(20)}
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        scraped = httpx2.get(f"{served.addresses.metrics}/metrics").text
        count = next(line for line in scraped.splitlines() if line.startswith("platform_api_throttled_total"))
        assert int(count.rsplit(" ", 1)[1]) >= len(late) + strangers.count(429)


def code_of(ask: Any, authorization: str) -> Any:
    try:
        ask(b"", metadata=(("authorization", authorization),))
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def registered(served: Layer) -> str:
    key = AgentKey.generate()
    proof = key.registration(served.app.tenant, PrincipalKind.SERVICE, "other", None)
    made = await served.app.parts.nhi.register(
        served.app.tenant, PrincipalKind.SERVICE, key.public, "other", proof=proof
    )
    return str(made.nhi)


def test_a_token_of_one_tenant_never_sees_another(tmp_path: Path) -> None:
    """given two tenants on one store / when the one asks for what is the other's / then it is not there."""
    multi = {"CRETO_COMMON__TENANT_MODE": "multi"}
    with layer(tmp_path, {**multi, "CRETO_COMMON__TENANT": "acme"}) as first:
        key_a = first.key
        with Creto.connect(first.rest, token=first.token, tenant=first.app.tenant) as acme:
            secret = acme.register("secret-bot")
            acme.memory.store_context(agent=secret.nhi, kind="note", content="hidden treasure")
            acme.objects.put(key="plan", content=b"x")
            acme.memory.put_state(agent=secret.nhi, key="k", value=b"v")
            acme.time.acquire_lease(name="shared", ttl_s=600)
            first.run(first.app.parts.audit.sequence_once())
            entry = acme.audit.query(action="memory.store").items[0]

    with layer(tmp_path, {**multi, "CRETO_COMMON__TENANT": "beta"}) as served:
        token = served.token
        with Creto.connect(served.rest, token=token, tenant=served.app.tenant) as beta:
            assert beta.auth.whoami().tenant == "beta"
            assert secret.nhi not in {a.nhi for a in beta.agents.list().items}
            assert "plan" not in {o.key for o in beta.objects.list().items}
            assert beta.memory.recent(agent=secret.nhi).items == ()
            assert beta.audit.query(text="treasure").items == ()
            assert all(e.agent_nhi != key_a.nhi for e in beta.audit.query(limit=1000).items)
            for hidden in (
                lambda: beta.agents.get(agent=secret.nhi),
                lambda: beta.objects.get(key="plan"),
                lambda: beta.memory.get_state(agent=secret.nhi, key="k"),
                lambda: beta.audit.get(event_id=entry.event_id),
                lambda: beta.time.current_lease(name="shared"),
                lambda: beta.agents.revoke(agent=secret.nhi),
            ):
                with pytest.raises(EnablementError) as caught:
                    hidden()
                assert caught.value.code in ("PL-102", "PL-404", "PL-601")
        with Creto.connect(served.rest, key=key_a, tenant="acme") as acme:  # type: ignore[arg-type]
            assert acme.agents.get(agent=secret.nhi).name == "secret-bot"
            with pytest.raises(InvalidInput, match="tenant"):
                acme.auth.challenge(agent=secret.nhi)

    with (
        layer(tmp_path, {"CRETO_COMMON__TENANT": "acme"}) as single,
        Creto.connect(single.rest, token=token) as stranger,
        pytest.raises(Unauthorized, match="PL-401"),
    ):
        stranger.auth.whoami()


@pytest.mark.parametrize("key", ["AUTHZ_ENDPOINT", "AUDIT_ENDPOINT"])
async def test_a_service_elsewhere_is_not_silently_left_out(tmp_path: Path, key: str) -> None:
    config = settings(tmp_path, **{f"CRETO_COMMON__{key}": "grpc://elsewhere:1"})
    with pytest.raises(EnablementError, match="PL-501"):
        async with running(config):
            pass


def test_spans_go_where_the_configuration_says(tmp_path: Path) -> None:
    """In a process of its own: OpenTelemetry's provider is global."""
    import subprocess
    import sys

    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    code = f"""
import httpx2, pathlib
from creto.common.logs import start_logging
from tests.layers import layer
start_logging()
env = {{"CRETO_TELEMETRY__OTLP_ENDPOINT": "http://127.0.0.1:{collector.server_port}"}}
with layer(pathlib.Path({str(tmp_path)!r}), env) as served:
    httpx2.get(served.rest + "/v1/time", headers={{"Authorization": "Bearer " + served.token}})
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    assert done.returncode == 0, done.stderr
    assert any(path == "/v1/traces" and b"time.get_timestamp" in body for path, body in received)
    lines = [line for line in done.stderr.splitlines() if '"operation":"time.get_timestamp"' in line]
    assert lines
    assert '"duration_ms":' in lines[0]
    assert '"trace_id":null' not in lines[0]


def test_the_operator_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with layer(tmp_path) as first:
        nhi = first.key.nhi
    with layer(tmp_path) as second:
        assert second.key.nhi == nhi
        assert isinstance(second.key, AgentKey)
        assert OPERATOR_KEY == "operator"
