"""NATS as it fails: away, restarted, robbed of its files, too small for a message, relayed to by two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from tests.contract.buses import PATIENCE_S, Inbox, T, World, broker, eventually, nats_world, send

from creto.bus import Start
from creto.bus.nats import NatsBus
from creto.bus.nats_relay import ensure_stream
from creto.common.errors import ConnectionFailed
from creto.store import Position, Tx

__all__ = ["broker", "nats_world"]  # fixtures

STREAM = "CRETO_BUS"


def outbox_rows(bus: NatsBus) -> int:
    return int(bus._store.read_now(lambda tx: tx.value("SELECT count(*) FROM store_outbox")))


async def test_a_restarted_broker_loses_nothing_and_order_holds(nats_world: World) -> None:
    bus, broker = nats_world.bus(), nats_world.broker
    assert broker is not None
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, *(str(n) for n in range(20)))
    await inbox.has(20)
    broker.stop()
    await eventually(lambda: not bus.link.connected)
    await send(bus, *(str(n) for n in range(20, 40)))
    broker.start()
    await send(bus, *(str(n) for n in range(40, 60)))
    await inbox.until(lambda: "59" in inbox.payloads)
    assert list(dict.fromkeys(inbox.payloads)) == [
        str(n) for n in range(60)
    ]  # an ack that was lost brings its message again
    assert bus.link.reconnects >= 2


async def test_rows_wait_in_the_outbox_until_the_limit_while_the_broker_is_away(nats_world: World) -> None:
    broker = nats_world.broker
    assert broker is not None
    broker.stop()
    bus = nats_world.bus(buffer_max=10)
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, *(str(n) for n in range(10)))
    with pytest.raises(ConnectionFailed) as caught:
        await send(bus, "too much")
    assert (caught.value.code, caught.value.retryable, caught.value.retry_after_s) == ("PL-503", True, 1.0)
    broker.start()
    assert await inbox.has(10) == [str(n) for n in range(10)]
    await eventually(lambda: bus.link.connected)
    await send(bus, "10")
    await inbox.has(11)


async def test_a_row_leaves_the_outbox_only_when_every_durable_has_acked(nats_world: World) -> None:
    bus = nats_world.bus()
    quick, slow = Inbox(), Inbox()
    await bus.subscribe("test.>", "quick", quick)
    held = await bus.subscribe("test.>", "slow")
    await send(bus, "1", "2")
    await quick.has(2)
    [first] = await eventually(lambda: held.fetch(5, wait_s=1))
    await eventually(lambda: bus.relay.relayed == 2)
    await bus.relay._reap()
    assert outbox_rows(bus) == 2
    await held.ack(first)
    [second] = await eventually(lambda: held.fetch(5, wait_s=1))
    await held.ack(second)
    await eventually(lambda: outbox_rows(bus) == 0)
    assert slow.messages == []


async def test_what_a_lost_stream_had_not_delivered_is_published_again(nats_world: World) -> None:
    bus, broker = nats_world.bus(), nats_world.broker
    assert broker is not None
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1")
    await inbox.has(1)
    await eventually(lambda: outbox_rows(bus) == 0)
    late = await bus.subscribe("test.>", "late")
    [one] = await eventually(lambda: late.fetch(1, wait_s=1))
    await late.ack(one)
    await send(bus, "2", "3")
    await inbox.has(3)
    await eventually(lambda: bus.relay.relayed == 3)
    broker.kill()
    broker.lose_everything()
    broker.start()
    got = []
    while "3" not in got:
        for message in await late.fetch(5, wait_s=5):
            got.append(message.payload.decode())
            await late.ack(message)
    assert list(dict.fromkeys(got)) == ["2", "3"]
    assert bus.relay.republished == 1


async def test_a_message_larger_than_the_broker_takes_travels_by_reference(nats_world: World) -> None:
    bus = nats_world.bus()
    inbox = Inbox(lambda m: "once" if m.deliveries == 1 else None)
    await bus.subscribe("test.>", "d", inbox)
    large = b"x" * (1024 * 1024)
    await bus.publish("test.large", large, tenant=T, agent="a")
    await inbox.has(1)
    assert inbox.messages[0].payload == large


async def test_when_a_relay_goes_another_takes_over_without_duplicates(nats_world: World) -> None:
    first, second = nats_world.bus(), nats_world.bus()
    inbox = Inbox()
    await second.subscribe("test.>", "d", inbox)
    first.start()
    await send(first, *(str(n) for n in range(50)))
    await inbox.has(50)
    await first.close()
    await send(second, *(str(n) for n in range(50, 60)))
    assert await inbox.has(60) == [str(n) for n in range(60)]


async def test_a_relay_that_forgot_its_mark_repeats_nothing_within_the_brokers_window(nats_world: World) -> None:
    store = nats_world.store()
    bus = nats_world.bus(store)
    await bus.subscribe("test.>", "holds", start=Start.FIRST)  # nobody acks, so the rows stay
    await send(bus, *(str(n) for n in range(30)))
    await eventually(lambda: bus.relay.relayed == 30)
    await bus.close()

    def forget(tx: Tx) -> None:
        tx.run("UPDATE bus_relay SET stream_seq = 10, epoch = ?, seq = ?", *mark(tx))

    await store.write(forget)
    again = nats_world.bus()
    inbox = Inbox()
    await again.subscribe("test.>", "d", inbox)
    await send(again, "end")
    await inbox.until(lambda: "end" in inbox.payloads)
    assert inbox.payloads == [*(str(n) for n in range(30)), "end"]


def mark(tx: Tx) -> tuple[int, int]:
    tenth = tx.outbox_tail(Position(), 10)[-1].position
    return tenth.epoch, tenth.seq


async def test_a_message_whose_consumer_dies_each_time_becomes_a_dead_letter(nats_world: World) -> None:
    bus = nats_world.bus(lease_s=0.3)
    silent = await bus.subscribe("test.>", "d")
    await send(bus, "deadly")
    for _ in range(3):  # taken, and never answered: as if the process had died
        [message] = await eventually(partial(silent.fetch, 1, wait_s=0.5))
        await silent.close()
        silent = await bus.subscribe("test.>", "d")
    letters = await eventually(lambda: bus.dead_letters(T))
    assert letters[0].reason.message == "its consumer ended without an answer"
    assert message.payload == b"deadly"


async def test_rows_leave_the_outbox_also_while_messages_keep_coming(nats_world: World) -> None:
    bus = nats_world.bus()
    await bus.subscribe("test.>", "d", Inbox())

    async def keep_sending(agent: str) -> None:
        while True:
            await send(bus, "x", agent=agent)

    async with asyncio.timeout(PATIENCE_S):
        senders = [asyncio.create_task(keep_sending(f"a{n}")) for n in range(16)]
        try:
            await eventually(lambda: bus.relay.forgotten > 0)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)


Harm = Callable[[NatsBus], Awaitable[object]]


async def purge(bus: NatsBus) -> None:
    await bus.link.js.purge_stream(STREAM)


async def purge_all_but_the_last(bus: NatsBus) -> None:
    await bus.link.js.purge_stream(STREAM, keep=1)


async def delete_one_message(bus: NatsBus) -> None:
    last = (await bus.link.js.stream_info(STREAM)).state.last_seq
    await bus.link.js.delete_msg(STREAM, last - 1)


async def delete_the_stream(bus: NatsBus) -> None:
    await bus.link.js.delete_stream(STREAM)


async def delete_the_stream_and_make_it_again(bus: NatsBus) -> None:
    await bus.link.js.delete_stream(STREAM)
    await ensure_stream(bus.link, STREAM, "creto")


@pytest.mark.parametrize(
    "harm",
    [
        purge,
        purge_all_but_the_last,
        delete_one_message,
        delete_the_stream,
        delete_the_stream_and_make_it_again,
    ],
)
async def test_what_an_operator_takes_out_of_the_stream_before_its_ack_comes_again(
    nats_world: World, harm: Harm
) -> None:
    """Nobody publishes afterwards: the relay has to notice by itself."""
    bus = nats_world.bus()
    held = await bus.subscribe("test.>", "late")
    await send(bus, "0")
    [first] = await eventually(lambda: held.fetch(1, wait_s=1))
    await held.ack(first)
    await eventually(lambda: outbox_rows(bus) == 0)
    await send(bus, *(str(n) for n in range(1, 6)))
    await eventually(lambda: bus.relay.relayed == 6)
    await harm(bus)
    got: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while got[-5:] != ["1", "2", "3", "4", "5"]:  # what was left in the stream may come before
            for message in await held.fetch(5, wait_s=1):
                got.append(message.payload.decode())
                await held.ack(message)
    assert bus.relay.republished == 1
    await eventually(lambda: outbox_rows(bus) == 0)


async def test_an_operator_may_purge_what_every_durable_has_acked(nats_world: World) -> None:
    bus = nats_world.bus()
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1", "2", "3")
    await inbox.has(3)
    await eventually(lambda: outbox_rows(bus) == 0)
    await purge(bus)
    await send(bus, "4")
    assert await inbox.has(4) == ["1", "2", "3", "4"]
    assert bus.relay.republished == 0


async def test_without_a_durable_rows_leave_by_age_once_they_are_relayed(nats_world: World) -> None:
    bus, broker = nats_world.bus(retention_s=0), nats_world.broker
    assert broker is not None
    await send(bus, "1", "2")
    await eventually(lambda: outbox_rows(bus) == 0)
    assert bus.relay.relayed == 2
    broker.stop()
    await eventually(lambda: not bus.link.connected)
    await send(bus, "3")
    assert outbox_rows(bus) == 1
    broker.start()
    await eventually(lambda: outbox_rows(bus) == 0)
    await bus.relay._purge()
    assert (await bus.link.js.stream_info("CRETO_BUS")).state.messages == 0


async def test_what_a_transaction_publishes_is_taken_although_too_much_waits(nats_world: World) -> None:
    broker = nats_world.broker
    assert broker is not None
    broker.stop()
    bus = nats_world.bus(buffer_max=3)
    store = nats_world.store()
    for _ in range(4):  # another process, in transactions of its own
        await store.write(lambda tx: tx.publish("nhi.revoked", b"", tenant=T, agent="a"))
    bus.start()
    await eventually(lambda: bus._waiting == 3)  # counted no further than it matters
    with pytest.raises(ConnectionFailed):
        await send(bus, "refused")
    await store.write(lambda tx: tx.publish("nhi.revoked", b"", tenant=T, agent="a"))
    assert outbox_rows(bus) == 5


async def test_what_was_relayed_does_not_count_as_waiting(nats_world: World) -> None:
    bus, broker = nats_world.bus(buffer_max=3), nats_world.broker
    assert broker is not None
    bus.start()
    await eventually(lambda: bus.link.connected)
    await send(bus, *(str(n) for n in range(9)))
    await eventually(lambda: bus.relay.relayed == 9)
    broker.stop()
    await eventually(lambda: not bus.link.connected)
    await send(bus, "9", "10")  # nine rows are kept for replays, none of them waits
    assert outbox_rows(bus) == 11
