"""The whole corpus of hostile texts on every channel: each made visible there too, no argument hidden, nothing that the channel would act on.

A text is at once a value beside another argument, the key of one, the resource, and what the agent says; then it is looked at as it arrived: the
lines that a human reads, and what its markup is made of. The page has its own tests, in a browser.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.cli.voting import check_seen
from creto.common.ids import AgentId, TenantId
from creto.common.limits import OVERSIGHT_TEXT_CHARS_MAX
from creto.common.settings import MailSecurity
from creto.common.timestamps import SECOND
from creto.connectors.messaging_channel import MessagingChannel
from creto.connectors.slack_cards import APPROVE, CONTINUED, DENY, DETAILS, TOO_LONG, parted
from creto.connectors.slack_channel import SlackIncoming
from creto.connectors.slack_inbound import SlackInbound
from creto.connectors.smtp import MailChannel, Relay
from creto.oversight import Channel, Record, Verdict, render
from creto.oversight.display import SAYS, shortened
from creto.oversight.hostile import original
from creto.oversight.links import Links
from creto.store import open_store
from tests.mail_server import MailServer
from tests.receivers import Receiver
from tests.slack_server import SlackServer, texts
from tests.unit.connectors.post import PARTS, Post
from tests.unit.oversight.test_spoofs import SPOOFS
from tests.unit.oversight.world import TENANT, World, id_of

TEXTS = [text for text, _ in SPOOFS]
SAFE = 'drop = "secret-db"'
MAIL_TAGS = {"!doctype", "html", "head", "meta", "title", "body", "h1", "h2", "div", "p", "a"}
RESOURCE_CHARS = 100


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    store = open_store(f"sqlite:///{tmp_path}/spoofs.db", parts=PARTS)
    yield Post(await World.open(store, link_base="https://creto.corp.example"))
    store.close()


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


async def asked(post: Post, channel: Channel, text: str) -> Record:
    policy = await post.policy("alice", channel=channel, full=True)
    arguments = {"drop": "secret-db", "z": text, text: 1}
    return await post.world.request(
        policy, arguments, description=text[-OVERSIGHT_TEXT_CHARS_MAX:], resource=resource(text)
    )


def resource(text: str) -> str:
    """What cannot be drawn is no name of anything: such a request is refused before anybody sees it."""
    name = f"account:{text[:RESOURCE_CHARS]}"
    return name if name.isprintable() and name == name.strip() else "account:7"


def test_most_texts_can_stand_in_a_resource_too() -> None:
    assert sum(resource(text) != "account:7" for text in TEXTS) >= 40


def check_shown(record: Record, lines: list[str]) -> None:
    """Drawn letter by letter, each argument on a line of its own, every trick named, and nothing of ours behind the agent's bar."""
    shown, stripped = render(record.ask), [line.strip() for line in lines]
    assert all(c.isprintable() for line in lines for c in line)
    assert SAFE in stripped
    for line in shown.arguments:
        assert {str(line).strip(), shortened(str(line)).strip()} & set(stripped), line
    assert set(shown.warnings) <= set(stripped)
    assert shown.warnings
    fence = stripped.index(SAYS)
    assert stripped.index(SAFE) < fence
    behind = [line for line in stripped[fence + 1 :] if line]
    said = [line for line in behind if line.startswith(("|", "("))]
    assert said
    assert behind[: len(said)] == said  # what is below is the channel's own


def check_values(record: Record, text: str) -> None:
    """What is shown gives the text back to the letter."""
    values = {line.name: line.value for line in render(record.ask).arguments}
    assert len(values) == 3
    assert values["drop"] == '"secret-db"'
    assert json.loads(original(values["z"])) == text


# Slack


def check_blocks(blocks: list[dict[str, Any]]) -> list[str]:
    """The lines of what others wrote; Slack reads none of it as markup, a mention or a link."""
    for block in blocks:
        assert block["type"] in ("header", "rich_text", "actions", "input")
        for piece in block.get("elements", []) if block["type"] == "rich_text" else []:
            assert piece["type"] in ("rich_text_section", "rich_text_preformatted")
            for part in piece["elements"]:
                assert set(part) <= {"type", "text", "style"}
                assert part["type"] == "text"
    return joined(texts([block for block in blocks if block["type"] != "actions"]))


def joined(parts: Iterable[str]) -> list[str]:
    """The lines of parts, of which one may go on where the part before it had to stop."""
    lines: list[str] = []
    for part in parts:
        first, *rest = part.split("\n")
        if first.startswith(CONTINUED):
            lines[-1] += first.removeprefix(CONTINUED)
        else:
            lines.append(first)
        lines += rest
    return lines


async def test_on_cards_in_slack_their_details_the_modal_of_a_denial_and_the_commands(
    post: Post, slack: SlackServer
) -> None:
    await post.world.contact("alice", "U1", Channel.SLACK)
    courier, inbound = post.slack(slack)
    buttons = None
    for text in TEXTS:
        record = await asked(post, Channel.SLACK, text)
        await courier.deliver_once()
        card = slack.cards[-1]
        check_values(record, text)
        check_shown(record, check_blocks(card.blocks))
        assert not set("<>") & set(card.text)
        assert card.text.isprintable()
        buttons = buttons or {key: one["text"] for key, one in card.buttons.items()}
        assert {key: one["text"] for key, one in card.buttons.items()} == buttons
        await inbound.interactions(*slack.click(card, DETAILS))
        await inbound.interactions(*slack.click(card, DENY))
        await inbound.settled()
        details, denial = slack.views[-2:]
        check_shown(record, check_blocks(details["blocks"]))
        assert all(line.isprintable() for line in check_blocks(denial["blocks"]))
        for command in ("pending", f"show {record.ask.request_id}"):
            await check_command(inbound, slack, command, record)
        await post.world.deny(record, "alice", reason=text[:2_000])
        await courier.deliver_once()
        closed = check_blocks(slack.cards[-1].blocks)
        assert all(line.isprintable() for line in closed)
        assert "Denied" in closed
        post.world.clock.advance(SECOND)
    assert len(slack.cards) == len(TEXTS)


async def check_command(inbound: SlackInbound, slack: SlackServer, command: str, record: Record) -> None:
    answer = json.loads((await inbound.commands(*slack.command(command))).body)
    lines = check_blocks(answer["blocks"])
    assert all(line.isprintable() for line in lines)
    assert not set("<>") & set(answer["text"])
    if command == "pending":
        assert len([line for line in lines if line.startswith("req-")]) == 1
    else:
        check_shown(record, lines)


async def test_on_a_card_that_an_incoming_webhook_takes(post: Post, slack: SlackServer) -> None:
    await post.world.contact("alice", "U1", Channel.SLACK)
    courier = post.courier(SlackIncoming(f"{slack.base}/services/T1/B1/x", TENANT, api=lambda token: slack.api(token)))
    for text in TEXTS:
        record = await asked(post, Channel.SLACK, text)
        await courier.deliver_once()
        _, body = slack.responses[-1]
        check_shown(record, check_blocks(body["blocks"]))
        assert not set("<>") & set(body["text"])
    assert len(slack.responses) == len(TEXTS)


async def test_what_does_not_fit_on_a_card_is_not_approved_there(post: Post, slack: SlackServer) -> None:
    """given an argument between so many others that no card holds them / then the card has no button and the command no code."""
    await post.world.contact("alice", "U1", Channel.SLACK)
    courier, inbound = post.slack(slack)
    policy = await post.policy("alice", channel=Channel.SLACK, full=True)
    many = {f"{side}{n:02}": "y" * 200 for side in ("a", "z") for n in range(25)}
    for arguments, fits in (({"drop": "secret-db"}, True), ({"drop": "secret-db"} | many, False)):
        record = await post.world.request(policy, arguments)
        await courier.deliver_once()
        card = slack.cards[-1]
        said = json.loads((await inbound.commands(*slack.command(f"show {record.ask.request_id}"))).body)["text"]
        assert (SAFE in [line.strip() for line in check_blocks(card.blocks)]) is fits
        assert (APPROVE in card.buttons, "To approve:" in said) == (fits, fits)
        assert (TOO_LONG in card.words, TOO_LONG in said) == (not fits, not fits)


@given(st.lists(st.text("ab \n", max_size=40), max_size=8).map("\n".join))
def test_no_block_begins_in_the_middle_of_a_line_without_saying_so(text: str) -> None:
    parts = parted(text, 30)
    assert all(0 < len(part) <= 30 for part in parts)
    lines = joined(parts)
    assert "".join(lines) == text.replace("\n", "")
    assert [line for line in lines if line] == [line for line in text.split("\n") if line]


# Mail


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content()).replace("\r\n", "\n")


async def test_in_both_parts_of_a_mail_and_in_its_head(post: Post) -> None:
    await post.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    with MailServer() as server:
        relay = Relay(host="127.0.0.1", port=server.port, security=MailSecurity.UNSAFE_PLAIN)
        links = Links(bytes(32))
        courier = post.courier(MailChannel(relay, sender="creto <a@corp.example>", links=links, clock=post.world.clock))
        for text in TEXTS:
            record = await asked(post, Channel.EMAIL, text)
            await courier.deliver_once()
            mail, raw = server.taken[-1], server.raw[-1]
            check_values(record, text)
            check_shown(record, part(mail, "plain").split("\n"))
            check_html(record, part(mail, "html"))
            head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
            names = Counter(line.partition(":")[0].lower() for line in head.split("\r\n") if line[0] not in " \t")
            assert names["subject"] == names["to"] == names["from"] == 1
            assert not {"bcc", "cc", "reply-to"} & set(names)
            assert str(mail["subject"]).isprintable()
        assert len(server.taken) == len(TEXTS)
        assert {tuple(to) for to in server.recipients} <= {("alice@corp.example",)}


def check_html(record: Record, page: str) -> None:
    tags = re.findall(r"</?([a-z!][a-z0-9]*)", page.lower())
    assert set(tags) <= MAIL_TAGS
    assert (tags.count("a"), page.count("href=")) == (2, 1)
    assert not re.search(r"<[^>]*\son[a-z]+=", page)
    check_shown(record, html.unescape(re.sub(r"</?(h1|h2|p|div)( [^>]*)?>", "\n", page.partition("<body")[2].partition(">")[2].rpartition("<p ")[0])).split("\n"))  # fmt: skip


# Programs


def check_message(record: Record, message: dict[str, Any], text: str) -> None:
    """What a program is told is what is shown: a bot that prints the fields prints no trick."""
    data, shown = message["data"], render(record.ask)
    assert data["arguments"] == [{"name": line.name, "value": line.value} for line in shown.arguments]
    assert {"name": "drop", "value": '"secret-db"'} in data["arguments"]
    assert data["warnings"] == list(shown.warnings) != []
    told = [*texts_of(data)]
    assert all(one.isprintable() for one in told)
    if len(text) < RESOURCE_CHARS and not text.isascii():
        assert not any(text in one for one in told)


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)


async def test_in_a_webhook(post: Post) -> None:
    async with Receiver.open() as receiver:
        endpoint, _ = await post.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
        await post.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
        for text in TEXTS:
            record = await asked(post, Channel.WEBHOOK, text)
            await post.webhook().deliver_once()
            check_message(record, json.loads(receiver.taken[-1].body), text)
        assert len(receiver.taken) == len(TEXTS)


class Bot:
    """An agent that messaging reaches."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    async def notify(self, tenant: TenantId, recipient: AgentId, body: bytes, key: str) -> str:
        self.told.append(body)
        return key


async def test_in_a_message_to_an_agent(post: Post) -> None:
    bot = Bot()
    await post.world.contact("alice", id_of("reviewer-bot"), Channel.MESSAGING)
    courier = post.courier(MessagingChannel(post.world.oversight, bot))  # type: ignore[arg-type]
    for text in TEXTS:
        record = await asked(post, Channel.MESSAGING, text)
        await courier.deliver_once()
        check_message(record, json.loads(bot.told[-1]), text)
    assert len(bot.told) == len(TEXTS)


# A terminal


async def test_at_a_terminal_before_a_vote(
    post: Post, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y")
    for text in TEXTS:
        record = await asked(post, Channel.API, text)
        case: Any = SimpleNamespace(
            approval=SimpleNamespace(request_id=record.ask.request_id, round=1), shown=render(record.ask), arguments="{}", items=(),
        )  # fmt: skip
        check_seen(case, {"verdict": Verdict.APPROVE, "items": {text: Verdict.DENY}}, seen=None, yes=False)
        printed = capsys.readouterr().err
        check_shown(record, printed.split("\n"))
        assert printed.replace("\n", "").isprintable()
