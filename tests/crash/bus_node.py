"""A process that the crash tests kill: it publishes, or it consumes, and writes down what it is sure of.

python -m tests.crash.bus_node publish|consume STORE BROKER|- FILE SEED
"""

from __future__ import annotations

import asyncio
import os
import sys

from creto.bus import Bus, EmbeddedBus, Message, Redelivery
from creto.common.errors import ConnectionFailed
from creto.common.ids import TenantId
from creto.store import open_store

AGENTS = 7
LEASE_S = 0.6


async def main(role: str, store_url: str, broker: str, file: str, seed: str) -> None:
    store = open_store(store_url, parts=("creto.bus",))
    rule = Redelivery(deliveries_max=1000, initial_s=0.01, backoff_max_s=0.05)
    bus: Bus
    if broker == "-":
        bus = EmbeddedBus(store, rule=rule, lease_s=LEASE_S)
    else:
        from creto.bus.nats import NatsBus

        bus = NatsBus(store, broker, rule=rule, lease_s=LEASE_S)
    out = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(text: str) -> None:
        os.write(out, f"\n{text};".encode())  # a kill may cut it

    if role == "consume":

        async def consume(message: Message) -> None:
            note(f"{message.agent} {message.payload.decode()}")

        await bus.subscribe("crash.>", "crash", consume)
        note("ready")
        await asyncio.Event().wait()
    await publish(bus, seed, note)


async def publish(bus: Bus, seed: str, note: object) -> None:
    """Numbers per agent, upwards; each is noted once `publish` has returned."""
    assert callable(note)

    async def one(agent: int) -> None:
        for number in range(1_000_000):
            while True:
                try:
                    await bus.publish(
                        "crash.it", f"{seed}-{number}".encode(), tenant=TenantId("t"), agent=f"{seed}-{agent}"
                    )
                    break
                except ConnectionFailed:
                    await asyncio.sleep(0.01)
            note(f"{seed}-{agent} {seed}-{number}")

    await asyncio.gather(*(one(agent) for agent in range(AGENTS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
