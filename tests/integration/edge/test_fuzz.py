"""Any bytes into the running layer, on each engine: an answer, a documented refusal or a closed connection, never a fault."""

from __future__ import annotations

import base64
import random
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import httpx2
import msgspec
import pytest

from creto.common.codes import CODES, row
from creto.edge.api import ENDPOINTS
from creto.edge.api.endpoint import Endpoint
from creto.edge.grpc.schema import PACKAGE, method_name, service_name
from creto.sdk import Creto
from tests.fuzz import examples, mutated, spoiled
from tests.layers import Layer

PAGED = [e for e in ENDPOINTS if "cursor" in e.query_fields]
JSON = ["[1, 2]", "[9e99]", f"[{2**70}, \"x\"]", f"[{-(2**70)}, \"x\"]", '[1,"\\u0000"]', '[1,"\\ud800"]', '[1,"a"]', '"x"', "[" * 900, '[1,"x",' + "[" * 900, "\0", "a\0b", "9" * 18, "-1", ""]  # fmt: skip


@pytest.fixture(scope="module")
def places(served: Layer, creto: Creto) -> dict[str, str]:
    """What stands in the paths of listings."""
    endpoint_id = creto.webhooks.add(url="https://hooks.example/in").webhook.endpoint_id
    return {
        "agent": served.key.nhi, "conversation": "talk", "role": "auditor", "currency": "USD", "endpoint_id": endpoint_id
    }  # fmt: skip


@pytest.fixture(scope="module")
def cursors(served: Layer, creto: Creto, http: httpx2.Client, places: dict[str, str]) -> list[str]:
    """Real ones: of every listing that has more than one page."""
    for number in range(3):
        creto.register(f"listed-{number}")
        creto.objects.put(key=f"listed/{number}", content=b"")
        creto.objects.create_upload(key=f"listed/{number}")
        creto.memory.store_context(agent=served.key.nhi, kind="note", content=f"note {number}")
    pages = [http.get(e.path.format(**places), params={"limit": 1}).json() for e in PAGED]
    found = [page["cursor"] for page in pages if page.get("cursor")]
    assert len(found) >= 4
    return found


def encoded_as(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def forgeries(cursor: str) -> Iterator[str]:
    """Nothing is secret in a cursor: whoever has one can make others that look as real."""
    try:
        _, *rest = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError):
        return
    for place in (-1, 2**63 - 1, 2**63, 2**70, -(2**70), 1.5, None, "x"):
        yield msgspec.json.encode([place, *rest]).decode()
    yield f"[1, {', '.join(msgspec.json.encode(r).decode() for r in rest)}, {'[' * 1_300}"


@pytest.mark.parametrize("endpoint", PAGED, ids=lambda e: e.name)
def test_any_cursor(
    endpoint: Endpoint[..., Any], http: httpx2.Client, places: dict[str, str], cursors: list[str]
) -> None:  # fmt: skip
    encoded = [encoded_as(text) for text in JSON]
    noise = [data.decode("latin-1") for good in cursors for data in spoiled(good.encode(), 8, seed=good)]
    forged = [encoded_as(change) for good in cursors for change in forgeries(good)]
    for cursor in (*JSON, *encoded, *cursors, *noise, *forged):
        answer = http.get(endpoint.path.format(**places), params={"cursor": cursor, "limit": 2})
        assert answer.status_code in (200, 400), (cursor, answer.text)


def test_any_login_link(served: Layer) -> None:
    """given a real link / when it is spoiled / then the page refuses it, and the link itself still serves once."""
    app = served.app
    secret = served.run(app.parts.nhi.login_token(app.tenant, app.operator, scopes=("console:*",)))
    with httpx2.Client(base_url=served.rest, follow_redirects=False) as stranger:
        for data in (*JSON, *spoiled(secret.encode(), 60, seed="login")):
            spelled = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
            if spelled.strip() == secret.encode():
                continue
            form = {"link": spelled.decode("latin-1")}
            assert stranger.post("/login", data=form).status_code in (400, 401, 404)
        for noise in spoiled(f"link={secret}".encode(), 20, seed="form"):
            if secret.encode() not in noise:
                assert stranger.post("/login", content=noise).status_code in (400, 401, 404, 413)
        assert stranger.post("/login", data={"link": secret}).status_code == 303


def test_any_bytes_on_the_http_port(served: Layer, http: httpx2.Client) -> None:
    host, port = served.rest.removeprefix("http://").split(":")
    requests = [
        f"GET /v1/time?count=2 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.token}\r\n\r\n",
        f"POST /v1/authz/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\nContent-Length: 2\r\n\r\n{{}}",
        "PUT /v1/objects/content?key=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /login?link=%41 HTTP/1.1\r\nHost: x\r\nCookie: creto_session=creto1.x\r\nTraceparent: 00-0-0-0\r\n\r\n",
    ]
    for request in requests:
        for data in spoiled(request.encode(), 40, seed=request[:30]):
            with socket.create_connection((host, int(port))) as stranger:
                stranger.settimeout(30)
                try:
                    stranger.sendall(data)
                    stranger.shutdown(socket.SHUT_WR)
                    answer = stranger.recv(12)
                except ConnectionError:
                    continue
                assert answer == b"" or int(answer[9:12]) < 500, data
    assert http.get("/v1/time").status_code == 200


async def test_any_bytes_on_the_grpc_port(served: Layer) -> None:
    """given the messages of every method, spoiled, and odd headers / when they are sent / then each is answered with a documented status."""
    dice = random.Random("grpc")
    statuses = {status.value[0]: status for status in grpc.StatusCode}
    documented = {statuses[row(code).grpc] for code in CODES if row(code).http < 500} | {grpc.StatusCode.OK}
    me = ("authorization", f"Bearer {served.token}")
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        for endpoint in ENDPOINTS:
            call = channel.unary_unary(f"/{PACKAGE}.{service_name(endpoint)}/{method_name(endpoint)}")
            for _ in range(examples(4)):
                data = mutated(b"\x0a\x05agent\x12\x03abc\x18\x01\x22\x02{}", dice)
                odd = mutated(b"creto1.AAAA", dice).decode("latin-1").encode("ascii", "ignore").decode()
                odd = "".join(c for c in odd if c.isprintable())
                metadata = dice.choice([(me,), (("authorization", f"Bearer {odd}"),), (me, ("creto-delegation", odd))])
                answer = call(data, metadata=metadata)
                assert await answer.code() in documented, (endpoint.name, data, await answer.details())
