"""Between metering and oversight: what crosses a threshold becomes a question, and its answer ends the waiting.

    metering.thresholds.exceeded ──► a request; the event waits for it        (a threshold that asks)
                                 ──► a request that nobody waits for          (one that tells; a quota that lets go on)
    oversight.decisions          ──► the event counts, or is released

Each is a durable consumer of the bus: at least once, shared by all workers.

INVARIANT: a decision that comes before its event is bound to the request is not lost: whoever binds looks again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from creto.bus import Bus, Message
from creto.common import wire
from creto.common.envelope import EventEnvelope
from creto.common.errors import AlreadyExists, NotFound
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.logs import fields
from creto.contracts import (
    SUBJECT_DECISION,
    SUBJECT_THRESHOLD_EXCEEDED,
    CostThresholdExceededEventV2,
    OversightDecisionEvent,
)
from creto.metering import SUBJECT_NOTICE, SUBJECT_WAITING_ENDED, CostTriggers, QuotaNotice, WaitingEnded
from creto.metering.triggers import POLICY
from creto.oversight import Oversight
from creto.oversight.core import announced
from creto.oversight.sources import QUOTA_POLICY, of_cost_threshold, of_quota_breach
from creto.security.authz.types import QuotaOutcome

log = logging.getLogger("creto.metering")

ASKING = frozenset({QuotaOutcome.ALLOW_WITH_NOTIFICATION, QuotaOutcome.REQUIRE_APPROVAL})


class CostApprovals:
    def __init__(self, bus: Bus, triggers: CostTriggers, oversight: Oversight) -> None:
        self._bus = bus
        self._triggers = triggers
        self._oversight = oversight

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        consumers = {
            "metering-thresholds": (SUBJECT_THRESHOLD_EXCEEDED, self.exceeded),
            "metering-decisions": (SUBJECT_DECISION, self.decided),
            "metering-waiting-ended": (SUBJECT_WAITING_ENDED, self.ended),
            "metering-notices": (SUBJECT_NOTICE, self.noticed),
        }
        subscriptions = [await self._bus.subscribe(pattern, name, take) for name, (pattern, take) in consumers.items()]
        try:
            yield
        finally:
            for subscription in subscriptions:
                await subscription.close()

    async def exceeded(self, message: Message) -> None:
        tenant = message.tenant
        event = wire.decode(message.payload, EventEnvelope[CostThresholdExceededEventV2], what="threshold").payload
        request = of_cost_threshold(event, await self._policy_of(tenant, event.threshold.threshold_id))
        if request is None:
            return
        event_id = event.triggering_event.event_id
        if request.blocking:
            if not await self._triggers.waits(tenant, event_id):  # it was finalised or voided by hand meanwhile
                return
        elif not self._asks_about(tenant, request.policy_id):
            return
        record = await self._oversight.create(request, idempotency_key=event.event_id)
        if not request.blocking:
            return
        request_id = record.ask.request_id
        try:
            await self._triggers.awaits(tenant, event_id, request_id)
        except NotFound:  # or just now
            await self._withdraw(tenant, request_id, f"the event {event_id} waits no more")
            return
        now = await self._oversight.get(tenant, request_id)
        if not now.progress.state.open:
            by = self._oversight.service_id
            await self._triggers.on_decision(tenant, request_id, announced(now), by=by)

    async def decided(self, message: Message) -> None:
        event = wire.decode(message.payload, OversightDecisionEvent, what="decision")
        by = AgentId(event.approver.nhi)
        await self._triggers.on_decision(message.tenant, event.request_id, event.decision, by=by)

    async def ended(self, message: Message) -> None:
        """The event was finalised, released or voided: if nobody has decided, nobody needs to."""
        event = wire.decode(message.payload, WaitingEnded, what="ended waiting")
        why = f"the event {event.event_id} was {event.act} by {event.by}"
        await self._withdraw(message.tenant, event.request_id, why)

    async def _withdraw(self, tenant: TenantId, request_id: RequestId, why: str) -> None:
        record = await self._oversight.get(tenant, request_id)
        if record.progress.state.open:
            with suppress(AlreadyExists):  # somebody has decided, just now
                await self._oversight.cancel(tenant, request_id, by=self._oversight.service_id, reason=why)

    async def noticed(self, message: Message) -> None:
        """Where a quota lets acts go on beyond its limit, humans look at it after; if they have said who."""
        notice = wire.decode(message.payload, QuotaNotice, what="notice")
        if notice.outcome not in ASKING or not notice.delegation_chain:
            return
        if not self._asks_about(message.tenant, QUOTA_POLICY):
            return
        agent = notice.delegation_chain[-1]
        request = of_quota_breach(
            message.tenant, agent, notice.delegation_chain, notice.event_type, used=notice.used, limit=notice.limit
        )
        await self._oversight.create(request, idempotency_key=message.id)

    async def _policy_of(self, tenant: TenantId, threshold_id: str) -> PolicyId:
        known = await self._triggers.thresholds(tenant)
        return next((one.policy_id for one in known if one.threshold.threshold_id == threshold_id), POLICY)

    def _asks_about(self, tenant: TenantId, policy_id: PolicyId) -> bool:
        """Whether anybody is to look at what needs no approval."""
        try:
            self._oversight.policy(tenant, policy_id)
        except NotFound:
            log.info("Nobody looks at it: the policy %s is not there", policy_id, extra=fields(tenant=tenant))
            return False
        return True
