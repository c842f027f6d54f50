"""Invoices over the wire: made, explained, printed, and proved."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta

from creto.common.ids import EventId, SubscriptionId
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.timestamps import SECOND
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Blob, Endpoint, View
from creto.edge.api.fields import Count, Cursor, Id, Limit, Nanos
from creto.edge.api.metering_fields import Asked, Names, cursor_of
from creto.edge.api.parts import Parts
from creto.edge.api.subscriptions import ONE_AT as SUB_AT
from creto.edge.api.subscriptions import SUBSCRIPTION, OfSubscription
from creto.gate import Effect
from creto.metering import Invoice, InvoiceRun, InvoiceStatus, Letterhead, LineExplanation, Party, to_csv
from creto.metering.types import InvoiceId

Series = Annotated[str, Meta(min_length=1, max_length=32)]


class OfPeriod(Asked, frozen=True):
    """The period that holds an instant; the one that runs, if none is named."""

    subscription_id: Id
    at: Nanos | None = None


class OfInvoice(Asked, frozen=True):
    invoice_id: Id


class ListInvoices(Asked, frozen=True):
    """All of the tenant's by id, those of a subscription as they came, or the one that bears a number."""

    status: InvoiceStatus | None = None
    subscription_id: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None
    number: Id | None = None


class InvoicePage(View, frozen=True):
    items: tuple[Invoice, ...]
    cursor: str | None = None


class FinalizeInvoice(Asked, frozen=True):
    """It gets the next number of its series, and never changes again."""

    invoice_id: Id
    series: Series = "INV"


class CreditedLine(Asked, frozen=True):
    line_id: Id
    amount: Decimal


class CreditInvoice(Asked, frozen=True):
    """Take back parts of its lines; `as_credits` gives them back as credits."""

    invoice_id: Id
    lines: Annotated[tuple[CreditedLine, ...], Meta(min_length=1, max_length=1_000)]
    series: Series = "CN"
    as_credits: bool = False


class ExplainLine(Asked, frozen=True):
    """Everything behind a line; of its events those from `after` on."""

    invoice_id: Id
    line_id: Id
    after: Count = 0
    limit: Limit = PAGE_ITEMS_DEFAULT


class PrintInvoice(Asked, frozen=True):
    """`notes` are how and until when to pay."""

    invoice_id: Id
    notes: Annotated[tuple[Annotated[str, Meta(max_length=500)], ...], Meta(max_length=20)] = ()


class FileInvoice(Asked, frozen=True):
    """With the proofs of the events that are named, or of all."""

    invoice_id: Id
    events: Names = ()


class RunInvoices(Asked, frozen=True):
    """Draft, close and finalise what is due, of one page of subscriptions."""

    grace_s: Count = 0
    series: Series = "INV"
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ReproducedView(View, frozen=True):
    """Whether counting the invoice again gives the same bytes; else the lines that differ."""

    invoice_id: str
    same: bool
    digest: str
    again: str
    other_lines: tuple[str, ...] = ()


class PartyOf(Asked, frozen=True):
    """Who gets its invoices."""

    subscription_id: Id
    party: Party


class PutIssuer(Asked, frozen=True):
    """Who sends the tenant's invoices."""

    party: Party


READ, WRITE, UPDATE, MAKE, SETTLE = "metering:read", "metering:write", "update_subscription", "create_invoice", "finalize_invoice"  # fmt: skip
AT = "/v1/invoices"
ONE_AT = f"{AT}/{{invoice_id}}"
INVOICE = "metering:invoice:{invoice_id}"
BAD, MISSING, STEP = ("MT-400",), ("MT-400", "MT-404"), ("MT-400", "MT-404", "MT-412")

PREVIEW = Endpoint("billing.preview", "GET", f"{SUB_AT}/preview", OfPeriod, Invoice, READ, "What the invoice would be now", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DRAFT = Endpoint("billing.draft", "POST", f"{SUB_AT}/invoices", OfPeriod, Invoice, MAKE, "The invoice of a period, open for what comes in", status=201, errors=(*STEP, "MT-409"), about=SUBSCRIPTION)  # fmt: skip
RECOUNT = Endpoint("billing.recount", "POST", f"{ONE_AT}/recount", OfInvoice, Invoice, MAKE, "An open invoice with all that is known now", errors=STEP, about=INVOICE)  # fmt: skip
CLOSE = Endpoint("billing.close", "POST", f"{ONE_AT}/close", OfInvoice, Invoice, MAKE, "Into grace: only late events come in", errors=STEP, about=INVOICE)  # fmt: skip
FINALIZE = Endpoint("billing.finalize", "POST", f"{ONE_AT}/finalize", FinalizeInvoice, Invoice, SETTLE, "Number it; it never changes again", errors=STEP, about=INVOICE)  # fmt: skip
VOID = Endpoint("billing.void", "POST", f"{ONE_AT}/void", OfInvoice, Invoice, SETTLE, "It was never owed; its number stays taken", errors=STEP, about=INVOICE)  # fmt: skip
CREDIT = Endpoint("billing.credit_note", "POST", f"{ONE_AT}/credit-notes", CreditInvoice, Invoice, SETTLE, "Take back parts of its lines", status=201, errors=STEP, about=INVOICE)  # fmt: skip
GET = Endpoint("billing.invoice", "GET", ONE_AT, OfInvoice, Invoice, READ, "One invoice", errors=MISSING, about=INVOICE)  # fmt: skip
LIST = Endpoint("billing.invoices", "GET", AT, ListInvoices, InvoicePage, READ, "Invoices", errors=MISSING)  # fmt: skip
CSV = Endpoint("billing.csv", "GET", f"{ONE_AT}/csv", OfInvoice, Blob, READ, "Its lines as CSV", errors=MISSING, about=INVOICE)  # fmt: skip
PDF = Endpoint("billing.pdf", "POST", f"{ONE_AT}/pdf", PrintInvoice, Blob, READ, "On paper", errors=("MT-400", "MT-404", "PL-501"), about=INVOICE, keyed=False)  # fmt: skip
FILE = Endpoint("billing.file", "POST", f"{ONE_AT}/file", FileInvoice, Blob, READ, "With the proofs that `creto verify` checks", errors=("MT-400", "MT-404", "MT-412", "PL-404", "PL-609"), about=INVOICE, keyed=False)  # fmt: skip
EXPLAIN = Endpoint("billing.explain", "GET", f"{ONE_AT}/explanation", ExplainLine, LineExplanation, READ, "Why a line is what it is, down to its events", errors=STEP, about=INVOICE)  # fmt: skip
REPRODUCE = Endpoint("billing.reproduce", "GET", f"{ONE_AT}/reproduction", OfInvoice, ReproducedView, READ, "Count it again as things stood then: the same bytes", errors=STEP, about=INVOICE)  # fmt: skip
RUN = Endpoint("billing.run", "POST", "/v1/invoice-runs", RunInvoices, InvoiceRun, MAKE, "Draft, close and finalise what is due", errors=BAD, effect=Effect.RECORDED)  # fmt: skip
SET_CUSTOMER = Endpoint("billing.set_customer", "PUT", f"{SUB_AT}/customer", PartyOf, Party, UPDATE, "Who gets its invoices", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip
SET_ISSUER = Endpoint("billing.set_issuer", "PUT", "/v1/invoice-issuer", PutIssuer, Party, WRITE, "Who sends the invoices", errors=MISSING)  # fmt: skip
LETTERHEAD = Endpoint("billing.letterhead", "GET", f"{SUB_AT}/letterhead", OfSubscription, Letterhead, READ, "Who stands on its invoices", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip

ENDPOINTS = (
    PREVIEW, DRAFT, RECOUNT, CLOSE, FINALIZE, VOID, CREDIT, GET, LIST, CSV, PDF, FILE, EXPLAIN, REPRODUCE, RUN, SET_CUSTOMER, SET_ISSUER, LETTERHEAD,
)  # fmt: skip


@handles(PREVIEW)
async def preview(parts: Parts, call: Call, ask: OfPeriod) -> Invoice:
    return await parts.billing.preview(call.tenant, SubscriptionId(ask.subscription_id), at=ask.at)


@handles(DRAFT)
async def draft(parts: Parts, call: Call, ask: OfPeriod) -> Invoice:
    at = parts.clock.now() if ask.at is None else ask.at
    return await parts.billing.draft_invoice(
        call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent, at=at
    )


@handles(RECOUNT)
async def recount(parts: Parts, call: Call, ask: OfInvoice) -> Invoice:
    return await parts.billing.recount_invoice(call.tenant, InvoiceId(ask.invoice_id), by=call.known.agent)


@handles(CLOSE)
async def close(parts: Parts, call: Call, ask: OfInvoice) -> Invoice:
    return await parts.billing.close_invoice(call.tenant, InvoiceId(ask.invoice_id), by=call.known.agent)


@handles(FINALIZE)
async def finalize(parts: Parts, call: Call, ask: FinalizeInvoice) -> Invoice:
    return await parts.billing.finalize_invoice(
        call.tenant, InvoiceId(ask.invoice_id), by=call.known.agent, series=ask.series
    )


@handles(VOID)
async def void(parts: Parts, call: Call, ask: OfInvoice) -> Invoice:
    return await parts.billing.void_invoice(call.tenant, InvoiceId(ask.invoice_id), by=call.known.agent)


@handles(CREDIT)
async def credit_note(parts: Parts, call: Call, ask: CreditInvoice) -> Invoice:
    lines = [(line.line_id, line.amount) for line in ask.lines]
    return await parts.billing.credit_invoice(
        call.tenant, InvoiceId(ask.invoice_id), lines, by=call.known.agent, series=ask.series, as_credits=ask.as_credits
    )


@handles(GET)
async def invoice(parts: Parts, call: Call, ask: OfInvoice) -> Invoice:
    return await parts.billing.invoice(call.tenant, InvoiceId(ask.invoice_id))


@handles(LIST)
async def invoices(parts: Parts, call: Call, ask: ListInvoices) -> InvoicePage:
    if ask.number is not None:
        numbered = await parts.billing.invoice_numbered(call.tenant, ask.number)
        of_one = [numbered] if numbered and ask.subscription_id in (None, numbered.subscription_id) else []
        return InvoicePage(items=tuple(i for i in of_one if ask.status in (None, i.status)))
    if ask.subscription_id is not None:
        of_one = await parts.billing.invoices(call.tenant, SubscriptionId(ask.subscription_id))
        return InvoicePage(items=tuple(i for i in of_one if ask.status in (None, i.status)))
    found = await parts.billing.all_invoices(call.tenant, status=ask.status, after=ask.cursor or "", limit=ask.limit)
    return InvoicePage(items=tuple(found), cursor=cursor_of(found, ask.limit, "invoice_id"))


@handles(CSV)
async def csv(parts: Parts, call: Call, ask: OfInvoice) -> Blob:
    found = await parts.billing.invoice(call.tenant, InvoiceId(ask.invoice_id))
    return Blob(to_csv([found]), "text/csv")


@handles(PDF)
async def pdf(parts: Parts, call: Call, ask: PrintInvoice) -> Blob:
    return Blob(await parts.billing.invoice_pdf(call.tenant, InvoiceId(ask.invoice_id), ask.notes), "application/pdf")


@handles(FILE)
async def file(parts: Parts, call: Call, ask: FileInvoice) -> Blob:
    events = tuple(map(EventId, ask.events)) or None
    made = await parts.billing.invoice_file(call.tenant, InvoiceId(ask.invoice_id), parts.audit, events=events)
    return Blob(made, "application/json")


@handles(EXPLAIN)
async def explain(parts: Parts, call: Call, ask: ExplainLine) -> LineExplanation:
    return await parts.billing.explain_line(
        call.tenant, InvoiceId(ask.invoice_id), ask.line_id, after=ask.after, limit=ask.limit
    )


@handles(REPRODUCE)
async def reproduce(parts: Parts, call: Call, ask: OfInvoice) -> ReproducedView:
    found = await parts.billing.reproduce_invoice(call.tenant, InvoiceId(ask.invoice_id))
    return ReproducedView(
        invoice_id=found.invoice_id, same=found.same, digest=found.digest, again=found.again, other_lines=found.other_lines
    )  # fmt: skip


@handles(RUN)
async def run(parts: Parts, call: Call, ask: RunInvoices) -> InvoiceRun:
    return await parts.billing.run_invoices(
        call.tenant, by=call.known.agent, grace_ns=ask.grace_s * SECOND, series=ask.series, after=ask.cursor or "", limit=ask.limit
    )  # fmt: skip


@handles(SET_CUSTOMER)
async def set_customer(parts: Parts, call: Call, ask: PartyOf) -> Party:
    return await parts.billing.set_party(
        call.tenant, ask.party, by=call.known.agent, subscription_id=SubscriptionId(ask.subscription_id)
    )


@handles(SET_ISSUER)
async def set_issuer(parts: Parts, call: Call, ask: PutIssuer) -> Party:
    return await parts.billing.set_party(call.tenant, ask.party, by=call.known.agent)


@handles(LETTERHEAD)
async def letterhead(parts: Parts, call: Call, ask: OfSubscription) -> Letterhead:
    return await parts.billing.letterhead(call.tenant, SubscriptionId(ask.subscription_id))
