"""Oversight by webhook: from the outbox to a program that proves the decision itself."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from creto.common.timestamps import HOUR, SECOND
from creto.connectors.webhook import WAITS_S, verify
from creto.oversight import Channel, DecisionFile, NotificationKind, RequestState
from creto.oversight.types import DeliveryState
from tests.receivers import Receiver, Say
from tests.unit.connectors.post import Post
from tests.unit.oversight.world import TENANT, id_of


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as receiver:
        yield receiver


async def hooked(post: Post, receiver: Receiver, name: str = "alice") -> tuple[str, str]:
    """The human's endpoint and its secret."""
    endpoint, secret = await post.webhooks.add(TENANT, receiver.url(), by=id_of("eve"))
    await post.world.contact(name, endpoint.endpoint_id, Channel.WEBHOOK)
    return endpoint.endpoint_id, secret


def said(receiver: Receiver, number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(receiver.taken[number].body)
    return found


async def test_a_request_is_told_with_its_digests_and_without_its_arguments(post: Post, receiver: Receiver) -> None:
    _, secret = await hooked(post, receiver)
    record = await post.world.request(await post.policy("alice"), {"amount": 77})
    assert await post.webhook().deliver_once() == 1
    (taken,) = receiver.taken
    one = verify(taken.headers, taken.body, now=post.world.clock.now(), secrets=(secret,))
    (card,) = await post.world.oversight.notifications(TENANT, record.ask.request_id)
    assert (card.notification_id, card.state, card.attempts) == (one, DeliveryState.SENT, 1)
    message = said(receiver)
    assert message["type"] == "oversight.request.asked"
    assert message["data"]["args_hash"] == record.args_hash.hex()
    assert message["data"]["display_hash"] == record.display_hash.hex()
    assert "arguments" not in message["data"]
    assert "amount" not in json.dumps(message)


async def test_arguments_are_told_where_the_policy_says_so(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    await post.world.request(await post.policy("alice", channel=Channel.WEBHOOK, full=True), {"amount": 77})
    await post.webhook().deliver_once()
    assert said(receiver)["data"]["arguments"] == [{"name": "amount", "value": "77"}]


async def test_the_end_comes_with_the_signed_decision(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    record = await post.world.request(await post.policy("alice"))
    await post.webhook().deliver_once()
    await post.world.approve(record, "alice")
    await post.webhook().deliver_once()
    message = said(receiver)
    assert message["type"] == "oversight.request.closed"
    assert message["data"]["standing"].startswith("Approved by alice (own key)")
    data = base64.b64decode(message["data"]["decision"])
    assert data == await post.world.oversight.decision_file(TENANT, record.ask.request_id)
    assert DecisionFile.decode(data).state is RequestState.APPROVED


async def test_ov_108_during_a_rotation_both_secrets_verify(post: Post, receiver: Receiver) -> None:
    endpoint_id, old = await hooked(post, receiver)
    new = await post.webhooks.rotate(TENANT, endpoint_id, by=id_of("eve"), overlap_s=3_600)
    post.world.clock.advance(60 * SECOND)
    await post.world.request(await post.policy("alice"))
    await post.webhook().deliver_once()
    taken = receiver.taken[0]
    for secret in (old, new):
        verify(taken.headers, taken.body, now=post.world.clock.now(), secrets=(secret,))


async def test_ov_111_gone_disables_the_endpoint_and_another_address_is_tried(post: Post, receiver: Receiver) -> None:
    endpoint_id, _ = await hooked(post, receiver)
    await post.world.contact("alice", "U1", Channel.SLACK)
    policy = await post.policy("alice", channel=Channel.WEBHOOK)
    record = await post.world.request(policy)
    receiver.answers.append(Say(410))
    await post.webhook().deliver_once()
    assert (await post.webhooks.get(TENANT, endpoint_id)).disabled == "it answered 410"
    (other,) = await post.world.oversight.due_notifications(Channel.SLACK)
    assert (other.kind, other.request_id) == (NotificationKind.ASKED, record.ask.request_id)
    health = await post.world.oversight.health(TENANT)
    assert [(one.channel, one.state) for one in health.undelivered if one.error] == [
        (Channel.WEBHOOK, DeliveryState.FAILED)
    ]
    assert post.count(Channel.WEBHOOK, "failed") == 1


async def test_the_schedule_is_kept_and_ends(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    policy = await post.policy("alice", channel=Channel.WEBHOOK)
    receiver.otherwise = Say(500)
    record = await post.world.request(policy)
    for wait_s in (*WAITS_S, None):
        before = len(receiver.taken)
        assert await post.webhook().deliver_once() == 1
        assert len(receiver.taken) == before + 1
        assert await post.webhook().deliver_once() == 0
        post.world.clock.advance(int((wait_s or 0) * SECOND))
        (card, *_) = await post.world.oversight.notifications(TENANT, record.ask.request_id)
        assert card.state is (DeliveryState.FAILED if wait_s is None else DeliveryState.QUEUED)
    assert len({taken.headers["webhook-id"] for taken in receiver.taken}) == 1


async def test_a_busy_receiver_is_given_the_time_it_asks_for(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    await post.world.request(await post.policy("alice"))
    receiver.answers.append(Say(429, {"retry-after": "600"}))
    await post.webhook().deliver_once()
    post.world.clock.advance(599 * SECOND)
    assert await post.webhook().deliver_once() == 0
    post.world.clock.advance(2 * SECOND)
    assert await post.webhook().deliver_once() == 1
    assert post.count(Channel.WEBHOOK, "sent") == 1


async def test_after_some_failures_another_address_is_tried_too(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    await post.world.contact("alice", "U1", Channel.SLACK)
    await post.world.request(await post.policy("alice", channel=Channel.WEBHOOK))
    receiver.otherwise = Say(500)
    for attempt in range(1, 4):
        await post.webhook().deliver_once()
        assert len(await post.world.oversight.due_notifications(Channel.SLACK)) == (attempt == 3)
        post.world.clock.advance(HOUR // 2)


async def test_a_destination_that_is_not_allowed_is_undeliverable(post: Post) -> None:
    endpoint, _ = await post.webhooks.add(TENANT, "https://2852039166/latest/meta-data", by=id_of("eve"))
    await post.world.contact("alice", endpoint.endpoint_id, Channel.WEBHOOK)
    await post.world.request(await post.policy("alice"))
    await post.webhook().deliver_once()
    (lost,) = (await post.world.oversight.health(TENANT)).undelivered
    assert (lost.state, lost.error) == (DeliveryState.FAILED, "2852039166 is not a public destination over https")


async def test_what_was_decided_before_it_left_is_not_asked_any_more(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    record = await post.world.request(await post.policy("alice"))
    await post.world.deny(record, "alice")
    await post.webhook().deliver_once()
    assert receiver.taken == []
    states = {one.state for one in await post.world.oversight.notifications(TENANT, record.ask.request_id)}
    assert states == {DeliveryState.DROPPED}
    assert (await post.world.oversight.health(TENANT)).undelivered == ()


async def test_what_left_while_it_was_decided_is_closed_after(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    record = await post.world.request(await post.policy("alice"))
    courier = post.webhook()
    letter = post.world.oversight.letter

    async def slowly(one: Any) -> Any:
        made = await letter(one)
        if one.kind is NotificationKind.ASKED:
            await post.world.deny(record, "alice")
        return made

    post.world.oversight.letter = slowly  # type: ignore[method-assign]
    await courier.deliver_once()
    assert [said(receiver, n)["type"] for n in range(2)] == ["oversight.request.asked", "oversight.request.closed"]


async def test_two_processes_send_one_message(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    policy = await post.policy("alice")
    for n in range(10):
        await post.world.request(policy, {"n": n})
    taken = await asyncio.gather(post.webhook().deliver_once(), post.twin().webhook().deliver_once())
    assert sum(taken) == len(receiver.taken) == 10


async def test_a_process_that_dies_gives_back_what_it_took(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    await post.world.request(await post.policy("alice"))
    assert len(await post.world.oversight.take_notifications(Channel.WEBHOOK)) == 1
    assert await post.webhook().deliver_once() == 0
    post.world.clock.advance(61 * SECOND)
    assert await post.webhook().deliver_once() == 1


async def test_what_is_too_large_for_a_webhook_is_told_without_its_arguments(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    policy = await post.policy("alice", channel=Channel.WEBHOOK, full=True)
    await post.world.request(policy, {"note": "a" + "а" * 15_000})
    await post.webhook().deliver_once()
    assert "arguments" not in said(receiver)["data"]


async def test_a_chain_whose_only_address_is_dead_is_known_before_it_is_needed(post: Post, receiver: Receiver) -> None:
    await hooked(post, receiver)
    policy = await post.policy("alice", channel=Channel.WEBHOOK)
    assert "told" not in (await post.world.oversight.health(TENANT)).unreachable
    receiver.answers.append(Say(410))
    await post.world.request(policy)
    await post.webhook().deliver_once()
    assert (await post.world.oversight.health(TENANT)).unreachable["told"] == ("tier",)
