"""Operations: who does what to which resource; what the gate says of it, and how that is written down.

Operation(tenant=tenant, agent=agent, chain=chain, action="sandbox.spawn", resource="runtime:sandbox:sb-1", …)
raise refusal(operation, decision)                  # any but Allow, as the product's own error
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, OversightRequired, ProductId, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import GATE_CONTEXT_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import digest
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import DelegationChain, ValidatedChain
from creto.platform.nhi.scope import any_matches
from creto.security.authz import Deny, QuotaDenied, RequiresOversight, Reservation
from creto.store.types import UNRECORDED, EntryId, Grade

PREFIX = {
    ProductId.RUNTIME: "RT",
    ProductId.METERING: "MT",
    ProductId.OVERSIGHT: "OV",
    ProductId.MESSAGING: "MS",
    ProductId.PLATFORM: "PL",
}

Further = Callable[[], Awaitable[RequiresOversight | None]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what to which resource.

    `chain` is empty only for humans and services, who act for themselves. `arguments` are what an approval is bound to: the exact bytes.
    `scopes` are what the caller's credential is for; None where there is none. `amount` is what it takes of a quota.
    `asks_too` says whether the body will ask a human, where the gate asks one: one request is for both.
    `form` names how the arguments are read, where they are a request of the API: an approver may edit them.
    """

    tenant: TenantId
    agent: AgentId
    action: str
    resource: str
    product: ProductId
    chain: DelegationChain | None = None
    context: Mapping[str, Any] | None = None
    arguments: bytes = b""
    grade: Grade = Grade.COOPERATIVE
    override_token: str | None = None
    scopes: tuple[str, ...] | None = None
    amount: int = 1
    form: str = ""
    asks_too: Further | None = None


class Effect(Enum):
    """Where an operation leaves its mark, and so who records its success."""

    NONE = "none"  # a question: only a refusal is recorded
    RECORDED = "recorded"  # the body's own transaction records it; the gate records a failure
    OUTSIDE = "outside"  # outside the database: the gate records intent and outcome


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's yes, and on what it rests."""

    operation: Operation
    chain: ValidatedChain
    at: ConsensusTimestamp
    overridden: PolicyId | None = None  # humans said yes under this policy, or these
    asked: RequiresOversight | None = None  # what they were asked
    reservation: Reservation | None = None  # the quota that is held for it


class Event(msgspec.Struct, frozen=True):
    """The name and the fields that the ledger keeps of what happened."""

    name: str = ""
    fields: msgspec.Raw = msgspec.Raw(b"{}")

    @staticmethod
    def of(value: msgspec.Struct | None) -> Event:
        return Event(type(value).__name__, msgspec.Raw(wire.encode(value))) if value is not None else Event()


class Act:
    """An operation while it runs."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.intent_id: EntryId | None = None
        self.event = Event()
        self.amount: int | None = None  # of the quota, where it took another amount than was reserved

    def note(self, event: msgspec.Struct) -> None:
        """What its outcome entry will say."""
        self.event = Event.of(event)


def recorded_context(operation: Operation) -> msgspec.Raw:
    """What a policy could read of the operation, so that the decision can be tried again; nothing if it is too much, or no JSON."""
    try:
        encoded = wire.encode(operation.context or {})
    except (TypeError, ValueError, OverflowError, RecursionError):
        return UNRECORDED  # the check refused it
    return msgspec.Raw(encoded) if len(encoded) <= GATE_CONTEXT_BYTES_MAX else UNRECORDED


def check_scopes(operation: Operation) -> None:
    """PL-109 unless the credential is for this action."""
    if operation.scopes is not None and not any_matches(operation.scopes, operation.action):
        raise Unauthorized(
            "PL-109",
            f"the token does not cover {operation.action}",
            got=", ".join(sorted(operation.scopes)) or "no scope",
            expected=operation.action,
        )


def demand(asked: OversightRequired) -> RequiresOversight:
    said = asked.decision
    return said if isinstance(said, RequiresOversight) else RequiresOversight(asked.policy_id)


def together(asked: OversightRequired, further: RequiresOversight) -> OversightRequired:
    """The same refusal, by all that ask."""
    whole = demand(asked).joined(further)
    return OversightRequired(
        asked.code, f"{asked.message}, all together under {whole.under}", policy_id=whole.under, decision=whole,
        details=dict(asked.details),
    )  # fmt: skip


def refusal(operation: Operation, decision: Deny | RequiresOversight | QuotaDenied) -> EnablementError:
    """A decision as the product's own error."""
    prefix = PREFIX[operation.product]
    what = f"{operation.action} on {operation.resource}"
    if isinstance(decision, RequiresOversight):
        return OversightRequired(
            f"{prefix}-202",
            f"{what} needs approval under policy {decision.under}",
            policy_id=decision.under,
            decision=decision,
            details={  # what an approval has to name
                "action": operation.action,
                "resource": operation.resource,
                "args_digest": b64url_encode(digest(operation.arguments)),
            },
        )
    if isinstance(decision, QuotaDenied):
        return QuotaExceeded(
            f"{prefix}-429",
            f"{what}: {decision.reason}",
            limit=decision.limit,
            used=decision.used,
            retry_after_s=decision.retry_after_s,
        )
    return Unauthorized(f"{prefix}-403", f"{what} is not permitted: {decision.reason}")
