"""How an invoice is counted: its events, its terms, what its wallets hold, and what late events change in earlier ones.

INVARIANT: the same events, terms and wallets give the same invoice, byte for byte, whenever it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from creto.common.errors import NotFound
from creto.common.ids import AgentId, EventId, TenantId, new_id
from creto.common.limits import INVOICES_REBOOKED_MAX, UNREAD_SHOWN_MAX
from creto.common.timestamps import iso
from creto.contracts import BillableEvent
from creto.metering import corrections, invoices, tokens
from creto.metering import store as rows
from creto.metering import subscriptions as steps
from creto.metering.aggregation import Carried, Group, carried_on, read_by
from creto.metering.attribution import chain_of
from creto.metering.billing import Bill, bill, legible
from creto.metering.coupons import lasts
from creto.metering.crediting import Crediting
from creto.metering.currencies import ExchangeRate
from creto.metering.invoices import Heading, Terms
from creto.metering.periods import Period, period_at
from creto.metering.store_credits import has_wallet, held_by
from creto.metering.store_terms import coupon_uses, find_rules, find_tax, rates
from creto.metering.subscribing import Subscribing
from creto.metering.types import (
    Invoice,
    InvoiceId,
    InvoiceKind,
    InvoiceStatus,
    Line,
    MeterId,
    PayerRule,
    Plan,
    Subscription,
)
from creto.metering.wallets import payable, remaining
from creto.store.types import ReadTx


class Counted(NamedTuple):
    """What is billed, by which events, and which cannot be read."""

    asked: Bill
    events: Sequence[BillableEvent]
    unread: Sequence[EventId]

    def lines(self) -> list[Line]:
        return bill(self.asked, self.events)


class Counting(Subscribing, Crediting):
    def _drafted(
        self, tx: ReadTx, subscription: Subscription, heading: Heading, asked: Terms, now: int
    ) -> tuple[Invoice, Terms]:
        """The invoice, and the terms that it was drafted with."""
        terms = asked if asked.fixed else self._terms(tx, subscription, heading)
        counted = self._counted(tx, subscription, heading.period, terms, now)
        terms = replace(terms, wallets=counted.asked.wallets)
        lines = [*counted.lines(), *self._corrections(tx, subscription, heading, now)]
        paid = self._with_credits(tx, subscription, heading.currency, lines, terms, now)
        made = replace(invoices.draft(heading, lines, paid), token_prices=priced_by(counted.asked.plans))
        unread = counted.unread
        return replace(made, unread=tuple(unread[:UNREAD_SHOWN_MAX]), unread_count=len(unread)), terms

    def _terms(self, tx: ReadTx, subscription: Subscription, heading: Heading) -> Terms:
        """Coupons that still hold, taxes as they are, and the rate at which the invoice is shown."""
        tenant, shown = subscription.tenant, None
        coupons = [self._coupon(tx, tenant, coupon_id) for coupon_id in subscription.coupons]
        taxes = [find_tax(tx, tenant, code) for code in subscription.taxes]
        if subscription.shown_in not in (None, heading.currency):
            shown = self._rate(tx, tenant, heading, str(subscription.shown_in))
        rules = find_rules(tx, tenant)
        return Terms(
            percent_first=rules.percent_first,
            tax_rounding=rules.tax_rounding,
            burn_order=rules.burn_order,
            coupons=tuple(
                c for c in coupons if lasts(c, coupon_uses(tx, tenant, subscription.subscription_id, c.coupon_id))
            ),
            taxes=tuple(tax for tax in taxes if tax is not None),
            shown=shown,
        )

    def _rate(self, tx: ReadTx, tenant: TenantId, heading: Heading, quote: str) -> ExchangeRate:
        """The one that held as the period ended."""
        found = rates(tx, tenant, heading.currency, quote, heading.period.end - 1, 1)
        if not found:
            raise NotFound(
                "MT-404", f"there is no exchange rate from {heading.currency} to {quote} at {iso(heading.period.end)}"
            )
        return found[0]

    def _with_credits(
        self, tx: ReadTx, subscription: Subscription, currency: str, lines: Sequence[Line], terms: Terms, now: int
    ) -> Terms:
        """The terms with what the wallets of those who pay hold now."""
        payers = {subscription.agent, *(share.agent for line in lines for share in line.shares)}
        found = [one.aged(now) for agent in sorted(payers) for one in held_by(tx, subscription.tenant, agent, currency)]
        return replace(terms, grants=tuple(payable(found, subscription.agent)), remaining=remaining(found), paid_at=now)

    def _counted(
        self,
        tx: ReadTx,
        subscription: Subscription,
        period: Period,
        terms: Terms,
        now: int,
        known_at: int | None = None,
    ) -> Counted:
        """With `known_at` by the events that were known then."""
        plans = self._plans(tx, subscription)
        events = self._source.events(tx, subscription, period, known_at)
        over = now >= period.end or (subscription.ends_at is not None and now >= subscription.ends_at)
        wallets = self._wallets(tx, subscription.tenant, plans, events) if terms.wallets is None else terms.wallets
        asked = Bill(
            plans=plans,
            subscription=subscription,
            period=period,
            wallets=wallets,
            carried=self._carried(tx, subscription, plans, period, known_at),
            final=over,
        )
        return Counted(asked, *legible(asked, events))

    def _wallets(
        self, tx: ReadTx, tenant: TenantId, plans: Sequence[Plan], events: Sequence[BillableEvent]
    ) -> frozenset[AgentId]:
        """Who of the agents behind the events has a wallet, where a plan asks for that."""
        currencies = {plan.currency for plan in plans if plan.payer.rule is PayerRule.NEAREST_WITH_WALLET}
        agents = {agent for event in events for agent in chain_of(event)} if currencies else set()
        return frozenset(a for a in agents if any(has_wallet(tx, tenant, a, currency) for currency in currencies))

    def _carried(
        self,
        tx: ReadTx,
        subscription: Subscription,
        plans: Sequence[Plan],
        period: Period,
        known_at: int | None = None,
    ) -> dict[MeterId, dict[Group, Carried]]:
        """What meters that carry bring into a period: all that came before it."""
        meters = [charge.meter for plan in plans for charge in plan.charges if charge.meter.carries]
        if not meters or subscription.started_at >= period.start:
            return {}
        before = Period(subscription.started_at, period.start, period.zone)
        events = self._source.events(tx, subscription, before, known_at)
        return {meter.meter_id: carried_on(meter, read_by([meter], events)[0], before, {}) for meter in meters}

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
            own = self._counted(tx, subscription, invoice.period, terms, now).lines()
            recount = invoices.draft(heading_like(invoice, invoice.invoice_id), own, terms)
            booked = corrections.booked(others, invoice.invoice_id)
            notes = corrections.noted(others, invoice.invoice_id)
            lines += corrections.rebooked(booked, recount.lines, invoice.invoice_id, notes, heading.currency)
        return lines

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


def priced_by(plans: Sequence[Plan]) -> str:
    meters = [charge.meter for plan in plans for charge in plan.charges]
    return tokens.version_for(name for meter in meters for name in (meter.property, meter.amount_property))
