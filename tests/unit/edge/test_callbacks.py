"""Callbacks of providers: mounted when their channel is configured, with the bytes as they came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx2
from starlette.applications import Starlette

from creto.common.errors import QuotaExceeded
from creto.common.limits import BODY_BYTES_MAX
from creto.connectors.inbound import Answer, RawHeaders, only
from creto.edge.rest.callbacks import callback_routes


class Slack:
    """Says what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes | None, bytes]] = []

    async def interactions(self, headers: RawHeaders, body: bytes) -> Answer:
        self.got.append(("interactions", only(headers, b"x-slack-signature"), body))
        return Answer(401)

    async def commands(self, headers: RawHeaders, body: bytes) -> Answer:
        self.got.append(("commands", only(headers, b"x-slack-signature"), body))
        return Answer(200, b"{}", "application/json")

    async def events(self, headers: RawHeaders, body: bytes) -> Answer:
        return Answer()


class Rate:
    def __init__(self) -> None:
        self.full = False

    def admit(self, who: str) -> None:
        if self.full:
            raise QuotaExceeded("PL-429", retry_after_s=1.0)


def parts_with(slack: Slack | None) -> Any:
    return SimpleNamespace(channels=SimpleNamespace(slack=slack), callbacks={}, rate=Rate())


def client_of(parts: Any) -> httpx2.AsyncClient:
    app = Starlette(routes=callback_routes(parts))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://layer")


def test_nothing_is_mounted_for_what_is_not_configured() -> None:
    assert callback_routes(parts_with(None)) == []


async def test_a_callback_gets_its_bytes_and_its_answer_goes_back() -> None:
    """given Slack is configured / when it calls / then headers and body arrive untouched, and status, body and type go back."""
    slack = Slack()
    async with client_of(parts_with(slack)) as client:
        sent = {"X-Slack-Signature": b"v0=f\xfc"}
        refused = await client.post("/v1/connectors/slack/interactions", content=b"payload=%7B\xff", headers=sent)  # type: ignore[arg-type]
        assert refused.status_code == 401
        said = await client.post("/v1/connectors/slack/commands", content=b"text=pending")
        assert (said.status_code, said.text, said.headers["content-type"]) == (200, "{}", "application/json")
        assert (await client.get("/v1/connectors/slack/commands")).status_code == 405
    assert slack.got[0][0] == "interactions"
    assert slack.got[0][1] == b"v0=f\xfc"
    assert slack.got[0][2] == b"payload=%7B\xff"
    assert slack.got[1] == ("commands", None, b"text=pending")


async def test_what_is_too_large_or_too_often_is_refused_before_anybody_looks() -> None:
    slack, parts = Slack(), parts_with(None)
    parts.channels.slack = slack
    async with client_of(parts) as client:
        large = await client.post("/v1/connectors/slack/commands", content=bytes(BODY_BYTES_MAX + 1))
        assert large.status_code == 413
        parts.rate.full = True
        assert (await client.post("/v1/connectors/slack/commands", content=b"x")).status_code == 429
    assert slack.got == []
