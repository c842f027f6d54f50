"""Invoices: the use cases.

A draft is counted from the events whenever it is asked to, a last time when it becomes final. Late events of periods that are final
are booked on the draft of a later one, as lines that name the invoice they correct.

INVARIANT: one invoice for each period of a subscription, unless it was voided; one number for each final invoice, without gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput, NotFound
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.timestamps import ConsensusTimestamp, iso
from creto.metering import corrections, invoices
from creto.metering import store as rows
from creto.metering.core import known, paged
from creto.metering.counting import Counting, heading_like, new_invoice_id
from creto.metering.credits import Account
from creto.metering.invoices import NO_TERMS, Heading, Terms
from creto.metering.store_credits import postings_for, put_held
from creto.metering.store_terms import unuse_coupons, use_coupon
from creto.metering.subscriptions import billable
from creto.metering.types import (
    Invoice,
    InvoiceId,
    InvoiceStatus,
    Subscription,
)
from creto.metering.wallets import NewGrant, invoice_ref
from creto.platform.audit.events import InvoiceGenerated
from creto.platform.audit.events import Period as AuditPeriod
from creto.store.types import ReadTx, Tx

Step = Callable[[Tx, Invoice, ConsensusTimestamp], Invoice]
ISSUED = ("finalized", "credited")
OPEN = (InvoiceStatus.DRAFT, InvoiceStatus.GRACE)


class Invoicing(Counting):
    async def preview(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        *,
        at: int | None = None,
        terms: Terms | None = None,
    ) -> Invoice:
        """What the period that holds an instant costs so far, or what it did cost. Nothing is kept."""
        moment = self._clock.now() if at is None else at
        asked = given(terms)

        def look(tx: ReadTx) -> Invoice:
            subscription = known(rows.find_subscription(tx, checked_tenant(tenant), subscription_id), subscription_id)
            heading = self._heading(tx, subscription, moment)
            return self._drafted(tx, subscription, heading, asked, self._clock.now())[0]

        return replace(await self._store.read(look), status=InvoiceStatus.PREVIEW)

    async def draft_invoice(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        *,
        by: AgentId,
        at: int,
        terms: Terms | None = None,
    ) -> Invoice:
        """The invoice of the period that holds an instant, open for what comes in.

        Coupons, taxes and wallets are those of the subscription; with `terms` those that are given.
        """
        now = self._clock.now()
        asked = given(terms)

        def make(tx: Tx) -> Invoice:
            subscription = self._locked(tx, tenant, subscription_id)
            heading = self._heading(tx, subscription, at)
            check_free(tx, heading)
            made, _ = self._drafted(tx, subscription, heading, asked, now)
            check_due(subscription, made, now)
            rows.add_invoice(tx, made, asked, now)
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
        invoices.checked_series(series)

        def step(tx: Tx, invoice: Invoice, now: ConsensusTimestamp) -> Invoice:
            check_over(tx, invoice, now)
            final = self._numbered(tx, invoice, series, by, now)
            self._pay(tx, tenant, final.currency, final.credits, invoice_ref(final.invoice_id), by, now)
            self._carry(tx, final, by, now)
            for use in final.coupons:
                use_coupon(tx, tenant, final.subscription_id, use.coupon_id, final.invoice_id)
            return final

        final = await self._change(tenant, invoice_id, "finalized", by, step, recount=True)
        self._generated.labels(final.currency).add()
        return final

    async def void_invoice(self, tenant: TenantId, invoice_id: InvoiceId, *, by: AgentId) -> Invoice:
        """It keeps its number; credits that paid for it go back. What corrects it has to be voided before it."""

        def step(tx: Tx, invoice: Invoice, now: ConsensusTimestamp) -> Invoice:
            standing = [i for i, _ in rows.invoices_of(tx, tenant, invoice.subscription_id)]
            held = [i for i in standing if i.status is not InvoiceStatus.VOID and corrects(i, invoice_id)]
            if held:
                raise AlreadyExists("MT-412", f"{held[0].invoice_id} corrects {invoice_id}", hint="Void it first.")
            self._give_back(tx, tenant, invoice_ref(invoice_id), by, now)
            self._take_back(tx, tenant, invoice_id, by, now)
            if invoice.corrects is not None:
                self._return(tx, tenant, invoice.credits, invoice_ref(invoice.corrects), by, now, undo=True)
            unuse_coupons(tx, tenant, invoice.subscription_id, invoice_id)
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
        as_credits: bool = False,
    ) -> Invoice:
        """A credit note over lines of a final invoice, numbered at once. What credits had paid goes back to them, by its share.

        The rest is due to the customer; with `as_credits` it goes to the subscriber's wallet.
        """
        invoices.checked_series(series)
        now = self._clock.now()

        def make(tx: Tx) -> Invoice:
            invoice, _ = self._found(tx, tenant, invoice_id)
            self._locked(tx, tenant, invoice.subscription_id)
            invoice, _ = self._found(tx, tenant, invoice_id)
            book = [other for other, _ in rows.invoices_of(tx, tenant, invoice.subscription_id)]
            stands = corrections.standing(invoice, book)
            heading = heading_like(invoice, new_invoice_id())
            made = invoices.credit_note(heading, invoice, credits, stands, as_credits=as_credits)
            note = self._numbered(tx, made, series, by, now)
            rows.add_invoice(tx, note, NO_TERMS, now)
            self._tell(tx, note, "credited", by, now)
            self._return(tx, tenant, note.credits, invoice_ref(invoice_id), by, now)
            self._carry(tx, note, by, now)
            return note

        return await self._store.write(make)

    async def invoice(self, tenant: TenantId, invoice_id: InvoiceId) -> Invoice:
        found = await self._store.read(lambda tx: self._found(tx, checked_tenant(tenant), invoice_id))
        return found[0]

    async def invoices(self, tenant: TenantId, subscription_id: SubscriptionId) -> list[Invoice]:
        """Invoices and credit notes of a subscription, by period."""
        book = await self._store.read(lambda tx: rows.invoices_of(tx, checked_tenant(tenant), subscription_id))
        return [invoice for invoice, _ in book]

    async def all_invoices(
        self,
        tenant: TenantId,
        *,
        status: InvoiceStatus | None = None,
        after: str = "",
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[Invoice]:
        """Invoices and credit notes of all subscriptions, by id, which is the order in which they were made."""
        return await self._store.read(
            lambda tx: rows.invoices_by_id(tx, checked_tenant(tenant), status, after, paged(limit))
        )

    async def invoice_numbered(self, tenant: TenantId, number: str) -> Invoice | None:
        """The one that bears a number: no two of a tenant have the same."""
        return await self._store.read(lambda tx: rows.invoice_numbered(tx, checked_tenant(tenant), number))

    # Rows and records

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
        """One transaction under the subscription's lock. Its time is taken within it: events that came before are in."""

        def change(tx: Tx) -> Invoice:
            now = self._clock.now()
            invoice, _ = self._found(tx, checked_tenant(tenant), invoice_id)
            subscription = self._locked(tx, tenant, invoice.subscription_id)
            invoice, terms = self._found(tx, tenant, invoice_id)
            used = terms
            if recount:
                check_open(invoice)
                heading = heading_like(invoice, invoice_id)
                fresh, used = self._drafted(tx, subscription, heading, terms, now)
                invoice = replace(fresh, status=invoice.status)
            changed = step(tx, invoice, now)
            final = recount and changed.status is InvoiceStatus.FINAL
            rows.put_invoice(tx, changed, used if final else terms, now)
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

    def _carry(self, tx: Tx, invoice: Invoice, by: AgentId, now: ConsensusTimestamp) -> None:
        """What an invoice or a credit note gives to the wallet of the subscriber."""
        if not invoice.carried:
            return
        agent = known(
            rows.find_subscription(tx, invoice.tenant, invoice.subscription_id), invoice.subscription_id
        ).agent
        wanted = NewGrant(
            agent=agent, amount=invoice.carried, currency=invoice.currency, reason=invoice_ref(invoice.invoice_id)
        )
        self._grant(tx, invoice.tenant, wanted, by, now)

    def _take_back(self, tx: Tx, tenant: TenantId, note_id: InvoiceId, by: AgentId, now: ConsensusTimestamp) -> None:
        """Void the credits that a credit note or an invoice below zero gave; not where they were used."""
        given_ids = [p.grant_id for p in postings_for(tx, tenant, invoice_ref(note_id)) if p.source is Account.GRANTED]
        for grant_id in given_ids:
            held = self._found_grant(tx, tenant, grant_id).aged(now)
            if held.balance.used:
                raise AlreadyExists(
                    "MT-412", f"credits of {note_id} were used", got=str(held.balance.used), expected="0"
                )
            after = held.voided(now)
            put_held(tx, tenant, after)
            self._tell_credits(tx, tenant, "voided", after, by, now, amount=after.balance.voided)

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
        entry_id = self._record(
            tx, invoice.tenant, f"invoice.{act}", f"Invoice{act.capitalize()}", by=by, subject=subject, now=now, fields=fields
        )  # fmt: skip
        if act in ISSUED:
            rows.put_entry(tx, invoice.tenant, invoice.invoice_id, entry_id)


def given(terms: Terms | None) -> Terms:
    """Terms as they are kept with an open invoice. Credits that pay are read from wallets: nothing else is in the books."""
    if terms is None:
        return NO_TERMS
    if terms.grants:
        raise InvalidInput.of("terms.grants", got=len(terms.grants), expected="none: wallets pay", code="MT-400")
    return replace(terms, fixed=True)


def corrects(invoice: Invoice, original: InvoiceId) -> bool:
    return invoice.corrects == original or any(line.corrects == original for line in invoice.lines)


def check_open(invoice: Invoice) -> None:
    if invoice.status not in OPEN:
        raise AlreadyExists(
            "MT-412", f"{invoice.invoice_id} is {invoice.status}", got=invoice.status, expected="draft or grace"
        )


def check_free(tx: ReadTx, heading: Heading) -> None:
    """A period has one invoice."""
    known = rows.find_period(tx, heading.tenant, heading.subscription_id, heading.period.start)
    if known is not None:
        raise AlreadyExists(
            "MT-412", f"{known.number or known.invoice_id} is the invoice of that period", got=known.status,
            expected="a period without an invoice", hint="Recount it; or void it, and draft the period again.",
        )  # fmt: skip


def check_due(subscription: Subscription, made: Invoice, now: int) -> None:
    """An invoice is about a period that has begun, in which the subscription held, or about earlier ones that it corrects."""
    corrected = any(line.corrects is not None for line in made.lines)
    if made.period.start > now or not (corrected or billable(subscription, made.period)):
        ends = "on" if subscription.ends_at is None else f"to {iso(subscription.ends_at)}"
        raise InvalidInput.of(
            "at", got=f"{iso(made.period.start)} to {iso(made.period.end)}", code="MT-400",
            expected=f"a period that has begun, and in which it was billed: from {iso(subscription.started_at)} {ends}",
        )  # fmt: skip


def check_over(tx: ReadTx, invoice: Invoice, now: int) -> None:
    """The period has to be over, or the subscription: until then usage may come."""
    subscription = rows.find_subscription(tx, invoice.tenant, invoice.subscription_id)
    ends_at = invoice.period.end if subscription is None or subscription.ends_at is None else subscription.ends_at
    if now < min(ends_at, invoice.period.end):
        raise AlreadyExists(
            "MT-412", f"the period of {invoice.invoice_id} ends {iso(invoice.period.end)}", hint="Wait for its end."
        )
