"""Metering as a part of the running layer: put together on the layer's store, clock, identities and bus.

desk = await open_metering(config, ...)       # for `app.py`, which starts what runs beside it
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from creto.bus import Bus
from creto.common.breaker import CircuitBreaker
from creto.common.config import Config
from creto.common.ids import AgentId, TenantId
from creto.common.settings import MeteringConfig, RedisConfig, StorageConfig, StoreConfig, StripeConfig
from creto.common.telemetry import Metrics
from creto.connectors.metering_webhooks import MeteringWebhooks
from creto.connectors.stripe import Receipts, Stripe
from creto.edge.api.parts import Callback
from creto.metering import (
    Allowed,
    Archive,
    Billing,
    Costs,
    CostTriggers,
    MessageCosts,
    Metering,
    NhiTrust,
    Quotas,
    RedisLimits,
    StoredEvents,
    Watch,
    Zones,
    tokens,
)
from creto.metering.terms import MeteringTerms
from creto.overseen import OversightDesk
from creto.platform.consensus import ConsensusClient
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi, nhi_of
from creto.security.authz import Allow, Authz
from creto.security.storage import Storage
from creto.store import Store

STRIPE_WEBHOOK = "/v1/connectors/stripe/webhook"
FILE, SQLITE = "file://", "sqlite:///"


@dataclass(frozen=True)
class MeteringDesk:
    terms: MeteringTerms
    metering: Metering
    triggers: CostTriggers
    quotas: Quotas
    messages: MessageCosts
    billing: Billing
    archive: Archive


@dataclass(frozen=True)
class MoneyOut:
    """What goes to customers and their payment service, and what comes from there."""

    stripe: Stripe
    receipts: Receipts
    hooks: MeteringWebhooks

    @property
    def callbacks(self) -> dict[str, Callback]:
        """What the payment service calls, by path."""
        return {STRIPE_WEBHOOK: self.receipts.webhook}


@asynccontextmanager
async def open_metering(
    config: Config, store: Store, clock: ConsensusClient, nhi: Nhi, authz: Authz, storage: Storage, metrics: Metrics, *,
    aside: Store, signer: SigningKey,
) -> AsyncIterator[MeteringDesk]:  # fmt: skip
    """Quotas give back what they hold when the block ends. What they write `aside` is no effect of the request that they are asked in.

    `signer` signs what other products hear of on the bus.
    """
    wanted, redis = config[MeteringConfig], config[RedisConfig].url
    terms = MeteringTerms.of(wanted)
    tokens.use(tokens.configured(wanted.llm_prices_file), wanted.llm_prices_file or "")
    zones = Zones(store, clock)
    triggers = CostTriggers(
        store, clock, Costs(store, clock, zone=zones.of), Watch(), signer=signer, layer=nhi_of(signer.public)
    )

    def allowed(tenant: TenantId, by: AgentId) -> Allowed:
        said, here = authz.tenant(tenant).said, f"tenant:{tenant}"
        return Allowed(
            unsigned=wanted.unsigned_events and type(said(by, "report_unsigned", here)) is Allow,
            vouch=type(said(by, "vouch_usage", here)) is Allow,
        )

    metering = Metering(store, clock, NhiTrust(nhi, allowed), judge=triggers, metrics=metrics)
    triggers.use(metering)
    limits = None if redis is None else RedisLimits(redis.reveal())
    quotas = Quotas(
        store, clock, limits=limits, folder=quota_folder(config), lease_s=lambda: terms.lease_s, metrics=metrics, zones=zones,
        aside=aside,
    )  # fmt: skip
    metering.use_quotas(quotas.events)
    quotas.charges.bill_by(metering.enter)
    quotas.start()
    try:
        messages = MessageCosts(quotas.book, metering)
        billing = Billing(store, clock, StoredEvents(), metrics)
        quotas.steps.buy_from(billing.burning, billing.burnable)
        yield MeteringDesk(
            terms, metering, triggers, quotas, messages, billing, Archive(store, clock, storage, metrics)
        )
    finally:
        quotas.close()
        if limits is not None:
            limits.close()


def open_money_out(
    config: Config, store: Store, clock: ConsensusClient, bus: Bus, desk: MeteringDesk, metrics: Metrics,
    breakers: list[CircuitBreaker], asking: OversightDesk, *, tenant: TenantId,
) -> MoneyOut:  # fmt: skip
    """Customers' endpoints are those of oversight's notifications: one list, one set of secrets."""
    stripe = Stripe(store, bus, clock, desk.billing, config[StripeConfig])
    if config[StripeConfig].api_key is not None:
        breakers.append(stripe.breaker)
    return MoneyOut(
        stripe,
        Receipts(store, clock, config[StripeConfig], by=asking.oversight.service_id, tenant=tenant),
        MeteringWebhooks(store, bus, clock, asking.channels.webhooks, metrics),
    )


@asynccontextmanager
async def paying_out(stripe: Stripe, hooks: MeteringWebhooks) -> AsyncIterator[None]:
    """While the block lasts: take what metering publishes, collect and tell."""
    await stripe.start()
    try:
        async with hooks.running():
            yield
    finally:
        await stripe.stop()


def quota_folder(config: Config) -> Path:
    """Beside the data: what a process had drawn and not spent outlives it there."""
    store, storage = config[StoreConfig].url, config[StorageConfig].url
    if store.startswith(SQLITE):
        database = Path(store.removeprefix(SQLITE))
        return database.with_name(f"{database.stem}-quotas")
    if storage.startswith(FILE):
        objects = Path(storage.removeprefix(FILE))
        return objects.with_name(f"{objects.name}-quotas")
    return Path("creto-quotas")
