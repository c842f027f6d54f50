"""What the connector speaks of: objects at Stripe, payers, meter events, payments."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any, NewType

import msgspec

from creto.common.breaker import CircuitState
from creto.common.ids import AgentId, TenantId

StripeId = NewType("StripeId", str)
Params = dict[str, Any]  # of a request, as the SDK takes them
INVOICE = "metering:invoice:"  # before an invoice's id, where metering speaks of it
PURCHASE = "metering:purchase:"


class Kind(StrEnum):
    """What is made there, or done to what was made: each once."""

    CUSTOMER = "customer"
    INVOICE = "invoice"
    PURCHASE = "purchase"  # an invoice there over credits that a top-up asked for
    LINES = "lines"
    FINAL = "final"
    VOID = "void"
    CREDIT_NOTE = "credit_note"
    METER_EVENT = "meter_event"


class State(StrEnum):
    ASKED = "asked"  # the request is on its way, or its answer was lost
    DOUBTFUL = "doubtful"  # its key is burnt: look before anything is asked again
    REFUSED = "refused"  # nothing is on its way
    THERE = "there"


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """One row: it exists there as `stripe_id`, or it was asked for with these parameters, under the key of this attempt."""

    tenant: TenantId
    kind: Kind
    our_id: str
    state: State
    stripe_id: StripeId | None
    attempt: int
    asked_at: int
    params: Params


class Payer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who pays for an agent. `stripe_id` names a customer that Stripe has already."""

    name: str | None = None
    email: str | None = None
    stripe_id: StripeId | None = None


class KnownPayer(msgspec.Struct, frozen=True):
    """Who pays for an agent, and as which customer there; none before something is collected."""

    agent: AgentId
    payer: Payer
    customer: StripeId | None


class MeterEvent(msgspec.Struct, frozen=True, kw_only=True):
    """So many units more (or less) of a meter, at an instant."""

    our_id: str
    event_name: str
    value: int
    at: int


class PaymentStatus(StrEnum):
    """Where an invoice stands at Stripe. Of two things said in the same second the later one in this list holds."""

    DRAFT = "draft"
    OPEN = "open"
    ACTION_REQUIRED = "action_required"  # the customer has to confirm
    FAILED = "failed"  # an attempt failed; Stripe may try again
    UNCOLLECTIBLE = "uncollectible"
    VOID = "void"
    PAID = "paid"


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Of an invoice or a purchase. `said_at` is when Stripe's clock says that it was so."""

    our_id: str
    stripe_id: StripeId
    status: PaymentStatus
    said_at: int
    paid: Decimal
    currency: str
    reason: str | None = None
    page: str | None = None  # where the customer sees and pays it


class Said(msgspec.Struct, frozen=True):
    """What the rows say of a tenant: since when invoices are collected, unfinished requests by state, payments by status."""

    since: int | None
    requests: dict[str, int]
    payments: dict[str, int]


class Standing(Said, frozen=True, kw_only=True):
    """With how it is configured: whether for this tenant, whether webhooks are believed, what is collected and metered, in which account."""

    configured: bool
    receives: bool
    invoices: bool
    meters: tuple[str, ...]
    account: str | None
    circuit: CircuitState


class Outcome(StrEnum):
    """What came of a webhook."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"  # it came before
    OLDER = "older"  # something newer is known
    FOREIGN = "foreign"  # of no concern to us: another kind of event, or an invoice that is not ours


class Received(msgspec.Struct, frozen=True):
    """The answer to a webhook that was believed; whoever mounts it answers 200."""

    event_id: str
    event_type: str
    outcome: Outcome
