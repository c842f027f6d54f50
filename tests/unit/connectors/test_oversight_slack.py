"""Oversight in Slack, through the real SDK against a server that keeps Slack's contract."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common import wire
from creto.common.errors import ConnectionFailed
from creto.common.ids import PolicyId, TenantId
from creto.common.timestamps import DAY, SECOND
from creto.connectors.inbound import Answer
from creto.connectors.slack_cards import APPROVE, DENY, DETAILS, ELSEWHERE, EXTEND, OPEN, REPLACED
from creto.connectors.slack_channel import SlackChannel, SlackIncoming, SlackInstall
from creto.connectors.slack_inbound import SlackInbound
from creto.oversight import Assurance, Channel, NotificationKind, Quorum, Record, RequestState, Verdict
from creto.oversight.types import DeliveryState
from tests.slack_server import APP, SECRET, TEAM, Card, SlackServer, Trouble, refused_blocks
from tests.unit.connectors.post import INSTALL, Post
from tests.unit.oversight.world import TENANT, person


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


async def asked(
    post: Post, slack: SlackServer, *names: str, arguments: object = None, **options: Any
) -> tuple[Record, list[Card]]:
    """A request whose people have their cards."""
    people = names or ("alice",)
    for number, name in enumerate(people, 1):
        await post.world.contact(name, f"U{number}", Channel.SLACK)
    record = await post.world.request(await post.policy(*people, **options), arguments)
    courier, _ = post.slack(slack)
    await courier.deliver_once()
    return record, slack.cards[-len(people) :]


async def pressed(
    inbound: SlackInbound, slack: SlackServer, card: Card, action: str = APPROVE, **options: Any
) -> Answer:
    answer = await inbound.interactions(*slack.click(card, action, **options))
    await inbound.settled()
    return answer


def told(slack: SlackServer) -> str:
    """What the human was told last."""
    return str(slack.responses[-1][1]["text"]) if slack.responses else ""


async def state(post: Post, record: Record) -> RequestState:
    return (await post.world.now_of(record)).progress.state


# Cards


async def test_a_card_says_what_and_why_and_not_the_arguments(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack, arguments={"iban": "DE89 3704"})
    assert set(card.buttons) == {APPROVE, DENY, DETAILS}
    assert "bot-7 wants to transfer money" in card.words
    assert record.args_hash.hex()[:16] in card.words
    assert "DE89" not in card.words
    (one,) = await post.world.oversight.notifications(TENANT, record.ask.request_id)
    assert one.reference == f"{TEAM}/{APP}/{card.conversation}/{card.ts}"


async def test_arguments_are_shown_where_the_policy_says_so(post: Post, slack: SlackServer) -> None:
    _, (card,) = await asked(post, slack, arguments={"iban": "DE89 3704"}, channel=Channel.SLACK, full=True)
    assert 'iban = "DE89 3704"' in card.words


@pytest.mark.parametrize("full", [True, False])
async def test_an_answer_is_told_where_arguments_are(post: Post, slack: SlackServer, full: bool) -> None:
    record, _ = await asked(post, slack, channel=Channel.SLACK, full=full)
    await post.world.oversight.answer(TENANT, record.ask.request_id, "Number 17.", by=record.ask.agent)
    await post.slack(slack)[0].deliver_once()
    assert "The agent has answered" in slack.cards[-1].words
    assert ("The agent answers (not verified):\n| Number 17." in slack.cards[-1].words) is full


@pytest.mark.parametrize("assurance", [Assurance.SESSION, Assurance.OWN_KEY])
async def test_what_slack_cannot_vouch_for_is_decided_on_the_page(
    post: Post, slack: SlackServer, assurance: Assurance
) -> None:
    post.world.oversight._link_base = "https://creto.corp.example"
    record, (card,) = await asked(post, slack, assurance=assurance)
    assert set(card.buttons) == {OPEN}
    assert card.buttons[OPEN]["url"].endswith(record.ask.request_id)
    assert ELSEWHERE in card.words
    assert (await said(post, slack, f"show {record.ask.request_id}")).endswith(ELSEWHERE)


@pytest.mark.parametrize(
    "hostile",
    ["<!channel> <@U2> <https://evil|click>", "*bold* `code` ```\nfence", "a\u202egnp.exe", "\u200b\u2066x", "x" * 20_000, "&lt;!here&gt;"],
)  # fmt: skip
async def test_hostile_text_is_shown_and_does_nothing(post: Post, slack: SlackServer, hostile: str) -> None:
    _, (card,) = await asked(post, slack, arguments={"note": hostile}, channel=Channel.SLACK, full=True)
    assert "<" not in card.text
    assert ">" not in card.text
    fences = [e for b in card.blocks if b["type"] == "rich_text" for e in b["elements"]]
    assert {one["type"] for one in fences} <= {"rich_text_preformatted", "rich_text_section"}
    assert all(
        part["type"] == "text" for one in fences for part in one["elements"]
    )  # letter by letter: no mention, no link
    assert not any(c in card.words for c in "\u202e\u200b\u2066")
    if len(hostile) > 10_000:
        assert "characters left out" in card.words


async def test_ov_084_action_ids_are_unique(post: Post, slack: SlackServer) -> None:
    record, cards = await asked(post, slack)
    record = await post.world.now_of(record)
    post.world.clock.set(record.progress.deadline_at - 60 * SECOND)
    await post.world.timer.advance_once(post.world.clock.now())
    await post.slack(slack)[0].deliver_once()
    for card in (*cards, slack.cards[-1]):
        (actions,) = [block for block in card.blocks if block["type"] == "actions"]
        ids = [one["action_id"] for one in actions["elements"]]
        assert len(ids) == len(set(ids))


# Votes


async def test_a_click_decides_and_the_card_says_so(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    courier, inbound = post.slack(slack)
    assert (await pressed(inbound, slack, card)).status == 200
    assert await state(post, record) is RequestState.APPROVED
    assert told(slack) == "Recorded: the request is approved."
    await courier.deliver_once()
    assert card.buttons == {}
    assert "Approved by alice (by slack, relayed)" in card.words


async def test_it_is_committed_before_it_is_answered(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    await inbound.interactions(*slack.click(card, APPROVE))
    assert await state(post, record) is RequestState.APPROVED  # and no word has gone to the human yet


@pytest.mark.parametrize("retry", [0, 1])
async def test_ov_071_and_074_the_same_bytes_again_are_one_decision(post: Post, slack: SlackServer, retry: int) -> None:
    record, (card, _) = await asked(post, slack, "alice", "bob", quorum=Quorum(approvals=2))
    _, inbound = post.slack(slack)
    headers, body = slack.click(card, APPROVE)
    post.world.clock.advance(60 * SECOND)
    again = [*headers, (b"x-slack-retry-num", b"1")] if retry else headers
    answers = [await inbound.interactions(headers, body), await post.twin().slack(slack)[1].interactions(again, body)]
    assert [one.status for one in answers] == [200, 200]
    assert len(await post.world.entries("ApprovalReceived")) == 1
    assert await state(post, record) is RequestState.PENDING
    post.world.clock.advance(300 * SECOND)
    assert (await inbound.interactions(headers, body)).status == 401


test_ov_074_a_retry_of_what_was_committed = test_ov_071_and_074_the_same_bytes_again_are_one_decision


async def test_ov_073_what_crashed_before_its_commit_counts_when_it_comes_again(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    headers, body = slack.click(card, APPROVE)

    async def killed(*_: Any, **__: Any) -> None:
        raise ConnectionFailed("PL-503", "the store is away")

    post.world.oversight.write = killed  # type: ignore[assignment,method-assign]
    assert (await inbound.interactions(headers, body)).status == 503
    assert await state(post, record) is RequestState.PENDING
    again = [*headers, (b"x-slack-retry-num", b"1"), (b"x-slack-retry-reason", b"http_error")]
    assert (await post.twin().slack(slack)[1].interactions(again, body)).status == 200
    assert await state(post, record) is RequestState.APPROVED


@pytest.mark.parametrize(
    "changes",
    [
        {"team": {"id": "T2"}},
        {"api_app_id": "A2"},
        {"container": {"channel_id": "C-other", "message_ts": "1.1"}},
        {"container": {"channel_id": "DU1", "message_ts": "1.1"}},
        {"container": {}},
        {"actions": [{"action_id": APPROVE, "value": "ntf-of-another"}]},
        {"actions": [{"action_id": APPROVE}]},
        {"user": {"id": "U9"}},
    ],
    ids=str,
)
async def test_ov_076_a_click_from_elsewhere_decides_nothing(
    post: Post, slack: SlackServer, changes: dict[str, Any]
) -> None:
    record, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    answer = await pressed(inbound, slack, card, changes=changes)
    assert answer.status in (200, 403)
    assert await state(post, record) is RequestState.PENDING
    assert answer.status == 403 or "not recorded" in told(slack) or told(slack) == REPLACED


async def test_the_button_of_one_request_on_the_card_of_another(post: Post, slack: SlackServer) -> None:
    first, (card,) = await asked(post, slack)
    second = await post.world.request(await post.policy("alice"), {"amount": 51})
    courier, inbound = post.slack(slack)
    await courier.deliver_once()
    other = slack.cards[-1].buttons[APPROVE]["value"]
    await pressed(inbound, slack, card, changes={"actions": [{"action_id": APPROVE, "value": other}]})
    assert {await state(post, one) for one in (first, second)} == {RequestState.PENDING}


async def test_a_card_of_an_earlier_round_decides_nothing(post: Post, slack: SlackServer) -> None:
    record, (card, _) = await asked(post, slack, "alice", "bob", quorum=Quorum(approvals=2))
    courier, inbound = post.slack(slack)
    await post.world.permit_all()
    await post.world.approve(record, "bob", arguments=b'{"amount":40}')
    await pressed(inbound, slack, card)
    assert "SUPERSEDED" in told(slack)
    await courier.deliver_once()
    newest = [one for one in slack.cards if one.conversation == "DU1"][-1]
    await pressed(inbound, slack, newest)
    assert await state(post, record) is RequestState.APPROVED


async def test_who_is_not_linked_or_not_eligible_is_told_so(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    await post.world.contact("mallory", "U2", Channel.SLACK)
    _, inbound = post.slack(slack)
    for user in ("U2", "U3"):
        assert (await pressed(inbound, slack, card, user=user)).status == 200
        assert "NOT_ELIGIBLE" in told(slack)
    assert await state(post, record) is RequestState.PENDING


async def test_late_clicks_are_told_who_was_first(post: Post, slack: SlackServer) -> None:
    _, cards = await asked(post, slack, "alice", "bob")
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, cards[0])
    await pressed(inbound, slack, cards[1], user="U2")
    assert f"already approved by {person('alice')}" in told(slack)


async def test_a_double_click_is_one_vote(post: Post, slack: SlackServer) -> None:
    record, (card, _) = await asked(post, slack, "alice", "bob", quorum=Quorum(approvals=2))
    _, inbound = post.slack(slack)
    await asyncio.gather(*(pressed(inbound, slack, card) for _ in range(4)))
    assert await state(post, record) is RequestState.PENDING
    assert {said["text"] for _, said in slack.responses} == {"Recorded: 1 approved, 1 more needed."}


async def test_ov_081_a_decision_elsewhere_closes_every_card(post: Post, slack: SlackServer) -> None:
    record, cards = await asked(post, slack, "alice", "bob")
    await post.world.click(record, "bob", Verdict.DENY, channel=Channel.WEB, reason="too much")
    await post.twin().slack(slack)[0].deliver_once()  # also by a process that posted none of them
    for card in cards:
        assert card.buttons == {}
        assert "Denied by bob (signed in) at 2026-" in card.words
        assert "too much" in card.words


async def test_ov_082_a_card_works_after_a_restart(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    await pressed(post.twin().slack(slack)[1], slack, card)
    assert await state(post, record) is RequestState.APPROVED


async def test_ov_088_a_denial_asks_for_its_reason(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack, reason_required=True)
    courier, inbound = post.slack(slack)
    await pressed(inbound, slack, card, DENY)
    (modal,) = slack.views
    assert (await inbound.interactions(*slack.submit(modal, "", kind="view_closed"))).status == 200
    assert await state(post, record) is RequestState.PENDING
    answer = json.loads((await inbound.interactions(*slack.submit(modal, ""))).body)
    assert answer["response_action"] == "errors"
    assert await state(post, record) is RequestState.PENDING
    assert card.buttons
    answer = json.loads((await inbound.interactions(*slack.submit(modal, "not <!here>"))).body)
    assert answer["response_action"] == "update"
    assert await state(post, record) is RequestState.DENIED
    await courier.deliver_once()
    assert "Denied by alice (by slack, relayed)" in card.words


async def test_a_modal_of_another_workspace_denies_nothing(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, card, DENY)
    forged = {**slack.views[0], "private_metadata": f"T2/{APP}/{card.conversation}/{card.ts}"}
    answer = json.loads((await inbound.interactions(*slack.submit(forged, "x"))).body)
    assert answer["response_action"] == "errors"
    assert await state(post, record) is RequestState.PENDING


async def test_details_and_more_time(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack, arguments={"iban": "DE89"})
    courier, inbound = post.slack(slack)
    await pressed(inbound, slack, card, DETAILS)
    assert "DE89" not in json.dumps(slack.views[0])
    post.world.clock.set(record.progress.deadline_at - 60 * SECOND)
    await post.world.timer.advance_once(post.world.clock.now())
    courier, inbound = post.slack(slack)
    await courier.deliver_once()
    warning = slack.cards[-1]
    assert EXTEND in warning.buttons
    headers, body = slack.click(warning, EXTEND)
    for one in (inbound, post.twin().slack(slack)[1]):
        assert (await one.interactions(headers, body)).status == 200
    after = (await post.world.now_of(record)).progress
    assert after.deadline_at == record.progress.deadline_at + 300 * SECOND  # once, though it came twice


async def test_ov_089_the_address_of_a_click_is_used_once(post: Post, slack: SlackServer) -> None:
    _, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    for _ in range(6):
        await pressed(inbound, slack, card)
    urls = [path for path, _ in slack.responses]
    assert len(urls) == len(set(urls)) == 6


async def test_an_address_that_is_not_slacks_is_not_called(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, card, changes={"response_url": f"{slack.base}/api/users.info"})
    assert await state(post, record) is RequestState.APPROVED
    assert slack.responses == []
    assert slack.calls == ["chat.postMessage"]


async def test_what_takes_too_long_is_not_called_recorded(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    go, ballot = asyncio.Event(), post.world.oversight.ballot

    async def slowly(*args: Any, **options: Any) -> Any:
        await go.wait()
        return await ballot(*args, **options)

    post.world.oversight.ballot = slowly  # type: ignore[method-assign]
    inbound = SlackInbound(post.world.oversight, post.slack_channel(slack), answer_s=0.05)
    assert (await inbound.interactions(*slack.click(card, APPROVE))).status == 503
    go.set()
    await inbound.settled()
    assert await state(post, record) is RequestState.APPROVED  # nothing that was pressed is lost


# Genuine and readable


@pytest.mark.parametrize("way", ["interactions", "commands", "events"])
async def test_what_is_not_signed_is_refused(post: Post, slack: SlackServer, way: str) -> None:
    _, inbound = post.slack(slack)
    headers, body = slack.command("pending")
    broken = [(k, v if k != b"x-slack-signature" else v[:-1] + b"\xff") for k, v in headers]
    for found in (
        [],
        broken,
        [*headers, *headers],
        slack.signed(body, secret="other")[0],
        slack.signed(body, now_s=1)[0],
    ):
        assert (await getattr(inbound, way)(found, body)).status == 401


@pytest.mark.parametrize(
    "body",
    [
        b"", b"payload", b"payload=", b"payload=x", b"payload=%7B%7D", b"payload=1&payload=2", b"payload=%ff", b"\xff\xfe", b"a=1",
        urlencode({"payload": '{"type":"block_actions","team":null,"user":{"id":"U1"},"api_app_id":"A1"}'}).encode(),
        urlencode({"payload": "[" * 10_000}).encode(), urlencode({"team_id": "T1", "api_app_id": "A1", "user_id": ""}).encode(),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_said_to_be_that(post: Post, slack: SlackServer, body: bytes) -> None:
    _, inbound = post.slack(slack)
    for way in (inbound.interactions, inbound.commands, inbound.events):
        assert (await way(*slack.signed(body))).status in (400, 403)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["type", "team", "id", "user", "api_app_id", "actions", "container", "view"]), x, max_size=5), max_leaves=12))  # fmt: skip
async def test_any_payload_is_answered(post: Post, slack: SlackServer, payload: object) -> None:
    _, inbound = post.slack(slack)
    for body in (urlencode({"payload": json.dumps(payload)}).encode(), json.dumps(payload).encode()):
        for way in (inbound.interactions, inbound.commands, inbound.events):
            assert (await way(*slack.signed(body))).status in (200, 400, 403)


async def test_slack_checks_the_address(post: Post, slack: SlackServer) -> None:
    _, inbound = post.slack(slack)
    body = wire.encode({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"})
    assert json.loads((await inbound.events(*slack.signed(body))).body) == {"challenge": "3eZbrw1a"}
    assert (await inbound.events(*slack.signed(b'{"type":"event_callback"}'))).status == 200


async def test_two_tenants_of_one_app_are_told_apart(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    other = SlackInstall(tenant=TenantId("other"), team_id="T2", app_id=APP, bot_token="xoxb-2", signing_secret=SECRET)
    channel = SlackChannel([INSTALL, other], api=lambda token: slack.api(token))
    inbound = SlackInbound(post.world.oversight, channel)
    await pressed(inbound, slack, card, changes={"team": {"id": "T2"}})
    assert await state(post, record) is RequestState.PENDING
    await pressed(inbound, slack, card)
    assert await state(post, record) is RequestState.APPROVED


# Commands


async def said(post: Post, slack: SlackServer, text: str, **options: Any) -> str:
    answer = await post.slack(slack)[1].commands(*slack.command(text, **options))
    assert answer.status == 200
    found = json.loads(answer.body)
    assert found["response_type"] == "ephemeral"
    assert refused_blocks(found["blocks"]) == ""
    return str(found["text"])


async def test_commands(post: Post, slack: SlackServer) -> None:
    record, _ = await asked(post, slack)
    request_id = record.ask.request_id
    assert request_id in await said(post, slack, "pending")
    shown = await said(post, slack, f"show {request_id}")
    assert "bot-7 wants to transfer money" in shown
    code = shown.rpartition(" ")[2]
    assert "Look first" in await said(post, slack, f"approve {request_id}")
    assert "Look first" in await said(post, slack, f"approve {request_id} 00000000")
    assert await state(post, record) is RequestState.PENDING
    assert await said(post, slack, f"approve {request_id} {code}") == "Recorded: the request is approved."
    assert await said(post, slack, "pending") == "Nothing waits for you."
    assert "OV-" not in await said(post, slack, "help")


async def test_a_command_that_comes_twice_is_one_vote(post: Post, slack: SlackServer) -> None:
    record, _ = await asked(post, slack)
    headers, body = slack.command(f"deny {record.ask.request_id} too much")
    texts = [json.loads((await post.twin().slack(slack)[1].commands(headers, body)).body)["text"] for _ in range(2)]
    assert texts == ["Recorded: the request is denied."] * 2
    assert len(await post.world.entries("DenialReceived")) == 1
    assert (await post.world.now_of(record)).progress.reason == "too much"


async def test_ov_087_what_is_not_mine_is_unknown(post: Post, slack: SlackServer) -> None:
    record, _ = await asked(post, slack)
    await post.world.contact("mallory", "U2", Channel.SLACK)
    texts = set()
    for request_id in (record.ask.request_id, "req-none"):
        for verb in ("show", "approve", "deny"):
            texts.add(await said(post, slack, f"{verb} {request_id}", user="U2"))
    other = msgspec.structs.replace(INSTALL, tenant=TenantId("other"))
    inbound = SlackInbound(post.world.oversight, SlackChannel([other], api=lambda token: slack.api(token)))
    answer = await inbound.commands(*slack.command(f"show {record.ask.request_id}"))
    assert "linked to nobody" in json.loads(answer.body)["text"]
    assert texts == {"Not done: there is no such approval request."}


async def test_out_of_office(post: Post, slack: SlackServer) -> None:
    record, _ = await asked(post, slack)
    await post.world.contact("bob", "U2", Channel.SLACK)
    headers, body = slack.command("ooo 3d <@U2|bob>")
    texts = [json.loads((await post.twin().slack(slack)[1].commands(headers, body)).body)["text"] for _ in range(2)]
    assert "bob sits in your seats until" in texts[0]
    assert texts[1] == "That is done already."
    (delegation,) = post.world.oversight.delegations(TENANT)
    assert delegation.ends_at - delegation.starts_at == 3 * DAY
    assert record.ask.request_id in await said(post, slack, "pending", user="U2")
    assert await said(post, slack, "ooo end") == "You are back."
    assert post.world.oversight.delegations(TENANT) == ()
    for wrong in ("ooo", "ooo 3d", "ooo soon <@U2>", "ooo 3d bob", "ooo 999d <@U2>", "ooo 3d <@U9>"):
        assert " until " not in await said(post, slack, wrong)


def cut_off(post: Post, *, writes: int = 0) -> None:
    """The store goes away after so many writes of oversight, as if the process had died before the next commit."""
    write, left = post.world.oversight.write, iter(range(writes))

    async def killed(fn: Any) -> Any:
        if next(left, None) is None:
            raise ConnectionFailed("PL-503", "the store is away")
        return await write(fn)

    post.world.oversight.write = killed  # type: ignore[method-assign]


async def test_out_of_office_that_crashed_before_its_commit_is_done_when_it_comes_again(
    post: Post, slack: SlackServer
) -> None:
    await asked(post, slack)
    await post.world.contact("bob", "U2", Channel.SLACK)
    other = post.twin()
    cut_off(post)
    headers, body = slack.command("ooo 3d <@U2|bob>")
    assert (await post.slack(slack)[1].commands(headers, body)).status == 503
    assert other.world.oversight.delegations(TENANT) == ()
    again = await other.slack(slack)[1].commands(headers, body)
    assert "bob sits in your seats until" in json.loads(again.body)["text"]
    assert len(other.world.oversight.delegations(TENANT)) == 1


async def test_five_more_minutes_that_crashed_before_their_commit_are_given_when_they_come_again(
    post: Post, slack: SlackServer
) -> None:
    record, _ = await asked(post, slack)
    post.world.clock.set(record.progress.deadline_at - 60 * SECOND)
    await post.world.timer.advance_once(post.world.clock.now())
    courier, _ = post.slack(slack)
    await courier.deliver_once()
    other, click = post.twin(), slack.click(slack.cards[-1], EXTEND)
    cut_off(post, writes=1)  # that the card was seen is written first
    assert (await post.slack(slack)[1].interactions(*click)).status == 503
    for _ in range(2):
        assert (await other.slack(slack)[1].interactions(*click)).status == 200
    assert (await other.world.now_of(record)).progress.deadline_at == record.progress.deadline_at + 300 * SECOND


async def test_a_refused_absence_is_refused_alike_when_it_comes_again(post: Post, slack: SlackServer) -> None:
    await asked(post, slack)
    await post.world.contact("bob", "U2", Channel.SLACK)
    command = slack.command("ooo 999d <@U2|bob>")
    for _ in range(2):
        text = json.loads((await post.slack(slack)[1].commands(*command)).body)["text"]
        assert text == (
            "Not done: ends_at: expected after 2026-01-01T00:00:00Z, by 2026-04-01T00:00:00Z at the latest: 90 days from its start,"
            " got 2028-09-26T00:00:00Z."
        )


async def test_a_return_that_comes_again_ends_no_later_absence(post: Post, slack: SlackServer) -> None:
    await asked(post, slack)
    await post.world.contact("bob", "U2", Channel.SLACK)
    assert "bob sits" in await said(post, slack, "ooo 3d <@U2>")
    command = slack.command("ooo end")
    first = await post.slack(slack)[1].commands(*command)
    assert "bob sits" in await said(post, slack, "ooo 4d <@U2>")
    again = await post.twin().slack(slack)[1].commands(*command)
    assert [json.loads(one.body)["text"] for one in (first, again)] == ["You are back.", "That is done already."]
    assert len(post.world.oversight.delegations(TENANT)) == 1


async def test_answers_to_commands_ping_nobody(post: Post, slack: SlackServer) -> None:
    await asked(post, slack, arguments={"note": "<!channel>"}, channel=Channel.SLACK, full=True)
    record = (await post.world.oversight.list_pending_requests(TENANT))[0]
    assert "<!channel>" not in await said(post, slack, f"show {record.ask.request_id}")


# Slack in trouble


async def posting(post: Post, slack: SlackServer, trouble: Trouble, **options: Any) -> Any:
    """One attempt to post while this goes wrong, and what the row says then."""
    await post.world.contact("alice", "U1", Channel.SLACK)
    record = await post.world.request(await post.policy("alice"))
    slack.troubles.append(trouble)
    courier, _ = post.slack(slack, **options)
    await courier.deliver_once()
    (one,) = [
        n for n in await post.world.oversight.notifications(TENANT, record.ask.request_id) if n.channel is Channel.SLACK
    ]
    return courier, one


async def test_after_429_nothing_is_called_before_its_time(post: Post, slack: SlackServer) -> None:
    reading = [100.0]
    courier, one = await posting(post, slack, Trouble(status=429, retry_after=30), monotonic=lambda: reading[0])
    assert one.state is DeliveryState.QUEUED
    assert 29 <= (one.next_at - post.world.clock.now()) / SECOND <= 30
    await post.world.request(await post.policy("alice"), {"n": 2})
    await courier.deliver_once()
    assert slack.calls == ["chat.postMessage"]  # the next message waits too, uncalled
    post.world.clock.advance(31 * SECOND)
    reading[0] += 31
    await courier.deliver_once()
    assert len(slack.cards) == 2


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(status=500),
        Trouble(status=503),
        Trouble(error="fatal_error"),
        Trouble(error="invalid_auth"),
        Trouble(cut=True),
    ],
    ids=str,
)
async def test_an_outage_is_tried_again(post: Post, slack: SlackServer, trouble: Trouble) -> None:
    courier, one = await posting(post, slack, trouble)
    assert one.state is DeliveryState.QUEUED
    assert one.error
    post.world.clock.advance(2 * SECOND)
    await courier.deliver_once()
    (one,) = await post.world.oversight.notifications(TENANT, one.request_id)
    assert one.state is DeliveryState.SENT


async def test_slowness_is_an_outage(post: Post, slack: SlackServer) -> None:
    over = threading.Event()
    _, one = await posting(post, slack, Trouble(silent=over), timeout_s=1)
    over.set()
    assert one.state is DeliveryState.QUEUED


@pytest.mark.parametrize("error", ["channel_not_found", "user_not_found", "invalid_blocks"])
async def test_what_will_not_get_better_is_given_up(post: Post, slack: SlackServer, error: str) -> None:
    await post.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    _, one = await posting(post, slack, Trouble(error=error))
    assert (one.state, one.error) == (DeliveryState.FAILED, f"Slack: {error}")


@pytest.mark.parametrize("error", ["user_disabled", "user_not_found", "channel_not_found", "is_archived"])
async def test_who_left_the_workspace_is_told_to_be_unreachable_until_they_are_back(
    post: Post, slack: SlackServer, error: str
) -> None:
    """given an approver whom Slack does not know any more / then health names them, mail carries it, and the next card that arrives clears it."""
    oversight = post.world.oversight
    await post.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    courier, one = await posting(post, slack, Trouble(error=error))
    (dead,) = (await oversight.health(TENANT)).dead
    assert (dead.channel, dead.address, dead.person, dead.error) == (
        Channel.SLACK,
        one.address,
        person("alice"),
        f"Slack: {error}",
    )
    sent = await oversight.notifications(TENANT, one.request_id)
    assert [n.channel for n in sent if n.state is DeliveryState.QUEUED] == [Channel.EMAIL]
    await post.world.request(await post.policy("alice"), {"n": 2})
    await courier.deliver_once()
    assert (await oversight.health(TENANT)).dead == ()


async def test_a_token_that_ended_is_ours_to_renew_and_no_humans_fault(post: Post, slack: SlackServer) -> None:
    _, one = await posting(post, slack, Trouble(error="account_inactive"))
    assert (one.state, one.error) == (DeliveryState.QUEUED, "Slack: account_inactive")
    assert (await post.world.oversight.health(TENANT)).dead == ()


async def test_a_card_that_was_posted_twice_counts_where_it_is_known(post: Post, slack: SlackServer) -> None:
    """Cut after Slack took it: two cards, of which the second is ours. The first decides nothing and says so."""
    courier, one = await posting(post, slack, Trouble(cut=True))
    post.world.clock.advance(2 * SECOND)
    await courier.deliver_once()
    first, second = slack.cards
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, first)
    assert "not known here" in told(slack)
    assert slack.responses[-1][1]["replace_original"] is False
    record = await post.world.oversight.get(TENANT, one.request_id)
    assert await state(post, record) is RequestState.PENDING
    await pressed(inbound, slack, second)
    assert await state(post, record) is RequestState.APPROVED


async def test_a_card_that_nobody_recorded_loses_its_buttons_when_it_is_pressed(post: Post, slack: SlackServer) -> None:
    _, _ = await posting(post, slack, Trouble(cut=True))
    post.world.clock.advance(121 * SECOND)
    courier, inbound = post.slack(slack)
    await courier.deliver_once()
    await pressed(inbound, slack, slack.cards[0])
    assert (told(slack), slack.responses[-1][1]["replace_original"]) == (REPLACED, True)


async def test_who_comes_late_takes_back_the_card_that_is_one_too_many(post: Post, slack: SlackServer) -> None:
    """A process that slept for a minute in the middle of sending, while another one did its work."""
    await post.world.contact("alice", "U1", Channel.SLACK)
    record = await post.world.request(await post.policy("alice"))
    late, _ = post.slack(slack)
    sent = post.world.oversight.sent

    async def asleep(*args: Any, **options: Any) -> Any:
        post.world.clock.advance(61 * SECOND)
        post.world.oversight.sent = sent  # type: ignore[method-assign]
        await post.twin().slack(slack)[0].deliver_once()
        return await sent(*args, **options)

    post.world.oversight.sent = asleep  # type: ignore[method-assign]
    await late.deliver_once()
    first, second = slack.cards
    assert (first.buttons, REPLACED in first.words) == ({}, True)
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, second)
    assert await state(post, record) is RequestState.APPROVED


async def test_a_card_that_was_deleted_needs_no_closing(post: Post, slack: SlackServer) -> None:
    record, _ = await asked(post, slack)
    slack.cards.clear()
    await post.world.deny(record, "alice")
    await post.slack(slack)[0].deliver_once()
    closing = [
        n
        for n in await post.world.oversight.notifications(TENANT, record.ask.request_id)
        if n.kind is NotificationKind.CLOSED
    ]
    assert [one.state for one in closing] == [DeliveryState.SENT]


async def test_secrets_stay_out_of_errors(post: Post, slack: SlackServer) -> None:
    for install in (INSTALL,):
        assert install.bot_token not in repr(install)
        assert install.signing_secret not in repr(install)
    _, one = await posting(post, slack, Trouble(status=500))
    assert INSTALL.bot_token not in str(one.error)


async def test_an_incoming_webhook_shows_and_takes_nothing(post: Post, slack: SlackServer) -> None:
    await post.world.contact("alice", "U1", Channel.SLACK)
    record = await post.world.request(await post.policy("alice"))
    courier = post.courier(SlackIncoming(f"{slack.base}/services/T1/B1/x", TENANT, api=lambda token: slack.api(token)))
    await courier.deliver_once()
    await post.world.deny(record, "alice")
    await courier.deliver_once()
    asked_for, closed = (body for _, body in slack.responses)
    assert not any(
        block["type"] == "actions" for block in asked_for["blocks"]
    )  # no page is configured here, so no link either
    assert "Denied" in json.dumps(closed["blocks"])


async def test_an_incoming_webhook_shows_nothing_of_another_tenant(post: Post, slack: SlackServer) -> None:
    await post.world.contact("alice", "U1", Channel.SLACK)
    await post.world.request(await post.policy("alice"))
    theirs = TenantId("other")
    courier = post.courier(SlackIncoming(f"{slack.base}/services/T1/B1/x", theirs, api=lambda token: slack.api(token)))
    await courier.deliver_once()
    assert slack.responses == []
    [one] = (await post.world.oversight.health(TENANT)).undelivered
    assert one.error == "Slack is not set up for this tenant"


# What an operator sees


async def test_nobody_has_looked(post: Post, slack: SlackServer) -> None:
    record, (card,) = await asked(post, slack)
    oversight = post.world.oversight
    assert await oversight.unseen(TENANT) == ()
    post.world.clock.advance(301 * SECOND)
    assert (await oversight.health(TENANT)).unseen == (record.ask.request_id,)
    _, inbound = post.slack(slack)
    await pressed(inbound, slack, card, DETAILS)
    assert await oversight.unseen(TENANT) == ()


async def test_a_chain_that_ends_in_nobody_is_known_before_it_is_needed(post: Post, slack: SlackServer) -> None:
    oversight: Any = post.world.oversight
    await post.world.contact("alice", "U1", Channel.SLACK)
    await post.policy("alice", channel=Channel.SLACK)
    assert PolicyId("told") not in oversight.unreachable(TENANT)
    oversight.offered = frozenset({Channel.EMAIL})
    assert oversight.unreachable(TENANT)[PolicyId("told")] == ("tier",)
    oversight.offered = frozenset({Channel.SLACK})
    await post.policy("alice", channel=Channel.EMAIL)
    assert oversight.unreachable(TENANT)[PolicyId("told")] == ("tier",)
    await post.policy("bob", channel=Channel.SLACK)
    assert oversight.unreachable(TENANT)[PolicyId("told")] == ("tier",)
