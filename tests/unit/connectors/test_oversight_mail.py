"""Oversight by mail, through aiosmtplib against aiosmtpd."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.limits import OVERSIGHT_NOTES_TOLD_MAX
from creto.common.settings import MailSecurity
from creto.common.timestamps import DAY, SECOND
from creto.connectors.mail import checked_address
from creto.connectors.smtp import MailChannel, Relay
from creto.oversight import Channel, Record, RequestState
from creto.oversight.links import Links
from creto.oversight.types import DeliveryState, Notification
from creto.store import open_store
from tests.mail_server import CUT, MailServer
from tests.unit.connectors.certificates import server_tls
from tests.unit.connectors.post import PARTS, Post
from tests.unit.oversight.world import TENANT, World, id_of, person

SENDER = "creto <approvals@corp.example>"
LINKS = Links(bytes(32))
LINK_WORDS = ("Open", "the", "request")


@pytest.fixture
async def mailed(tmp_path: Path) -> AsyncIterator[Post]:
    """A world that has a page to link to."""
    store = open_store(f"sqlite:///{tmp_path}/mail.db", parts=PARTS)
    yield Post(await World.open(store, link_base="https://creto.corp.example"))
    store.close()


@pytest.fixture
def relay() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def channel(post: Post, server: MailServer, **options: object) -> MailChannel:
    relay = Relay(host="127.0.0.1", port=server.port, **{"security": MailSecurity.UNSAFE_PLAIN, **options})  # type: ignore[arg-type]
    return MailChannel(relay, sender=SENDER, links=LINKS, clock=post.world.clock)


async def asked(
    post: Post, server: MailServer, arguments: object = None, full: bool = False, **options: object
) -> Record:
    await post.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    policy = await post.policy("alice", channel=Channel.EMAIL, full=full)
    record = await post.world.request(policy, arguments, **options)
    await post.courier(channel(post, server)).deliver_once()
    return record


async def the_card(post: Post, record: Record) -> Notification:
    (card,) = await post.world.oversight.notifications(TENANT, record.ask.request_id)
    return card


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def words(mail: EmailMessage) -> tuple[list[str], list[str]]:
    """What either part says, without its layout."""
    shown = re.sub(r"<title>.*?</title>|<a [^>]*>|<[^>]+>", " ", part(mail, "html"))
    return part(mail, "plain").split(), html.unescape(shown).split()


async def test_a_mail_says_what_and_where_and_decides_nothing(mailed: Post, relay: MailServer) -> None:
    record = await asked(mailed, relay, {"iban": "DE89 3704"})
    (mail,) = relay.taken
    assert mail["from"] == SENDER
    assert relay.recipients == [["alice@corp.example"]]
    text = part(mail, "plain")
    assert "bot-7 wants to transfer money" in text
    assert record.args_hash.hex() in text
    assert "DE89" not in text + part(mail, "html")
    links = re.findall(r"https?://\S+", text)
    assert [urlsplit(one)._replace(fragment="").geturl() for one in links] == [
        f"https://creto.corp.example/approvals/{record.ask.request_id}"
    ]
    assert urlsplit(links[0]).query == ""
    assert await state(mailed, record) is RequestState.PENDING


@pytest.mark.parametrize("full", [True, False])
async def test_an_answer_is_told_where_arguments_are(mailed: Post, relay: MailServer, full: bool) -> None:
    record = await asked(mailed, relay, full=full)
    oversight, request_id = mailed.world.oversight, record.ask.request_id
    await oversight.ask(TENANT, request_id, "Which\u202einvoice?", by=id_of("alice"))
    await oversight.answer(TENANT, request_id, "Number 17.\nApproved by the CFO", by=record.ask.agent)
    await mailed.courier(channel(mailed, relay)).deliver_once()
    plain, rich = words(relay.taken[-1])
    text = "\n".join(part(relay.taken[-1], "plain").splitlines())
    assert text.startswith("The agent has answered")
    told = "Asked by alice:\n  | Which⟦U+202E⟧invoice?\n  The agent answers (not verified):\n  | Number 17.\n  | Approved by the CFO\n"
    assert (told in text, "17." in plain, "17." in rich) == (full, full, full)
    for number in range(OVERSIGHT_NOTES_TOLD_MAX):
        await oversight.answer(TENANT, request_id, f"Number {number}.", by=record.ask.agent)
    await mailed.courier(channel(mailed, relay)).deliver_once()
    last = part(relay.taken[-1], "plain")
    assert ("17." in last, "(2 earlier ones are shown on the page.)" in last) == (False, full)


async def state(post: Post, record: Record) -> RequestState:
    return (await post.world.now_of(record)).progress.state


async def test_the_token_shows_one_request_for_a_week(mailed: Post, relay: MailServer) -> None:
    record = await asked(mailed, relay)
    token = urlsplit(re.findall(r"https?://\S+", part(relay.taken[0], "plain"))[0]).fragment
    now = mailed.world.clock.now()
    opened = LINKS.opened(token, now)
    assert (opened.tenant, opened.request_id, opened.person) == (TENANT, record.ask.request_id, person("alice"))
    for wrong, at in (
        (token[:-2], now),
        (token[1:], now),
        ("", now),
        ("ä", now),
        ("A" * 5_000, now),
        (token, now + 8 * DAY),
    ):
        with pytest.raises(SignatureVerificationFailed) as caught:
            LINKS.opened(wrong, at)  # type: ignore[arg-type]
        assert caught.value.code == "OV-401"
    with pytest.raises(SignatureVerificationFailed):
        Links(bytes(31) + b"x").opened(token, now)


@pytest.mark.parametrize(
    "hostile",
    ["x\r\nBcc: evil@x", "x\nSubject: y", "<script>alert(1)</script>\u202egnp.exe\u200b", "a" * 5_000, "\u2028x", "&lt;b&gt;"],
)  # fmt: skip
async def test_ov_097_and_098_hostile_text_stays_text(mailed: Post, relay: MailServer, hostile: str) -> None:
    await asked(mailed, relay, {"note": hostile}, full=True, description=hostile[:2_000])
    (mail,) = relay.taken
    head = relay.raw[0].partition(b"\r\n\r\n")[0]
    assert mail["bcc"] is None
    assert [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if not line.startswith(b" ")].count(
        b"subject"
    ) == 1
    assert "\n" not in mail["subject"]
    assert "<script" not in part(mail, "html").lower().replace("<!doctype", "")
    for kind in ("plain", "html"):
        assert not any(c in part(mail, kind) for c in "\u202e\u200b\u2028")
    text, page = words(mail)
    assert page[: -len(LINK_WORDS)] == text[: len(page) - len(LINK_WORDS)]


async def test_ov_098_both_parts_say_the_same(mailed: Post, relay: MailServer) -> None:
    await asked(mailed, relay, {"reason": "<b>now</b>\u202e", "amount": 7}, full=True)
    text, page = words(relay.taken[0])
    cut = len(page) - len(["Open", "the", "request"])
    assert page[:cut] == text[:cut]


async def test_the_page_of_a_mail_leads_from_the_effect_to_the_link(mailed: Post, relay: MailServer) -> None:
    await asked(mailed, relay, {"reason": "</div><h1>Approved"}, full=True)
    page = part(relay.taken[0], "html")
    headings = re.findall(r"<h([12])[^>]*>(.*?)</h", page)
    assert headings[0] == ("1", html.escape(f"{relay.taken[0]['subject'].removeprefix('Approval: ')}"))
    assert [level for level, _ in headings[1:]] == ["2"] * (len(headings) - 1)
    exact = re.findall(r"<div style=\"([^\"]*)\">([^<]*&lt;/div&gt;[^<]*)</div>", page)
    assert ["monospace" in style for style, _ in exact] == [True]
    assert re.search(r'<a style="[^"]*background:[^"]*" href="https://[^"]+">Open the request</a></p></body>', page)


async def test_ov_097_a_hostile_resource_gives_a_subject_of_one_line(mailed: Post, relay: MailServer) -> None:
    await asked(mailed, relay, resource="account:7 " + "ü" * 300)
    subject = relay.taken[0]["subject"]
    assert len(subject) <= 150
    assert "\n" not in subject


async def test_ov_102_no_client_can_end_a_duty(mailed: Post, relay: MailServer) -> None:
    await asked(mailed, relay)
    (mail,) = relay.taken
    assert mail["list-unsubscribe"] is None
    assert mail["list-unsubscribe-post"] is None
    assert mail["auto-submitted"] == "auto-generated"
    assert mail["x-auto-response-suppress"] == "All"


async def test_the_thread_closes_itself(mailed: Post, relay: MailServer) -> None:
    record = await asked(mailed, relay)
    courier = mailed.courier(channel(mailed, relay))
    mailed.world.clock.set(record.progress.deadline_at - 60 * SECOND)
    await mailed.world.timer.advance_once(mailed.world.clock.now())
    await courier.deliver_once()
    await mailed.world.deny(record, "alice", reason="too much")
    await courier.deliver_once()
    first, warning, closing = relay.taken
    assert len({one["message-id"] for one in relay.taken}) == 3
    assert warning["in-reply-to"] == first["message-id"]
    assert closing["in-reply-to"] == warning["message-id"]
    assert closing["references"].split() == [first["message-id"], warning["message-id"]]
    assert len({one["subject"] for one in relay.taken}) == 1
    assert "Denied by alice (own key)" in part(closing, "plain")


@pytest.mark.parametrize(
    ("by", "reason", "words"),
    [
        ("eve", "", "Cancelled by eve at 2"), ("eve", "not needed", "Cancelled by eve at 2"),
        ("bot-7", "", "Cancelled by the requester at 2"),
    ],
)  # fmt: skip
async def test_who_cancelled_it_is_named(mailed: Post, relay: MailServer, by: str, reason: str, words: str) -> None:
    record = await asked(mailed, relay)
    await mailed.world.oversight.cancel(TENANT, record.ask.request_id, by=id_of(by), reason=reason)
    await mailed.courier(channel(mailed, relay)).deliver_once()
    said = part(relay.taken[-1], "plain")
    assert words in said
    assert ("Z: not needed" in said, "cancelled by" in said) == (bool(reason), False)


async def test_ov_099_greylisted_once(mailed: Post, relay: MailServer) -> None:
    relay.troubles.append("451 4.7.1 greylisted")
    record = await asked(mailed, relay)
    card = await the_card(mailed, record)
    assert (card.state, card.attempts, card.error) == (DeliveryState.QUEUED, 1, "the relay said 451 4.7.1 greylisted")
    mailed.world.clock.advance(2 * SECOND)
    await mailed.courier(channel(mailed, relay)).deliver_once()
    card = await the_card(mailed, record)
    assert (card.state, card.attempts, len(relay.taken)) == (DeliveryState.SENT, 2, 1)
    assert card.reference == relay.taken[0]["message-id"]


async def test_ov_100_cut_after_the_relay_took_it(mailed: Post, relay: MailServer) -> None:
    relay.troubles.append(CUT)
    record = await asked(mailed, relay)
    assert (await the_card(mailed, record)).state is DeliveryState.QUEUED
    mailed.world.clock.advance(2 * SECOND)
    await mailed.courier(channel(mailed, relay)).deliver_once()
    assert len(relay.taken) == 2
    assert len({mail["message-id"] for mail in relay.taken}) == 1


@pytest.mark.parametrize(("answer", "state"), [("550 5.7.1 no", DeliveryState.FAILED), ("535 5.7.8 who", DeliveryState.QUEUED), ("421 4.3.2 later", DeliveryState.QUEUED)])  # fmt: skip
async def test_what_the_relay_says(mailed: Post, relay: MailServer, answer: str, state: DeliveryState) -> None:
    relay.troubles.append(answer)
    assert (await the_card(mailed, await asked(mailed, relay))).state is state


async def test_nobody_of_that_name_is_undeliverable(mailed: Post, relay: MailServer) -> None:
    await mailed.world.contact("alice", "nobody@corp.example", Channel.EMAIL)
    await mailed.world.request(await mailed.policy("alice"))
    await mailed.courier(channel(mailed, relay)).deliver_once()
    (lost,) = (await mailed.world.oversight.health(TENANT)).undelivered
    assert (lost.address, lost.state) == ("nobody@corp.example", DeliveryState.FAILED)


async def test_a_relay_that_is_away_is_tried_again(mailed: Post) -> None:
    with MailServer() as gone:
        sender = channel(mailed, gone)
    await mailed.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    record = await mailed.world.request(await mailed.policy("alice"))
    await mailed.courier(sender).deliver_once()
    card = await the_card(mailed, record)
    assert card.state is DeliveryState.QUEUED
    assert "cannot be reached" in str(card.error)


@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
async def test_the_line_is_encrypted_and_the_relay_proves_its_name(
    mailed: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: MailSecurity
) -> None:
    tls, authority = server_tls(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with MailServer(tls, implicit=security is MailSecurity.TLS, password="right") as server:
        await mailed.world.contact("alice", "alice@corp.example", Channel.EMAIL)
        record = await mailed.world.request(await mailed.policy("alice"))
        for host, password, taken in (("127.0.0.1", "right", 0), ("localhost", "wrong", 0), ("localhost", "right", 1)):
            options = {"host": host, "security": security, "username": "creto", "password": password}
            sender = MailChannel(
                Relay(port=server.port, **options),  # type: ignore[arg-type]
                sender=SENDER, links=LINKS, clock=mailed.world.clock, timeout_s=30.0 if taken else 1.0,
            )  # fmt: skip
            await mailed.courier(sender).deliver_once()
            assert len(server.taken) == taken
            card = await the_card(mailed, record)
            assert password not in str(card.error)
            mailed.world.clock.advance(60 * SECOND)
        assert server.secure == [True]


async def test_without_starttls_nothing_is_sent(mailed: Post, relay: MailServer) -> None:
    await mailed.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    await mailed.world.request(await mailed.policy("alice"))
    await mailed.courier(channel(mailed, relay, security=MailSecurity.STARTTLS)).deliver_once()
    assert relay.taken == []


def test_no_password_travels_in_the_open() -> None:
    with pytest.raises(InvalidInput):
        MailChannel(
            Relay(host="x", security=MailSecurity.UNSAFE_PLAIN, username="a", password="b"),
            sender=SENDER,
            links=LINKS,
            clock=None,  # type: ignore[arg-type]
        )
    assert "secret" not in repr(Relay(host="x", username="a", password="secret"))


@pytest.mark.parametrize("text", ["", "x", "@x", "a@", "a b@x", "a@x\r\nBcc: y@z", "a@x, b@x", "ä@x", "<a@x>", "a@x>"])
def test_one_plain_address(text: str) -> None:
    with pytest.raises(InvalidInput):
        checked_address(text)
