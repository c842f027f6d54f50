"""What messages cost: the contract with messaging.

    messages = MessageCosts(quotas.book, metering)
    messages.check_message_quota(tenant, agent, "message_sent")          # memory
    await messages.track_message_event(tenant, event)

Quotas count messages by their event type, `message_sent` and so on.
"""

from __future__ import annotations

from typing import Protocol

from creto.common.errors import Unauthorized
from creto.common.ids import AgentId, EventId, TenantId
from creto.contracts import MessageBillableEvent
from creto.metering.quota import QuotaBook
from creto.security.authz.types import QuotaDecision


class Intake(Protocol):
    """Ingestion: one event, exactly once by its key; the id under which it is known."""

    async def track_message_event(self, tenant: TenantId, event: MessageBillableEvent) -> EventId: ...


class MessageCosts:
    def __init__(self, book: QuotaBook, intake: Intake) -> None:
        self._book = book
        self._intake = intake

    async def track_message_event(self, tenant: TenantId, event: MessageBillableEvent) -> EventId:
        if event.tenant != tenant:
            raise Unauthorized("MT-403", f"the event is of tenant {event.tenant}", got=event.tenant, expected=tenant)
        return await self._intake.track_message_event(tenant, event)

    def check_message_quota(self, tenant: TenantId, agent: AgentId, event_type: str) -> QuotaDecision:
        return self._book.check(tenant, agent, event_type)
