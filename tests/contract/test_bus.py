"""What every bus promises: at least once, in order per agent, dead letters with reasons, replay; over every engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from creto.bus import Message, Start
from creto.common.errors import AlreadyExists, ConnectionFailed, InvalidInput, NotFound
from creto.common.limits import BUS_HEADER_BYTES_MAX, BUS_PAYLOAD_BYTES_MAX
from creto.common.tracing import SpanContext, continued, trace_id
from creto.store import Position, Tx
from tests.contract.buses import Inbox, T, World, broker, eventually, send, world

__all__ = ["broker", "world"]  # fixtures

R = TypeVar("R")
HERE = SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


async def test_a_message_arrives_as_it_was_sent_in_its_trace(world: World) -> None:
    bus, seen = world.bus(), []

    async def consume(message: Message) -> None:
        seen.append(trace_id())

    inbox = Inbox(lambda m: consume(m))
    await bus.subscribe("metering.events.*", "billing", inbox)
    with continued(HERE):
        message_id = await bus.publish(
            "metering.events.runtime", b"\x00\xff", tenant=T, agent="agent:ü", headers={"k": "ü\n€😀"}
        )
    await inbox.until(lambda: bool(inbox.messages))
    [message] = inbox.messages
    assert (message.id, message.subject, message.tenant) == (message_id, "metering.events.runtime", T)
    assert (message.agent, message.payload, message.deliveries) == ("agent:ü", b"\x00\xff", 1)
    assert message.headers == {"k": "ü\n€😀", "traceparent": HERE.traceparent()}
    assert seen == [HERE.trace_id]


async def test_each_durable_gets_what_its_pattern_matches(world: World) -> None:
    bus = world.bus()
    boxes = {pattern: Inbox() for pattern in ("a.*", "a.>", "a.b.c", ">")}
    for number, (pattern, inbox) in enumerate(boxes.items()):
        await bus.subscribe(pattern, f"d{number}", inbox)
    for subject in ("a.b", "a.b.c", "x.y"):
        await send(bus, subject, subject=subject)
    await boxes[">"].has(3)
    await boxes["a.>"].has(2)
    await boxes["a.*"].has(1)
    await boxes["a.b.c"].has(1)
    assert [boxes[p].payloads for p in ("a.*", "a.>", "a.b.c")] == [["a.b"], ["a.b", "a.b.c"], ["a.b.c"]]


async def test_a_durable_goes_on_where_it_was(world: World) -> None:
    bus = world.bus()
    first = Inbox()
    subscription = await bus.subscribe("test.>", "d", first)
    await send(bus, "1", "2")
    await first.has(2)
    await subscription.close()
    await send(bus, "3")
    await bus.close()
    again = world.bus()
    second = Inbox()
    await again.subscribe("test.>", "d", second)
    await send(again, "4")
    assert await second.has(2) == ["3", "4"]


async def test_a_new_durable_begins_with_everything_or_with_what_comes(world: World) -> None:
    bus = world.bus()
    first = Inbox()
    await bus.subscribe("test.>", "first", first)
    await send(bus, "1", "2")
    await first.has(2)
    everything, fresh = Inbox(), Inbox()
    await bus.subscribe("test.>", "everything", everything)
    await bus.subscribe("test.>", "fresh", fresh, start=Start.NEW)
    assert await everything.has(2) == ["1", "2"]
    await everything.has(2)
    if world.kind == "nats":  # the broker knows of the new consumer once its lanes have asked
        await eventually(lambda: all(lane._inbox for s in bus._subscriptions for lane in s.lanes))
    await send(bus, "3")
    assert await fresh.has(1) == ["3"]


async def test_a_refused_message_comes_again_and_counts(world: World) -> None:
    bus = world.bus()
    inbox = Inbox(lambda m: "not yet" if m.deliveries < 3 else None)
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1")
    await inbox.has(1)
    assert [m.deliveries for m in inbox.attempts] == [1, 2, 3]


async def test_order_holds_per_agent_and_a_refusal_blocks_no_other_agent(world: World) -> None:
    bus = world.bus()
    opened = asyncio.Event()
    inbox = Inbox(lambda m: "blocked" if m.agent == "bad" and not opened.is_set() and m.deliveries < 3 else None)
    await bus.subscribe("test.>", "d", inbox)
    for number in range(30):
        await send(bus, str(number), agent="bad")
        await send(bus, str(number), agent=f"good{number % 5}")
    await inbox.until(lambda: sum(m.agent != "bad" for m in inbox.messages) == 30)
    opened.set()
    await inbox.until(lambda: len(inbox.of("bad")) == 30)
    numbers = [str(n) for n in range(30)]
    assert inbox.of("bad") == numbers
    assert [inbox.of(f"good{g}") for g in range(5)] == [numbers[g::5] for g in range(5)]
    heads = [m.payload for m in inbox.attempts if m.agent == "bad"]
    assert heads == sorted(heads, key=int)  # none was tried before the one in front of it was done


async def test_a_poison_message_becomes_a_dead_letter_and_the_rest_goes_on(world: World) -> None:
    bus = world.bus()
    inbox, announced = Inbox(lambda m: InvalidInput("PL-400", "no good") if m.payload == b"poison" else None), Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await bus.subscribe("dead.>", "watch", announced)
    [_, poison, _] = await send(bus, "1", "poison", "2")
    assert await inbox.has(2) == ["1", "2"]
    [letter] = await eventually(lambda: bus.dead_letters(T))
    assert (letter.id, letter.durable, letter.agent, letter.subject) == (poison, "d", "a", "test.event")
    assert (letter.payload, letter.deliveries, letter.reason.code, letter.reason.message) == (
        b"poison",
        3,
        "PL-400",
        "no good",
    )
    await announced.has(1)
    assert announced.messages[0].subject == "dead.test.event"
    assert announced.messages[0].headers["creto-reason"] == "no good"
    assert await bus.dead_letters("another-tenant") == []
    assert await bus.dead_letters(T, durable="other") == []


async def test_a_dead_letter_is_replayed_or_discarded(world: World) -> None:
    bus = world.bus()
    healed = asyncio.Event()
    inbox = Inbox(lambda m: None if healed.is_set() else "ill")
    await bus.subscribe("test.>", "d", inbox)
    one, two = await send(bus, "1", "2")
    await eventually(lambda: later(bus, 2))
    assert await bus.discard_dead(T, "d", [one]) == [one]
    assert await bus.replay_dead("another-tenant", "d", [two]) == []
    healed.set()
    assert await bus.replay_dead(T, "d", [two, one]) == [two]
    assert await inbox.has(1) == ["2"]
    assert inbox.messages[0].deliveries == 1
    assert await bus.dead_letters(T) == []


async def test_dead_letters_of_two_durables_page_without_a_gap(world: World) -> None:
    bus = world.bus()
    for durable in ("d", "e"):
        await bus.subscribe("test.>", durable, Inbox(lambda m: "ill"))
    await send(bus, "1", "2", "3")
    await eventually(lambda: later(bus, 6))
    seen: list[tuple[str, str]] = []
    while page := await bus.dead_letters(T, after=seen[-1] if seen else ("", ""), limit=1):
        seen += [(letter.id, letter.durable) for letter in page]
    assert len(set(seen)) == len(seen) == 6
    found = await bus.dead_letter(T, seen[0][1], seen[0][0])
    assert (found.id, found.durable, found.reason.message) == (*seen[0], "ValueError: ill")
    for tenant, durable in (("another-tenant", "d"), (T, "f")):
        with pytest.raises(NotFound, match="PL-404"):
            await bus.dead_letter(tenant, durable, seen[0][0])


async def test_what_else_belongs_to_a_replay_fails_with_it(world: World) -> None:
    bus = world.bus()
    await bus.subscribe("test.>", "d", Inbox(lambda m: "ill"))
    [one] = await send(bus, "1")
    await eventually(lambda: later(bus, 1))

    def also(tx: Tx, taken: Sequence[str]) -> None:
        assert taken == [one]
        raise InvalidInput("PL-400", "not recorded")

    for act in (bus.replay_dead, bus.discard_dead):
        with pytest.raises(InvalidInput, match="not recorded"):
            await act(T, "d", [one], also=also)
    assert [letter.id for letter in await bus.dead_letters(T)] == [one]
    with pytest.raises(NotFound, match="no durable"):
        await bus.replay_dead(T, "dropped", [one])


async def test_a_message_of_a_transaction_carries_its_trace_and_keeps_the_limits(world: World) -> None:
    """given `tx.publish` / then it carries the trace of whoever asked, and one over a limit changes nothing."""
    bus, inbox = world.bus(), Inbox()
    store = world.store()
    await bus.subscribe("test.>", "d", inbox)
    with continued(HERE):
        await store.write(lambda tx: tx.publish("test.traced", b"1", tenant=T, agent="a"))
    for wrong in (
        {"subject": "no subject"},
        {"agent": ""},
        {"headers": {"h": "x" * BUS_HEADER_BYTES_MAX}},
        {"payload": bytes(BUS_PAYLOAD_BYTES_MAX + 1)},
    ):
        message = {"subject": "test.wrong", "payload": b"", "tenant": T, "agent": "a", **wrong}

        def publish(tx: Tx, message: dict[str, Any] = message) -> None:
            tx.publish("test.before", b"2", tenant=T, agent="a")
            tx.publish(**message)

        with pytest.raises(InvalidInput):
            await store.write(publish)
    await store.write(lambda tx: tx.publish("test.last", b"3", tenant=T, agent="a"))
    assert await inbox.has(2) == ["1", "3"]
    traced, last = inbox.messages
    assert HERE.trace_id in traced.headers["traceparent"]
    assert "traceparent" not in last.headers


async def later(bus: object, count: int) -> bool:
    return len(await bus.dead_letters(T)) == count  # type: ignore[attr-defined]


async def test_consumers_of_one_durable_share_its_messages_and_keep_the_order(world: World) -> None:
    nodes = [world.bus(), world.bus()]
    order: list[Message] = []

    async def note(message: Message) -> None:
        order.append(message)
        await asyncio.sleep(0.001)

    boxes = [Inbox(note), Inbox(note)]
    for node, inbox in zip(nodes, boxes, strict=True):
        await node.subscribe("test.>", "d", inbox)
    for number in range(100):
        await send(nodes[number % 2], str(number), agent=f"a{number % 10}")
    await eventually(lambda: len(boxes[0].messages) + len(boxes[1].messages) >= 100)
    assert sorted(int(m.payload) for m in order) == list(range(100))
    for agent in range(10):
        mine = [int(m.payload) for m in order if m.agent == f"a{agent}"]
        assert mine == sorted(mine)


async def test_what_a_dead_consumer_held_goes_to_another(world: World) -> None:
    holder = world.bus(lease_s=0.5)
    silent = await holder.subscribe("test.>", "d")
    await send(holder, "1")
    [held] = await eventually(lambda: silent.fetch(1, wait_s=0.1))
    assert held.deliveries == 1
    if world.kind == "nats":  # its process is gone: nothing renews what it holds
        for task in [*silent.tasks, *holder._loops]:
            task.cancel()
    other = world.bus(lease_s=0.5)
    inbox = Inbox()
    await other.subscribe("test.>", "d", inbox)
    assert await inbox.has(1) == ["1"]
    assert inbox.messages[0].deliveries > 1
    await silent.ack(held)  # too late: it belongs to another now
    assert await eventually(lambda: outstanding(other))


async def outstanding(bus: object) -> bool:
    return all(info.outstanding == 0 for info in await bus.durables())  # type: ignore[attr-defined]


async def test_a_slow_consumer_keeps_what_it_works_on(world: World) -> None:
    bus = world.bus(lease_s=1.0)
    gate = asyncio.Event()

    async def slowly(message: Message) -> None:
        await gate.wait()

    inbox = Inbox(lambda m: slowly(m))
    await bus.subscribe("test.>", "d", inbox)
    other = world.bus(lease_s=1.0)
    rival = Inbox()
    await other.subscribe("test.>", "d", rival)
    await send(bus, "1")
    rival.fails = inbox.fails
    await eventually(lambda: inbox.attempts or rival.attempts)
    await asyncio.sleep(2.5)  # longer than two leases, in real time: that is what is tested
    gate.set()
    await eventually(lambda: inbox.messages or rival.messages)
    assert len(inbox.attempts) + len(rival.attempts) == 1


async def test_by_hand_fetch_ack_nack(world: World) -> None:
    bus = world.bus()
    subscription = await bus.subscribe("test.>", "d")
    assert await subscription.fetch(10) == []
    await send(bus, "1")
    await send(bus, "2", agent="b")
    got: dict[str, Message] = {}
    while len(got) < 2:
        got.update({m.agent: m for m in await subscription.fetch(10, wait_s=5)})
    await subscription.ack(got["a"])
    await subscription.nack(got["b"], "later")
    [again] = await eventually(lambda: subscription.fetch(10, wait_s=5))
    assert (again.payload, again.deliveries) == (b"2", 2)
    await subscription.ack(again)
    assert await eventually(lambda: outstanding(bus))
    assert await subscription.fetch(1) == []
    with pytest.raises(InvalidInput):
        await subscription.fetch(0)


async def test_replay_from_a_position_and_from_a_time(world: World) -> None:
    bus = world.bus()
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1")
    await inbox.has(1)
    await asyncio.sleep(0.005)  # so that the times differ
    await send(bus, "2", "3")
    await inbox.has(3)
    await eventually(lambda: outstanding(bus))
    await bus.replay("d", after=inbox.messages[1].position)
    assert (await inbox.has(4))[3:] == ["3"]
    await eventually(lambda: outstanding(bus))
    await bus.replay("d", after=Position())
    assert (await inbox.has(7))[4:] == ["1", "2", "3"]
    with pytest.raises(InvalidInput):
        await bus.replay("d")
    with pytest.raises(NotFound):
        await bus.replay("nobody", after=Position())


async def test_replay_since_a_time_before_everything(world: World) -> None:
    bus = world.bus()
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1", "2")
    await inbox.has(2)
    await eventually(lambda: outstanding(bus))
    await bus.replay("d", since=1_600_000_000_000_000_000)
    assert (await inbox.has(4))[2:] == ["1", "2"]


async def test_a_transaction_publishes_with_its_change_or_not_at_all(world: World) -> None:
    store = world.store()
    bus = world.bus(store)
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)

    def failing(tx: Tx) -> None:
        tx.publish("test.lost", b"lost", tenant=T, agent="a")
        raise InvalidInput("PL-400", "no")

    with pytest.raises(InvalidInput):
        await store.write(failing)
    await store.write(lambda tx: tx.publish("test.kept", b"kept", tenant=T, agent="a"))
    assert await inbox.has(1) == ["kept"]


async def test_what_is_refused_changes_nothing(world: World) -> None:
    bus = world.bus()
    for subject in ("", "a..b", "a.*", "a b", "a.>", ".a", "x" * 300, "$JS.a", "ü"):
        with pytest.raises(InvalidInput) as caught:
            await send(bus, "1", subject=subject)
        assert caught.value.code == "PL-901"
    for pattern in ("", "a.>.b", "a*", "$SYS.>"):
        with pytest.raises(InvalidInput):
            await bus.subscribe(pattern, "d", Inbox())
    with pytest.raises(InvalidInput):
        await bus.subscribe("a", "bad name", Inbox())
    with pytest.raises(InvalidInput):
        await bus.publish("a", b"", tenant=T, agent="a", headers={"x": "y" * 20_000})
    await bus.subscribe("test.>", "d", Inbox())
    with pytest.raises(AlreadyExists):
        await bus.subscribe("test.*", "d", Inbox())
    assert [(d.name, d.pattern) for d in await bus.durables()] == [("d", "test.>")]


async def test_a_dropped_durable_is_gone_and_starts_anew(world: World) -> None:
    bus = world.bus()
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, "1")
    await inbox.has(1)
    await bus.drop("d")
    assert await bus.durables() == []
    with pytest.raises(NotFound):
        await bus.drop("d")
    await bus.subscribe("test.*", "d", inbox)
    await send(bus, "2")
    await inbox.until(lambda: "2" in inbox.payloads)


async def test_a_closed_bus_refuses_and_loses_nothing(world: World) -> None:
    bus = world.bus()
    inbox = Inbox()
    await bus.subscribe("test.>", "d", inbox)
    await send(bus, *(str(n) for n in range(50)))
    await bus.close()
    with pytest.raises(ConnectionFailed):
        await send(bus, "x")
    taken = len(inbox.messages)
    again, rest = world.bus(), Inbox()
    await again.subscribe("test.>", "d", rest)
    await send(again, "end")
    await rest.until(lambda: "end" in rest.payloads)
    assert inbox.payloads + rest.payloads == [*(str(n) for n in range(50)), "end"]
    assert taken == len(inbox.messages)


class Elsewhere:
    """A loop of its own on a thread of its own, as gRPC has."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Elsewhere:
        self.loop.set_debug(True)  # a call that is not safe raises
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def run(self, work: Coroutine[Any, Any, R]) -> R:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


async def test_two_loops_share_a_bus(world: World) -> None:
    """given a bus and two loops / when both publish, subscribe and fetch / then each consumer runs on its own loop, and none calls out of turn."""
    asyncio.get_running_loop().set_debug(True)
    bus, mine = world.bus(), Inbox()
    theirs: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def consume(message: Message) -> None:
        theirs.append((message.payload.decode(), asyncio.get_running_loop()))

    with Elsewhere() as other:
        await other.run(send(bus, "first"))  # before anything runs at home
        await bus.subscribe("test.>", "mine", mine)
        subscription = await other.run(bus.subscribe("test.>", "theirs", consume))
        by_hand = await other.run(bus.subscribe("test.>", "by-hand"))
        assert (by_hand.durable, by_hand.pattern) == ("by-hand", "test.>")
        await asyncio.gather(other.run(send(bus, "1", "2")), send(bus, "3", agent="b"))
        assert sorted(await mine.has(4)) == ["1", "2", "3", "first"]
        await eventually(lambda: len(theirs) == 4)
        assert {loop for _, loop in theirs} == {other.loop}

        got: list[Message] = []
        while len(got) < 4:
            for message in await other.run(by_hand.fetch(1, wait_s=5)):
                if message.payload == b"3" and message.deliveries == 1:
                    await other.run(by_hand.nack(message, "later"))
                else:
                    got.append(message)
                    await other.run(by_hand.ack(message))
        assert max(m.deliveries for m in got) == 2
        await other.run(by_hand.close())
        await eventually(lambda: outstanding(bus))
        await other.run(bus.replay("theirs", after=Position()))
        await eventually(lambda: len(theirs) == 8)
        await other.run(subscription.close())
        await other.run(bus.drop("theirs"))
        assert {d.name for d in await other.run(bus.durables())} == {"mine", "by-hand"}
        await other.run(bus.close())


async def test_a_bus_that_another_loop_uses_first_lives_where_it_was_made(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    with Elsewhere() as other:
        await other.run(send(bus, "1"))
    await bus.subscribe("test.>", "d", inbox)  # the other loop is gone, with nothing of ours
    await send(bus, "2")
    assert await inbox.has(2) == ["1", "2"]
