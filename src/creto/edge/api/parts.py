"""What the handlers work with: the parts of a running layer, put together by `app.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from creto.bus import Bus
from creto.common.breaker import CircuitBreaker
from creto.common.config import Config
from creto.common.telemetry import Metrics
from creto.connectors.inbound import Answer, RawHeaders
from creto.connectors.metering_webhooks import MeteringWebhooks
from creto.connectors.stripe import Receipts, Stripe
from creto.edge.api.rate import CallerRate
from creto.edge.api.requests import Requests
from creto.gate import Gate
from creto.metering import Billing, CostTriggers, MessageCosts, Metering, Quotas
from creto.metering.terms import MeteringTerms
from creto.oversight import Approvals, Oversight
from creto.platform.audit import Audit
from creto.platform.consensus import ConsensusClient, Leases
from creto.platform.crypto import Keystore
from creto.platform.nhi import Nhi
from creto.security.authz import Authz
from creto.security.memory import Memory
from creto.security.storage import Storage, Uploads
from creto.store import Store
from creto.store.idempotency_cache import CachedGuard

if TYPE_CHECKING:
    from creto.connectors.channels import Channels

Callback = Callable[[RawHeaders, bytes], Awaitable[Answer]]


@dataclass(frozen=True)
class Parts:
    """A product adds its service here and its endpoints in its own file of `edge/api`."""

    config: Config
    metrics: Metrics
    requests: Requests
    rate: CallerRate
    store: Store
    guard: CachedGuard  # idempotency for operations that are one transaction
    clock: ConsensusClient
    keystore: Keystore
    nhi: Nhi
    leases: Leases
    audit: Audit
    authz: Authz
    memory: Memory
    storage: Storage
    uploads: Uploads
    bus: Bus
    gate: Gate
    oversight: Oversight
    approvals: Approvals  # the face that other products see
    channels: Channels  # by which humans are told
    metering: Metering  # usage
    triggers: CostTriggers
    quotas: Quotas
    messages: MessageCosts  # the face that messaging sees
    billing: Billing
    metering_terms: MeteringTerms
    stripe: Stripe  # where final invoices are collected
    receipts: Receipts  # what it says
    hooks: MeteringWebhooks  # by which customers are told
    callbacks: Mapping[str, Callback] = field(default_factory=dict)  # of providers, by path: each checks who signed
    breakers: tuple[CircuitBreaker, ...] = ()  # of what is elsewhere
