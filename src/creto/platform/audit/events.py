"""Every audit event type: its fields, and how it becomes a ledger entry.

    event = SandboxSpawned(sandbox_id="sb-1", agent_nhi=agent, attestation_hash=digest)
    tx.record(event.entry(tenant=tenant, agent=agent, timestamp=clock.now()))

    event_of(entry)          # and back

The fields of a type are the entry's metadata; its name is the entry's `event`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, ProductId
from creto.common.ids import (
    AgentId,
    EventId,
    MessageId,
    PolicyId,
    RequestId,
    SandboxId,
    SubscriptionId,
    TenantId,
)
from creto.common.timestamps import ConsensusTimestamp
from creto.store.entries import entry
from creto.store.types import Entry, EntryId, Outcome

E = TypeVar("E", bound="AuditEvent")


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="event"):
    """The base: a type says its product, its action and what it is about."""

    types: ClassVar[dict[str, type[AuditEvent]]] = {}
    product: ClassVar[ProductId]
    action: ClassVar[str]

    @classmethod
    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        AuditEvent.types[cls.__name__] = cls

    @property
    def resource(self) -> str:
        """What the event is about, as `<product>:<type>:<id>`."""
        raise NotImplementedError

    def entry(
        self,
        *,
        tenant: TenantId,
        agent: AgentId,
        timestamp: ConsensusTimestamp,
        outcome: Outcome = Outcome.SUCCESS,
        event_id: EntryId | None = None,
        **rest: Any,
    ) -> Entry:
        """`rest` are the other fields of an Entry: delegation_chain, why, code, grade, intent_id, trace_id, degraded_clock."""
        return entry(
            tenant=tenant,
            product=self.product,
            agent=agent,
            action=rest.pop("action", self.action),
            resource=rest.pop("resource", None) or self.resource,
            outcome=outcome,
            timestamp=timestamp,
            event=type(self).__name__,
            facts=self,
            **rest | ({"event_id": event_id} if event_id else {}),
        )


def event_of(entry: Entry) -> AuditEvent:
    """The typed event in an entry."""
    kind = AuditEvent.types.get(entry.event)
    if kind is None:
        raise InvalidInput.of("event", got=entry.event, expected="an audit event type")
    return wire.decode(bytes(entry.metadata), kind, what="metadata")


# Runtime


class EgressDecision(StrEnum):
    ALLOWED = "allowed"
    ALLOWED_VIA_AUTHZ = "allowed_via_authz"
    DENIED = "denied"


class SandboxSpawned(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.RUNTIME
    action = "runtime:spawn"

    sandbox_id: SandboxId
    agent_nhi: AgentId
    attestation_hash: bytes

    @property
    def resource(self) -> str:
        return f"runtime:sandbox:{self.sandbox_id}"


class SandboxTerminated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.RUNTIME
    action = "runtime:terminate"

    sandbox_id: SandboxId
    reason: str

    @property
    def resource(self) -> str:
        return f"runtime:sandbox:{self.sandbox_id}"


class EgressAttempt(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.RUNTIME
    action = "runtime:egress"

    sandbox_id: SandboxId
    destination: str
    decision: EgressDecision
    reason: str | None = None

    @property
    def resource(self) -> str:
        return f"runtime:sandbox:{self.sandbox_id}"


class AttestationGenerated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.RUNTIME
    action = "runtime:attest"

    sandbox_id: SandboxId
    attestation_hash: bytes
    platform: str = "software"

    @property
    def resource(self) -> str:
        return f"runtime:sandbox:{self.sandbox_id}"


# Metering


class Period(msgspec.Struct, frozen=True):
    start: ConsensusTimestamp
    end: ConsensusTimestamp


class EventIngested(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.METERING
    action = "metering:ingest"

    event_id: EventId
    agent_nhi: AgentId
    event_type: str
    value: Decimal

    @property
    def resource(self) -> str:
        return f"metering:event:{self.event_id}"


class QuotaChecked(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.METERING
    action = "metering:check_quota"

    agent_nhi: AgentId
    event_type: str
    requested: Decimal
    remaining: Decimal | None
    allowed: bool

    @property
    def resource(self) -> str:
        return f"metering:quota:{self.event_type}"


class QuotaExceeded(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.METERING
    action = "metering:check_quota"

    agent_nhi: AgentId
    event_type: str
    limit: Decimal
    overflow_action: str

    @property
    def resource(self) -> str:
        return f"metering:quota:{self.event_type}"


class InvoiceGenerated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.METERING
    action = "metering:invoice"

    subscription_id: SubscriptionId
    amount: Decimal
    currency: str
    period: Period
    invoice_id: str | None = None

    @property
    def resource(self) -> str:
        return f"metering:subscription:{self.subscription_id}"


# Oversight


class RequestCreated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.OVERSIGHT
    action = "oversight:request"

    request_id: RequestId
    agent_nhi: AgentId
    action_requested: str = msgspec.field(name="action")
    policy_id: PolicyId

    @property
    def resource(self) -> str:
        return f"oversight:request:{self.request_id}"


class NotificationSent(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.OVERSIGHT
    action = "oversight:notify"

    request_id: RequestId
    channel: str
    approver: str

    @property
    def resource(self) -> str:
        return f"oversight:request:{self.request_id}"


class ResponseReceived(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.OVERSIGHT
    action = "oversight:respond"

    request_id: RequestId
    approver: str
    decision: str

    @property
    def resource(self) -> str:
        return f"oversight:request:{self.request_id}"


class ApprovalReceived(ResponseReceived, frozen=True, kw_only=True):
    """A response that approves."""

    decision: str = "approved"


class DenialReceived(ResponseReceived, frozen=True, kw_only=True):
    """A response that denies."""

    decision: str = "denied"
    reason: str | None = None


class Escalated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.OVERSIGHT
    action = "oversight:escalate"

    request_id: RequestId
    from_tier: int
    to_tier: int
    reason: str

    @property
    def resource(self) -> str:
        return f"oversight:request:{self.request_id}"


class StateTransition(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.OVERSIGHT
    action = "oversight:transition"

    request_id: RequestId
    old_state: str
    new_state: str

    @property
    def resource(self) -> str:
        return f"oversight:request:{self.request_id}"


# Messaging


class MessageSent(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:send"

    message_id: MessageId
    sender: AgentId
    recipient: str
    encrypted_size: int

    @property
    def resource(self) -> str:
        return f"messaging:message:{self.message_id}"


class MessageReceived(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:receive"

    message_id: MessageId
    recipient: AgentId

    @property
    def resource(self) -> str:
        return f"messaging:message:{self.message_id}"


class MessageDelivered(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:deliver"

    message_id: MessageId
    latency_ms: int

    @property
    def resource(self) -> str:
        return f"messaging:message:{self.message_id}"


class DeliveryDenied(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:deliver"

    message_id: MessageId
    sender: AgentId
    recipient: str
    reason: str

    @property
    def resource(self) -> str:
        return f"messaging:message:{self.message_id}"


class SessionEstablished(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:establish_session"

    initiator: AgentId
    responder: AgentId
    protocol: str

    @property
    def resource(self) -> str:
        return f"messaging:session:{self.initiator}/{self.responder}"


class TopicCreated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:create_topic"

    topic: str
    owner: AgentId

    @property
    def resource(self) -> str:
        return f"messaging:channel:{self.topic}"


class SubscriptionCreated(AuditEvent, frozen=True, kw_only=True):
    product = ProductId.MESSAGING
    action = "messaging:subscribe"

    topic: str
    subscriber: AgentId

    @property
    def resource(self) -> str:
        return f"messaging:channel:{self.topic}"


# Platform


class LogKeyRotated(AuditEvent, frozen=True, kw_only=True):
    """The log signs with other keys from here on; the entry stands in the tree that both sign."""

    product = ProductId.PLATFORM
    action = "audit:rotate_key"

    origin: str
    old_vkeys: tuple[str, ...]
    new_vkeys: tuple[str, ...]
    size: int

    @property
    def resource(self) -> str:
        return f"audit:log:{self.origin}"


class BatchRecorded(AuditEvent, frozen=True, kw_only=True):
    """Many events in one entry: the root of their own Merkle tree, and how many there are."""

    product = ProductId.PLATFORM
    action = "audit:batch"

    kind: str  # what the leaves are, as metering.events
    batch_root: bytes
    batch_count: int

    @property
    def resource(self) -> str:
        return f"audit:batch:{self.kind}"
