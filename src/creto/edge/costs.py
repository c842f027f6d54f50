"""Between metering and oversight: what crosses a threshold becomes a question, and its answer ends the waiting.

    metering.thresholds.exceeded ──► a request; the event waits for it        (a threshold that asks)
                                 ──► a request that nobody waits for          (one that tells; a quota that lets go on)
    oversight.decisions          ──► the event counts, or is released; the quota has the limit that a human has said, or blocks
    metering.waiting.ended       ──► nobody needs to decide any more

Each is a durable consumer of the bus: at least once, shared by all workers.

INVARIANT: nothing rests on the word of the bus: a crossing is signed by the layer, and what was decided is read where it is kept.
INVARIANT: a decision that comes before its event is bound to the request is not lost: whoever binds looks again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from msgspec.structs import replace

from creto.bus import Bus, Message
from creto.common import wire
from creto.common.envelope import EventEnvelope
from creto.common.errors import AlreadyExists, NotFound, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.logs import fields
from creto.contracts import (
    SUBJECT_DECISION,
    SUBJECT_THRESHOLD_EXCEEDED,
    CostThresholdExceededEventV2,
    Denied,
    Notifier,
    OversightDecisionEvent,
)
from creto.edge.api.quotas import ANSWER, AnswerQuota
from creto.metering import (
    SUBJECT_NOTICE,
    SUBJECT_WAITING_ENDED,
    CostTriggers,
    QuotaAnswer,
    QuotaNotice,
    Quotas,
    WaitingEnded,
)
from creto.metering.quota_answers import proposed
from creto.metering.triggers import POLICY
from creto.oversight import Oversight, RequestState
from creto.oversight.core import announced
from creto.oversight.sources import COST_THRESHOLD, QUOTA_POLICY, of_cost_threshold, of_quota_breach
from creto.oversight.store import Record
from creto.security.authz.types import QuotaOutcome

log = logging.getLogger("creto.metering")

ASKING = frozenset({QuotaOutcome.ALLOW_WITH_NOTIFICATION, QuotaOutcome.REQUIRE_APPROVAL})


class CostApprovals:
    def __init__(
        self, bus: Bus, triggers: CostTriggers, quotas: Quotas, oversight: Oversight, notifier: Notifier | None = None
    ) -> None:
        """`notifier` tells agents, where messaging runs; without it a notice waits in the list for who asks."""
        self._bus = bus
        self._triggers = triggers
        self._quotas = quotas
        self._oversight = oversight
        self._notifier = notifier

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
        event = self._signed(message)
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

    def _signed(self, message: Message) -> CostThresholdExceededEventV2:
        """PL-210 for what is not the layer's own, or another tenant's."""
        envelope = wire.decode(message.payload, EventEnvelope[CostThresholdExceededEventV2], what="threshold")
        envelope.verify(self)
        if {envelope.tenant, envelope.payload.triggering_event.tenant} != {message.tenant}:
            raise SignatureVerificationFailed.of("tenant", got=message.tenant, expected=envelope.tenant, code="PL-210")
        return envelope.payload

    def verify(self, agent: AgentId, message: bytes, signature: bytes, context: bytes) -> None:
        """Whether the layer has signed it."""
        if agent != self._oversight.service_id:
            raise SignatureVerificationFailed.of("agent_nhi", got=agent, expected="the layer itself", code="PL-210")
        self._oversight.service_key.verify(message, signature, context)

    async def decided(self, message: Message) -> None:
        event = wire.decode(message.payload, OversightDecisionEvent, what="decision")
        tenant, record = message.tenant, await self._oversight.get(message.tenant, event.request_id)
        by = AgentId(record.progress.decided_by or self._oversight.service_id)
        waited = await self._triggers.on_decision(tenant, event.request_id, announced(record), by=by)
        if not waited and not record.progress.state.open:
            await self._answered(tenant, event.request_id)

    async def ended(self, message: Message) -> None:
        """The event was finalised, released or voided: if nobody has decided, nobody needs to."""
        event, tenant = wire.decode(message.payload, WaitingEnded, what="ended waiting"), message.tenant
        ask = (await self._oversight.get(tenant, event.request_id)).ask
        about = wire.decode(ask.arguments if ask.asked is None else ask.asked, dict[str, Any], what="threshold")
        named = (ask.action, about.get("event_id")) == (COST_THRESHOLD, event.event_id)
        if not named or await self._triggers.waits(tenant, event.event_id):
            return
        why = f"the event {event.event_id} was {event.act} by {event.by}"
        await self._withdraw(message.tenant, event.request_id, why)

    async def _withdraw(self, tenant: TenantId, request_id: RequestId, why: str) -> None:
        record = await self._oversight.get(tenant, request_id)
        if record.progress.state.open:
            with suppress(AlreadyExists):  # somebody has decided, just now
                await self._oversight.cancel(tenant, request_id, by=self._oversight.service_id, reason=why)

    async def noticed(self, message: Message) -> None:
        """The agent is told; and where a quota lets acts go on beyond its limit, humans look at it after, if the tenant has said who."""
        notice = wire.decode(message.payload, QuotaNotice, what="notice")
        if not notice.delegation_chain:
            return
        tenant, agent = message.tenant, notice.delegation_chain[-1]
        if self._notifier is not None:
            await self._notifier.notify(tenant, agent, notice.text.encode(), notice.notice_id)
        if notice.outcome not in ASKING or notice.beyond or not self._asks_about(tenant, QUOTA_POLICY):
            return
        answer = AnswerQuota(
            quota_id=notice.quota_id, window=notice.window, new_limit=proposed(notice.limit), event_type=notice.event_type,
            current_usage=notice.used, limit=notice.limit,
        )  # fmt: skip
        request = of_quota_breach(
            tenant, agent, notice.delegation_chain, notice.event_type, used=notice.used, limit=notice.limit, answer=answer,
            form=ANSWER.name, description=f"{notice.percent}% of quota {notice.quota_id} are used",
        )  # fmt: skip
        record = await self._oversight.create(request, idempotency_key=message.id)
        request_id = record.ask.request_id
        await self._quotas.notices.asks(tenant, notice.notice_id, request_id)
        if not (await self._oversight.get(tenant, request_id)).progress.state.open:
            await self._answered(tenant, request_id)

    async def _answered(self, tenant: TenantId, request_id: RequestId) -> None:
        """A human has decided about a quota: what they approved is done, and nothing where they denied or said nothing.

        INVARIANT: an answer is one to a notice of ours: no request that an agent makes under its name changes a quota.
        """
        try:
            told = await self._quotas.notices.notice_of_request(tenant, request_id)
        except NotFound:
            return
        record = await self._oversight.get(tenant, request_id)
        by = record.progress.decided_by
        arguments = await self._said(record)
        answer = wire.decode(arguments, AnswerQuota, what="answer")
        if by is None:
            answer = replace(answer, answer=QuotaAnswer.NOTHING)
        try:
            await self._quotas.answer(
                tenant, told.notice.quota_id, told.notice.window, answer.answer, answer.new_limit, request_id=request_id,
                by=self._oversight.service_id if by is None else AgentId(by),
            )  # fmt: skip
        except NotFound as gone:
            log.warning("An answer comes too late: %s", gone, extra=fields(tenant=tenant))

    async def _said(self, record: Record) -> bytes:
        """What was approved; denied with `answer` set to block, as a counter-proposal, nothing goes beyond the limit any more."""
        asked = record.ask.arguments
        if record.progress.state is RequestState.APPROVED:
            return asked
        nothing = wire.encode(replace(wire.decode(asked, AnswerQuota, what="answer"), answer=QuotaAnswer.NOTHING))
        if record.progress.state is not RequestState.DENIED:
            return nothing
        result = await self._oversight.result(record, permit=False)
        bounds = [one for one in result.counter if one.path == "answer"] if isinstance(result, Denied) else []
        blocks = any(one.equal == wire.encode(QuotaAnswer.BLOCK).decode() for one in bounds)
        return wire.encode(replace(wire.decode(asked, AnswerQuota), answer=QuotaAnswer.BLOCK)) if blocks else nothing

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
