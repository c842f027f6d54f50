"""REST as a stranger meets it: routes, methods, media types, limits, pages, problems, slow and vanished clients."""

from __future__ import annotations

import socket
import time
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from creto.common import wire
from creto.common.errors import Unauthorized
from creto.common.limits import BODY_BYTES_MAX, HEAD_BYTES_MAX
from creto.common.timestamps import HOUR, iso
from creto.metering import EventState
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import DelegationChain, PrincipalKind
from creto.sdk import AgentKey, Creto
from tests.layers import Layer


def problem(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["type"]) == (response.status_code, f"urn:creto:error:{body['error']['code']}")
    if "traceparent" in response.headers:  # what no endpoint answered has no trace
        assert body["error"]["trace_id"] == response.headers["traceparent"].split("-")[1]
    return body["error"]


def test_the_document_is_served_to_everybody(served: Layer) -> None:
    document = httpx2.get(f"{served.rest}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/agents/{agent}" in document["paths"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "PL-404"),
        ("POST", "/nothing/at/all", 404, "PL-404"),
        ("PATCH", "/v1/agents", 405, "PL-405"),
        ("HEAD", "/v1/authz/check", 405, "PL-405"),
        ("GET", "/v1/agents?limit=x", 400, "PL-400"),
        ("GET", "/v1/agents?limit=1&limit=2", 400, "PL-400"),
        ("GET", "/v1/agents?limt=1", 400, "PL-400"),
        ("GET", "/v1/agents?limit=" + "9" * 5000, 400, "PL-400"),
        ("GET", "/v1/agents?kind=null", 400, "PL-400"),
        ("GET", "/v1/agents?cursor=zzz", 400, "PL-400"),
        ("GET", "/v1/audit/consistency?old=9223372036854775808", 400, "PL-400"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    http: httpx2.Client, method: str, path: str, status: int, code: str
) -> None:
    response = http.request(method, path)
    assert response.status_code == status
    if method != "HEAD":
        assert problem(response)["code"] == code


def test_a_method_that_is_not_offered_names_those_that_are(http: httpx2.Client) -> None:
    for method in ("OPTIONS", "DELETE"):
        response = http.request(method, "/v1/agents")
        assert response.status_code == 405
        assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))


def test_head_is_get_without_a_body(http: httpx2.Client) -> None:
    response = http.head("/v1/time")
    assert (response.status_code, response.content) == (200, b"")


def test_media_types(http: httpx2.Client) -> None:
    given = {"content": b"x=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    assert problem(http.post("/v1/leases/media", **given))["code"] == "PL-415"  # type: ignore[arg-type]
    assert problem(http.get("/v1/time", headers={"Accept": "text/html"}))["code"] == "PL-406"
    assert http.get("/v1/time", headers={"Accept": "text/html, */*;q=0.1"}).status_code == 200


def test_cloud_events_come_in_every_mode_of_their_binding(http: httpx2.Client, creto: Creto, served: Layer) -> None:
    """given CloudEvents 1.0 / when they come structured, in binary mode or in a batch / then each counts, and repeats what came before"""
    me, at = creto.auth.whoami().agent, iso(creto.time.get_timestamp().timestamps[0])
    cloud = {"specversion": "1.0", "id": "1", "source": "/bots/ü", "type": "use", "subject": me, "time": at}
    structured = http.post(
        "/v1/usage/events", content=wire.encode({**cloud, "data": {"tokens": 7}}),
        headers={"Content-Type": "application/cloudevents+json; charset=utf-8"},
    )  # fmt: skip
    assert structured.json() == {"status": "accepted", "event_id": "/bots/ü#1"}
    attributes = {f"ce-{name}": quote(value) for name, value in cloud.items()}
    binary = http.post("/v1/usage/events", json={"tokens": 7}, headers=attributes)
    assert binary.json() == {"status": "duplicate", "event_id": "/bots/ü#1"}
    other = attributes | {"ce-id": "2", "Content-Type": "application/octet-stream"}
    assert http.post("/v1/usage/events", content=b'{"tokens":1}', headers=other).json()["status"] == "accepted"
    batch = http.post(
        "/v1/usage/batches", content=wire.encode([{**cloud, "id": id, "data": {"tokens": 1}} for id in "234"]),
        headers={"Content-Type": "application/cloudevents-batch+json"},
    )  # fmt: skip
    assert (batch.json()["accepted"], batch.json()["duplicates"]) == (2, 1)
    assert creto.metering.event(event_id="/bots/ü#1").event.properties == {"tokens": 7}
    assert (
        creto.metering.void(event_id="/bots/ü#1", reason="a name with slashes in the middle of a path").state
        is EventState.VOID
    )

    lacking = http.post("/v1/usage/events", json={}, headers={k: v for k, v in attributes.items() if k != "ce-time"})
    assert (problem(lacking)["code"], problem(lacking)["field"]) == ("MT-400", "event.time")
    wrong = http.post("/v1/usage/batches", content=b"[]", headers={"Content-Type": "application/cloudevents+json"})
    assert problem(wrong)["code"] == "PL-415"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b'{"ttl_s": "5"}', "ttl_s"),
        (b'{"ttl_s": 1.5}', "ttl_s"),
        (b'{"ttl_s": 0}', "ttl_s"),
        (b'{"ttl": 5}', "ttl"),
        (b'{"ttl_s": 1e400}', "ttl_s"),
        (b'{"ttl_s": ' + b"[" * 5000, "body"),
        (b"\xff\xfe", "body"),
    ],
)
def test_bodies_that_do_not_fit_change_nothing(http: httpx2.Client, body: bytes, field: str) -> None:
    response = http.post("/v1/leases/bodies", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert problem(response)["field"] == field
    assert http.get("/v1/leases/bodies").status_code == 404


def test_an_integer_may_be_written_with_a_point(http: httpx2.Client) -> None:
    assert http.post("/v1/leases/point", json={"ttl_s": 7.0}).status_code == 200


def test_a_body_beyond_the_limit_is_refused(http: httpx2.Client) -> None:
    most = b"0" * BODY_BYTES_MAX
    assert http.put("/v1/objects/content?key=most", content=most).status_code == 201
    assert http.get("/v1/objects/content?key=most").content == most
    assert problem(http.put("/v1/objects/content?key=more", content=most + b"0"))["code"] == "PL-413"
    assert http.get("/v1/objects/stat?key=more").status_code == 404


def test_pages_meet_and_do_not_overlap(creto: Creto) -> None:
    for i in range(5):
        creto.objects.put(key=f"pages/{i}", content=b"")
    seen, cursor, pages = [], None, 0
    while True:
        page = creto.objects.list(prefix="pages/", limit=2, cursor=cursor)
        seen += [item.key for item in page.items]
        pages, cursor = pages + 1, page.cursor
        if cursor is None:
            break
    assert seen == [f"pages/{i}" for i in range(5)]
    assert pages == 3


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "PL-401"),
        ({"Authorization": "Basic YTpi"}, "PL-401"),
        ({"Authorization": "Bearer"}, "PL-401"),
        ({"Authorization": "Bearer creto1.zzz"}, "PL-107"),
        ({"Cookie": "creto_session=creto1.zzz"}, "PL-401"),
        ({"Cookie": "creto_session=creto1.zzz", "X-Creto-Console": "1"}, "PL-107"),
    ],
)
def test_credentials_that_do_not_hold(served: Layer, headers: dict[str, str], code: str) -> None:
    response = httpx2.get(f"{served.rest}/v1/agents", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert problem(response)["code"] == code


def test_a_token_reaches_as_far_as_its_scopes(served: Layer, creto: Creto) -> None:
    token = creto.auth.issue(agent=served.key.nhi, scopes=("memory:*", "time:read")).token
    with Creto.connect(served.rest, token=token) as narrow:
        assert narrow.time.get_timestamp().timestamps
        narrow.memory.recent(agent=served.key.nhi)
        with pytest.raises(Unauthorized, match="PL-109"):
            narrow.agents.list()


def test_an_agent_acts_by_its_chain_and_no_further(served: Layer, creto: Creto) -> None:
    bot = creto.register("chained")
    now = creto.time.get_timestamp().timestamps[0]
    given: dict[str, Any] = {"not_before": now, "not_after": now + HOUR, "tenant": creto.tenant}
    chain = served.key.delegate(bot.nhi, actions=("memory:*",), **given)
    with Creto.connect(served.rest, key=bot, chain=chain) as agent:
        kept = agent.memory.store_context(agent=bot.nhi, kind="note", content="mine")
        assert agent.memory.recent(agent=bot.nhi).items[0].id == kept.id
        with pytest.raises(Unauthorized, match="PL-403"):  # the policy: another's memory
            agent.memory.recent(agent=served.key.nhi)
        with pytest.raises(Unauthorized, match="PL-134"):  # the chain: another action
            agent.agents.list()
    with Creto.connect(served.rest, key=bot) as alone, pytest.raises(Unauthorized, match="PL-110"):
        alone.memory.recent(agent=bot.nhi)
    entry = creto.audit.query(agent=bot.nhi, action="memory.store").items[0]
    assert entry.agent_nhi == bot.nhi


def test_a_long_chain_fits_in_the_headers(served: Layer, creto: Creto) -> None:
    """16 hybrid links are some 80 KiB of header."""
    now = creto.time.get_timestamp().timestamps[0]
    chain: DelegationChain | None = None
    holder = served.key
    for depth in range(16):
        child = creto.register(f"deep-{depth}")
        chain = holder.delegate(
            child.nhi, actions=("memory:*",), not_before=now, not_after=now + HOUR, depth_left=15 - depth,
            tenant=creto.tenant, chain=chain,
        )  # fmt: skip
        holder = child
    assert chain is not None
    assert len(b64url_encode(chain.to_bytes())) > 64 * 1024
    with Creto.connect(served.rest, key=holder, chain=chain) as deepest:
        assert deepest.memory.recent(agent=holder.nhi).items == ()


def test_a_trace_goes_on(http: httpx2.Client) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = http.get(
        "/v1/agents/agent:nhi:ed25519:11111111111111111111111111111111", headers={"Traceparent": parent}
    )
    assert response.headers["traceparent"].split("-")[1] == parent.split("-")[1]
    assert response.json()["error"]["trace_id"] == parent.split("-")[1]


def test_an_expired_token_is_renewed_by_the_key(served: Layer, creto: Creto) -> None:
    ada = creto.register("renewing", kind=PrincipalKind.HUMAN)
    with Creto.connect(served.rest, key=ada) as mine:
        mine.time.get_timestamp()
        line: Any = mine.time._world.line
        line._token = "creto1.old"
        assert mine.time.get_timestamp().timestamps


def test_a_name_may_hold_slashes_dots_and_spaces(creto: Creto) -> None:
    for name in ("a/b", "..", ".", "a b/ü%2F?#", "x" * 135):
        lease = creto.time.acquire_lease(name=name, ttl_s=60)
        assert creto.time.current_lease(name=name).token == lease.token


def test_a_client_that_leaves_in_the_middle_harms_nobody(served: Layer, http: httpx2.Client) -> None:
    host, port = served.rest.removeprefix("http://").split(":")
    head = f"PUT /v1/objects/content?key=half HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.token}\r\n"
    for _ in range(20):
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(f"{head}Content-Length: 1000\r\n\r\nhalf".encode())
    assert http.get("/v1/time").status_code == 200
    assert http.get("/v1/objects/stat?key=half").status_code == 404


def test_headers_without_end_are_cut_off(served: Layer, http: httpx2.Client) -> None:
    host, port = served.rest.removeprefix("http://").split(":")
    for line in (b"X-A: " + b"a" * 60_000 + b"\r\n", b"a" * 60_000):  # many headers; one that never ends
        with socket.create_connection((host, int(port))) as stranger:
            stranger.settimeout(10)
            sent, answer = 0, b""
            try:
                stranger.sendall(b"GET /v1/time HTTP/1.1\r\nHost: x\r\nX-B: ")
                while sent < 16 * HEAD_BYTES_MAX:
                    stranger.sendall(line)
                    sent += len(line)
            except OSError:
                pass
            else:
                answer = stranger.recv(100)
            assert sent < 16 * HEAD_BYTES_MAX or answer.startswith(b"HTTP/1.1 400")
    assert http.get("/v1/time").status_code == 200


@pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")  # no engine is asked
def test_headers_that_do_not_come_are_not_waited_for(served: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creto.edge.rest.protocol.HEAD_S_MAX", 0.3)
    host, port = served.rest.removeprefix("http://").split(":")
    for beginning in (b"", b"GET /v1/time HTTP/1.1\r\nHost:", b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\nGET "):
        with socket.create_connection((host, int(port))) as slow:
            slow.settimeout(10)
            slow.sendall(beginning)
            while slow.recv(65536):
                pass


def test_bytes_that_are_no_http_are_answered_and_closed(served: Layer, http: httpx2.Client) -> None:
    host, port = served.rest.removeprefix("http://").split(":")
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 1000 + b"\r\n\r\n"):
        with socket.create_connection((host, int(port))) as stranger:
            stranger.settimeout(10)
            stranger.sendall(noise)
            stranger.shutdown(socket.SHUT_WR)
            assert stranger.recv(1000)[:12] in (b"", b"HTTP/1.1 400")
    assert http.get("/v1/time").status_code == 200


def test_fifty_at_once_with_one_key_have_one_effect(served: Layer, creto: Creto) -> None:
    """given one Idempotency-Key / when fifty send it together / then one identity, and whoever waited has its answer."""
    from concurrent.futures import ThreadPoolExecutor

    import msgspec

    bot = AgentKey.generate()
    body = {"kind": "agent", "name": "once", "verify_key": bot.public.to_bytes(), "proof": bot.registration(creto.tenant, PrincipalKind.AGENT, "once")}  # fmt: skip
    headers = {"Authorization": f"Bearer {served.token}", "Idempotency-Key": "k-1", "Content-Type": "application/json"}

    def send(_: int) -> httpx2.Response:
        while True:
            answer = httpx2.post(f"{served.rest}/v1/agents", content=msgspec.json.encode(body), headers=headers)
            if answer.status_code != 409 or answer.json()["error"]["code"] != "PL-411":
                return answer
            time.sleep(0.01)

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(send, range(50)))
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    changed = httpx2.post(
        f"{served.rest}/v1/agents", content=msgspec.json.encode(body | {"name": "other"}), headers=headers
    )
    assert problem(changed)["code"] == "PL-410"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/memory/not-an-agent/contexts"),
        ("GET", "/v1/audit/entries?agent=not-an-agent"),
        ("PUT", "/v1/agents/not-an-agent/roles/operator"),
        ("GET", "/v1/agents/not-an-agent/roles"),
        ("GET", "/v1/agents?owner=not-an-agent"),
    ],
)
def test_what_cannot_be_an_agent_is_refused_before_anything_is_looked_up(served: Layer, method: str, path: str) -> None:
    answer = httpx2.request(method, served.rest + path, headers={"Authorization": f"Bearer {served.token}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "PL-101")
