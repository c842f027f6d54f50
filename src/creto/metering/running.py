"""The invoice run: every period that is over gets its invoice, which becomes final when its grace is over.

    while (run := await billing.run_invoices("acme", by=human, grace_ns=2 * DAY)).cursor:
        ...                                                 # the next page: run_invoices(…, after=run.cursor)

INVARIANT: a run that was cut off, or that is made twice, ends where one run would: each step is a transaction of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from creto.common.errors import EnablementError, ErrorBody, InternalError
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import INVOICES_BEHIND_MAX, PAGE_ITEMS_DEFAULT
from creto.common.telemetry import fields
from creto.metering import store as rows
from creto.metering.core import paged
from creto.metering.explaining import Explaining
from creto.metering.periods import Period, period_at
from creto.metering.subscriptions import billable, cycle_of
from creto.metering.types import Invoice, InvoiceId, InvoiceStatus, Subscription
from creto.store.types import ReadTx

log = logging.getLogger("creto.metering")


class InvoiceRun(msgspec.Struct, frozen=True):
    """What a run did on one page of subscriptions. Those in `failed` are tried again by the next one."""

    drafted: int
    final: tuple[InvoiceId, ...]
    failed: dict[SubscriptionId, ErrorBody]
    cursor: str | None


class Running(Explaining):
    async def tenants(self) -> list[TenantId]:
        """Those that have subscriptions."""
        return await self._store.read(rows.tenants)

    async def run_invoices(
        self,
        tenant: TenantId,
        *,
        by: AgentId,
        grace_ns: int = 0,
        series: str = "INV",
        after: str = "",
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> InvoiceRun:
        """One page of subscriptions; with a cursor there may be more. What is wrong with one does not keep the others waiting."""
        page = await self._store.read(
            lambda tx: rows.subscriptions_of(tx, checked_tenant(tenant), None, after, paged(limit))
        )
        drafted, final, failed = 0, [], {}
        for subscription in page:
            try:
                drafted += await self._draft_missing(subscription, by)
                final += await self._finalize_due(subscription, by, grace_ns, series)
            except EnablementError as error:
                failed[subscription.subscription_id] = error.body()
            except Exception:  # a fault of ours: the others' invoices are due all the same
                failed[subscription.subscription_id] = InternalError("PL-500").body()
                log.exception("no invoice for %s", subscription.subscription_id, extra=fields(tenant=tenant))
        cursor = page[-1].subscription_id if len(page) == limit else None
        return InvoiceRun(drafted, tuple(final), failed, cursor)

    async def _draft_missing(self, subscription: Subscription, by: AgentId) -> int:
        now = self._clock.now()
        missing = await self._store.read(lambda tx: list(self._missing(tx, subscription, now)))
        for period in missing:
            await self.draft_invoice(subscription.tenant, subscription.subscription_id, by=by, at=period.start)
        return len(missing)

    def _missing(self, tx: ReadTx, subscription: Subscription, now: int) -> Iterator[Period]:
        """Periods that are over, after the last that has an invoice, in which something could be billed."""
        last = rows.last_invoice(tx, subscription.tenant, subscription.subscription_id)
        at = subscription.started_at if last is None else max(last.period.end, subscription.started_at)
        found = 0
        while found < INVOICES_BEHIND_MAX:
            period = period_at(cycle_of(self._plan_of(tx, subscription, at), subscription), at)
            ended = subscription.ends_at is not None and subscription.ends_at <= now
            if period.end > now and not (ended and at < (subscription.ends_at or 0)):
                return
            if billable(subscription, period):
                found += 1
                yield period
            at = period.end

    async def _finalize_due(
        self, subscription: Subscription, by: AgentId, grace_ns: int, series: str
    ) -> list[InvoiceId]:
        """Into grace, and out of it once it is over; the oldest first, so that numbers go with periods."""
        waiting = await self._store.read(
            lambda tx: rows.open_invoices(tx, subscription.tenant, subscription.subscription_id)
        )
        final = []
        for invoice in waiting:
            if not self._over(invoice, subscription, 0):
                continue
            if invoice.status is InvoiceStatus.DRAFT:
                await self.close_invoice(invoice.tenant, invoice.invoice_id, by=by)
            if self._over(invoice, subscription, grace_ns):
                await self.finalize_invoice(invoice.tenant, invoice.invoice_id, by=by, series=series)
                final.append(invoice.invoice_id)
        return final

    def _over(self, invoice: Invoice, subscription: Subscription, grace_ns: int) -> bool:
        ends = invoice.period.end if subscription.ends_at is None else min(subscription.ends_at, invoice.period.end)
        return ends + grace_ns <= self._clock.now()
