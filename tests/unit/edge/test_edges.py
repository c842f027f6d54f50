"""Headers, problems and readiness, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as sampled
from hypothesis import strategies as st

from creto.app import App, running
from creto.common.codes import CODES, row
from creto.common.errors import EnablementError, InvalidInput, QuotaExceeded, Timeout
from creto.common.settings import TenantMode
from creto.common.telemetry import extract
from creto.edge.api import readiness as ready
from creto.edge.api.authentication import Authenticator
from creto.edge.rest.problem import MEDIA_TYPE, Problem, problem
from creto.edge.rest.reading import read, stated
from tests.fuzz import examples
from tests.layers import Layer, layer, settings


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    with layer(tmp_path_factory.mktemp("edges")) as found:
        yield found


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path), work=False) as found:
        yield found


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_becomes_a_problem_and_comes_back(code: str) -> None:
    error = EnablementError.from_body(EnablementError(code, "what happened").body())
    response = problem(error, "t" * 32)
    assert response.media_type == MEDIA_TYPE
    assert response.status_code == row(code).http
    read_back = msgspec.json.decode(response.body, type=Problem)
    assert read_back.type == f"urn:creto:error:{code}"
    again = EnablementError.from_body(read_back.error)
    assert (type(again), again.code, again.message, again.trace_id) == (type(error), code, "what happened", "t" * 32)


def test_a_problem_says_when_to_come_back_and_how_to_sign_in() -> None:
    assert problem(QuotaExceeded("PL-429", retry_after_s=1.2)).headers["retry-after"] == "2"
    assert problem(EnablementError("PL-107")).headers["www-authenticate"] == "Bearer"


@sampled(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    authorization=st.text(max_size=60) | st.text(max_size=60).map(lambda t: f"Bearer creto1.{t}"),
    delegation=st.text(max_size=80),
    override=st.text(max_size=20),
    key=st.text(max_size=210),
    traceparent=st.text(max_size=80),
    session=st.text(max_size=40),
    certificate=st.none()
    | st.binary(max_size=60)
    | st.binary(max_size=60).map(lambda d: b"-----BEGIN CERTIFICATE-----\n" + d),
)
def test_any_headers_give_a_call_or_a_documented_error(served: Layer, certificate: bytes | None, session: str, **texts: str) -> None:  # fmt: skip
    names = {"authorization": "authorization", "delegation": "creto-delegation", "override": "creto-override", "key": "idempotency-key", "traceparent": "traceparent"}  # fmt: skip
    headers = {names[name]: value for name, value in texts.items() if value}

    who = Authenticator(served.app.parts.nhi, served.app.parts.rate, served.app.tenant)
    for chosen in ({}, headers, *({name: value} for name, value in headers.items())):
        try:
            who.call(chosen, certificate, session)
        except EnablementError as error:
            assert error.code in CODES
            assert row(error.code).http in (400, 401, 403, 404)
        extract(chosen)


async def test_a_credential_of_another_tenant_counts_only_where_there_are_many(app: App) -> None:
    issued = await app.parts.nhi.issue_token(app.tenant, app.operator, scopes=("*",))
    header = {"authorization": f"Bearer {issued.token}"}
    others = Authenticator(app.parts.nhi, app.parts.rate, "beta")  # type: ignore[arg-type]
    with pytest.raises(EnablementError, match="PL-401"):
        others.call(header)
    many = Authenticator(app.parts.nhi, app.parts.rate, "beta", TenantMode.MULTI)  # type: ignore[arg-type]
    assert many.call(header).tenant == app.tenant


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (InvalidInput("PL-400", "odd"), "PL-400 odd"),
        (Timeout("PL-504", "late"), "PL-504 late"),
        (OSError("/secret/path"), "OSError"),
        (None, "no answer in"),
    ],
)
@pytest.mark.parametrize("name", ["store", "memory"])
async def test_a_probe_that_fails_says_so_and_no_more(
    app: App, monkeypatch: pytest.MonkeyPatch, name: str, fault: Exception | None, error: str
) -> None:
    """given a dependency that fails or hangs / when readiness is asked / then it is down; only a required one takes the layer along."""

    async def failing() -> Any:
        if fault is not None:
            raise fault
        await asyncio.Event().wait()

    real = ready.probes
    monkeypatch.setattr(ready, "READY_S_MAX", 0.2)
    monkeypatch.setattr(ready, "probes", lambda parts: real(parts) | {name: failing})
    found = await ready.readiness(app.parts)
    hit = next(d for d in found.dependencies if d.name == name)
    assert hit.condition == "down"
    assert hit.error is not None
    assert hit.error.startswith(error)
    assert "/secret" not in hit.error
    assert found.ready is (name == "memory")


def test_numbers_and_nulls_of_requests() -> None:
    assert read(b"7.0", int, "n") == 7
    assert read(b"[1.0, 2.5]", tuple[float, ...], "v") == (1.0, 2.5)
    assert read(b"9007199254740993", int, "n") == 9007199254740993
    for bad in (b"7.5", b'"7"', b"true", b"1e400"):
        with pytest.raises(InvalidInput):
            read(bad, int, "n")
    assert stated(int | None) is int
    assert stated(str) is str


@pytest.mark.parametrize(
    "data", [b"", b"[" * 100_000, b'"\\ud800"', b"\xff", b"1" * 5_000, b'{"a":' * 10_000, b"-1e309"]
)
def test_any_body_gives_a_value_or_a_documented_error(data: bytes) -> None:
    for hint in (int, float, str, bytes, dict[str, Any], tuple[float, ...], Any):
        try:
            read(data, hint, "field")
        except EnablementError as error:
            assert error.code == "PL-400"
