"""Money out through Stripe: final invoices are collected there, usage is reported to its meters.

What metering publishes is the work: a durable of the bus hands it out, at least once and in order for each invoice, and it is acked when
Stripe has it. While Stripe is away a message is held, however long that takes; what Stripe refuses becomes a dead letter with its reason.

INVARIANT: whenever this process dies, and however often a message comes, each object exists at Stripe once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from creto.bus import Bus, Message, Start, Subscription
from creto.common import wire
from creto.common.breaker import CircuitBreaker
from creto.common.codes import ExponentialBackoff
from creto.common.errors import AlreadyExists, InternalError, NotFound
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import PAGE_ITEMS_DEFAULT, STRIPE_WAIT_S_MAX
from creto.common.logs import fields
from creto.common.paging import checked_limit
from creto.common.retry import retry
from creto.common.settings import StripeConfig
from creto.common.timestamps import Clock
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.errors import StripeAway, is_away
from creto.connectors.stripe.types import INVOICE, PURCHASE, KnownPayer, Payer, Payment, PaymentStatus, Standing, Thing
from creto.metering import Billing, Invoice, InvoiceKind, InvoiceStatus, Party
from creto.metering.core import tell
from creto.metering.types import InvoiceId
from creto.metering.wallets import Purchase, PurchaseId, PurchaseState
from creto.store.types import ReadTx, Store, Tx

if TYPE_CHECKING:
    from creto.connectors.stripe.sdk import Transport
    from creto.connectors.stripe.steps import Steps

log = logging.getLogger("creto.stripe")

DURABLE = "stripe"
READS = {
    DURABLE: "metering.invoice.*",
    "stripe-payers": "metering.payer.*",
    "stripe-parties": "metering.party.*",  # who gets invoices pays them, unless somebody else was named
    "stripe-purchases": "metering.credits.purchase_asked",
    "stripe-settlements": "metering.payment.*",  # what the webhooks said
}
PARTY, ISSUER = "metering:party:", "issuer"
SETTLED = {PaymentStatus.PAID: True, PaymentStatus.VOID: False, PaymentStatus.UNCOLLECTIBLE: False}
COLLECTED = (InvoiceStatus.FINAL, InvoiceStatus.VOID)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
PATIENT = ExponentialBackoff(0.5, STRIPE_WAIT_S_MAX, 1_000_000_000)  # held until Stripe is back


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What we read of a message of metering: of any the subject, the rest of one about credits or a payment."""

    subject: str
    actor: AgentId = AgentId("")
    agent: AgentId = AgentId("")
    amount: Decimal = Decimal()
    currency: str = ""
    state: str = ""
    status: str = ""


class Stripe:
    """Start it where the consumers of the bus run; the SDK is loaded then. What becomes final from its first start on is collected."""

    def __init__(
        self, store: Store, bus: Bus, clock: Clock, billing: Billing, config: StripeConfig,
        *, transport: Transport | None = None, breaker: CircuitBreaker | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._bus = bus
        self._clock = clock
        self._billing = billing
        self._config = config
        self._transport = transport
        self.breaker = breaker or CircuitBreaker("stripe", counts=is_away)
        self._accounts = dict(pair.split("=", 1) for pair in config.accounts)
        self._steps: Steps | None = None
        self._subscriptions: list[Subscription] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        if self._config.api_key is None:
            return
        self._ready()
        await self._since()
        self._subscriptions = [
            await self._bus.subscribe(pattern, durable, self.consume, start=Start.NEW)
            for durable, pattern in READS.items()
        ]

    async def stop(self) -> None:
        """What waits for Stripe is given back; what it is doing now is finished. Also where it was never started; again does nothing."""
        self._stopping.set()
        while self._subscriptions:
            await self._subscriptions.pop().close()
        steps, self._steps = self._steps, None
        if steps is not None:
            await steps.close()

    async def consume(self, message: Message) -> None:
        if not self._serves(message.tenant):
            return

        async def handled() -> None:
            try:
                await self._handle(message)
            except StripeAway as error:
                about = fields(operation="stripe", subject=message.subject, message_id=message.id)
                log.warning("Stripe is waited for: %s", error, extra=about)
                raise

        await retry(handled, strategy=PATIENT, sleep=self._pause)

    async def collect(self, tenant: TenantId, our_id: InvoiceId | PurchaseId) -> None:
        """Bring an invoice, a credit note or a purchase to where it is now: one that was final before the first start, or that was refused."""
        purchase = await self._billing.purchase(checked_tenant(tenant), PurchaseId(our_id))
        if purchase is not None:
            check_step(our_id, purchase.state, purchase.state is PurchaseState.PENDING, "a pending purchase")
            await self._ready().buy(tenant, purchase, self._account(tenant))
            return
        invoice = await self._billing.invoice(tenant, InvoiceId(our_id))
        check_step(our_id, invoice.status, invoice.status in COLLECTED, "a final or void invoice")
        await self._move(self._ready(), invoice, self._account(tenant))

    async def set_payer(self, tenant: TenantId, agent: AgentId, payer: Payer, *, by: AgentId) -> None:
        """Who pays for an agent: the customer there is made, or changed, to be this."""
        now = self._clock.now()

        def put(tx: Tx) -> None:
            rows.put_payer(tx, checked_tenant(tenant), agent, payer, now)
            tell(
                tx, self._clock, tenant, "payer.set", "PayerSet",
                by=by, subject=agent, fields={"stripe": payer.stripe_id}, now=now,
            )  # fmt: skip

        await self._store.write(put)

    async def payer(self, tenant: TenantId, agent: AgentId) -> KnownPayer:
        """Who pays, as a customer is made: what was not said is taken from whom the agent's invoices go to."""
        known = await self._store.read(lambda tx: rows.known_payer(tx, checked_tenant(tenant), agent))
        return replace(known, payer=await self._paying(tenant, agent))

    async def _paying(self, tenant: TenantId, agent: AgentId) -> Payer:
        said = await self._store.read(lambda tx: rows.payer(tx, tenant, agent))
        party = None if said.stripe_id is not None else await self._billing.customer_of(tenant, agent)
        return said if party is None else addressed(said, party)

    async def payers(
        self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[KnownPayer]:  # fmt: skip
        """Whoever was said to pay for an agent, by agent."""
        checked_limit(limit)

        def found(tx: ReadTx) -> list[KnownPayer]:
            agents = rows.payers(tx, checked_tenant(tenant), after, limit)
            return [rows.known_payer(tx, tenant, agent) for agent in agents]

        return await self._store.read(found)

    async def payment(self, tenant: TenantId, our_id: InvoiceId | PurchaseId) -> Payment | None:
        """Where the payment of an invoice or a purchase stands; None before Stripe has said anything."""
        return await self._store.read(lambda tx: rows.payment(tx, checked_tenant(tenant), our_id))

    async def payments(
        self, tenant: TenantId, *, status: PaymentStatus | None = None, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Payment]:
        """All that Stripe has said something of, by the id of the invoice or purchase."""
        checked_limit(limit)
        return await self._store.read(lambda tx: rows.payments(tx, checked_tenant(tenant), status, after, limit))

    async def objects(self, tenant: TenantId, our_id: InvoiceId | PurchaseId) -> list[Thing]:
        """What of an invoice or a purchase is at Stripe, or was asked for there."""
        return await self._store.read(lambda tx: rows.of_invoice(tx, checked_tenant(tenant), our_id))

    async def check_known(self, tenant: TenantId, our_id: InvoiceId | PurchaseId) -> None:
        """MT-404 for what is neither an invoice nor a purchase of ours."""
        if await self._billing.purchase(tenant, PurchaseId(our_id)) is None:
            await self._billing.invoice(tenant, InvoiceId(our_id))

    async def unfinished(
        self, tenant: TenantId, *, after: rows.Place = rows.FIRST, limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Thing]:  # fmt: skip
        """What was asked of Stripe and is not known to be there, the oldest first."""
        checked_limit(limit)
        return await self._store.read(lambda tx: rows.unfinished(tx, checked_tenant(tenant), limit, after))

    async def standing(self, tenant: TenantId) -> Standing:
        """How this tenant's connector is configured, and how much of what waits."""
        said = await self._store.read(lambda tx: rows.standing(tx, checked_tenant(tenant), DURABLE))
        config = self._config
        return Standing(
            configured=config.api_key is not None and self._serves(tenant), receives=config.webhook_secret is not None,
            invoices=config.invoices, meters=config.meters, account=self._accounts.get(tenant), circuit=self.breaker.state,
            since=said.since, requests=said.requests, payments=said.payments,
        )  # fmt: skip

    def _serves(self, tenant: TenantId) -> bool:
        """With accounts of their own, tenants that have none are collected elsewhere."""
        return not self._accounts or tenant in self._accounts

    def _account(self, tenant: TenantId) -> str | None:
        if not self._serves(tenant):
            raise InternalError(
                "PL-501", f"the tenant {tenant} has no account at Stripe", hint=f"Add {tenant}=ACCOUNT to stripe.accounts."
            )  # fmt: skip
        return self._accounts.get(tenant)

    def _ready(self) -> Steps:
        if self._config.api_key is None:
            raise InternalError("PL-501", "Stripe is not configured", hint="Set stripe.api_key, and start again.")
        if self._steps is None:
            try:
                from creto.connectors.stripe.sdk import StripeApi
                from creto.connectors.stripe.steps import Steps
            except ImportError as error:
                raise InternalError("PL-501", "the SDK of Stripe is missing", hint="Install creto[stripe].") from error
            api = StripeApi(self._config, self.breaker, self._transport)
            self._steps = Steps(self._store, self._clock, api, self._config, self._paying)
        return self._steps

    async def _handle(self, message: Message) -> None:
        steps = self._ready()
        told = wire.decode(message.payload, Told, what="message")
        account = self._accounts.get(message.tenant)
        match message.subject.split(".")[1]:
            case "payer":
                await steps.update_customer(message.tenant, AgentId(told.subject), account)
            case "party":
                await self._readdress(steps, message.tenant, told, account)
            case "credits":
                await self._buy(steps, message.tenant, told, account)
            case "payment":
                await self._settle(message.tenant, told)
            case _:
                await self._invoice(steps, message, told, account)

    async def _readdress(self, steps: Steps, tenant: TenantId, told: Told, account: str | None) -> None:
        """Of a subscription; who sends the invoices is no matter of Stripe's."""
        subscription_id = SubscriptionId(told.subject.removeprefix(PARTY))
        if subscription_id != ISSUER:
            agent = (await self._billing.subscription(tenant, subscription_id)).agent
            await steps.update_customer(tenant, agent, account)

    async def _buy(self, steps: Steps, tenant: TenantId, told: Told, account: str | None) -> None:
        """Credits that a top-up or somebody asks for are invoiced there, and granted once they are paid."""
        if self._config.invoices and told.state == PurchaseState.PENDING:
            purchase = Purchase(
                purchase_id=PurchaseId(told.subject.removeprefix(PURCHASE)), agent=told.agent, amount=told.amount,
                currency=told.currency, asked_at=0,
            )  # fmt: skip
            await steps.buy(tenant, purchase, account)

    async def _settle(self, tenant: TenantId, told: Told) -> None:
        paid = next((paid for status, paid in SETTLED.items() if status == told.status), None)
        if told.subject.startswith(PURCHASE) and paid is not None:
            purchase_id = PurchaseId(told.subject.removeprefix(PURCHASE))
            await self._billing.settle_purchase(tenant, purchase_id, paid=paid, by=told.actor)

    async def _invoice(self, steps: Steps, message: Message, told: Told, account: str | None) -> None:
        invoice_id = InvoiceId(told.subject.removeprefix(INVOICE))
        try:
            invoice = await self._billing.invoice(message.tenant, invoice_id)
        except NotFound:
            about = fields(operation="stripe", invoice_id=invoice_id, subject=message.subject)
            log.info("An invoice is gone before it was sent to Stripe", extra=about)
            return
        await self._move(steps, invoice, account)

    async def _move(self, steps: Steps, invoice: Invoice, account: str | None) -> None:
        """Whatever was done to it: take what is at Stripe to where the invoice is now."""
        agent = (await self._billing.subscription(invoice.tenant, invoice.subscription_id)).agent
        if self._config.meters and invoice.kind is InvoiceKind.INVOICE and invoice.status is not InvoiceStatus.VOID:
            await steps.report(invoice, agent, account)
        if not self._config.invoices:
            return
        match invoice.status, invoice.kind:
            case InvoiceStatus.VOID, _:
                await steps.void(invoice, account)
            case InvoiceStatus.FINAL, InvoiceKind.INVOICE:
                await steps.collect(invoice, agent, account)
            case InvoiceStatus.FINAL, InvoiceKind.CREDIT_NOTE:
                await self._collect_corrected(steps, invoice, agent, account)
                await steps.credit(invoice, account)

    async def _collect_corrected(self, steps: Steps, note: Invoice, agent: AgentId, account: str | None) -> None:
        """A credit note and its invoice have messages of their own, in no order: the invoice has to be there first."""
        assert note.corrects is not None
        original = await self._billing.invoice(note.tenant, note.corrects)
        if original.status is InvoiceStatus.FINAL and (original.finalized_at or 0) >= await self._since():
            await steps.collect(original, agent, account)

    async def _since(self) -> int:
        now = self._clock.now()
        return await self._store.write(lambda tx: rows.started(tx, DURABLE, now))

    async def _pause(self, seconds: float) -> None:
        """Wait for Stripe; when this process stops, somebody else shall."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise asyncio.CancelledError


def addressed(said: Payer, party: Party) -> Payer:
    """What of an email is none, Stripe would refuse with all the rest."""
    email = party.email if EMAIL.fullmatch(party.email) else None
    return replace(said, name=said.name or party.name, email=said.email or email)


def check_step(our_id: str, state: str, fits: bool, expected: str) -> None:
    if not fits:
        raise AlreadyExists("MT-412", f"{our_id} is {state}", field="our_id", got=state, expected=expected)
