"""Slack and the whole layer: a card as soon as somebody has to agree, a click over HTTP, the decision, the card closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from creto.common.ids import AgentId, PolicyId
from creto.contracts import Action, OversightRequest, Resource
from creto.oversight import Channel, Contact, EscalationTier, OversightPolicy, RequestState
from creto.platform.nhi import PrincipalKind, registration_proof
from tests.layers import Layer, layer
from tests.slack_server import APP, SECRET, TEAM, TOKEN, SlackServer
from tests.unit.oversight.world import id_of, key_of

CONFIGURED = {
    "CRETO_OVERSIGHT__SLACK_BOT_TOKEN": TOKEN,
    "CRETO_OVERSIGHT__SLACK_SIGNING_SECRET": SECRET,
    "CRETO_OVERSIGHT__SLACK_TEAM_ID": TEAM,
    "CRETO_OVERSIGHT__SLACK_APP_ID": APP,
}


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


@pytest.fixture
def served(tmp_path: Path, slack: SlackServer) -> Iterator[Layer]:
    """A layer whose Slack is ours, with one human who is asked there."""
    with layer(tmp_path, CONFIGURED) as here:
        inbound = here.app.parts.channels.slack
        assert inbound is not None
        inbound._channel._apis = {here.app.tenant: slack.api()}
        here.run(settled(here))
        yield here


async def settled(here: Layer) -> None:
    app, oversight = here.app, here.app.parts.oversight
    for kind, name in ((PrincipalKind.HUMAN, "alice"), (PrincipalKind.AGENT, "bot-7")):
        owner = None if kind is PrincipalKind.HUMAN else app.operator
        proof = registration_proof(key_of(name), tenant=app.tenant, kind=kind, name=name, owner=owner)
        await app.parts.nhi.register(app.tenant, kind, key_of(name).public, name, proof=proof, owner=owner)
    tier = EscalationTier(name="tier", approvers=(id_of("alice"),))
    await oversight.put_policy(app.tenant, OversightPolicy(policy_id=PolicyId("ask"), tiers=(tier,)), by=app.operator)
    await oversight.link(
        app.tenant, Contact(channel=Channel.SLACK, address="U1", person=id_of("alice")), by=app.operator
    )


def asked(here: Layer) -> Any:
    request = OversightRequest(
        tenant=here.app.tenant, agent_nhi=AgentId(id_of("bot-7")), delegation_chain=(),
        action=Action(name="funds.transfer", parameters=msgspec.Raw(b'{"amount":50}')),
        resource=Resource(resource_type="", resource_id="account:7"), policy_id=PolicyId("ask"),
        action_description="Pay invoice 17", risk_factors=(),
    )  # fmt: skip
    return here.run(here.app.parts.oversight.create(request))


def until(true: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Two processes of the world are at work: ours and Slack's."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def posted(here: Layer, way: str, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx2.Response:
    return httpx2.post(f"{here.rest}/v1/connectors/slack/{way}", headers=headers, content=body)


def test_from_the_question_to_the_closed_card(served: Layer, slack: SlackServer) -> None:
    record = asked(served)
    until(lambda: slack.cards)
    until(
        lambda: (
            served.run(served.app.parts.oversight.notifications(served.app.tenant, record.ask.request_id))[0].reference
        )
    )
    (card,) = slack.cards
    slack.now_s = int(time.time())
    headers, body = slack.click(card, "creto_approve")
    assert [posted(served, "interactions", headers, body).status_code for _ in range(2)] == [200, 200]
    after = served.run(served.app.parts.oversight.get(served.app.tenant, record.ask.request_id))
    assert after.progress.state is RequestState.APPROVED
    until(lambda: not card.buttons.get("creto_approve"))
    assert "Approved by alice (by slack, relayed)" in card.words


@pytest.mark.parametrize("way", ["interactions", "commands", "events"])
def test_what_is_not_signed_gets_401(served: Layer, slack: SlackServer, way: str) -> None:
    slack.now_s = int(time.time())
    headers, body = slack.command("pending")
    broken = [(k, v if k != b"x-slack-signature" else v[:-1] + b"\xff") for k, v in headers]
    for found in ([], broken, slack.signed(body, secret="other")[0], slack.signed(body, now_s=1)[0]):
        assert posted(served, way, found, body).status_code == 401
    assert httpx2.get(f"{served.rest}/v1/connectors/slack/{way}").status_code == 405


def test_commands_and_slacks_check_of_the_address(served: Layer, slack: SlackServer) -> None:
    slack.now_s = int(time.time())
    answer = posted(served, "commands", *slack.command("pending"))
    assert (answer.status_code, answer.json()["text"]) == (200, "Nothing waits for you.")
    answer = posted(served, "events", *slack.signed(b'{"type":"url_verification","challenge":"c"}'))
    assert answer.json() == {"challenge": "c"}
