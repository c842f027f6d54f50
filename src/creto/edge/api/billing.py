"""Billing over the wire: plans, subscriptions, and invoices that explain and prove themselves."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict

from creto.common.ids import AgentId, EventId, SubscriptionId, new_id
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.timestamps import SECOND
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Blob, Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Nanos
from creto.edge.api.metering_fields import Asked, Currency, Names, Zone, cursor_of
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.metering import (
    Charge,
    Commitment,
    CycleUnit,
    Fee,
    Invoice,
    InvoiceRun,
    InvoiceStatus,
    Letterhead,
    LineExplanation,
    Override,
    Party,
    Payer,
    Plan,
    Subscription,
    to_csv,
)
from creto.metering.types import CouponId, InvoiceId, PlanId

Series = Annotated[str, Meta(min_length=1, max_length=32)]


class PutPlan(Asked, frozen=True):
    """What is charged, and how often. Versions never change: a subscription is billed by the one it was made with."""

    plan_id: Id
    name: Annotated[str, Meta(max_length=200)]
    currency: Currency
    cycle: CycleUnit
    cycle_count: Annotated[int, Meta(ge=1, le=1_000)] = 1
    fees: Annotated[tuple[Fee, ...], Meta(max_length=100)] = ()
    charges: Annotated[tuple[Charge, ...], Meta(max_length=100)] = ()
    minimum: Decimal | None = None
    commitment: Commitment | None = None
    trial_days: Annotated[int, Meta(ge=0, le=3_650)] = 0
    payer: Payer = Payer()


class OfPlan(Asked, frozen=True):
    """A version of it; the newest, if none is named."""

    plan_id: Id
    version: Count | None = None


class ListPlans(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class PlanPage(View, frozen=True):
    items: tuple[Plan, ...]
    cursor: str | None = None


class Subscribe(Asked, frozen=True):
    """Once for each key. Periods are counted from the anchor: the start, if nothing else is said."""

    agent: Agent
    plan_id: Id
    key: Id | None = None
    version: Count | None = None
    starts_at: Nanos | None = None
    anchor: Nanos | None = None
    zone: Zone = "UTC"
    override: Override | None = None
    coupons: Names = ()
    taxes: Names = ()
    shown_in: Currency | None = None


class OfSubscription(Asked, frozen=True):
    subscription_id: Id


class ListSubscriptions(Asked, frozen=True):
    agent: Agent | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class SubscriptionPage(View, frozen=True):
    items: tuple[Subscription, ...]
    cursor: str | None = None


class ChangeSubscription(Asked, frozen=True):
    """To another plan or version, now or when the period ends."""

    subscription_id: Id
    plan_id: Id
    version: Count | None = None
    at_period_end: bool = False


class OverrideSubscription(Asked, frozen=True):
    """What it has otherwise than its plan from now on; an empty one takes all back."""

    subscription_id: Id
    override: Override
    at_period_end: bool = False


class CouponOf(Asked, frozen=True):
    subscription_id: Id
    coupon_id: Id


class TaxesOf(Asked, frozen=True):
    subscription_id: Id
    taxes: Names


class ShowIn(Asked, frozen=True):
    """In which other currency its invoices say what they come to."""

    subscription_id: Id
    currency: Currency | None = None


class PartyOf(Asked, frozen=True):
    """Who gets its invoices."""

    subscription_id: Id
    party: Party


class PutIssuer(Asked, frozen=True):
    """Who sends the tenant's invoices."""

    party: Party


class Deleted(View, frozen=True):
    subscription_id: str


class OfPeriod(Asked, frozen=True):
    """The period that holds an instant; the one that runs, if none is named."""

    subscription_id: Id
    at: Nanos | None = None


class OfInvoice(Asked, frozen=True):
    invoice_id: Id


class ListInvoices(Asked, frozen=True):
    """All of the tenant's by id, or those of a subscription as they came."""

    status: InvoiceStatus | None = None
    subscription_id: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


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


READ, PLAN, SUBSCRIPTION, INVOICE = "metering:read", "metering:plan:{plan_id}", "metering:subscription:{subscription_id}", "metering:invoice:{invoice_id}"  # fmt: skip
UPDATE, CANCEL, MAKE = "update_subscription", "cancel_subscription", "create_invoice"
PLANS_AT, SUBS_AT, INVOICES_AT = "/v1/plans", "/v1/subscriptions", "/v1/invoices"
SUB_AT, INVOICE_AT = f"{SUBS_AT}/{{subscription_id}}", f"{INVOICES_AT}/{{invoice_id}}"
BAD, MISSING, STEP = ("MT-400",), ("MT-400", "MT-404"), ("MT-400", "MT-404", "MT-412")

CREATE_PLAN = Endpoint("billing.create_plan", "POST", PLANS_AT, PutPlan, Plan, "create_plan", "The first version of a plan", status=201, errors=("MT-400", "MT-412"))  # fmt: skip
REVISE_PLAN = Endpoint("billing.revise_plan", "PUT", f"{PLANS_AT}/{{plan_id}}", PutPlan, Plan, "create_plan", "The next version of a plan; subscriptions stay on theirs", errors=STEP, about=PLAN)  # fmt: skip
GET_PLAN = Endpoint("billing.plan", "GET", f"{PLANS_AT}/{{plan_id}}", OfPlan, Plan, READ, "A version of a plan", errors=MISSING, about=PLAN)  # fmt: skip
LIST_PLANS = Endpoint("billing.plans", "GET", PLANS_AT, ListPlans, PlanPage, READ, "The newest version of each plan", errors=BAD)  # fmt: skip
SUBSCRIBE = Endpoint("billing.subscribe", "POST", SUBS_AT, Subscribe, Subscription, "create_subscription", "Bill an agent, and all below it, by a plan", status=201, errors=(*STEP, "MT-409", "PL-410"), about="{agent}")  # fmt: skip
GET_SUB = Endpoint("billing.subscription", "GET", SUB_AT, OfSubscription, Subscription, READ, "One subscription", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip
LIST_SUBS = Endpoint("billing.subscriptions", "GET", SUBS_AT, ListSubscriptions, SubscriptionPage, READ, "The subscriptions of the tenant, or of an agent", errors=BAD)  # fmt: skip
CHANGE = Endpoint("billing.change", "POST", f"{SUB_AT}/change", ChangeSubscription, Subscription, UPDATE, "Upgrade or downgrade, now or at the period's end", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
OVERRIDE = Endpoint("billing.override", "POST", f"{SUB_AT}/override", OverrideSubscription, Subscription, UPDATE, "What it has otherwise than its plan", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
ADD_COUPON = Endpoint("billing.apply_coupon", "POST", f"{SUB_AT}/coupons", CouponOf, Subscription, UPDATE, "Give it a coupon", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DROP_COUPON = Endpoint("billing.remove_coupon", "DELETE", f"{SUB_AT}/coupons/{{coupon_id}}", CouponOf, Subscription, UPDATE, "Take a coupon from it", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
TAXES = Endpoint("billing.set_taxes", "PUT", f"{SUB_AT}/taxes", TaxesOf, Subscription, UPDATE, "Which taxes its invoices bear", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
SHOW_IN = Endpoint("billing.show_in", "PUT", f"{SUB_AT}/shown-in", ShowIn, Subscription, UPDATE, "In which other currency its invoices say what they come to", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
PAUSE = Endpoint("billing.pause", "POST", f"{SUB_AT}/pause", OfSubscription, Subscription, UPDATE, "Charge nothing until it is resumed", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
RESUME = Endpoint("billing.resume", "POST", f"{SUB_AT}/resume", OfSubscription, Subscription, UPDATE, "Charge again", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
CANCEL_SUB = Endpoint("billing.cancel", "POST", f"{SUB_AT}/cancel", OfSubscription, Subscription, CANCEL, "It ends with the period that runs", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
TERMINATE = Endpoint("billing.terminate", "POST", f"{SUB_AT}/terminate", OfSubscription, Subscription, CANCEL, "It ends now", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DELETE_SUB = Endpoint("billing.delete", "DELETE", SUB_AT, OfSubscription, Deleted, CANCEL, "As if it had never been, unless it was invoiced", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
SET_CUSTOMER = Endpoint("billing.set_customer", "PUT", f"{SUB_AT}/customer", PartyOf, Party, UPDATE, "Who gets its invoices", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip
SET_ISSUER = Endpoint("billing.set_issuer", "PUT", "/v1/invoice-issuer", PutIssuer, Party, "metering:write", "Who sends the invoices", errors=MISSING)  # fmt: skip
LETTERHEAD = Endpoint("billing.letterhead", "GET", f"{SUB_AT}/letterhead", OfSubscription, Letterhead, READ, "Who stands on its invoices", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip
PREVIEW = Endpoint("billing.preview", "GET", f"{SUB_AT}/preview", OfPeriod, Invoice, READ, "What the invoice would be now", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DRAFT = Endpoint("billing.draft", "POST", f"{SUB_AT}/invoices", OfPeriod, Invoice, MAKE, "The invoice of a period, open for what comes in", status=201, errors=(*STEP, "MT-409"), about=SUBSCRIPTION)  # fmt: skip
RECOUNT = Endpoint("billing.recount", "POST", f"{INVOICE_AT}/recount", OfInvoice, Invoice, MAKE, "An open invoice with all that is known now", errors=STEP, about=INVOICE)  # fmt: skip
CLOSE = Endpoint("billing.close", "POST", f"{INVOICE_AT}/close", OfInvoice, Invoice, MAKE, "Into grace: only late events come in", errors=STEP, about=INVOICE)  # fmt: skip
FINALIZE = Endpoint("billing.finalize", "POST", f"{INVOICE_AT}/finalize", FinalizeInvoice, Invoice, "finalize_invoice", "Number it; it never changes again", errors=STEP, about=INVOICE)  # fmt: skip
VOID = Endpoint("billing.void", "POST", f"{INVOICE_AT}/void", OfInvoice, Invoice, "finalize_invoice", "It was never owed; its number stays taken", errors=STEP, about=INVOICE)  # fmt: skip
CREDIT = Endpoint("billing.credit_note", "POST", f"{INVOICE_AT}/credit-notes", CreditInvoice, Invoice, "finalize_invoice", "Take back parts of its lines", status=201, errors=STEP, about=INVOICE)  # fmt: skip
GET_INVOICE = Endpoint("billing.invoice", "GET", INVOICE_AT, OfInvoice, Invoice, READ, "One invoice", errors=MISSING, about=INVOICE)  # fmt: skip
LIST_INVOICES = Endpoint("billing.invoices", "GET", INVOICES_AT, ListInvoices, InvoicePage, READ, "Invoices", errors=MISSING)  # fmt: skip
CSV = Endpoint("billing.csv", "GET", f"{INVOICE_AT}/csv", OfInvoice, Blob, READ, "Its lines as CSV", errors=MISSING, about=INVOICE)  # fmt: skip
PDF = Endpoint("billing.pdf", "POST", f"{INVOICE_AT}/pdf", PrintInvoice, Blob, READ, "On paper", errors=("MT-400", "MT-404", "PL-501"), about=INVOICE, keyed=False)  # fmt: skip
FILE = Endpoint("billing.file", "POST", f"{INVOICE_AT}/file", FileInvoice, Blob, READ, "With the proofs that `creto verify` checks", errors=("MT-400", "MT-404", "PL-404", "PL-609"), about=INVOICE, keyed=False)  # fmt: skip
EXPLAIN = Endpoint("billing.explain", "GET", f"{INVOICE_AT}/explanation", ExplainLine, LineExplanation, READ, "Why a line is what it is, down to its events", errors=STEP, about=INVOICE)  # fmt: skip
REPRODUCE = Endpoint("billing.reproduce", "GET", f"{INVOICE_AT}/reproduction", OfInvoice, ReproducedView, READ, "Count it again as things stood then: the same bytes", errors=STEP, about=INVOICE)  # fmt: skip
RUN = Endpoint("billing.run", "POST", "/v1/invoice-runs", RunInvoices, InvoiceRun, MAKE, "Draft, close and finalise what is due", errors=BAD, effect=Effect.RECORDED)  # fmt: skip

ENDPOINTS = (
    CREATE_PLAN, REVISE_PLAN, GET_PLAN, LIST_PLANS, SUBSCRIBE, GET_SUB, LIST_SUBS, CHANGE, OVERRIDE, ADD_COUPON, DROP_COUPON, TAXES,
    SHOW_IN, PAUSE, RESUME, CANCEL_SUB, TERMINATE, DELETE_SUB, SET_CUSTOMER, SET_ISSUER, LETTERHEAD, PREVIEW, DRAFT, RECOUNT, CLOSE,
    FINALIZE, VOID, CREDIT, GET_INVOICE, LIST_INVOICES, CSV, PDF, FILE, EXPLAIN, REPRODUCE, RUN,
)  # fmt: skip


@handles(CREATE_PLAN)
async def create_plan(parts: Parts, call: Call, ask: PutPlan) -> Plan:
    return await parts.billing.create_plan(call.tenant, plan_of(ask), by=call.known.agent)


@handles(REVISE_PLAN)
async def revise_plan(parts: Parts, call: Call, ask: PutPlan) -> Plan:
    return await parts.billing.revise_plan(call.tenant, plan_of(ask), by=call.known.agent)


def plan_of(ask: PutPlan) -> Plan:
    return Plan(**asdict(ask), version=1)


@handles(GET_PLAN)
async def plan(parts: Parts, call: Call, ask: OfPlan) -> Plan:
    return await parts.billing.plan(call.tenant, PlanId(ask.plan_id), ask.version)


@handles(LIST_PLANS)
async def plans(parts: Parts, call: Call, ask: ListPlans) -> PlanPage:
    found = await parts.billing.plans(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return PlanPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "plan_id"))


@handles(SUBSCRIBE)
async def subscribe(parts: Parts, call: Call, ask: Subscribe) -> Subscription:
    return await parts.billing.subscribe(
        call.tenant, ask.agent, PlanId(ask.plan_id), key=ask.key or new_id("key-"), by=call.known.agent, version=ask.version,
        starts_at=ask.starts_at, anchor=ask.anchor, zone=ask.zone, override=ask.override,
        coupons=tuple(map(CouponId, ask.coupons)), taxes=ask.taxes, shown_in=ask.shown_in,
    )  # fmt: skip


@handles(GET_SUB)
async def subscription(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.subscription(call.tenant, SubscriptionId(ask.subscription_id))


@handles(LIST_SUBS)
async def subscriptions(parts: Parts, call: Call, ask: ListSubscriptions) -> SubscriptionPage:
    found = await parts.billing.subscriptions(call.tenant, agent=ask.agent, after=ask.cursor or "", limit=ask.limit)
    return SubscriptionPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "subscription_id"))


@handles(CHANGE)
async def change(parts: Parts, call: Call, ask: ChangeSubscription) -> Subscription:
    return await parts.billing.change_plan(
        call.tenant, SubscriptionId(ask.subscription_id), PlanId(ask.plan_id), by=call.known.agent, version=ask.version,
        at_period_end=ask.at_period_end,
    )  # fmt: skip


@handles(OVERRIDE)
async def override(parts: Parts, call: Call, ask: OverrideSubscription) -> Subscription:
    return await parts.billing.change_override(
        call.tenant, SubscriptionId(ask.subscription_id), ask.override, by=call.known.agent, at_period_end=ask.at_period_end
    )  # fmt: skip


@handles(ADD_COUPON)
async def apply_coupon(parts: Parts, call: Call, ask: CouponOf) -> Subscription:
    return await parts.billing.apply_coupon(
        call.tenant, SubscriptionId(ask.subscription_id), CouponId(ask.coupon_id), by=call.known.agent
    )


@handles(DROP_COUPON)
async def remove_coupon(parts: Parts, call: Call, ask: CouponOf) -> Subscription:
    return await parts.billing.remove_coupon(
        call.tenant, SubscriptionId(ask.subscription_id), CouponId(ask.coupon_id), by=call.known.agent
    )


@handles(TAXES)
async def set_taxes(parts: Parts, call: Call, ask: TaxesOf) -> Subscription:
    return await parts.billing.set_taxes(
        call.tenant, SubscriptionId(ask.subscription_id), ask.taxes, by=call.known.agent
    )


@handles(SHOW_IN)
async def show_in(parts: Parts, call: Call, ask: ShowIn) -> Subscription:
    return await parts.billing.show_in(
        call.tenant, SubscriptionId(ask.subscription_id), ask.currency, by=call.known.agent
    )


@handles(PAUSE)
async def pause(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.pause(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(RESUME)
async def resume(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.resume(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(CANCEL_SUB)
async def cancel(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.cancel(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(TERMINATE)
async def terminate(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.terminate(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(DELETE_SUB)
async def delete(parts: Parts, call: Call, ask: OfSubscription) -> Deleted:
    await parts.billing.delete_subscription(call.tenant, SubscriptionId(ask.subscription_id))
    return Deleted(subscription_id=ask.subscription_id)


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


@handles(GET_INVOICE)
async def invoice(parts: Parts, call: Call, ask: OfInvoice) -> Invoice:
    return await parts.billing.invoice(call.tenant, InvoiceId(ask.invoice_id))


@handles(LIST_INVOICES)
async def invoices(parts: Parts, call: Call, ask: ListInvoices) -> InvoicePage:
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


@concerns(LIST_SUBS)
async def whose_subscriptions(parts: Parts, call: Call, ask: ListSubscriptions) -> str | None:
    return None if ask.agent is None else AgentId(ask.agent)
