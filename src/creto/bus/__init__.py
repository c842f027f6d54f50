"""The bus: publish, subscribe (durable name), ack, nack; at least once, in order per agent, nothing dropped in silence.

    bus = EmbeddedBus(store)                               # or `await bus.nats.NatsBus.connect(store, url)`: the same face over JetStream

    async def consume(message: Message) -> None:           # idempotent; returning acks, raising nacks
        print(message.subject, message.agent, message.deliveries)

    await bus.subscribe("metering.events.>", "metering-ingest", consume)
    await bus.publish("metering.events.runtime", b"{}", tenant=tenant, agent=agent)
    for letter in await bus.dead_letters(tenant):          # what a consumer could not take, with the reason
        await bus.replay_dead(tenant, letter.durable, [letter.id])

Within a transaction, `tx.publish` writes the same rows. The store must be opened with the part "creto.bus".
"""

from __future__ import annotations

from creto.bus.embedded import EmbeddedBus
from creto.bus.redelivery import Redelivery
from creto.bus.subjects import checked_pattern, matches
from creto.bus.types import Bus, Consumer, DeadLetter, DurableInfo, DurableName, Message, Start, Subscription
from creto.common.subjects import checked_subject

__all__ = [
    "Bus",
    "Consumer",
    "DeadLetter",
    "DurableInfo",
    "DurableName",
    "EmbeddedBus",
    "Message",
    "Redelivery",
    "Start",
    "Subscription",
    "checked_pattern",
    "checked_subject",
    "matches",
]
