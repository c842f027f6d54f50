"""All channels in one object: what the configuration names is there, runs, and says what it cannot reach."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.bus import EmbeddedBus
from creto.common.config import load
from creto.common.errors import EnablementError
from creto.common.ids import AgentId, MessageId, TenantId
from creto.common.limits import OVERSIGHT_REACH_S
from creto.common.timestamps import SECOND
from creto.connectors.channels import Channels, open_channels
from creto.connectors.slack_channel import SlackChannel, SlackIncoming
from creto.oversight import Channel
from creto.platform.crypto import Kek, Keystore
from creto.store import open_store
from tests.receivers import Receiver, Say
from tests.unit.connectors.post import PARTS, Post
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import TENANT, World, id_of

APP = {
    "CRETO_OVERSIGHT__SLACK_BOT_TOKEN": "xoxb-1",
    "CRETO_OVERSIGHT__SLACK_SIGNING_SECRET": "s",
    "CRETO_OVERSIGHT__SLACK_TEAM_ID": "T1",
    "CRETO_OVERSIGHT__SLACK_APP_ID": "A1",
}
INCOMING = {"CRETO_OVERSIGHT__SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x"}
MAIL = {"CRETO_OVERSIGHT__EMAIL_SMTP_HOST": "smtp.creto.local"}
HERE = {"CRETO_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]'}


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    store = open_store(f"sqlite:///{tmp_path}/channels.db", parts=(*PARTS, "creto.bus"))
    yield Post(await World.open(store))
    store.close()


async def opened(post: Post, **environment: str) -> Channels:
    keystore = Keystore(post.world.store, Kek(bytes(range(32))))
    config = load(env=environment, defaults=())
    return await open_channels(config, post.world.oversight, keystore, tenant=TENANT)


@pytest.mark.parametrize(
    ("environment", "offered"),
    [
        ({}, {Channel.WEBHOOK}),
        (MAIL, {Channel.WEBHOOK, Channel.EMAIL}),
        (APP, {Channel.WEBHOOK, Channel.SLACK}),
        (INCOMING, {Channel.WEBHOOK, Channel.SLACK}),
        ({**INCOMING, **APP, **MAIL}, {Channel.WEBHOOK, Channel.SLACK, Channel.EMAIL}),
    ],
    ids=["nothing", "mail", "app", "incoming", "all"],
)
async def test_what_is_configured_is_there(post: Post, environment: dict[str, str], offered: set[Channel]) -> None:
    channels = await opened(post, **environment)
    assert {one.channel for one in channels.couriers} == offered == post.world.oversight.offered
    assert (channels.slack is not None) == ("CRETO_OVERSIGHT__SLACK_BOT_TOKEN" in environment)
    kinds = [type(one._deliverer) for one in channels.couriers if one.channel is Channel.SLACK]
    assert kinds == (
        [SlackChannel] if channels.slack is not None else [SlackIncoming] if environment == INCOMING else []
    )
    assert len(channels.breakers) == len(offered)
    assert not post.world.oversight.delivers(Channel.SLACK, TenantId("other"))


@pytest.mark.parametrize(
    "environment",
    [
        {key: value for key, value in APP.items() if not key.endswith("APP_ID")},
        {"CRETO_OVERSIGHT__EMAIL_FROM": "nobody"},
        {"CRETO_OVERSIGHT__EMAIL_SECURITY": "unsafe-plain", "CRETO_OVERSIGHT__EMAIL_PASSWORD": "x"},
        {"CRETO_WEBHOOKS__ALLOWED_NETWORKS": '["10.0.0.1/8"]'},
    ],
    ids=["half an app", "no sender", "a password in the open", "no network"],
)
def test_a_configuration_that_cannot_work_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(EnablementError) as caught:
        load(env=environment, defaults=())
    assert caught.value.code == "PL-921"


async def test_a_request_is_told_as_soon_as_it_is_made(post: Post) -> None:
    async with Receiver.open() as receiver:
        channels = await opened(post, **HERE)
        endpoint, _ = await channels.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
        await post.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
        policy = await post.policy("alice")
        bus = EmbeddedBus(post.world.store)
        async with channels.running(bus):
            record = await post.world.request(policy)
            await receiver.until(1)
            await post.world.deny(record, "alice")
            await receiver.until(2)
        await bus.close()
        assert [b'"oversight.request.closed"' in one.body for one in receiver.taken] == [False, True]


async def test_what_is_in_hand_is_finished_before_the_end(post: Post) -> None:
    async with Receiver.open() as receiver:
        channels = await opened(post, **HERE)
        endpoint, _ = await channels.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
        await post.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
        go = asyncio.Event()
        receiver.answers.append(Say(wait=go))
        policy = await post.policy("alice")
        bus = EmbeddedBus(post.world.store)
        async with channels.running(bus):
            record = await post.world.request(policy)
            await receiver.until(1)
            asyncio.get_running_loop().call_later(0.05, go.set)
        await bus.close()
        (card,) = await post.world.oversight.notifications(TENANT, record.ask.request_id)
        assert card.state == "sent"


async def test_a_dead_chain_is_said_once_when_it_begins(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    channels = await opened(post)
    await post.policy("alice")
    with caplog.at_level(logging.WARNING, "creto.connectors"):
        for _ in range(2):
            assert (await channels.look())[TENANT]["told"] == ("tier",)
        assert sum("of the policy told" in one.getMessage() for one in caplog.records) == 1
        endpoint, _ = await channels.webhooks.add(TENANT, "https://alice.example/hook", by=id_of("eve"))
        await post.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
        assert "told" not in (await channels.look())[TENANT]
        dead = [tier for tiers in post.world.oversight.unreachable(TENANT).values() for tier in tiers]
        assert post.world.oversight._metrics.unreachable.labels().value == len(dead) > 0
        await post.world.oversight.unlink(TENANT, Channel.WEBHOOK, endpoint.endpoint_id, by=id_of("eve"))
        await channels.look()
        assert sum("of the policy told" in one.getMessage() for one in caplog.records) == 2


async def test_what_waits_for_a_channel_that_is_gone_is_bounded_told_and_leaves_when_it_is_back(post: Post) -> None:
    """given Slack that is configured no more / then what is over is dropped, what is open waits and is told elsewhere; and it leaves when Slack is back."""
    world = post.world
    channels = await opened(post, **MAIL)
    await world.contact("alice", "U1", Channel.SLACK)
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    policy = await post.policy("alice", channel=Channel.SLACK)
    over, open_ = await world.request(policy, {"n": 1}), await world.request(policy, {"n": 2})
    await world.deny(over, "alice")
    health = await world.oversight.health(TENANT)
    assert health.idle == {Channel.SLACK: 3}  # two cards, and one to close
    assert await world.oversight.sweep_idle() == 3
    assert {one.state for one in await world.oversight.notifications(TENANT, over.ask.request_id)} == {"dropped"}
    told = {one.channel: one for one in await world.oversight.notifications(TENANT, open_.ask.request_id)}
    assert (told[Channel.SLACK].state, told[Channel.SLACK].error) == ("queued", "slack is not configured")
    assert told[Channel.EMAIL].state == "queued"
    for _ in range(3):  # it waits, and nothing grows
        world.clock.advance(int(OVERSIGHT_REACH_S * SECOND))
        await world.oversight.sweep_idle()
    assert len(await world.oversight.notifications(TENANT, open_.ask.request_id)) == 2
    assert (await world.oversight.health(TENANT)).idle == {Channel.SLACK: 1}
    await opened(post, **MAIL, **APP)
    world.clock.advance(int(OVERSIGHT_REACH_S * SECOND))
    assert [one.request_id for one in await world.oversight.due_notifications(Channel.SLACK)] == [open_.ask.request_id]
    assert (await world.oversight.health(TENANT)).idle == {}
    assert channels.couriers


async def test_an_operator_discards_what_waits(post: Post) -> None:
    await opened(post)
    await post.world.contact("alice", "U1", Channel.SLACK)
    record = await post.world.request(await post.policy("alice", channel=Channel.SLACK))
    assert await post.world.oversight.discard(TENANT, Channel.SLACK, by=id_of("eve")) == 1
    assert await post.world.oversight.discard(TENANT, Channel.SLACK, by=id_of("eve")) == 0
    assert (await post.world.oversight.health(TENANT)).idle == {}
    assert [one.state for one in await post.world.oversight.notifications(TENANT, record.ask.request_id)] == ["dropped"]
    assert len(await post.world.entries("NotificationsDiscarded")) == 1


async def test_a_channel_that_is_gone_keeps_nothing_on_the_bus(post: Post) -> None:
    """given a durable of Slack from before / when the layer runs without Slack / then it is dropped; with Slack it is there again."""
    bus = EmbeddedBus(post.world.store)
    for environment, wakes in ((APP, True), ({}, False), (APP, True)):
        channels = await opened(post, **environment)
        async with channels.running(bus):
            assert ("connectors-slack" in {one.name for one in await bus.durables()}) == wakes
    await bus.close()


async def test_an_endpoint_is_known_to_take_nothing_before_anything_is_sent(post: Post) -> None:
    channels, world = await opened(post), post.world
    endpoint, _ = await channels.webhooks.add(TENANT, "https://alice.example/hook", by=id_of("eve"))
    await refused("OV-400", world.contact("alice", "whe-nothere", Channel.WEBHOOK))
    await world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
    await post.policy("alice", channel=Channel.WEBHOOK)
    assert "told" not in (await world.oversight.health(TENANT)).unreachable
    await channels.webhooks.disable(TENANT, endpoint.endpoint_id, "by the operator", by=id_of("eve"))
    health = await world.oversight.health(TENANT)
    assert health.unreachable["told"] == ("tier",)
    assert [one.error for one in health.dead] == ["the endpoint is disabled: by the operator"]
    await refused("OV-400", world.contact("bob", endpoint.endpoint_id, Channel.WEBHOOK))


class Messages:
    """Messaging's contract: a key names one message."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[str, bytes]] = {}

    async def notify(self, tenant: TenantId, recipient: AgentId, body: bytes, key: str) -> MessageId:
        self.sent[key] = (recipient, body)
        return MessageId(f"msg-{key}")


async def test_an_agent_is_told_by_message(post: Post) -> None:
    messages = Messages()
    keystore = Keystore(post.world.store, Kek(bytes(range(32))))
    channels = await open_channels(
        load(env={}, defaults=()), post.world.oversight, keystore, tenant=TENANT, notifier=messages
    )
    (courier,) = [one for one in channels.couriers if one.channel is Channel.MESSAGING]
    await post.world.contact("alice", id_of("reviewer-bot"), Channel.MESSAGING)
    record = await post.world.request(await post.policy("alice"))
    await courier.deliver_once()
    await post.world.approve(record, "alice")
    await courier.deliver_once()
    told = [(to, json.loads(body)["type"]) for to, body in messages.sent.values()]
    assert told == [(id_of("reviewer-bot"), f"oversight.request.{what}") for what in ("asked", "closed")]
