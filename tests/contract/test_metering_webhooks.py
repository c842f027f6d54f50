"""Webhooks of metering on both engines: who gets what, signed, by which schedule, and what ends a delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from creto.bus import EmbeddedBus, Message
from creto.common import wire
from creto.common.envelope import EventEnvelope
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.limits import WEBHOOK_BODY_BYTES_MAX, WEBHOOK_TAKEN_S
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.connectors.destinations import Destinations
from creto.connectors.metering_webhooks import Delivery, DeliveryState, MeteringWebhooks, body_of
from creto.connectors.webhook import WAITS_S, Outcome, Sender, verify
from creto.connectors.webhook_endpoints import Webhooks
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.store.types import Position, Store
from tests.contract.buses import eventually
from tests.contract.stores import MakeStore
from tests.receivers import Receiver, Say

PARTS = ("creto.store", "creto.bus", "creto.platform.crypto", "creto.connectors", "creto.connectors.metering_webhooks")
TENANT, ADA, LAYER = TenantId("acme"), AgentId("ada"), AgentId("layer")
FINAL = {"subject": "metering:invoice:inv-1", "actor": ADA, "at": 1_700_000_000 * SECOND, "total": "12.50"}


class House:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.bus = EmbeddedBus(store)
        sender = Sender(Destinations(allowed_networks=("127.0.0.0/8",)), self.clock)
        self.webhooks = Webhooks(store, self.clock, Keystore(store, Kek(bytes(range(32)))), sender, service=LAYER)
        self.hooks = MeteringWebhooks(store, self.bus, self.clock, self.webhooks)

    async def says(self, subject: str, tenant: TenantId = TENANT, said: Any = FINAL) -> Message:
        """A message of metering, as the bus hands it out."""
        watch = await self.bus.subscribe("metering.>", "watch")
        await self.bus.publish(subject, wire.encode(said), tenant=tenant, agent="a")
        (message,) = await watch.fetch(10)
        await watch.ack(message)
        await watch.close()
        return message

    async def states(self, endpoint_id: str) -> list[tuple[DeliveryState, int]]:
        return [(one.state, one.attempts) for one in await self.hooks.deliveries(TENANT, endpoint_id)]

    async def only(self, endpoint_id: str) -> Delivery:
        (one,) = await self.hooks.deliveries(TENANT, endpoint_id)
        return one


@pytest.fixture
async def house(make_store: MakeStore) -> House:
    return House(make_store(parts=PARTS))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as receiver:
        yield receiver


async def test_an_endpoint_gets_what_it_wants_signed_and_once(house: House, receiver: Receiver) -> None:
    endpoint, secret = await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    message = await house.says("metering.invoice.finalized")
    for one in (
        message,
        message,
        await house.says("metering.payment.paid"),
        await house.says("metering.invoice.finalized", TenantId("globex")),
    ):
        await house.hooks.take(one)
    assert await house.hooks.deliver_once() == 1
    assert await house.hooks.deliver_once() == 0

    (taken,) = receiver.taken
    key = await house.webhooks.public_key(TENANT)
    for keys in ({"secrets": (secret,)}, {"public_keys": (key,)}):  # v1 and v1a
        assert verify(taken.headers, taken.body, now=house.clock.now(), **keys) == message.id  # type: ignore[arg-type]
    assert wire.decode(taken.body, dict[str, Any]) == {
        "type": "metering.invoice.finalized",
        "timestamp": "2023-11-14T22:13:20.000000000Z",
        "data": {"subject": "metering:invoice:inv-1", "total": "12.50"},
    }
    assert await house.states(endpoint.endpoint_id) == [(DeliveryState.DELIVERED, 1)]


@pytest.mark.parametrize(
    ("wish", "subject"),
    [
        ("metering.anomalies", "metering.anomalies"),
        ("metering.alerts.*", "metering.alerts.signature"),
        ("metering.event.dead", "metering.event.dead"),
        ("metering.meter.refused", "metering.meter.refused"),
    ],
)
async def test_what_wants_somebody_to_look_leaves_too(
    house: House, receiver: Receiver, wish: str, subject: str
) -> None:
    """given an endpoint that wants alarms / while the way out runs / then what metering says of one arrives, signed."""
    _, secret = await house.hooks.add(TENANT, receiver.url(), (wish,), by=ADA)
    async with house.hooks.running():
        await house.bus.publish(subject, wire.encode({"agent": "bot"}), tenant=TENANT, agent="a")
        await receiver.until(1)
    (taken,) = receiver.taken
    verify(taken.headers, taken.body, now=house.clock.now(), secrets=(secret,))
    assert wire.decode(taken.body, dict[str, Any])["data"] == {"agent": "bot"}
    assert wire.decode(taken.body, dict[str, Any])["type"] == subject


async def test_the_schedule_is_kept_to_its_end_and_a_person_begins_it_anew(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.>",), by=ADA)
    receiver.otherwise = Say(500)
    message = await house.says("metering.credits.granted")
    await house.hooks.take(message)
    for number, wait_s in enumerate((*WAITS_S, None), 1):
        assert await house.hooks.deliver_once() == 1
        one = await house.only(endpoint.endpoint_id)
        assert (one.attempts, one.detail) == (number, "it answered 500")
        if wait_s is not None:
            house.clock.advance(int((wait_s - 1) * SECOND))
            assert await house.hooks.deliver_once() == 0
            house.clock.advance(SECOND)
    assert await house.states(endpoint.endpoint_id) == [(DeliveryState.FAILED, 10)]

    receiver.otherwise = Say(204)
    await house.hooks.again(TENANT, endpoint.endpoint_id, message.id, by=ADA)
    assert await house.hooks.deliver_once() == 1
    assert await house.states(endpoint.endpoint_id) == [(DeliveryState.DELIVERED, 1)]
    assert {taken.headers["webhook-id"] for taken in receiver.taken} == {message.id}
    with pytest.raises(NotFound):
        await house.hooks.again(TENANT, endpoint.endpoint_id, "none", by=ADA)


async def test_an_endpoint_that_is_gone_gets_nothing_more(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    receiver.otherwise = Say(503)
    for act in ("drafted", "closed"):
        await house.hooks.take(await house.says(f"metering.invoice.{act}"))
    await house.hooks.deliver_once()
    receiver.otherwise = Say(410)
    await house.hooks.take(await house.says("metering.invoice.finalized"))
    house.clock.advance(6 * SECOND)
    await house.hooks.deliver_once()
    assert {state for state, _ in await house.states(endpoint.endpoint_id)} == {DeliveryState.FAILED}
    assert (await house.webhooks.get(TENANT, endpoint.endpoint_id)).disabled

    calls = len(receiver.taken)
    await house.hooks.take(await house.says("metering.invoice.voided"))
    await house.hooks.deliver_once()
    assert len(receiver.taken) == calls


async def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    receiver.answers = [Say(429, {"Retry-After": "120"})]
    await house.hooks.take(await house.says("metering.invoice.drafted"))
    await house.hooks.deliver_once()
    await house.hooks.take(await house.says("metering.invoice.closed"))
    house.clock.advance(119 * SECOND)
    receiver.answers = [Say(429, {"Retry-After": "60"})]
    assert await house.hooks.deliver_once() == 1  # it came after the answer
    house.clock.advance(59 * SECOND)
    assert await house.hooks.deliver_once() == 0  # and its answer holds the other back too
    house.clock.advance(2 * SECOND)
    assert await house.hooks.deliver_once() == 2
    assert {state for state, _ in await house.states(endpoint.endpoint_id)} == {DeliveryState.DELIVERED}


async def test_what_a_dead_process_had_taken_is_due_again(house: House, receiver: Receiver) -> None:
    from creto.connectors.metering_webhooks import store as rows

    await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    await house.hooks.take(await house.says("metering.invoice.finalized"))
    now = house.clock.now()
    taken = await house.store.write(lambda tx: rows.take_due(tx, now, now + WEBHOOK_TAKEN_S * SECOND, 10))
    assert (len(taken), await house.hooks.deliver_once()) == (1, 0)
    house.clock.advance(WEBHOOK_TAKEN_S * SECOND)
    assert await house.hooks.deliver_once() == 1


async def test_an_endpoint_that_was_removed_leaves_nothing(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    await house.hooks.take(await house.says("metering.invoice.finalized"))
    await house.hooks.remove(TENANT, endpoint.endpoint_id, by=ADA)
    assert await house.hooks.deliver_once() == 0
    assert await house.hooks.wants(TENANT, endpoint.endpoint_id) == ()
    assert await house.hooks.standing(TENANT, endpoint.endpoint_id) == {}
    with pytest.raises(NotFound):
        await house.hooks.deliveries(TENANT, endpoint.endpoint_id)


async def test_an_endpoint_that_wants_nothing_hears_nothing_of_metering(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), (), by=ADA)
    await house.hooks.want(TENANT, endpoint.endpoint_id, ("metering.invoice.*",), by=ADA)
    assert await house.hooks.wishes(TENANT) == {endpoint.endpoint_id: ("metering.invoice.*",)}
    await house.hooks.want(TENANT, endpoint.endpoint_id, (), by=ADA)
    assert await house.hooks.wishes(TENANT) == {}
    await house.hooks.take(await house.says("metering.invoice.finalized"))
    assert await house.hooks.deliver_once() == 0


async def test_how_an_endpoint_stands_is_told_by_state(house: House, receiver: Receiver) -> None:
    """given one delivery that arrived and one that did not / then each is counted and listed by its state, and shown whole."""
    receiver.answers += [Say(200), Say(500)]
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.invoice.*",), by=ADA)
    for _ in range(2):
        await house.hooks.take(await house.says("metering.invoice.finalized"))
        await house.hooks.deliver_once()
    assert await house.hooks.standing(TENANT, endpoint.endpoint_id) == {
        DeliveryState.DELIVERED: 1, DeliveryState.QUEUED: 1,
    }  # fmt: skip
    (waiting,) = await house.hooks.deliveries(TENANT, endpoint.endpoint_id, state=DeliveryState.QUEUED)
    assert waiting.detail == "it answered 500"
    assert await house.hooks.delivery(TENANT, endpoint.endpoint_id, waiting.message_id) == waiting
    with pytest.raises(NotFound):
        await house.hooks.delivery(TENANT, endpoint.endpoint_id, "never")


async def test_a_test_is_signed_and_its_outcome_told_at_once(house: House, receiver: Receiver) -> None:
    receiver.answers += [Say(200), Say(410)]
    endpoint, secret = await house.hooks.add(TENANT, receiver.url(), (), by=ADA)
    message_id, attempt = await house.webhooks.test(TENANT, endpoint.endpoint_id)
    assert (attempt.outcome, attempt.status) == (Outcome.DELIVERED, 200)
    (came,) = receiver.taken
    assert verify(came.headers, came.body, now=house.clock.now(), secrets=(secret,)) == message_id
    assert (await house.webhooks.test(TENANT, endpoint.endpoint_id))[1].outcome is Outcome.GONE
    assert (await house.webhooks.get(TENANT, endpoint.endpoint_id)).disabled is not None


async def test_an_address_that_is_not_allowed_is_not_tried_again(house: House) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["10.0.0.1"]

    house.webhooks._sender = Sender(Destinations(resolve=inside), house.clock)
    endpoint, _ = await house.hooks.add(TENANT, "https://hooks.example/in", ("metering.invoice.*",), by=ADA)
    await house.hooks.take(await house.says("metering.invoice.finalized"))
    await house.hooks.deliver_once()
    assert await house.states(endpoint.endpoint_id) == [(DeliveryState.FAILED, 1)]


@pytest.mark.parametrize(
    ("events", "fits"),
    [
        (("metering.invoice.finalized",), True),
        (("metering.>", "metering.*.*"), True),
        (("metering.thresholds.*",), True),
        (("metering.invoice.*",) * 51, False),
        (("oversight.>",), False),
        (("metering.events.runtime",), False),
        (("metering.invoice",), False),
        (("metering.invoice.a.b",), False),
        (("not a subject",), False),
    ],
)
async def test_wishes_that_nothing_can_meet_are_refused(house: House, events: tuple[str, ...], fits: bool) -> None:
    if fits:
        endpoint, _ = await house.hooks.add(TENANT, "https://hooks.example/in", events, by=ADA)
        assert await house.hooks.wants(TENANT, endpoint.endpoint_id) == events
        await house.hooks.want(TENANT, endpoint.endpoint_id, ("metering.payment.paid",), by=ADA)
        assert await house.hooks.wants(TENANT, endpoint.endpoint_id) == ("metering.payment.paid",)
        return
    with pytest.raises(InvalidInput):
        await house.hooks.add(TENANT, "https://hooks.example/in", events, by=ADA)
    assert await house.webhooks.list(TENANT) == []


async def test_a_threshold_leaves_its_envelope_and_what_is_too_large_its_data() -> None:
    envelope = EventEnvelope(
        "metering.thresholds.exceeded",
        EventId("e"),
        TENANT,
        ADA,
        (ADA,),
        ConsensusTimestamp(SECOND),
        {"limit": "5"},
        b"s",
    )

    def message(subject: str, said: object) -> Message:
        id = "018bcfe5-6800-7000-8000-000000000000"
        return Message(id, subject, TENANT, "a", wire.encode(said), {}, 1, Position())

    body = body_of(message("metering.thresholds.exceeded", envelope))
    assert wire.decode(body, dict[str, Any]) == {
        "type": "metering.thresholds.exceeded",
        "timestamp": "1970-01-01T00:00:01.000000000Z",
        "data": {"limit": "5"},
    }
    large = body_of(message("metering.credits.burnt", FINAL | {"grants": "x" * WEBHOOK_BODY_BYTES_MAX}))
    assert wire.decode(large, dict[str, Any])["data"] == {"subject": "metering:invoice:inv-1"}


async def test_what_is_published_goes_out_while_it_runs(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.hooks.add(TENANT, receiver.url(), ("metering.>",), by=ADA)
    async with house.hooks.running():
        for subject in ("metering.invoice.finalized", "metering.payment.paid", "metering.quotas.notices"):
            await house.bus.publish(subject, wire.encode(FINAL), tenant=TENANT, agent="a")
        await house.bus.publish("metering.events.runtime", wire.encode(FINAL), tenant=TENANT, agent="a")
        await eventually(lambda: len(receiver.taken) == 3)
        await eventually(lambda: house.hooks.deliveries(TENANT, endpoint.endpoint_id))
    await house.bus.close()
    assert {state for state, _ in await house.states(endpoint.endpoint_id)} == {DeliveryState.DELIVERED}

    house.clock.advance(31 * DAY)
    assert await house.hooks.forget_old() == 3
    assert await house.hooks.deliveries(TENANT, endpoint.endpoint_id) == []
