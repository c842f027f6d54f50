"""What the use cases share: the parts below, how a change is written and recorded, how a transition is announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, LiteralString, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import NotFound, ProductId
from creto.common.ids import AgentId, RequestId, TenantId, new_id
from creto.common.limits import OVERSIGHT_TEXT_CHARS_MAX
from creto.common.telemetry import Metrics, trace_id
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.contracts import (
    SUBJECT_DECISION,
    SUBJECT_NOTIFICATION,
    ChannelType,
    DecisionApproved,
    DecisionDenied,
    DecisionEscalated,
    HumanIdentity,
    NotificationPayload,
    OversightDecision,
    OversightDecisionEvent,
    OversightNotification,
    TimeoutAction,
)
from creto.oversight import escalation
from creto.oversight import store as sql
from creto.oversight import store_messages as message_rows
from creto.oversight.decisions import Ballot
from creto.oversight.display import redacted_factor, render, summary
from creto.oversight.edits import as_context
from creto.oversight.policies import refusal
from creto.oversight.store import Held, Record
from creto.oversight.types import (
    Ask,
    Channel,
    Contact,
    Notification,
    NotificationKind,
    Progress,
    RequestState,
)
from creto.platform.audit import AuditEvent
from creto.platform.audit.events import StateTransition
from creto.platform.consensus import PersonId
from creto.platform.crypto import SigningKey, VerifyKey
from creto.platform.nhi import Nhi, nhi_of
from creto.security.authz import Authz, Decision, Granted, RequiresOversight
from creto.store.entries import entry
from creto.store.types import Isolation, Outcome, ReadTx, Store, Tx

T = TypeVar("T")
Mark = Callable[[Tx], object]  # runs first in an act's own transaction: of what it raises, the act has not happened
DECIDED = "oversight.decided"
MOVED = "oversight.moved"  # something about an open request that an approver sees has changed; the same payload
SERVICE = "creto"
CHANNEL_TYPES = {Channel(one.value): one for one in ChannelType}


class Instruments:
    """The spec's metrics of oversight."""

    def __init__(self, metrics: Metrics) -> None:
        self.created = metrics.counter("oversight_requests_created_total", "Requests for approval", "policy_id")
        self.transitions = metrics.counter("oversight_state_transitions_total", "Transitions of requests", "from", "to")
        self.latency = metrics.histogram(
            "oversight_approvals_latency_seconds", "From the request to its decision", "tier"
        )
        self.attempts = metrics.counter(
            "oversight_notifications_attempts_total", "Notifications by how an attempt ended", "channel", "outcome"
        )
        self.unreachable = metrics.gauge(
            "oversight_unreachable_tiers_count", "Tiers of policies in which nobody could be told now"
        )


class Core:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        nhi: Nhi,
        authz: Authz,
        signer: SigningKey,
        metrics: Metrics,
        installation: str,
        link_base: str,
    ) -> None:
        self.store = store
        self.clock = clock
        self.nhi = nhi
        self.authz = authz
        self.installation = installation
        self.service_id = nhi_of(signer.public)
        self._signer = signer
        self._link_base = link_base.rstrip("/")
        self._metrics = Instruments(metrics)

    @property
    def service_key(self) -> VerifyKey:
        """With which decision files and relayed votes are verified."""
        return self._signer.public

    def policy_says(self, tenant: TenantId, agent: AgentId, action: str, resource: str, context: dict[str, Any] | None = None) -> Decision:  # fmt: skip
        """A question alone: quota that was held for the answer is free again."""
        decision = self.authz.check(agent, action, resource, context, tenant=tenant)
        if isinstance(decision, Granted):
            self.authz.release(decision.reservation)
        return decision

    def asking(self, ask: Ask, arguments: bytes) -> RequiresOversight:
        """Under which oversight policies this act needs a yes now: as the policies say, or where they say nothing, as it was asked."""
        said = self.policy_says(ask.tenant, ask.agent, ask.action, ask.resource, as_context(arguments) or None)
        return said if isinstance(said, RequiresOversight) else RequiresOversight(ask.policy.policy_id)

    async def write(self, fn: Callable[[Tx], T]) -> T:
        """Every change locks the row it depends on before it looks at anything else, so committed reads are enough."""
        return await self.store.write(fn, isolation=Isolation.READ_COMMITTED)

    async def get(self, tenant: TenantId, request_id: RequestId) -> Record:
        """OV-404 with the same text whether it is another tenant's or nobody's."""
        found = await self.store.read(lambda tx: sql.find(tx, tenant, request_id))
        if found is None:
            raise no_such(request_id)
        return found

    def locked(self, tx: Tx, tenant: TenantId, request_id: RequestId) -> Record:
        found = sql.locked(tx, tenant, request_id)
        if found is None:
            raise no_such(request_id)
        return found

    def held(self, tx: ReadTx, ballot: Ballot, for_update: LiteralString = "") -> Held:
        found = sql.held(tx, ballot, for_update)
        if found is None:
            raise no_such(ballot.request_id)
        return found

    # The record

    def record(
        self, tx: Tx, record: Record, event: AuditEvent, *, by: AgentId | None = None, now: ConsensusTimestamp,
        outcome: Outcome = Outcome.SUCCESS, why: str | None = None, code: str | None = None,
    ) -> None:  # fmt: skip
        tx.record(
            event.entry(
                tenant=record.ask.tenant, agent=by or record.ask.agent, timestamp=now, outcome=outcome, why=why,
                code=code, delegation_chain=record.ask.chain, trace_id=trace_id() or record.ask.trace_id,
                degraded_clock=self.clock.degraded,
            )
        )  # fmt: skip

    def note(
        self, tx: Tx, tenant: TenantId, action: str, resource: str, event: str, by: AgentId, fields: dict[str, object],
        outcome: Outcome = Outcome.SUCCESS,
    ) -> None:  # fmt: skip
        """An entry of an act for which the spec has no type."""
        tx.record(
            entry(
                tenant=tenant, product=ProductId.OVERSIGHT, agent=by, action=action, resource=resource, outcome=outcome,
                timestamp=self.clock.now(), event=event, facts=fields, degraded_clock=self.clock.degraded,
            )
        )  # fmt: skip

    # Transitions

    def save(
        self, tx: Tx, record: Record, progress: Progress, *, now: ConsensusTimestamp, by: AgentId | None = None,
        signature: bytes = b"", name: str = SERVICE, told: Sequence[Notification] | None = None,
    ) -> Record:  # fmt: skip
        """Write where the request stands now. A change of state goes into the ledger and onto the bus, and wakes who waits.

        `told` are the request's notifications, where they are known already.
        """
        before, new = record.progress, msgspec.structs.replace(record, progress=progress)
        sql.save(tx, record.ask, progress, escalation.looks_at(record.ask.policy, progress, now))
        if progress.state.open:  # what ends it is signalled below
            self.moved(tx, record.ask)
        if before.state is progress.state and before.tier == progress.tier:
            return new
        self.record(
            tx, new, StateTransition(request_id=record.ask.request_id, old_state=before.state, new_state=progress.state),
            by=by or self.service_id, now=now, why=progress.reason or None,
        )  # fmt: skip
        event = OversightDecisionEvent(
            request_id=record.ask.request_id,
            decision=announced(new),
            approver=HumanIdentity(nhi=by or self.service_id, display_name=name),
            signature=signature,
            timestamp=now,
            sandbox_id=record.ask.sandbox_id,
            notes=progress.reason or None,
        )
        tx.publish(SUBJECT_DECISION, wire.encode(event), tenant=record.ask.tenant, agent=record.ask.agent)
        if not progress.state.open:
            tx.signal(DECIDED, signal_of(record.ask.tenant, record.ask.request_id))
            if told is None:
                told = message_rows.notifications(tx, record.ask.tenant, record.ask.request_id)
            self.close_cards(tx, new, told, now)
        return new

    def moved(self, tx: Tx, ask: Ask) -> None:
        """Whoever looks at the request looks again."""
        tx.signal(MOVED, signal_of(ask.tenant, ask.request_id))

    def counted(self, before: Progress | None, after: Record) -> None:
        """After the commit: what the metrics say."""
        progress, ask = after.progress, after.ask
        if before is None:
            self._metrics.created.labels(ask.policy.policy_id).add()
        if before is not None and before.state is not progress.state:
            self._metrics.transitions.labels(before.state.upper(), progress.state.upper()).add()
        if progress.decided_at is not None and (before is None or before.decided_at is None):
            self._metrics.latency.labels(str(progress.tier + 1)).observe(
                (progress.decided_at - ask.created_at) / SECOND
            )

    # Notifications

    def tell(
        self,
        tx: Tx,
        record: Record,
        people: dict[PersonId, list[Contact]],
        kind: NotificationKind,
        now: ConsensusTimestamp,
    ) -> None:
        """One message per human and address, in the outbox of this transaction; the channels of the tier, or all there are."""
        tier = record.ask.policy.tiers[record.progress.tier]
        wanted = {one.channel for one in tier.channels}
        for person, contacts in people.items():
            for contact in contacts:
                if not wanted or contact.channel in wanted:
                    self.queue(tx, record, person, contact.channel, contact.address, kind, now)

    def queue(
        self, tx: Tx, record: Record, person: PersonId, channel: Channel, address: str, kind: NotificationKind,
        now: ConsensusTimestamp,
    ) -> None:  # fmt: skip
        """The row that its channel works on; on the bus too, where somebody else delivers. What was decided is not asked again there."""
        ask = record.ask
        message_rows.put_notification(
            tx,
            Notification(
                notification_id=new_id("ntf-"), tenant=ask.tenant, request_id=ask.request_id, person=person, channel=channel,
                address=address, kind=kind, round=ask.round, next_at=now,
            ),
        )  # fmt: skip
        if channel in CHANNEL_TYPES and kind is not NotificationKind.CLOSED:
            shown = render(ask)
            full = any(
                one.full_arguments
                for one in record.ask.policy.tiers[record.progress.tier].channels
                if one.channel is channel
            )
            told = OversightNotification(
                request_id=ask.request_id,
                approver_identity=person,
                channel_type=CHANNEL_TYPES[channel],
                notification_payload=NotificationPayload(
                    action_description=shown.effect,
                    risk_factors=(*ask.assessed, *ask.by_arguments, *map(redacted_factor, ask.risk_factors)),
                    reasoning_context="\n".join(shown.says if full else summary(shown.says)),
                    approval_link=self.link_to(ask.request_id),
                ),
            )
            tx.publish(f"{SUBJECT_NOTIFICATION}.{channel}", wire.encode(told), tenant=ask.tenant, agent=ask.agent)

    def close_cards(self, tx: Tx, record: Record, told: Sequence[Notification], now: ConsensusTimestamp) -> None:
        """Whoever was asked learns that it is over, on the same card."""
        cards = {(n.person, n.channel, n.address) for n in told}
        for person, channel, address in sorted(cards):
            self.queue(tx, record, person, channel, address, NotificationKind.CLOSED, now)

    def link_to(self, request_id: RequestId) -> str:
        return f"{self._link_base}/approvals/{request_id}"


def announced(record: Record) -> OversightDecision:
    """A token never travels on the bus: who waits fetches it."""
    progress = record.progress
    if progress.state is RequestState.APPROVED or progress.final_action is TimeoutAction.AUTO_APPROVE:
        return DecisionApproved()
    if progress.state.open:
        return DecisionEscalated(next_tier=record.ask.policy.tiers[progress.tier].name)
    return DecisionDenied(reason=progress.reason or str(progress.state).replace("_", " "))


def signal_of(tenant: TenantId, request_id: RequestId) -> str:
    return f"{tenant}/{request_id}"


def no_such(request_id: RequestId) -> NotFound:
    hint = "`creto approvals list --all` shows those that there are."
    return NotFound("OV-404", "there is no such approval request", field="request_id", got=request_id, hint=hint)


def checked_text(text: str, field: str) -> str:
    if len(text) > OVERSIGHT_TEXT_CHARS_MAX:
        raise refusal(field, f"{len(text)} characters", f"{OVERSIGHT_TEXT_CHARS_MAX} at most")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise refusal(field, "half a character", "text: a surrogate stands only in a pair, as one character")
    return text
