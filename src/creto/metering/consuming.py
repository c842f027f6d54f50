"""Events from the bus: taken, tried again, or laid aside for a human.

    await metering.consume_from(bus)          # `metering.events.>`; any number of processes share the work

An agent that nobody knows may be on its way: its events are tried again, then they are dead letters, as are events that nobody can read
or that contradict others. Only parts of the layer publish on its bus: they vouch for whom an event names. An event with a signature that is not valid is dropped: ingestion has recorded and told it.

INVARIANT: no event from the bus is lost in silence: it counts, is held, is a dead letter, or stands in the ledger as dropped.
"""

from __future__ import annotations

from creto.bus.types import Bus, Message, Subscription
from creto.common import wire
from creto.common.errors import EnablementError, ErrorBody, NotFound
from creto.common.fingerprint import fingerprint
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.limits import PAGE_ITEMS_DEFAULT, USAGE_UNKNOWN_TRIES
from creto.metering.core import paged
from creto.metering.ingesting import Ingesting
from creto.metering.trust import UNKNOWN
from creto.metering.usage_types import DeadUsage, Ingested
from creto.store.types import ReadTx, Tx

PATTERN = "metering.events.>"
DURABLE = "metering-ingest"
FORGED = "MT-401"


class Consuming(Ingesting):
    async def consume_from(self, bus: Bus) -> Subscription:
        return await bus.subscribe(PATTERN, DURABLE, self.consume)

    async def consume(self, message: Message) -> None:
        """One event; returning says that it is taken care of, raising that it shall come again."""
        result = await self._taken(message.tenant, message.payload, AgentId(message.agent), vouched=True)
        if result.error is None or result.error.code == FORGED:
            return
        if result.error.code == UNKNOWN and message.deliveries < USAGE_UNKNOWN_TRIES:
            raise EnablementError.from_body(result.error)
        await self._lay_aside(message, result.error)

    async def dead_letters(
        self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[DeadUsage]:
        """By id, which is the order in which they were published."""

        def look(tx: ReadTx) -> list[DeadUsage]:
            found = tx.all(
                "SELECT letter_id, died_at, subject, reason, payload FROM metering_dead_letter "
                "WHERE tenant = ? AND letter_id > ? ORDER BY letter_id LIMIT ?",
                checked_tenant(tenant), after, paged(limit),
            )  # fmt: skip
            return [dead_usage(tenant, *row) for row in found]

        return await self._store.read(look)

    async def dead_letter(self, tenant: TenantId, letter_id: str) -> DeadUsage:
        return await self._store.read(lambda tx: find_letter(tx, checked_tenant(tenant), letter_id))

    async def retry_dead_letter(self, tenant: TenantId, letter_id: str, *, by: AgentId) -> Ingested:
        """Ingest it once more; if that fails it stays, and the error is raised."""
        letter = await self.dead_letter(tenant, letter_id)
        result = await self._taken(tenant, letter.payload, by)
        if result.error is not None:
            raise EnablementError.from_body(result.error)
        await self._store.write(lambda tx: self._close(tx, tenant, letter_id, "retried", "", by))
        return result

    async def discard_dead_letter(self, tenant: TenantId, letter_id: str, *, by: AgentId, reason: str) -> None:
        """It will not count. Its entry in the ledger says who decided that, and why."""
        checked_tenant(tenant)
        await self._store.write(lambda tx: self._close(tx, tenant, letter_id, "discarded", reason, by))

    async def _taken(self, tenant: TenantId, payload: bytes, by: AgentId, *, vouched: bool = False) -> Ingested:
        return (await self.ingest_encoded(tenant, [payload], by=by, vouched=vouched)).results[0]

    async def _lay_aside(self, message: Message, reason: ErrorBody) -> None:
        now = self._clock.now()

        def lay(tx: Tx) -> None:
            added = tx.run(
                "INSERT INTO metering_dead_letter (tenant, letter_id, died_at, subject, reason, payload) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, letter_id) DO NOTHING",
                message.tenant, message.id, now, message.subject, wire.encode(reason), message.payload,
            )  # fmt: skip
            if added:
                self._record(
                    tx, message.tenant, "event.dead", "EventDead", by=AgentId(message.agent), now=now,
                    subject=f"metering:dead-letter:{message.id}", fields={"code": reason.code, "why": reason.message},
                )  # fmt: skip

        await self._store.write(lay)

    def _close(self, tx: Tx, tenant: TenantId, letter_id: str, act: str, reason: str, by: AgentId) -> None:
        letter = find_letter(tx, tenant, letter_id)
        tx.run("DELETE FROM metering_dead_letter WHERE tenant = ? AND letter_id = ?", tenant, letter_id)
        self._record(
            tx, tenant, f"event.{act}", f"Event{act.capitalize()}", by=by, subject=f"metering:dead-letter:{letter_id}",
            now=self._clock.now(), fields={"reason": reason, "payload": fingerprint(letter.payload).hex()},
        )  # fmt: skip


def find_letter(tx: ReadTx, tenant: TenantId, letter_id: str) -> DeadUsage:
    row = tx.one(
        "SELECT letter_id, died_at, subject, reason, payload FROM metering_dead_letter WHERE tenant = ? AND letter_id = ?",
        tenant, letter_id,
    )  # fmt: skip
    if row is None:
        raise NotFound("MT-404", f"dead letter {letter_id} does not exist")
    return dead_usage(tenant, *row)


def dead_usage(
    tenant: TenantId, letter_id: str, died_at: int, subject: str, reason: bytes, payload: bytes
) -> DeadUsage:
    return DeadUsage(tenant, letter_id, died_at, subject, wire.decode(reason, ErrorBody), bytes(payload))
