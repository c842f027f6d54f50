"""The invoice run: every period that is over gets its invoice, which becomes final when its grace is over.

    while (run := await billing.run_invoices("acme", by=human, grace_ns=2 * DAY)).cursor:
        ...                                                 # the next page: run_invoices(…, after=run.cursor)

INVARIANT: a run that was cut off, or that is made twice, ends where one run would: each step is a transaction of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

import msgspec

from creto.common.errors import EnablementError, ErrorBody, InternalError
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import INVOICES_BEHIND_MAX, PAGE_ITEMS_DEFAULT, USAGE_BEHIND_S_MAX
from creto.common.telemetry import fields
from creto.common.timestamps import SECOND
from creto.metering import store as rows
from creto.metering.core import paged
from creto.metering.explaining import Explaining
from creto.metering.invoices import checked_series
from creto.metering.periods import Cycle, Period, index_at, period_at
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
    for_review: dict[InvoiceId, int] = {}  # invoices with so many events that no meter could read


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
        checked_series(series)
        page = await self._store.read(
            lambda tx: rows.subscriptions_of(tx, checked_tenant(tenant), None, after, paged(limit))
        )
        drafted, failed = 0, {}
        final: list[Invoice] = []
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
        ids = tuple(invoice.invoice_id for invoice in final)
        unread = {invoice.invoice_id: invoice.unread_count for invoice in final if invoice.unread_count}
        return InvoiceRun(drafted, ids, failed, cursor, unread)

    async def _draft_missing(self, subscription: Subscription, by: AgentId) -> int:
        now = self._clock.now()
        missing = await self._store.read(lambda tx: list(self._missing(tx, subscription, now)))
        for period in missing:
            await self.draft_invoice(subscription.tenant, subscription.subscription_id, by=by, at=period.start)
        return len(missing)

    def _missing(self, tx: ReadTx, subscription: Subscription, now: int) -> Iterator[Period]:
        """Periods that are over and have no invoice, in which something could be billed: gaps, too, the oldest first.

        What was voided stays so: a person did it, and a person may draft the period anew.
        """
        taken = rows.invoiced_periods(tx, subscription.tenant, subscription.subscription_id)
        cycle = cycle_of(self._plan_of(tx, subscription, subscription.started_at), subscription)
        ended = subscription.ends_at is not None and subscription.ends_at <= now
        at, until, found = after_gapless(cycle, subscription.started_at, taken), subscription.ends_at or now, 0
        while at < until and found < INVOICES_BEHIND_MAX:
            period = period_at(cycle, at)
            if period.end > now and not ended:
                return
            if period.start not in taken and billable(subscription, period):
                found += 1
                yield period
            at = period.end
        current = period_at(cycle, now)
        if ended and not found and self._owes_corrections(tx, subscription, current, taken, now):
            yield current

    def _owes_corrections(
        self, tx: ReadTx, subscription: Subscription, period: Period, taken: Collection[int], now: int
    ) -> bool:
        """Whether late events of a subscription that has ended wait for an invoice. It gets one for each period that begins."""
        ends_at = subscription.ends_at
        if ends_at is None or not ends_at <= period.start or now - ends_at > USAGE_BEHIND_S_MAX * SECOND:
            return False
        heading = self._heading(tx, subscription, period.start)
        return period.start not in taken and bool(self._corrections(tx, subscription, heading, now))

    async def _finalize_due(self, subscription: Subscription, by: AgentId, grace_ns: int, series: str) -> list[Invoice]:
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
                made = await self.finalize_invoice(invoice.tenant, invoice.invoice_id, by=by, series=series)
                final.append(made)
        return final

    def _over(self, invoice: Invoice, subscription: Subscription, grace_ns: int) -> bool:
        ends = invoice.period.end if subscription.ends_at is None else min(subscription.ends_at, invoice.period.end)
        return ends + grace_ns <= self._clock.now()


def after_gapless(cycle: Cycle, started_at: int, taken: Collection[int]) -> int:
    """Where to look for periods without an invoice: after the last, where every one from the start on has one."""
    first = period_at(cycle, started_at)
    if not taken:
        return started_at
    last = period_at(cycle, max(taken))
    gapless = index_at(cycle, last.start) - index_at(cycle, first.start) + 1 == len(taken)
    return last.end if gapless and min(taken) == first.start else started_at
