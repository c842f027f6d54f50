"""What Stripe tells us: webhooks, believed by their signature, each taken once, in whatever order they come.

    receipts = Receipts(store, clock, config, by=service, tenant=tenant)
    answer = await receipts.webhook(headers, body)             # mounted at a path of the REST edge, as other callbacks

The signature is over the bytes as they came (docs.stripe.com/webhooks#verify-manually).

INVARIANT: where a payment stands does not depend on the order of the webhooks: a final status stays, else what Stripe said last holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from creto.common import wire
from creto.common.codes import row
from creto.common.config import Secret
from creto.common.errors import (
    ConnectionFailed,
    EnablementError,
    InternalError,
    InvalidInput,
    SignatureVerificationFailed,
)
from creto.common.ids import AgentId, TenantId
from creto.common.limits import (
    ID_CHARS_MAX,
    INTEGER_MAX,
    PAGE_ITEMS_MAX,
    STRIPE_EVENT_BYTES_MAX,
    STRIPE_EVENT_SKEW_S,
    STRIPE_EVENTS_KEPT_S,
)
from creto.common.settings import StripeConfig
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.connectors.inbound import Answer, RawHeaders, only
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.amounts import major
from creto.connectors.stripe.types import (
    INVOICE,
    PURCHASE,
    Kind,
    Outcome,
    Payment,
    PaymentStatus,
    Received,
    State,
    StripeId,
    Thing,
)
from creto.metering.core import tell
from creto.platform.crypto import equal, mac
from creto.store.types import Store, Tx

HEADER = "stripe-signature"
SIGNATURES_MAX = 16  # it signs with two secrets while one replaces the other
SECONDS_MAX = INTEGER_MAX // SECOND
STAMP = re.compile(r"[0-9]{1,12}")
NAME = re.compile(rf"[\x21-\x7e]{{1,{ID_CHARS_MAX}}}")  # what an id of ours is made of
METER_ERRORS = "v1.billing.meter.error_report_triggered"
STATUS = {
    "invoice.created": PaymentStatus.DRAFT,
    "invoice.finalization_failed": PaymentStatus.DRAFT,
    "invoice.finalized": PaymentStatus.OPEN,
    "invoice.sent": PaymentStatus.OPEN,
    "invoice.overdue": PaymentStatus.OPEN,
    "invoice.payment_action_required": PaymentStatus.ACTION_REQUIRED,
    "invoice.payment_failed": PaymentStatus.FAILED,
    "invoice.marked_uncollectible": PaymentStatus.UNCOLLECTIBLE,
    "invoice.voided": PaymentStatus.VOID,
    "invoice.paid": PaymentStatus.PAID,
}
SUBJECT = {Kind.INVOICE: INVOICE, Kind.PURCHASE: PURCHASE}
RANK = {status: rank for rank, status in enumerate(PaymentStatus)}
FINAL = (PaymentStatus.PAID, PaymentStatus.VOID)


class Fault(msgspec.Struct, frozen=True):
    message: str | None = None


class TheirInvoice(msgspec.Struct, frozen=True):
    """What we read of an invoice in a webhook."""

    id: str
    currency: str
    amount_paid: int = 0
    metadata: dict[str, str] | None = None
    hosted_invoice_url: str | None = None
    last_finalization_error: Fault | None = None


class Data(msgspec.Struct, frozen=True):
    object: msgspec.Raw = msgspec.Raw(b"null")


class Event(msgspec.Struct, frozen=True):
    """`created` is seconds; the thin events of the second API spell it."""

    id: Annotated[str, Meta(pattern=r"^\w{1,255}$")]
    type: str
    created: Annotated[int, Meta(ge=0, le=SECONDS_MAX)] | str
    livemode: bool = False
    account: str | None = None
    data: Data = Data()


def signed_at(header: str, body: bytes, secret: Secret, now: int) -> int:
    """When Stripe signed these bytes, in its seconds; raises if it did not, or not now."""
    fields = [field.strip().partition("=") for field in header[: 100 * SIGNATURES_MAX].split(",")]
    stamps = [value for name, _, value in fields if name == "t"]
    given = [value for name, _, value in fields if name == "v1"][:SIGNATURES_MAX]
    if len(stamps) != 1 or not STAMP.fullmatch(stamps[0]) or not given:
        raise unbelieved("the header Stripe-Signature has no time or no signature of version 1")
    expected = mac(secret.reveal().encode(), stamps[0].encode() + b"." + body).hex().encode()
    if not any(equal(expected, one.encode(errors="replace")) for one in given):
        raise unbelieved("the signature is not Stripe's over these bytes")
    at = int(stamps[0])
    if abs(at - now // SECOND) > STRIPE_EVENT_SKEW_S:
        raise unbelieved(f"it was signed more than {STRIPE_EVENT_SKEW_S} s from now")
    return at


def unbelieved(why: str) -> SignatureVerificationFailed:
    return SignatureVerificationFailed(
        "PL-941", f"the webhook is not believed: {why}", hint="Check stripe.webhook_secret and this machine's clock."
    )


def holds(known: Payment | None, said: Payment) -> bool:
    """Whether what is said now replaces what is known."""
    return known is None or strength(said) > strength(known)


def strength(one: Payment) -> tuple[bool, int, int]:
    return one.status in FINAL, one.said_at, RANK[one.status]


class Receipts:
    """`by` is the service that records what it was told; `tenant` is whose matters of the whole account are."""

    def __init__(self, store: Store, clock: Clock, config: StripeConfig, *, by: AgentId, tenant: TenantId) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._by = by
        self._tenant = tenant
        self._accounts = dict(pair.split("=", 1) for pair in config.accounts)

    async def webhook(self, headers: RawHeaders, body: bytes) -> Answer:
        """As the edge mounts it. Any status but 2xx makes Stripe send the webhook again, for three days."""
        signature = only(headers, HEADER.encode())
        try:
            await self.receive({} if signature is None else {HEADER: signature.decode("latin-1")}, body)
        except EnablementError as error:
            return Answer(row(error.code).http, error.code.encode())
        return Answer()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> Received:
        """Believe it, take it once, say what came of it."""
        if self._config.webhook_secret is None:
            raise InternalError("PL-501", "webhooks of Stripe are not taken", hint="Set stripe.webhook_secret.")
        if len(body) > STRIPE_EVENT_BYTES_MAX:
            raise InvalidInput.of(
                "body", got=f"{len(body)} bytes", expected=f"at most {STRIPE_EVENT_BYTES_MAX}", code="PL-413"
            )
        header = next((value for name, value in headers.items() if name.lower() == HEADER), "")
        now = self._clock.now()
        signed_at(header, body, self._config.webhook_secret, now)
        event = wire.decode(body, Event, what="webhook")
        outcome = await self._store.write(lambda tx: self._take(tx, event, now))
        return Received(event.id, event.type, outcome)

    async def forget_old(self, limit: int = PAGE_ITEMS_MAX) -> int:
        """Receipts that nothing can come again for; how many were forgotten."""
        before = self._clock.now() - STRIPE_EVENTS_KEPT_S * SECOND
        return await self._store.write(lambda tx: rows.forget_receipts(tx, before, limit))

    def _take(self, tx: Tx, event: Event, now: ConsensusTimestamp) -> Outcome:
        if not self._concerns_us(event):
            return Outcome.FOREIGN
        if not rows.first_receipt(tx, event.id, now):
            return Outcome.DUPLICATE
        if event.type == METER_ERRORS:
            return self._meter_errors(tx, event, now)
        theirs = wire.decode(event.data.object, TheirInvoice, what="invoice")
        ours = self._ours(tx, theirs)
        if ours is None or self._accounts.get(ours.tenant) != event.account:
            return Outcome.FOREIGN
        said = payment_of(ours, theirs, event)
        if not holds(rows.payment(tx, ours.tenant, said.our_id), said):
            return Outcome.OLDER
        rows.put_payment(tx, ours.tenant, said)
        fields = {"status": said.status, "paid": said.paid, "currency": said.currency, "stripe": said.stripe_id}
        tell(
            tx, self._clock, ours.tenant, f"payment.{said.status}", "PaymentStatusChanged",
            by=self._by, subject=f"{SUBJECT[ours.kind]}{said.our_id}", fields=fields, now=now,
        )  # fmt: skip
        return Outcome.APPLIED

    def _concerns_us(self, event: Event) -> bool:
        """A Connect endpoint of live mode is told of tests too."""
        key = self._config.api_key.reveal() if self._config.api_key is not None else ""
        same_mode = not key or event.livemode == ("_live_" in key)
        return same_mode and (event.type in STATUS or event.type == METER_ERRORS)

    def _ours(self, tx: Tx, theirs: TheirInvoice) -> Thing | None:
        """The invoice of ours. A webhook can be faster than the answer to our request: then it shall come again."""
        found = rows.at_stripe(tx, theirs.id)
        named = [(theirs.metadata or {}).get(name, "") for name in ("creto_tenant", "creto_invoice")]
        if found is not None or not all(NAME.fullmatch(name) for name in named):
            return found
        for kind in SUBJECT:
            asked = rows.find(tx, TenantId(named[0]), kind, named[1])
            if asked is not None and asked.state is not State.THERE:
                raise ConnectionFailed(
                    "MT-503", f"{asked.our_id} is being made at Stripe", hint="Send the webhook again."
                )
        return None

    def _meter_errors(self, tx: Tx, event: Event, now: ConsensusTimestamp) -> Outcome:
        """Stripe looks at usage after it has taken it: what it could not use, a person has to see."""
        tenants = [TenantId(tenant) for tenant, account in self._accounts.items() if account == event.account]
        tenant = tenants[0] if tenants else self._tenant
        tell(
            tx, self._clock, tenant, "meter.refused", "MeterEventsRefused",
            by=self._by, subject="metering:stripe:meters", fields={"stripe_event": event.id}, now=now,
        )  # fmt: skip
        return Outcome.APPLIED


def payment_of(ours: Thing, theirs: TheirInvoice, event: Event) -> Payment:
    if not isinstance(event.created, int):
        raise InvalidInput.of("created", got=event.created, expected="seconds since 1970")
    currency = theirs.currency.upper()
    fault = theirs.last_finalization_error
    return Payment(
        our_id=ours.our_id,
        stripe_id=StripeId(theirs.id),
        status=STATUS[event.type],
        said_at=event.created * SECOND,
        paid=major(theirs.amount_paid, currency),
        currency=currency,
        reason=None if fault is None else fault.message,
        page=theirs.hosted_invoice_url,
    )
