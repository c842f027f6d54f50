"""Where the products meet: the interfaces they offer one another, and the events between them.

No product imports another. Each implements the Protocols that are its own and is handed the others' by `app.py`:

    metering offers   CostTrigger, MessageCostTracker, QuotaEnforcer, SubscriptionKeeper
    oversight offers  ApprovalGate
    runtime offers    SandboxKeeper
    messaging offers  SandboxMessenger, Notifier

    class Oversight:
        def __init__(self, costs: CostTrigger) -> None: ...

Events travel in `common.envelope.EventEnvelope`, signed, over the bus. Amounts are Decimal here and decimal strings on the wire.
INVARIANT: every call names its tenant first, also where an event it takes carries one: the one who is asked compares them.
INVARIANT: fields are only ever added, with defaults; a removed or changed field is a new version of the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import msgspec

from creto.common.ids import AgentId, EventId, MessageId, PolicyId, RequestId, SandboxId, SubscriptionId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.security.authz.types import OversightRequirement as OversightRequirement
from creto.security.authz.types import QuotaDecision as QuotaDecision
from creto.security.authz.types import QuotaHook as QuotaHook
from creto.security.authz.types import QuotaOutcome as QuotaOutcome
from creto.security.authz.types import Reservation as Reservation
from creto.security.authz.types import RiskLevel as RiskLevel
from creto.security.authz.types import TimeoutAction as TimeoutAction


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """The base of what crosses between products: frozen, named fields."""


class Tagged(Wire, frozen=True, kw_only=True, tag_field="type", tag=True):
    """One variant of a union; `type` on the wire names it."""


# Money and quotas (metering)


class BillingPeriod(StrEnum):
    CURRENT_HOUR = "current_hour"
    CURRENT_DAY = "current_day"
    CURRENT_MONTH = "current_month"
    CURRENT_QUARTER = "current_quarter"
    CURRENT_YEAR = "current_year"
    LIFETIME = "lifetime"


class BillableEvent(Wire, frozen=True, kw_only=True):
    """Something an agent used. `properties` are what meters aggregate; an amount in them is a decimal string."""

    event_id: EventId
    tenant: TenantId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    event_type: str
    timestamp: ConsensusTimestamp
    idempotency_key: str
    properties: dict[str, str | int | bool] = {}
    signature: bytes | None = None


class TransactionLimit(Tagged, frozen=True, kw_only=True):
    amount: Decimal
    limit: Decimal


class PeriodLimit(Tagged, frozen=True, kw_only=True):
    accumulated: Decimal
    limit: Decimal
    period: BillingPeriod


class AnomalyDetected(Tagged, frozen=True, kw_only=True):
    expected_rate: Decimal
    actual_rate: Decimal
    confidence: Decimal


CostThresholdReason = TransactionLimit | PeriodLimit | AnomalyDetected


class OversightTrigger(Wire, frozen=True, kw_only=True):
    """A cost that a human has to see, and the policy that says so."""

    policy_id: PolicyId
    reason: CostThresholdReason
    current_cost: Decimal
    threshold: Decimal
    currency: str


class AccumulatedCost(Wire, frozen=True, kw_only=True):
    agent_nhi: AgentId
    period: BillingPeriod
    total_cost: Decimal
    currency: str
    by_event_type: dict[str, Decimal] = {}


class CostThresholdType(StrEnum):
    PER_TRANSACTION = "per_transaction"
    PER_HOUR = "per_hour"
    PER_DAY = "per_day"
    PER_MONTH = "per_month"
    LIFETIME = "lifetime"
    ANOMALY = "anomaly"  # not the spec's: of an agent that does what it never did


class RequireApproval(Tagged, frozen=True, kw_only=True):
    approvers: tuple[str, ...]


class NotifyOnly(Tagged, frozen=True, kw_only=True):
    channels: tuple[str, ...]


class Block(Tagged, frozen=True, kw_only=True):
    """The act does not happen, whoever asks."""


ThresholdAction = RequireApproval | NotifyOnly | Block


class CostThreshold(Wire, frozen=True, kw_only=True):
    threshold_id: str
    threshold_type: CostThresholdType
    limit: Decimal
    currency: str
    action: ThresholdAction


class CostThresholdExceededEvent(Wire, frozen=True, kw_only=True):
    """`metering.thresholds.exceeded`: the event is held until oversight has decided."""

    event_id: EventId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    triggering_event: BillableEvent
    threshold: CostThreshold
    current_cost: Decimal
    period: BillingPeriod
    timestamp: ConsensusTimestamp


class CostBreakdown(Wire, frozen=True, kw_only=True):
    by_event_type: dict[str, Decimal]
    by_agent: dict[AgentId, Decimal]


class CostForecast(Wire, frozen=True, kw_only=True):
    projected_cost: Decimal
    period_ends_at: ConsensusTimestamp
    confidence: Decimal


class CostThresholdExceededEventV2(CostThresholdExceededEvent, frozen=True, kw_only=True, omit_defaults=True):
    cost_breakdown: CostBreakdown | None = None
    forecast: CostForecast | None = None
    anomaly: AnomalyDetected | None = None


class CostTriggerV1(Protocol):
    """Metering → oversight: does this event cross a threshold? Budget: 10 µs, so both are plain calls on memory."""

    def check_cost_threshold(
        self, tenant: TenantId, event: BillableEvent, period: BillingPeriod
    ) -> OversightTrigger | None: ...

    def get_accumulated_cost(self, tenant: TenantId, agent: AgentId, period: BillingPeriod) -> AccumulatedCost: ...


class CostTriggerV2(CostTriggerV1, Protocol):
    def check_multiple_thresholds(
        self, tenant: TenantId, event: BillableEvent, thresholds: Sequence[CostThreshold]
    ) -> list[OversightTrigger]: ...

    def check_batch(
        self, tenant: TenantId, events: Sequence[BillableEvent], period: BillingPeriod
    ) -> list[OversightTrigger | None]: ...


CostTrigger = CostTriggerV2


QuotaEnforcer = QuotaHook  # metering → everyone: `authz.check` reserves inline, the gate settles or releases


class SubscriptionKeeper(Protocol):
    """Metering → workflows: the two ends of the provisioning saga's first step."""

    async def create_subscription(self, tenant: TenantId, agent: AgentId, plan_id: str, key: str) -> SubscriptionId: ...

    async def delete_subscription(self, tenant: TenantId, subscription_id: SubscriptionId) -> None: ...


# Approval (oversight)


class Action(Wire, frozen=True, kw_only=True):
    name: str
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class Resource(Wire, frozen=True, kw_only=True):
    resource_type: str
    resource_id: str


class RiskFactor(Wire, frozen=True, kw_only=True):
    name: str
    level: RiskLevel
    description: str = ""


class OversightRequest(Wire, frozen=True, kw_only=True):
    """What any part of the layer hands to oversight."""

    tenant: TenantId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    action: Action
    resource: Resource
    policy_id: PolicyId
    action_description: str
    requirement: OversightRequirement | None = None
    risk_factors: tuple[RiskFactor, ...] = ()  # as the agent sees it: they raise the risk, and are shown as its words
    blocking: bool = True
    form: str = ""  # of a call that the gate holds: how its arguments are read
    assessed: tuple[RiskFactor, ...] = ()  # as the part of the layer that asks sees it


class RuntimeOversightRequest(OversightRequest, frozen=True, kw_only=True):
    sandbox_id: SandboxId | None = None


class HumanIdentity(Wire, frozen=True, kw_only=True):
    """A person, once, whatever keys, groups and channels they have."""

    nhi: AgentId
    display_name: str
    email: str | None = None


class ArgumentBound(Wire, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A limit on one argument, named by its place: equal to a JSON value, or a number not above another, nor below zero if that one is not."""

    path: str
    equal: str | None = None
    at_most: str | None = None


class Approved(Tagged, frozen=True, kw_only=True):
    """`arguments` are what may be done, where a human changed what was asked or approved a part of it."""

    approver: HumanIdentity
    signature: bytes
    timestamp: ConsensusTimestamp
    notes: str | None = None
    override_token: str | None = None
    arguments: bytes | None = None
    approved_items: tuple[str, ...] = ()


class Denied(Tagged, frozen=True, kw_only=True):
    approver: HumanIdentity
    signature: bytes
    timestamp: ConsensusTimestamp
    reason: str
    counter: tuple[ArgumentBound, ...] = ()  # not this, but a call within these bounds


class TimedOut(Tagged, frozen=True, kw_only=True):
    """With auto_approve it is worth what an approval is: `arguments` are what may be done, where a human changed what was asked, or of a batch."""

    timeout_action: TimeoutAction
    override_token: str | None = None  # with auto_approve
    arguments: bytes | None = None
    approved_items: tuple[str, ...] = ()


ApprovalResult = Approved | Denied | TimedOut


class NotRequired(Tagged, frozen=True, kw_only=True):
    """Go ahead."""


class Required(Tagged, frozen=True, kw_only=True):
    policy_id: PolicyId
    estimated_wait_s: int


class Prohibited(Tagged, frozen=True, kw_only=True):
    reason: str


ApprovalCheckResult = NotRequired | Required | Prohibited


class ResourceLimits(Wire, frozen=True, kw_only=True):
    cpu_millicores: int = 1_000
    memory_bytes: int = 512 * 1024 * 1024
    disk_bytes: int = 1024 * 1024 * 1024
    pids_max: int = 256
    timeout_s: int = 3_600


class SpawnChild(Tagged, frozen=True, kw_only=True):
    image: str
    resources: ResourceLimits


class ExternalApiCall(Tagged, frozen=True, kw_only=True):
    destination: str
    method: str


class FilesystemWrite(Tagged, frozen=True, kw_only=True):
    path: str


class PrivilegedOperation(Tagged, frozen=True, kw_only=True):
    operation: str


SandboxActionType = SpawnChild | ExternalApiCall | FilesystemWrite | PrivilegedOperation


class ActionContext(Wire, frozen=True, kw_only=True):
    reason: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    trace_id: str | None = None


class SandboxAction(Wire, frozen=True, kw_only=True):
    action_type: SandboxActionType
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    context: ActionContext


class ApprovalGate(Protocol):
    """Oversight → runtime. A caller's time-out leaves the request pending: ask again and the same decision comes."""

    async def await_approval(
        self,
        tenant: TenantId,
        sandbox_id: SandboxId | None,
        request: OversightRequest,
        timeout_s: float | None = None,
    ) -> ApprovalResult: ...

    def check_approval_required(
        self, tenant: TenantId, sandbox_id: SandboxId | None, action: SandboxAction
    ) -> ApprovalCheckResult: ...

    async def cancel_approval(self, tenant: TenantId, request_id: RequestId) -> None: ...


class DecisionApproved(Tagged, frozen=True, kw_only=True, tag="Approved"):
    override_token: str | None = None


class DecisionDenied(Tagged, frozen=True, kw_only=True, tag="Denied"):
    reason: str


class DecisionEscalated(Tagged, frozen=True, kw_only=True, tag="Escalated"):
    next_tier: str


OversightDecision = DecisionApproved | DecisionDenied | DecisionEscalated


class OversightDecisionEvent(Wire, frozen=True, kw_only=True):
    """`oversight.decisions`: whoever waits may go on, or must stop."""

    request_id: RequestId
    decision: OversightDecision
    approver: HumanIdentity
    signature: bytes
    timestamp: ConsensusTimestamp
    sandbox_id: SandboxId | None = None
    notes: str | None = None


# Sandboxes (runtime)


class RuntimeClass(StrEnum):
    GVISOR = "gvisor"
    KATA = "kata"
    MICROVM = "microvm"
    PROCESS = "process"


class SandboxAllocated(Tagged, frozen=True, kw_only=True):
    sandbox_id: SandboxId
    runtime_class: RuntimeClass
    cpu_millicores: int
    memory_bytes: int
    duration_seconds: int


class InferenceCall(Tagged, frozen=True, kw_only=True):
    sandbox_id: SandboxId
    model_id: str
    provider: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal


class NetworkEgress(Tagged, frozen=True, kw_only=True):
    sandbox_id: SandboxId
    destination: str
    bytes_transferred: int


RuntimeEventProperties = SandboxAllocated | InferenceCall | NetworkEgress


class RuntimeUsageEvent(Wire, frozen=True, kw_only=True):
    """`metering.events.runtime`, signed by the sandbox's identity."""

    event_id: EventId
    tenant: TenantId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    event_type: str
    timestamp: ConsensusTimestamp
    properties: RuntimeEventProperties
    idempotency_key: str
    signature: bytes | None = None


class Created(Tagged, frozen=True, kw_only=True):
    attestation: bytes


class TerminationReason(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    MANUAL_TERMINATION = "manual_termination"
    RESOURCE_LIMIT_EXCEEDED = "resource_limit_exceeded"


class Terminated(Tagged, frozen=True, kw_only=True):
    reason: TerminationReason
    error: str | None = None


class Checkpointed(Tagged, frozen=True, kw_only=True):
    checkpoint_id: str


class Restored(Tagged, frozen=True, kw_only=True):
    from_checkpoint: str


SandboxEventType = Created | Terminated | Checkpointed | Restored


class SandboxLifecycleEvent(Wire, frozen=True, kw_only=True):
    """`runtime.sandboxes.lifecycle`: messaging cleans up after a sandbox that ended."""

    sandbox_id: SandboxId
    agent_nhi: AgentId
    event_type: SandboxEventType
    timestamp: ConsensusTimestamp


class SandboxKeeper(Protocol):
    """Runtime → workflows: the two ends of the provisioning saga's second step."""

    async def spawn_sandbox(
        self, tenant: TenantId, agent: AgentId, image: str, runtime_class: RuntimeClass, key: str
    ) -> SandboxId: ...

    async def terminate_sandbox(self, tenant: TenantId, sandbox_id: SandboxId) -> None: ...


# Messages (messaging)


class MessagePriority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class MessageEnvelope(Wire, frozen=True, kw_only=True):
    """What the server sees of a message: routing, sizes and time, never text."""

    message_id: MessageId
    tenant: TenantId
    sender_nhi: AgentId
    recipient_nhi: AgentId
    encrypted_payload: bytes
    wrapped_key: bytes
    signature_ed25519: bytes
    timestamp: ConsensusTimestamp
    ttl_ns: int
    priority: MessagePriority = MessagePriority.NORMAL
    signature_ml_dsa: bytes | None = None


class ReceivedMessage(Wire, frozen=True, kw_only=True):
    message_id: MessageId
    sender_nhi: AgentId
    encrypted_payload: bytes
    wrapped_key: bytes
    signature_ed25519: bytes
    signature_ml_dsa: bytes
    timestamp: ConsensusTimestamp
    priority: MessagePriority


class SandboxMessenger(Protocol):
    """Messaging → runtime. Budget: 5 ms for a send."""

    async def send_from_sandbox(
        self, tenant: TenantId, sandbox_id: SandboxId, envelope: MessageEnvelope
    ) -> MessageId: ...

    async def subscribe_sandbox(self, tenant: TenantId, sandbox_id: SandboxId, topic: str) -> SubscriptionId: ...

    async def unsubscribe_sandbox(self, tenant: TenantId, subscription_id: SubscriptionId) -> None: ...

    async def receive_for_sandbox(
        self, tenant: TenantId, sandbox_id: SandboxId, max_messages: int
    ) -> list[ReceivedMessage]: ...


class Notifier(Protocol):
    """Messaging → oversight and metering: a text to an agent or a bot, end to end encrypted, from the platform's own identity."""

    async def notify(self, tenant: TenantId, recipient: AgentId, body: bytes, key: str) -> MessageId: ...


class MessageEventType(StrEnum):
    MESSAGE_SENT = "message_sent"
    MESSAGE_RECEIVED = "message_received"
    TOPIC_CREATED = "topic_created"
    SUBSCRIPTION_CREATED = "subscription_created"


class MessageProperties(Wire, frozen=True, kw_only=True):
    message_size_bytes: int
    recipient_count: int
    priority: MessagePriority
    encrypted: bool
    signature_algorithm: str


class MessageBillableEvent(Wire, frozen=True, kw_only=True):
    idempotency_key: str
    tenant: TenantId
    agent_nhi: AgentId
    delegation_chain: tuple[AgentId, ...]
    event_type: MessageEventType
    timestamp: ConsensusTimestamp
    properties: MessageProperties


class MessageCostTracker(Protocol):
    """Metering → messaging. The quota check has a budget of 10 µs, so it is a plain call on memory."""

    async def track_message_event(self, tenant: TenantId, event: MessageBillableEvent) -> EventId: ...

    def check_message_quota(self, tenant: TenantId, agent: AgentId, event_type: str) -> QuotaDecision: ...


class NotificationPayload(Wire, frozen=True, kw_only=True):
    action_description: str
    risk_factors: tuple[RiskFactor, ...]
    reasoning_context: str
    approval_link: str


class ChannelType(StrEnum):
    SLACK = "slack"
    EMAIL = "email"
    WEBHOOK = "webhook"
    MESSAGING = "messaging"


class OversightNotification(Wire, frozen=True, kw_only=True):
    """`oversight.notifications.{channel_type}`"""

    request_id: RequestId
    approver_identity: str
    channel_type: ChannelType
    notification_payload: NotificationPayload


class ReceiptType(StrEnum):
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"


class DeliveryReceipt(Wire, frozen=True, kw_only=True):
    """`messaging.delivery_receipts`"""

    message_id: MessageId
    recipient_nhi: AgentId
    receipt_type: ReceiptType
    timestamp: ConsensusTimestamp
    signature: bytes
    failure_reason: str | None = None


SUBJECT_RUNTIME_USAGE = "metering.events.runtime"
SUBJECT_MESSAGE_USAGE = "metering.events.messaging"
SUBJECT_THRESHOLD_EXCEEDED = "metering.thresholds.exceeded"
SUBJECT_NOTIFICATION = "oversight.notifications"  # then .slack, .email, .webhook, .messaging
SUBJECT_DECISION = "oversight.decisions"
SUBJECT_SANDBOX_LIFECYCLE = "runtime.sandboxes.lifecycle"
SUBJECT_DELIVERY_RECEIPT = "messaging.delivery_receipts"
