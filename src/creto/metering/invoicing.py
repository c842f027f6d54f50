"""Invoices: the use cases.

A draft is counted from the events whenever it is asked to, a last time when it becomes final. Late events of periods that are final
are booked on the draft of a later one, as lines that name the invoice they correct.

INVARIANT: one invoice for each period of a subscription, unless it was voided; one number for each final invoice, without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, NotFound
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import INVOICES_REBOOKED_MAX
from creto.common.timestamps import ConsensusTimestamp, iso
from creto.metering import corrections, invoices
from creto.metering import store as rows
from creto.metering import subscriptions as steps
from creto.metering.aggregation import Carried, Group, carried_on
from creto.metering.billing import Bill, bill
from creto.metering.core import known
from creto.metering.invoices import NO_TERMS, Heading, Terms
from creto.metering.periods import Period, period_at
from creto.metering.subscribing import Subscribing
from creto.metering.types import (
    Invoice,
    InvoiceId,
    InvoiceKind,
    InvoiceStatus,
    Line,
    MeterId,
    Plan,
    Subscription,
)
from creto.platform.audit.events import InvoiceGenerated
from creto.platform.audit.events import Period as AuditPeriod
from creto.store.types import ReadTx, Tx

Step = Callable[[Tx, Invoice, ConsensusTimestamp], Invoice]
OPEN = (InvoiceStatus.DRAFT, InvoiceStatus.GRACE)


class Invoicing(Subscribing):
    async def preview(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        *,
        at: int | None = None,
        terms: Terms = NO_TERMS,
    ) -> Invoice:
        """What the period that holds an instant costs so far, or what it did cost. Nothing is kept."""
        moment = self._clock.now() if at is None else at

        def look(tx: ReadTx) -> Invoice:
            subscription = known(rows.find_subscription(tx, checked_tenant(tenant), subscription_id), subscription_id)
            heading = self._heading(tx, subscription, moment)
            return self._drafted(tx, subscription, heading, terms, self._clock.now())

        return replace(await self._store.read(look), status=InvoiceStatus.PREVIEW)

    async def draft_invoice(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        *,
        by: AgentId,
        at: int,
        terms: Terms = NO_TERMS,
    ) -> Invoice:
        """The invoice of the period that holds an instant, open for what comes in."""
        now = self._clock.now()

        def make(tx: Tx) -> Invoice:
            subscription = self._locked(tx, tenant, subscription_id)
            made = self._drafted(tx, subscription, self._heading(tx, subscription, at), terms, now)
            rows.add_invoice(tx, made, terms, now)
            self._tell(tx, made, "drafted", by, now)
            return made

        return await self._store.write(make)

    async def recount_invoice(self, tenant: TenantId, invoice_id: InvoiceId, *, by: AgentId) -> Invoice:
        """An open invoice with all that is known now."""
        return await self._change(tenant, invoice_id, "recounted", by, lambda _, invoice, __: invoice, recount=True)

    async def close_invoice(self, tenant: TenantId, invoice_id: InvoiceId, *, by: AgentId) -> Invoice:
        """Into grace: the period is over, its late events may still come."""

        def step(tx: Tx, invoice: Invoice, now: ConsensusTimestamp) -> Invoice:
            check_over(tx, invoice, now)
            return invoices.moved(invoice, InvoiceStatus.GRACE)

        return await self._change(tenant, invoice_id, "closed", by, step, recount=True)

    async def finalize_invoice(
        self, tenant: TenantId, invoice_id: InvoiceId, *, by: AgentId, series: str = "INV"
    ) -> Invoice:
        """Counted a last time, numbered, and never changed again."""
        checked_name(series, "series")

        def step(tx: Tx, invoice: Invoice, now: ConsensusTimestamp) -> Invoice:
            check_over(tx, invoice, now)
            return self._numbered(tx, invoice, series, by, now)

        final = await self._change(tenant, invoice_id, "finalized", by, step, recount=True)
        self._generated.labels(final.currency).add()
        return final

    async def void_invoice(self, tenant: TenantId, invoice_id: InvoiceId, *, by: AgentId) -> Invoice:
        """It keeps its number. What corrects it has to be voided before it."""

        def step(tx: Tx, invoice: Invoice, _: ConsensusTimestamp) -> Invoice:
            standing = [i for i, _ in rows.invoices_of(tx, tenant, invoice.subscription_id)]
            held = [i for i in standing if i.status is not InvoiceStatus.VOID and corrects(i, invoice_id)]
            if held:
                raise AlreadyExists("MT-412", f"{held[0].invoice_id} corrects {invoice_id}", hint="Void it first.")
            return invoices.voided(invoice)

        return await self._change(tenant, invoice_id, "voided", by, step)

    async def credit_invoice(
        self,
        tenant: TenantId,
        invoice_id: InvoiceId,
        credits: Sequence[tuple[str, Decimal]],
        *,
        by: AgentId,
        series: str = "CN",
    ) -> Invoice:
        """A credit note over lines of a final invoice, numbered at once."""
        checked_name(series, "series")
        now = self._clock.now()

        def make(tx: Tx) -> Invoice:
            invoice, _ = self._found(tx, tenant, invoice_id)
            self._locked(tx, tenant, invoice.subscription_id)
            invoice, _ = self._found(tx, tenant, invoice_id)
            notes = [
                other
                for other, _ in rows.invoices_of(tx, tenant, invoice.subscription_id)
                if other.kind is InvoiceKind.CREDIT_NOTE
                and other.corrects == invoice_id
                and other.status is not InvoiceStatus.VOID
            ]
            heading = heading_like(invoice, new_invoice_id())
            note = self._numbered(tx, invoices.credit_note(heading, invoice, credits, notes), series, by, now)
            rows.add_invoice(tx, note, NO_TERMS, now)
            self._tell(tx, note, "credited", by, now)
            return note

        return await self._store.write(make)

    async def invoice(self, tenant: TenantId, invoice_id: InvoiceId) -> Invoice:
        found = await self._store.read(lambda tx: self._found(tx, checked_tenant(tenant), invoice_id))
        return found[0]

    async def invoices(self, tenant: TenantId, subscription_id: SubscriptionId) -> list[Invoice]:
        """Invoices and credit notes of a subscription, by period."""
        book = await self._store.read(lambda tx: rows.invoices_of(tx, checked_tenant(tenant), subscription_id))
        return [invoice for invoice, _ in book]

    # How an invoice is counted

    def _drafted(self, tx: ReadTx, subscription: Subscription, heading: Heading, terms: Terms, now: int) -> Invoice:
        own = self._lines(tx, subscription, heading.period, terms, now)
        return invoices.draft(heading, [*own, *self._corrections(tx, subscription, heading, now)], terms)

    def _lines(self, tx: ReadTx, subscription: Subscription, period: Period, terms: Terms, now: int) -> list[Line]:
        plans = self._plans(tx, subscription)
        over = now >= period.end or (subscription.ends_at is not None and now >= subscription.ends_at)
        asked = Bill(
            plans=plans,
            subscription=subscription,
            period=period,
            wallets=terms.wallets,
            carried=self._carried(tx, subscription, plans, period),
            final=over,
        )
        return bill(asked, self._source.events(tx, subscription, period))

    def _carried(
        self, tx: ReadTx, subscription: Subscription, plans: Sequence[Plan], period: Period
    ) -> dict[MeterId, dict[Group, Carried]]:
        """What meters that carry bring into a period: all that came before it."""
        meters = [charge.meter for plan in plans for charge in plan.charges if charge.meter.carries]
        if not meters or subscription.started_at >= period.start:
            return {}
        before = Period(subscription.started_at, period.start, period.zone)
        events = self._source.events(tx, subscription, before)
        return {meter.meter_id: carried_on(meter, events, before, {}) for meter in meters}

    def _corrections(self, tx: ReadTx, subscription: Subscription, heading: Heading, now: int) -> list[Line]:
        """What late events change in the final invoices before this one, beyond what other invoices have booked of it."""
        book = rows.invoices_of(tx, subscription.tenant, subscription.subscription_id)
        others = [invoice for invoice, _ in book if invoice.invoice_id != heading.invoice_id]
        past = [
            (invoice, terms)
            for invoice, terms in book
            if invoice.status is InvoiceStatus.FINAL
            and invoice.kind is InvoiceKind.INVOICE
            and invoice.period.end <= heading.period.start
        ]
        lines: list[Line] = []
        for invoice, terms in past[-INVOICES_REBOOKED_MAX:]:
            if not self._source.changed(tx, subscription, invoice.period, invoice.finalized_at or 0):
                continue
            own = self._lines(tx, subscription, invoice.period, terms, now)
            recount = invoices.draft(heading_like(invoice, invoice.invoice_id), own, terms)
            booked = corrections.booked(others, invoice.invoice_id)
            lines += corrections.rebooked(booked, recount.lines, invoice.invoice_id)
        return lines

    # Rows and records

    def _heading(self, tx: ReadTx, subscription: Subscription, at: int) -> Heading:
        plan = self._plan_of(tx, subscription, at)
        return Heading(
            invoice_id=new_invoice_id(),
            tenant=subscription.tenant,
            subscription_id=subscription.subscription_id,
            currency=plan.currency,
            period=period_at(steps.cycle_of(plan, subscription), at),
            plan=f"{plan.plan_id}/{plan.version}",
        )

    def _plans(self, tx: ReadTx, subscription: Subscription) -> tuple[Plan, ...]:
        names = dict.fromkeys(phase.plan_id for phase in subscription.phases)
        return tuple(plan for name in names for plan in rows.versions(tx, subscription.tenant, name))

    def _locked(self, tx: Tx, tenant: TenantId, subscription_id: SubscriptionId) -> Subscription:
        return known(rows.locked_subscription(tx, checked_tenant(tenant), subscription_id), subscription_id)

    def _found(self, tx: ReadTx, tenant: TenantId, invoice_id: InvoiceId) -> tuple[Invoice, Terms]:
        found = rows.find_invoice(tx, tenant, invoice_id)
        if found is None:
            raise NotFound("MT-404", f"invoice {invoice_id} does not exist")
        return found

    async def _change(
        self, tenant: TenantId, invoice_id: InvoiceId, act: str, by: AgentId, step: Step, *, recount: bool = False
    ) -> Invoice:
        """One transaction under the subscription's lock."""
        now = self._clock.now()

        def change(tx: Tx) -> Invoice:
            invoice, _ = self._found(tx, checked_tenant(tenant), invoice_id)
            subscription = self._locked(tx, tenant, invoice.subscription_id)
            invoice, terms = self._found(tx, tenant, invoice_id)
            if recount:
                check_open(invoice)
                heading = heading_like(invoice, invoice_id)
                fresh = self._drafted(tx, subscription, heading, terms, now)
                invoice = replace(fresh, status=invoice.status)
            changed = step(tx, invoice, now)
            rows.put_invoice(tx, changed, now)
            self._tell(tx, changed, act, by, now)
            return changed

        return await self._store.write(change)

    def _numbered(self, tx: Tx, invoice: Invoice, series: str, by: AgentId, now: ConsensusTimestamp) -> Invoice:
        final, last = invoices.finalized(invoice, series, rows.last_number(tx, invoice.tenant, series), now)
        rows.put_number(tx, invoice.tenant, series, last)
        generated = InvoiceGenerated(
            subscription_id=final.subscription_id,
            amount=final.total,
            currency=final.currency,
            period=AuditPeriod(ConsensusTimestamp(final.period.start), ConsensusTimestamp(final.period.end)),
            invoice_id=final.invoice_id,
        )
        tx.record(generated.entry(tenant=final.tenant, agent=by, timestamp=now, degraded_clock=self._clock.degraded))
        return final

    def _tell(self, tx: Tx, invoice: Invoice, act: str, by: AgentId, now: ConsensusTimestamp) -> None:
        """The digest names the invoice as it is: whoever holds it can tell whether it was changed."""
        fields: dict[str, object] = {
            "subscription": invoice.subscription_id,
            "status": invoice.status,
            "total": invoice.total,
            "currency": invoice.currency,
            "digest": invoices.invoice_digest(invoice),
        }
        subject = f"metering:invoice:{invoice.invoice_id}"
        self._record(
            tx, invoice.tenant, f"invoice.{act}", f"Invoice{act.capitalize()}", by=by, subject=subject, now=now, fields=fields
        )  # fmt: skip


def new_invoice_id() -> InvoiceId:
    return InvoiceId(new_id("inv-"))


def heading_like(invoice: Invoice, invoice_id: InvoiceId) -> Heading:
    return Heading(
        invoice_id=invoice_id,
        tenant=invoice.tenant,
        subscription_id=invoice.subscription_id,
        currency=invoice.currency,
        period=invoice.period,
        plan=invoice.plan,
    )


def corrects(invoice: Invoice, original: InvoiceId) -> bool:
    return invoice.corrects == original or any(line.corrects == original for line in invoice.lines)


def check_open(invoice: Invoice) -> None:
    if invoice.status not in OPEN:
        raise AlreadyExists(
            "MT-412", f"{invoice.invoice_id} is {invoice.status}", got=invoice.status, expected="draft or grace"
        )


def check_over(tx: ReadTx, invoice: Invoice, now: int) -> None:
    """The period has to be over, or the subscription: until then usage may come."""
    subscription = rows.find_subscription(tx, invoice.tenant, invoice.subscription_id)
    ends_at = invoice.period.end if subscription is None or subscription.ends_at is None else subscription.ends_at
    if now < min(ends_at, invoice.period.end):
        raise AlreadyExists(
            "MT-412", f"the period of {invoice.invoice_id} ends {iso(invoice.period.end)}", hint="Wait for its end."
        )
