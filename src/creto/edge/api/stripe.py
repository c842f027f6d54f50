"""Stripe over the wire: who pays, what was asked for there, what it said of payments, and asking again.

Final invoices go there by themselves. What it refused stands among the dead letters of the bus with its words; put right, it is collected anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from creto.bus import DeadLetter
from creto.common.breaker import CircuitState
from creto.common.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from creto.common.paging import cursor_of, place_of
from creto.common.timestamps import ConsensusTimestamp
from creto.connectors.stripe import READS, KnownPayer, Payer, Payment, PaymentStatus, StripeId, Thing
from creto.connectors.stripe.types import PURCHASE
from creto.edge.api.bus import DeadLetterPage, DeadLettersReplayed, DeadLettersTaken, record, view
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Id, Limit
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.metering.types import InvoiceId
from creto.metering.wallets import PURCHASE_ID
from creto.store.types import Tx

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Email = Annotated[str, Meta(min_length=3, max_length=512, pattern=r"^[^@\s]+@[^@\s]+$")]
Customer = Annotated[str, Meta(max_length=255, pattern=r"^cus_\w+$")]


class AskStripe(Ask, frozen=True):
    """How it is configured for the tenant, and what waits."""


class OfPayer(Ask, frozen=True):
    agent: Agent


class PutPayer(Ask, frozen=True):
    """Who pays for an agent; `customer` names one that exists there, else one is made when something is collected."""

    agent: Agent
    name: Name | None = None
    email: Email | None = None
    customer: Customer | None = None


class ListPayers(Ask, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class OfPayment(Ask, frozen=True):
    """Of an invoice, a credit note, or a purchase of credits."""

    our_id: Id


class ListPayments(Ask, frozen=True):
    status: PaymentStatus | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ListRequests(Ask, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class RetryFailed(Ask, frozen=True):
    """These letters, or the first that are there; an id that is none is passed over."""

    ids: Annotated[tuple[Id, ...], Meta(max_length=PAGE_ITEMS_MAX)] = ()


class StripeStanding(View, frozen=True):
    """`configured`: for this tenant, with a key. `receives`: webhooks are believed. `since`: what becomes final from then on is collected."""

    configured: bool
    receives: bool
    invoices: bool
    meters: tuple[str, ...]
    circuit: CircuitState
    requests: dict[str, int]  # those that are not known to be there, by state
    payments: dict[str, int]  # by status
    account: str | None = None
    since: ConsensusTimestamp | None = None


class PayerView(View, frozen=True):
    """`customer` is who it is there; none before something is collected."""

    agent: str
    name: str | None = None
    email: str | None = None
    customer: str | None = None


class PayerPage(View, frozen=True):
    items: tuple[PayerView, ...]
    cursor: str | None = None


class RequestView(View, frozen=True):
    """One thing that was asked for: `asked` or `doubtful` until it is known to be `there`, or was `refused`."""

    kind: str
    our_id: str
    state: str
    attempt: int
    asked_at: ConsensusTimestamp
    stripe_id: str | None = None


class RequestPage(View, frozen=True):
    items: tuple[RequestView, ...]
    cursor: str | None = None


class PaymentView(View, frozen=True):
    """What Stripe said last, if it has said anything, and what was asked for there."""

    our_id: str
    payment: Payment | None = None
    requests: tuple[RequestView, ...] = ()


class PaymentPage(View, frozen=True):
    items: tuple[Payment, ...]
    cursor: str | None = None


READ, WRITE, COLLECT_IT, OF_INVOICE = "metering:read", "metering:write", "finalize_invoice", "metering:invoice:{our_id}"
AT, PAYERS_AT, PAYMENTS_AT = "/v1/stripe", "/v1/stripe/payers", "/v1/stripe/payments"
STANDING = Endpoint("stripe.standing", "GET", AT, AskStripe, StripeStanding, READ, "How it is configured, and what waits")  # fmt: skip
SET_PAYER = Endpoint("stripe.set_payer", "PUT", f"{PAYERS_AT}/{{agent}}", PutPayer, PayerView, WRITE, "Who pays for an agent", about="{agent}")  # fmt: skip
PAYER = Endpoint("stripe.payer", "GET", f"{PAYERS_AT}/{{agent}}", OfPayer, PayerView, READ, "Who pays for an agent, and as which customer", about="{agent}")  # fmt: skip
PAYERS = Endpoint("stripe.payers", "GET", PAYERS_AT, ListPayers, PayerPage, READ, "Whoever was said to pay for an agent")  # fmt: skip
PAYMENTS = Endpoint("stripe.payments", "GET", PAYMENTS_AT, ListPayments, PaymentPage, READ, "What Stripe said of payments")  # fmt: skip
PAYMENT = Endpoint("stripe.payment", "GET", f"{PAYMENTS_AT}/{{our_id}}", OfPayment, PaymentView, READ, "Where the payment of an invoice or a purchase stands", errors=("MT-404",), about=OF_INVOICE)  # fmt: skip
COLLECT = Endpoint("stripe.collect", "POST", f"{PAYMENTS_AT}/{{our_id}}/collect", OfPayment, PaymentView, COLLECT_IT, "Bring an invoice there now: one that was final before, or that was refused", errors=("MT-404", "MT-412", "MT-424", "MT-503", "PL-501"), about=OF_INVOICE, effect=Effect.OUTSIDE)  # fmt: skip
UNFINISHED = Endpoint("stripe.unfinished", "GET", f"{AT}/unfinished", ListRequests, RequestPage, READ, "What was asked for and is not known to be there, the oldest first")  # fmt: skip
FAILED = Endpoint("stripe.failed", "GET", f"{AT}/failed", ListRequests, DeadLetterPage, READ, "What it refused, in its words")  # fmt: skip
RETRY = Endpoint("stripe.retry", "POST", f"{AT}/retry", RetryFailed, DeadLettersTaken, COLLECT_IT, "Do again what it refused, after that was put right", effect=Effect.RECORDED)  # fmt: skip

ENDPOINTS = (STANDING, SET_PAYER, PAYER, PAYERS, PAYMENTS, PAYMENT, COLLECT, UNFINISHED, FAILED, RETRY)


def payer_view(known: KnownPayer) -> PayerView:
    return PayerView(agent=known.agent, name=known.payer.name, email=known.payer.email, customer=known.customer)


def request_view(one: Thing) -> RequestView:
    return RequestView(
        kind=one.kind, our_id=one.our_id, state=one.state, attempt=one.attempt, asked_at=ConsensusTimestamp(one.asked_at),
        stripe_id=one.stripe_id,
    )  # fmt: skip


async def payment_view(parts: Parts, call: Call, our_id: str) -> PaymentView:
    """None of it is known: then there is an invoice that has not gone there, or MT-404."""
    ours = InvoiceId(our_id)
    payment, requests = await parts.stripe.payment(call.tenant, ours), await parts.stripe.objects(call.tenant, ours)
    if payment is None and not requests:
        await parts.stripe.check_known(call.tenant, ours)
    return PaymentView(our_id=our_id, payment=payment, requests=tuple(map(request_view, requests)))


@handles(STANDING)
async def standing(parts: Parts, call: Call, ask: AskStripe) -> StripeStanding:
    found = await parts.stripe.standing(call.tenant)
    return StripeStanding(
        configured=found.configured, receives=found.receives, invoices=found.invoices, meters=found.meters,
        circuit=found.circuit, requests=found.requests, payments=found.payments, account=found.account,
        since=None if found.since is None else ConsensusTimestamp(found.since),
    )  # fmt: skip


@handles(SET_PAYER)
async def set_payer(parts: Parts, call: Call, ask: PutPayer) -> PayerView:
    there = None if ask.customer is None else StripeId(ask.customer)
    payer = Payer(name=ask.name, email=ask.email, stripe_id=there)
    await parts.stripe.set_payer(call.tenant, ask.agent, payer, by=call.known.agent)
    return payer_view(await parts.stripe.payer(call.tenant, ask.agent))


@handles(PAYER)
async def payer(parts: Parts, call: Call, ask: OfPayer) -> PayerView:
    return payer_view(await parts.stripe.payer(call.tenant, ask.agent))


@handles(PAYERS)
async def payers(parts: Parts, call: Call, ask: ListPayers) -> PayerPage:
    found = await parts.stripe.payers(call.tenant, after=place_of(ask.cursor, str, ""), limit=ask.limit)
    cursor = cursor_of(found[-1].agent) if len(found) == ask.limit else None
    return PayerPage(items=tuple(map(payer_view, found)), cursor=cursor)


@handles(PAYMENTS)
async def payments(parts: Parts, call: Call, ask: ListPayments) -> PaymentPage:
    after = place_of(ask.cursor, str, "")
    found = await parts.stripe.payments(call.tenant, status=ask.status, after=after, limit=ask.limit)
    return PaymentPage(items=tuple(found), cursor=cursor_of(found[-1].our_id) if len(found) == ask.limit else None)


@handles(PAYMENT)
async def payment(parts: Parts, call: Call, ask: OfPayment) -> PaymentView:
    return await payment_view(parts, call, ask.our_id)


@handles(COLLECT)
async def collect(parts: Parts, call: Call, ask: OfPayment) -> PaymentView:
    await parts.stripe.collect(call.tenant, InvoiceId(ask.our_id))
    return await payment_view(parts, call, ask.our_id)


@handles(UNFINISHED)
async def unfinished(parts: Parts, call: Call, ask: ListRequests) -> RequestPage:
    after = place_of(ask.cursor, tuple[int, str, str], (-1, "", ""))
    found = await parts.stripe.unfinished(call.tenant, after=after, limit=ask.limit)
    last = found[-1] if len(found) == ask.limit else None
    cursor = cursor_of((last.asked_at, last.kind, last.our_id)) if last else None
    return RequestPage(items=tuple(map(request_view, found)), cursor=cursor)


@handles(FAILED)
async def failed(parts: Parts, call: Call, ask: ListRequests) -> DeadLetterPage:
    """One consumer's after the other's, each the oldest first."""
    last, seen = place_of(ask.cursor, tuple[str, str], ("", ""))
    found: list[DeadLetter] = []
    for durable in sorted(name for name in READS if name >= last):
        after = (seen, durable) if durable == last else ("", "")
        found += await parts.bus.dead_letters(call.tenant, durable=durable, after=after, limit=ask.limit - len(found))
        if len(found) == ask.limit:
            break
    cursor = cursor_of((found[-1].durable, found[-1].id)) if len(found) == ask.limit else None
    return DeadLetterPage(items=tuple(map(view, found)), cursor=cursor)


@handles(RETRY)
async def retry(parts: Parts, call: Call, ask: RetryFailed) -> DeadLettersTaken:
    done: list[str] = []
    for durable in READS:
        letters = await parts.bus.dead_letters(call.tenant, durable=durable, limit=PAGE_ITEMS_MAX)
        ids = [letter.id for letter in letters if letter.id in ask.ids or not ask.ids]

        def also(tx: Tx, taken: Sequence[str], durable: str = durable) -> None:
            record(parts, call, tx, "stripe.retry", DeadLettersReplayed(durable, tuple(taken)))

        done += await parts.bus.replay_dead(call.tenant, durable, ids, also=also) if ids else ()
    return DeadLettersTaken(ids=tuple(done))


@concerns(PAYMENT, COLLECT)
async def of_purchase(parts: Parts, call: Call, ask: OfPayment) -> str | None:
    return f"{PURCHASE}{ask.our_id}" if ask.our_id.startswith(PURCHASE_ID) else None
