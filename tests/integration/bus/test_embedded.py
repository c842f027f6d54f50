"""The embedded bus by the clock: leases, back-off, retention, a long backlog behind one agent, other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.buses import eventually
from tests.contract.stores import MakeStore, make_store, store_url
from tests.layers import settings

from creto.app import running
from creto.bus import EmbeddedBus, Message, Redelivery, Subscription
from creto.common.ids import TenantId
from creto.common.timestamps import SECOND
from creto.store import Store, open_store

__all__ = ["make_store", "store_url"]  # fixtures
T = TenantId("acme")
RULE = Redelivery(deliveries_max=3, initial_s=10, backoff_max_s=100)


class Timed:
    """A bus whose clock stands still until told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_900_000_000 * SECOND
        self.bus = EmbeddedBus(store, now=lambda: self.now, rule=RULE, lease_s=30, retention_s=0)

    async def send(self, *payloads: str, agent: str = "a") -> None:
        for payload in payloads:
            await self.bus.publish("t.x", payload.encode(), tenant=T, agent=agent)

    def rows(self) -> int:
        return int(self.store.read_now(lambda tx: tx.value("SELECT count(*) FROM store_outbox")))


@pytest.fixture
def timed(make_store: MakeStore) -> Timed:
    return Timed(make_store(parts=("creto.bus",)))


async def payloads(subscription: Subscription) -> list[str]:
    return [m.payload.decode() for m in await subscription.fetch(256)]


async def test_a_back_off_ends_when_its_time_has_come(timed: Timed) -> None:
    subscription = await timed.bus.subscribe("t.>", "d")
    await timed.send("1", "2")
    await timed.send("3", agent="b")
    messages = await subscription.fetch(256)
    await subscription.nack(messages[0], "no")
    await subscription.ack(messages[2])
    assert await payloads(subscription) == []  # 2 is in our hands, and comes behind 1
    timed.now += 10 * SECOND
    assert await payloads(subscription) == []
    timed.now += 21 * SECOND
    assert await payloads(subscription) == ["1", "2"]
    await timed.bus.close()


async def test_a_lease_that_ran_out_passes_the_message_on_and_counts(timed: Timed) -> None:
    first, second = await timed.bus.subscribe("t.>", "d"), await timed.bus.subscribe("t.>", "d")
    await timed.send("1")
    [held] = await first.fetch(1)
    assert await payloads(second) == []
    timed.now += 31 * SECOND
    [again] = await second.fetch(1)
    assert (held.deliveries, again.deliveries) == (1, 2)
    await first.ack(held)  # too late
    timed.now += 31 * SECOND
    [third] = await first.fetch(1)
    timed.now += 31 * SECOND
    assert (third.deliveries, await payloads(first)) == (3, [])
    [letter] = await timed.bus.dead_letters(T)
    assert letter.reason.message == "its consumer ended without an answer"
    await timed.bus.close()


async def test_a_long_backlog_behind_one_agent_blocks_no_other_and_keeps_its_order(timed: Timed) -> None:
    subscription = await timed.bus.subscribe("t.>", "d")
    await timed.send("head", agent="slow")
    [head] = await subscription.fetch(1)
    await subscription.nack(head, "no")
    backlog = [str(n) for n in range(600)]
    await timed.send(*backlog, agent="slow")
    await timed.send("other", agent="quick")
    got: list[Message] = []
    while not got:
        got = await subscription.fetch(256)
    assert [m.payload for m in got] == [b"other"]
    timed.now += 11 * SECOND
    order: list[str] = []
    while len(order) < 601:
        taken = await subscription.fetch(256)
        order += [m.payload.decode() for m in taken]
        await subscription.ack(*taken)
    assert order == ["head", *backlog]
    await timed.bus.close()


async def test_retention_forgets_only_what_every_durable_has_acked(timed: Timed) -> None:
    quick, slow = await timed.bus.subscribe("t.>", "quick"), await timed.bus.subscribe("t.>", "slow")
    await timed.send("1", "2", "3")
    await quick.ack(*await quick.fetch(256))
    assert await timed.bus.sweep() == 0
    one, two, three = await slow.fetch(256)
    await slow.ack(one)
    assert (await timed.bus.sweep(), timed.rows()) == (1, 2)
    await slow.ack(two, three)
    assert (await timed.bus.sweep(), timed.rows()) == (2, 0)
    await timed.bus.close()


async def test_what_may_still_be_replayed_is_kept(make_store: MakeStore) -> None:
    bus = EmbeddedBus(make_store(parts=("creto.bus",)), retention_s=3600)
    subscription = await bus.subscribe("t.>", "d")
    await bus.publish("t.x", b"1", tenant=T, agent="a")
    await subscription.ack(*await subscription.fetch(1))
    assert await bus.sweep() == 0
    await bus.replay("d", since=0)
    assert await payloads(subscription) == ["1"]
    await bus.close()


PROGRAM = """
import asyncio, sys
from creto.bus import EmbeddedBus
from creto.store import open_store
async def main():
    store = open_store(sys.argv[1], parts=("creto.bus",))
    await EmbeddedBus(store).publish("t.x", b"from afar", tenant="acme", agent="a")
    store.close()
asyncio.run(main())
assert not {"nats", "psycopg", "redis", "structlog", "opentelemetry"} & set(sys.modules) or "postgres" in sys.argv[1]
"""


async def test_another_process_is_heard(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    store = open_store(url, parts=("creto.bus",))
    bus = EmbeddedBus(store)
    subscription = await bus.subscribe("t.>", "d")
    done = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stderr
    [message] = await subscription.fetch(1, wait_s=5)
    assert message.payload == b"from afar"
    await bus.close()
    store.close()


async def test_the_outbox_is_emptied_although_nobody_subscribes(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given messages that no durable asked for / when the bus runs / then they go by age."""
    monkeypatch.setattr("creto.bus.embedded.SWEEP_S", 0.01)
    store = make_store(parts=("creto.bus",))
    bus = EmbeddedBus(store, retention_s=0)
    await bus.publish("t.x", b"1", tenant=T, agent="a")
    bus.start()
    await eventually(lambda: store.read_now(lambda tx: tx.value("SELECT count(*) FROM store_outbox")) == 0)
    await bus.close()


async def test_a_worker_empties_what_identities_and_roles_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creto.bus.embedded.SWEEP_S", 0.01)
    config = settings(tmp_path, CRETO_BUS__RETENTION_SECONDS="0")
    async with running(config, work=False) as app:
        store = app.parts.store
        assert store.read_now(lambda tx: tx.value("SELECT count(*) FROM store_outbox")) > 0
    async with running(config) as app:
        store = app.parts.store
        await eventually(lambda: store.read_now(lambda tx: tx.value("SELECT count(*) FROM store_outbox")) == 0)
