"""Channels over every engine: processes that share one database send each message once, and act on a callback once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from creto.common.timestamps import SECOND
from creto.connectors.slack_cards import APPROVE, EXTEND
from creto.oversight import Channel, GrantTerms, GrantWish, Quorum, RequestState
from creto.oversight.types import DeliveryState
from tests.contract.stores import MakeStore
from tests.receivers import Receiver
from tests.slack_server import SlackServer, Trouble
from tests.unit.connectors.post import PARTS, Post
from tests.unit.oversight.world import TENANT, World, id_of

TOGETHER = 40


@pytest.fixture
async def posts(make_store: MakeStore) -> tuple[Post, Post]:
    """Two processes."""
    here = Post(await World.open(make_store(parts=PARTS)))
    return here, Post(here.world.twin(make_store(parts=PARTS)))


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer() as server:
        yield server


async def test_each_message_is_sent_by_one_process(posts: tuple[Post, Post]) -> None:
    here, there = posts
    async with Receiver.open() as receiver:
        endpoint, _ = await here.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
        await here.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
        policy = await here.policy("alice")
        for number in range(TOGETHER):
            await here.world.request(policy, {"n": number})
        taken = await asyncio.gather(*(post.webhook().deliver_once() for post in posts for _ in range(2)))
        ids = [one.headers["webhook-id"] for one in receiver.taken]
        assert sum(taken) == len(ids) == len(set(ids)) == TOGETHER
        assert (await there.world.oversight.health(TENANT)).undelivered == ()


async def test_the_same_bytes_in_two_processes_at_once_are_one_act(
    posts: tuple[Post, Post], slack: SlackServer
) -> None:
    here, _ = posts
    await here.world.contact("alice", "U1", Channel.SLACK)
    policy = await here.policy("alice", "bob", quorum=Quorum(approvals=2))
    record = await here.world.request(policy)
    here.world.clock.set(record.progress.deadline_at - 60 * SECOND)
    await here.world.timer.advance_once(here.world.clock.now())
    courier, _ = here.slack(slack)
    await courier.deliver_once()
    card = next(one for one in slack.cards if EXTEND in one.buttons)
    for action in (APPROVE, EXTEND):
        headers, body = slack.click(card, action)
        inbounds = [post.slack(slack)[1] for post in posts for _ in range(2)]
        answers = await asyncio.gather(*(one.interactions(headers, body) for one in inbounds))
        assert {one.status for one in answers} == {200}
        await asyncio.gather(*(one.settled() for one in inbounds))
    assert len(await here.world.entries("ApprovalReceived")) == 1
    after = (await here.world.now_of(record)).progress
    assert after.deadline_at == record.progress.deadline_at + 300 * SECOND


async def test_a_secret_that_was_rotated_there_signs_here(posts: tuple[Post, Post]) -> None:
    here, there = posts
    async with Receiver.open() as receiver:
        endpoint, _ = await here.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
        await here.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", b"{}")
        await there.webhooks.rotate(TENANT, endpoint.endpoint_id, by=id_of("eve"))
        await here.webhooks.send(TENANT, endpoint.endpoint_id, "msg_2", b"{}")
        counts = [one.headers["webhook-signature"].count("v1,") for one in receiver.taken]
        assert counts == [1, 2]


async def test_an_outage_of_everything_loses_no_message(posts: tuple[Post, Post], slack: SlackServer) -> None:
    """Slack is away while requests come in; whichever process is there when it is back delivers them all."""
    here, there = posts
    await here.world.contact("alice", "U1", Channel.SLACK)
    policy = await here.policy("alice")
    slack.troubles += [Trouble(status=500) for _ in range(TOGETHER)]
    for number in range(TOGETHER):
        await here.world.request(policy, {"n": number})
    courier, _ = here.slack(slack)
    await courier.deliver_once()
    assert slack.cards == []
    here.world.clock.advance(2 * SECOND)
    courier, _ = there.slack(slack)
    assert await courier.deliver_once() == TOGETHER
    assert len(slack.cards) == TOGETHER
    for record in await here.world.oversight.list_pending_requests(TENANT):
        (card,) = await here.world.oversight.notifications(TENANT, record.ask.request_id)
        assert (card.state, card.attempts) == (DeliveryState.SENT, 2)


async def test_what_waits_for_a_channel_that_is_gone_is_swept_by_one_process_and_discarded_once(
    posts: tuple[Post, Post],
) -> None:
    """given Slack that no process delivers on / when two sweep at once / then each human is told by mail once; and a discard is final."""
    here, there = posts
    for post in posts:
        post.world.oversight.offered = frozenset({Channel.EMAIL})
    await here.world.contact("alice", "U1", Channel.SLACK)
    await here.world.contact("alice", "alice@corp.example", Channel.EMAIL)
    policy = await here.policy("alice", channel=Channel.SLACK)
    records = [await here.world.request(policy, {"n": number}) for number in range(TOGETHER)]
    await here.world.deny(records[0], "alice")
    assert (await there.world.oversight.health(TENANT)).idle == {Channel.SLACK: TOGETHER + 1}
    swept = await asyncio.gather(*(post.world.oversight.sweep_idle() for post in posts))
    assert sum(swept) == TOGETHER + 1
    mails = await here.world.oversight.due_notifications(Channel.EMAIL)
    assert sorted(one.request_id for one in mails) == sorted(one.ask.request_id for one in records[1:])
    assert (await there.world.oversight.health(TENANT)).idle == {Channel.SLACK: TOGETHER - 1}
    gone = await asyncio.gather(
        *(post.world.oversight.discard(TENANT, Channel.SLACK, by=id_of("eve")) for post in posts)
    )
    assert sum(gone) == TOGETHER - 1
    assert (await here.world.oversight.health(TENANT)).idle == {}


async def test_calls_are_granted_in_advance_and_used_no_oftener(posts: tuple[Post, Post]) -> None:
    """given three calls that were approved in advance / when two processes ask for forty at once / then three pass."""
    here, there = posts
    policy = await here.policy("alice", grants=GrantTerms(ttl_s_max=600, uses_max=5))
    proposal = await here.world.oversight.propose_grant(
        TENANT, policy.policy_id, agent=id_of("bot-7"), action="funds.transfer", resource="account:7", by=id_of("alice"),
        wish=GrantWish(ttl_s=600, uses=3),
    )  # fmt: skip
    await there.world.approve(proposal, "alice")
    asked = await asyncio.gather(*(posts[n % 2].world.request(policy, {"n": n}) for n in range(TOGETHER)))
    assert sum(one.progress.state is RequestState.APPROVED for one in asked) == 3
