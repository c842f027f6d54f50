"""The bus: from `publish` to the consumer's hands, one message at a time and under load; beside JetStream called plainly."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests import engines

from creto.bus import Bus, EmbeddedBus, Message
from creto.bus.nats import NatsBus
from creto.common.ids import TenantId
from creto.store import open_store
from scripts.bench.measure import Peer, Row, Scale, latency, throughput

TENANT = TenantId("acme")
AT_ONCE, AGENTS = 512, 100
PAYLOAD = b"x" * 256


def rows(scale: Scale) -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(engines.nats())[0] if engines.find("nats-server") else None
        postgres = stack.enter_context(engines.postgres()) if engines.postgres_bin() else None
        single_peer: tuple[Peer, ...] = ()
        rate_peer: tuple[Peer, ...] = ()
        if broker is None:
            yield Row(name="bus, NATS", value=0.0, note="NOT MEASURED: no nats-server on this machine")
        else:
            single, rate = asyncio.run(plain(broker, scale))
            single_peer, rate_peer = (Peer("JetStream, plain", single),), (Peer("JetStream, plain", rate),)
        cases: list[tuple[str, str | None, str | None]] = [
            ("embedded, SQLite", f"sqlite:///{folder}/a.db", None),
            ("embedded, PostgreSQL", postgres, None),
            ("NATS, outbox in SQLite", f"sqlite:///{folder}/b.db" if broker else None, broker),
        ]
        for name, url, nats in cases:
            if url is None:
                continue
            samples, rate = asyncio.run(measured(url, nats, scale))
            yield latency(f"bus publish → delivered ({name})", samples, peers=single_peer)
            yield throughput(f"bus published, delivered, acked ({name})", rate, peers=rate_peer)


def counts(scale: Scale) -> tuple[int, int]:
    """How many one by one, and how many at once."""
    return scale.count(600), scale.count(10_000)


async def measured(url: str, broker: str | None, scale: Scale) -> tuple[list[float], float]:
    few, many = counts(scale)
    store = open_store(url, parts=("creto.bus",))
    bus: Bus = NatsBus(store, broker) if broker else EmbeddedBus(store)
    arrivals: dict[str, int] = {}
    waiting: dict[str, asyncio.Event] = {}
    done = asyncio.Event()
    total = 0

    async def consume(message: Message) -> None:
        nonlocal total
        arrivals[message.headers["n"]] = time.perf_counter_ns()
        total += 1
        if event := waiting.pop(message.headers["n"], None):
            event.set()
        if total >= few + many:
            done.set()

    await bus.subscribe("bench.>", "bench", consume)

    async def one(number: int) -> float:
        event = waiting[str(number)] = asyncio.Event()
        started = time.perf_counter_ns()
        await publish(bus, number)
        await event.wait()
        return (arrivals[str(number)] - started) / 1000

    single = [await one(number) for number in range(few)]
    started = time.perf_counter()
    await at_once(lambda number: publish(bus, few + number), many)
    await done.wait()
    rate = many / (time.perf_counter() - started)
    await bus.close()
    store.close()
    return single[few // 10 :], rate


async def publish(bus: Bus, number: int) -> None:
    await bus.publish("bench.it", PAYLOAD, tenant=TENANT, agent=f"agent{number % AGENTS}", headers={"n": str(number)})


async def at_once(call: Callable[[int], Awaitable[None]], count: int) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def limited(number: int) -> None:
        async with slots:
            await call(number)

    await asyncio.gather(*(limited(number) for number in range(count)))


async def plain(url: str, scale: Scale) -> tuple[float, float]:
    """The peer: a stream and a pull consumer as the client's guide has them; no outbox, no order per agent."""
    import nats

    few, many = counts(scale)
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="PLAIN", subjects=["plain.>"])
    pull = await stream.pull_subscribe("plain.>", "plain")
    taken = []
    for _ in range(few):
        started = time.perf_counter_ns()
        await stream.publish("plain.it", PAYLOAD)
        [message] = await pull.fetch(1)
        taken.append((time.perf_counter_ns() - started) / 1000)
        await message.ack()

    async def drain() -> None:
        left = many
        while left:
            for found in await pull.fetch(200):
                await found.ack()
                left -= 1

    async def send(_: int) -> None:
        await stream.publish("plain.it", PAYLOAD)

    started_s = time.perf_counter()
    await asyncio.gather(at_once(send, many), drain())
    rate = many / (time.perf_counter() - started_s)
    await client.close()
    return sorted(taken)[int(len(taken) * 0.99)], rate
