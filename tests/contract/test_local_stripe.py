"""The Stripe of the tests keeps Stripe's contract, as its own SDK sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

stripe = pytest.importorskip("stripe")

from tests.local_stripe import Fault, LocalStripe  # noqa: E402


class Now:
    def __init__(self) -> None:
        self.s = int(time.time())

    def __call__(self) -> int:
        return self.s


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def there(now: Now) -> Iterator[LocalStripe]:
    with LocalStripe(now) as server:
        yield server


@pytest.fixture
def client(there: LocalStripe) -> Iterator[Any]:
    http = stripe.RequestsClient()
    yield stripe.StripeClient(
        there.key, base_addresses={"api": there.url, "meter_events": there.url}, max_network_retries=0, http_client=http
    ).v1
    http.close()


def keyed(key: str) -> dict[str, str]:
    return {"idempotency_key": key}


def test_a_key_gives_the_first_answer_again_and_only_to_the_same_request(
    client: Any, there: LocalStripe, now: Now
) -> None:
    first = client.customers.create({"name": "ada"}, keyed("a"))
    again = client.customers.create({"name": "ada"}, keyed("a"))
    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        client.customers.create({"name": "bob"}, keyed("a"))
    with pytest.raises(stripe.IdempotencyError):
        client.invoices.create({"customer": first.id}, keyed("a"))
    assert len(there.books.customers) == 1

    now.s += 86_401
    assert client.customers.create({"name": "ada"}, keyed("a")).id != first.id


def test_a_refusal_is_kept_under_its_key_once_the_endpoint_has_begun(client: Any, there: LocalStripe) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.customers.create({"nmae": "ada"}, keyed("a"))
    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "nmae")
    made = client.customers.create({"name": "ada"}, keyed("a"))

    asked = {"customer": made.id, "collection_method": "send_invoice", "days_until_due": 3}
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError):
            client.invoices.create(asked, keyed("b"))
        client.customers.update(made.id, {"email": "ada@example.com"})
    client.invoices.create(asked, keyed("c"))


def test_lists_go_on_from_a_cursor(client: Any) -> None:
    made = [client.customers.create({"name": f"c{n}"}).id for n in range(7)]
    page = client.customers.list({"limit": 3})
    assert ([c.id for c in page.data], page.has_more) == (made[:3:-1], True)
    assert [c.id for c in page.auto_paging_iter()] == made[::-1]
    with pytest.raises(stripe.InvalidRequestError):
        client.customers.list({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError):
        client.customers.list({"starting_after": "cus_none"})


def test_errors_have_their_classes(client: Any, there: LocalStripe) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.customers.retrieve("cus_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    there.plan(Fault.LIMITED)
    with pytest.raises(stripe.RateLimitError) as limited:
        client.customers.create({})
    assert limited.value.headers["retry-after"] == "1"
    for fault, kind in (
        (Fault.DROPPED, stripe.APIConnectionError),
        (Fault.CUT, stripe.APIConnectionError),
        (Fault.BROKEN, stripe.APIError),
        (Fault.DOWN, stripe.APIError),
    ):
        there.plan(fault)
        with pytest.raises(kind):
            client.customers.create({}, keyed(fault.value))
    assert len(there.books.customers) == 1  # the connection was cut after it was made
    assert client.customers.create({}, keyed("cut").copy()).id == next(iter(there.books.customers))
    there.key = "sk_test_another"
    with pytest.raises(stripe.AuthenticationError):
        client.customers.list({})


def test_an_invoice_from_draft_to_paid(client: Any, there: LocalStripe) -> None:
    customer = client.customers.create({"email": "ada@example.com"}).id
    asked = {"customer": customer, "currency": "usd", "collection_method": "send_invoice", "days_until_due": 30}
    invoice = client.invoices.create(asked)
    tax = {
        "amount": 20,
        "taxable_amount": 100,
        "tax_rate_data": {"display_name": "vat", "percentage": "20", "inclusive": False},
    }
    added = client.invoices.add_lines(invoice.id, {"lines": [{"amount": 100, "tax_amounts": [tax]}, {"amount": -30}]})
    assert (added.total, added.lines.data[0].amount) == (90, 100)
    with pytest.raises(stripe.InvalidRequestError):
        client.invoices.void_invoice(invoice.id)
    assert client.invoices.finalize_invoice(invoice.id).status == "open"
    with pytest.raises(stripe.InvalidRequestError):
        client.invoices.add_lines(invoice.id, {"lines": [{"amount": 1}]})
    with pytest.raises(stripe.InvalidRequestError):
        client.credit_notes.create({"invoice": invoice.id, "amount": 91})
    client.credit_notes.create({"invoice": invoice.id, "amount": 40})
    assert client.invoices.pay(invoice.id).amount_paid == 50
    types = [event["type"] for event in there.books.events]
    assert types[-4:] == ["invoice.updated", "invoice.finalized", "credit_note.created", "invoice.paid"]


def test_a_meter_counts_an_identifier_once(client: Any) -> None:
    customer = client.customers.create({}).id
    meter = client.billing.meters.create(
        {"event_name": "tokens", "display_name": "t", "default_aggregation": {"formula": "sum"}}
    )
    asked = {"event_name": "tokens", "identifier": "one", "payload": {"stripe_customer_id": customer, "value": "7"}}
    client.billing.meter_events.create(asked)
    with pytest.raises(stripe.InvalidRequestError) as twice:
        client.billing.meter_events.create(asked)
    assert twice.value.code == "duplicate_meter_event"
    with pytest.raises(stripe.InvalidRequestError):
        client.billing.meter_events.create(
            {"event_name": "tokens", "payload": {"stripe_customer_id": customer, "value": "0.5"}}
        )
    minute = int(time.time()) // 60 * 60
    sums = client.billing.meters.event_summaries.list(
        meter.id, {"customer": customer, "start_time": minute - 600, "end_time": minute + 600}
    )
    assert [s.aggregated_value for s in sums.data] == [7]


def test_its_webhooks_are_believed_by_the_sdk(there: LocalStripe, client: Any) -> None:
    client.customers.create({"name": "ada"})
    headers, body = there.webhook(there.books.events[0])
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], there.webhook_secret)
    assert event.type == "customer.created"
    late, body = there.webhook(there.books.events[0], at_s=int(time.time()) - 301)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, late["Stripe-Signature"], there.webhook_secret)
