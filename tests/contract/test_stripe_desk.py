"""What an operator asks of the connector, on both engines: who pays, where payments stand, what waits, and bringing an invoice there by hand."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.bus import EmbeddedBus
from creto.common.errors import AlreadyExists, EnablementError, InternalError, NotFound
from creto.common.ids import AgentId, TenantId
from creto.common.settings import StripeConfig
from creto.common.timestamps import HOUR
from creto.connectors.stripe import Kind, Payer, PaymentStatus, State, Stripe, StripeId
from creto.connectors.stripe.errors import StripeRefused
from creto.connectors.stripe.sdk import http_transport
from creto.metering import InvoiceStatus, Party, TopUp
from creto.metering.types import InvoiceId
from creto.metering.wallets import PURCHASE_ID, RuleId, TopUpRule
from tests.contract.stripe_world import MAIL, Business, config, the_business, the_clock, the_store, the_stripe  # noqa: F401 - fixtures
from tests.local_stripe import Fault
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D

GLOBEX = TenantId("globex")


async def final(business: Business, agent: AgentId = AGENT, key: str = "k") -> InvoiceId:
    subscription = await business.subscribed(agent, key=key)
    business.at(JANUARY.end + HOUR)
    return (await business.final(subscription)).invoice_id


async def paid(business: Business, invoice_id: InvoiceId) -> None:
    """The customer pays, and Stripe says so."""
    books = business.there.books
    (theirs,) = (one for one in books.invoices.values() if one["metadata"]["creto_invoice"] == invoice_id)
    books.pay(theirs["id"])
    headers, body = business.there.webhook(books.events[-1])
    await business.receipts.receive(headers, body)


async def test_an_invoice_is_brought_there_by_hand_and_once(business: Business) -> None:
    ours = await final(business)
    assert await business.stripe.objects(TENANT, ours) == []
    for _ in range(2):
        await business.stripe.collect(TENANT, ours)
    (theirs,) = business.there.books.invoices.values()
    assert theirs["status"] == "open"
    made = await business.stripe.objects(TENANT, ours)
    assert {(one.kind, one.state) for one in made} == {
        (kind, State.THERE) for kind in (Kind.INVOICE, Kind.LINES, Kind.FINAL)
    }


async def test_what_may_still_change_is_not_collected(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    draft = await business.billing.draft_invoice(TENANT, subscription.subscription_id, by=HUMAN, at=JANUARY.start)
    with pytest.raises(AlreadyExists) as refused:
        await business.stripe.collect(TENANT, draft.invoice_id)
    assert (refused.value.code, refused.value.got) == ("MT-412", InvoiceStatus.DRAFT)
    with pytest.raises(NotFound):
        await business.stripe.collect(TENANT, InvoiceId("never"))
    assert business.there.requests == []


async def test_a_purchase_is_brought_there_and_once_it_is_settled_not_again(business: Business) -> None:
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    rule = TopUpRule(rule_id=RuleId("r"), agent=AGENT, currency="USD", top_up=TopUp(below=D(5), amount=D(50)))
    await business.billing.set_top_up(TENANT, rule, by=HUMAN)
    (asked,) = await business.billing.purchases(TENANT)
    assert asked.purchase_id.startswith(PURCHASE_ID)
    await business.stripe.collect(TENANT, asked.purchase_id)
    (theirs,) = business.there.books.invoices.values()
    assert (theirs["status"], theirs["total"]) == ("open", 5_000)
    await business.billing.settle_purchase(TENANT, asked.purchase_id, paid=True, by=HUMAN)
    with pytest.raises(AlreadyExists):
        await business.stripe.collect(TENANT, asked.purchase_id)


async def test_a_refusal_is_told_at_once_and_waits_to_be_put_right(business: Business) -> None:
    ours = await final(business)
    await business.stripe.set_payer(TENANT, AGENT, Payer(name="Ada"), by=HUMAN)
    with pytest.raises(StripeRefused, match="Missing email"):
        await business.stripe.collect(TENANT, ours)
    assert (await business.stripe.standing(TENANT)).requests == {"refused": 1}
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    await business.work([one for one in await business.messages() if one.subject == "metering.payer.set"])
    await business.stripe.collect(TENANT, ours)
    assert (await business.stripe.standing(TENANT)).requests == {}


async def test_a_tenant_without_an_account_is_not_collected_in_anothers(business: Business) -> None:
    """given accounts for other tenants / when this one asks / then it is refused, and nothing was asked of Stripe."""
    ours = await final(business)
    await business.messages()
    others = Stripe(
        business.store, business.bus, business.clock, business.billing, config(business.there, accounts=("globex=acct_2",))
    )  # fmt: skip
    with pytest.raises(InternalError) as refused:
        await others.collect(TENANT, ours)
    assert (refused.value.code, refused.value.hint) == ("PL-501", f"Add {TENANT}=ACCOUNT to stripe.accounts.")
    assert business.there.requests == []
    assert [(await others.standing(tenant)).configured for tenant in (TENANT, GLOBEX)] == [False, True]
    await others.stop()


async def test_without_a_key_collecting_says_what_is_missing(business: Business) -> None:
    ours = await final(business)
    bare = Stripe(business.store, EmbeddedBus(business.store), business.clock, business.billing, StripeConfig())
    with pytest.raises(InternalError, match="not configured"):
        await bare.collect(TENANT, ours)
    assert not (await bare.standing(TENANT)).configured


async def test_payments_are_listed_by_status_page_by_page(business: Business) -> None:
    first, second = await final(business, AGENT, "a"), await final(business, CHILD, "b")
    for one in (first, second):
        await business.stripe.collect(TENANT, one)
    for event in list(business.there.books.events):
        headers, body = business.there.webhook(event)
        await business.receipts.receive(headers, body)
    await paid(business, second)

    everything = await business.stripe.payments(TENANT)
    assert {one.our_id for one in everything} == {first, second}
    assert await business.stripe.payments(TENANT, limit=1) == everything[:1]
    assert await business.stripe.payments(TENANT, after=everything[0].our_id) == everything[1:]
    assert [one.our_id for one in await business.stripe.payments(TENANT, status=PaymentStatus.PAID)] == [second]
    assert await business.stripe.payments(GLOBEX) == []
    assert (await business.stripe.standing(TENANT)).payments == {"open": 1, "paid": 1}
    assert (await business.stripe.standing(GLOBEX)).payments == {}


async def test_what_waits_is_listed_page_by_page(business: Business) -> None:
    ours = [await final(business, AgentId(name), name) for name in ("a", "b", "c")]
    business.there.plan(Fault.DROPPED, 20, "POST /v1/customers")
    for one in ours:
        with pytest.raises(EnablementError):
            await business.stripe.collect(TENANT, one)
    waiting = await business.stripe.unfinished(TENANT)
    assert [(one.kind, one.state) for one in waiting] == [(Kind.CUSTOMER, State.ASKED)] * 3
    first, *rest = waiting
    assert await business.stripe.unfinished(TENANT, after=(first.asked_at, first.kind, first.our_id)) == rest
    assert await business.stripe.unfinished(TENANT, limit=1) == [first]
    assert await business.stripe.unfinished(GLOBEX) == []


async def test_payers_are_listed_with_the_customers_that_they_are(business: Business) -> None:
    ours = await final(business)
    await business.stripe.set_payer(TENANT, CHILD, Payer(stripe_id=StripeId("cus_9")), by=HUMAN)
    assert {one.agent: one.customer for one in await business.stripe.payers(TENANT)} == {AGENT: None, CHILD: "cus_9"}
    await business.stripe.collect(TENANT, ours)
    made = (await business.stripe.payer(TENANT, AGENT)).customer
    assert made in business.there.books.customers
    first, second = await business.stripe.payers(TENANT)
    assert await business.stripe.payers(TENANT, after=first.agent) == [second]
    assert await business.stripe.payers(GLOBEX) == []


async def test_a_customer_that_was_there_keeps_its_name(business: Business) -> None:
    """given a customer that somebody made at Stripe / when it is named as a payer / then it is not renamed, unless a name was given."""
    books = business.there.books
    theirs = books.create_customer({"name": "Globex Corp", "email": "books@globex.example"})
    for name, shown in ((None, "Globex Corp"), ("Globex", "Globex")):
        await business.stripe.set_payer(TENANT, AGENT, Payer(name=name, stripe_id=StripeId(theirs["id"])), by=HUMAN)
        await business.work()
        assert (books.customer(theirs["id"])["name"], books.customer(theirs["id"])["email"]) == (
            shown,
            "books@globex.example",
        )


async def test_who_never_started_it_lets_go_of_its_connections_all_the_same(business: Business) -> None:
    ours = await final(business)
    transport = http_transport()
    asked = Stripe(
        business.store, business.bus, business.clock, business.billing, business.config, transport=transport
    )  # fmt: skip
    await asked.collect(TENANT, ours)
    for _ in range(2):
        await asked.stop()
    assert transport._client.is_closed


async def test_whoever_gets_the_invoices_pays_unless_somebody_was_named(business: Business) -> None:
    subscription = await business.subscribed()
    subscription_id = subscription.subscription_id
    await business.stripe.set_payer(TENANT, AGENT, Payer(), by=HUMAN)
    ada = Party(name="Ada Ltd", email="ap@ada.example")
    await business.billing.set_party(TENANT, ada, by=HUMAN, subscription_id=subscription_id)
    assert (await business.stripe.payer(TENANT, AGENT)).payer == Payer(name="Ada Ltd", email="ap@ada.example")
    business.at(JANUARY.end + HOUR)
    await business.stripe.collect(TENANT, (await business.final(subscription)).invoice_id)
    (customer,) = business.there.books.customers.values()
    assert (customer["name"], customer["email"]) == ("Ada Ltd", "ap@ada.example")

    await business.messages()
    moved = replace(ada, name="Ada AG", email="no address")
    await business.billing.set_party(TENANT, moved, by=HUMAN, subscription_id=subscription_id)
    await business.billing.set_party(TENANT, Party(name="Us"), by=HUMAN)  # who sends them is no customer
    await business.stripe.set_payer(TENANT, AGENT, Payer(email="pay@ada.example"), by=HUMAN)
    await business.work()
    (customer,) = business.there.books.customers.values()
    assert (customer["name"], customer["email"]) == ("Ada AG", "pay@ada.example")


async def test_a_customer_that_stripe_has_keeps_its_name(business: Business) -> None:
    subscription = await business.subscribed()
    party = Party(name="Ada Ltd")
    await business.billing.set_party(TENANT, party, by=HUMAN, subscription_id=subscription.subscription_id)
    named = Payer(stripe_id=StripeId("cus_1"))
    await business.stripe.set_payer(TENANT, AGENT, named, by=HUMAN)
    assert (await business.stripe.payer(TENANT, AGENT)).payer == named
