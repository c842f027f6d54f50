"""The connector on both engines, through the real SDK, against the Stripe of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("stripe")

from creto.bus import EmbeddedBus, Redelivery
from creto.common.breaker import CircuitState
from creto.common.errors import EnablementError, InternalError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, TenantId
from creto.common.limits import STRIPE_KEY_S
from creto.common.retry import without_waiting
from creto.common.settings import Collection, StripeConfig
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.connectors.stripe import Kind, KnownPayer, Outcome, Payer, PaymentStatus, Receipts, State, Stripe, StripeId
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.errors import StripeAway, StripeRefused
from creto.metering import InvoiceStatus, NewGrant, NewPurchase, TopUp
from creto.metering.wallets import PurchaseState, RuleId, TopUpRule
from creto.platform.consensus.testing import ManualClock
from creto.store.types import Store
from tests.contract.buses import eventually
from tests.contract.stripe_world import (  # noqa: F401 - fixtures
    FEBRUARY,
    LAYER,
    MAIL,
    Business,
    config,
    now_s,
    the_business,
    the_clock,
    the_store,
    the_stripe,
)
from tests.local_stripe import Fault, LocalStripe
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D, event


def counts(there: LocalStripe) -> tuple[int, int, int]:
    books = there.books
    return len(books.customers), len(books.invoices), len(books.credit_notes)


def the_only(objects: dict[str, Any]) -> Any:
    (one,) = objects.values()
    return one


async def things(business: Business, kind: Kind) -> list[Any]:
    return await business.store.read(lambda tx: rows.of_kind(tx, TENANT, kind))


# Invoices


async def test_a_final_invoice_is_collected_with_its_lines_taxes_and_number(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    await business.work()

    books = business.there.books
    theirs, customer = the_only(books.invoices), the_only(books.customers)
    assert (theirs["status"], theirs["number"], theirs["total"]) == ("open", "INV-000001", 15_720)
    assert (ours.due, theirs["auto_advance"]) == (D("157.20"), "false")
    assert theirs["metadata"]["creto_invoice"] == ours.invoice_id
    lines = books.lines[theirs["id"]]
    assert [(line["amount"], line["taxes"][0]["amount"]) for line in lines] == [(3_100, 620), (10_000, 2_000)]
    assert (customer["name"], customer["email"]) == ("Ada", "ada@example.com")
    assert await business.stripe.unfinished(TENANT) == []


async def test_every_message_twice_changes_nothing(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    await business.work(messages)
    asked = len(business.there.asked("POST /v1/(invoices|credit_notes).*"))
    await business.work(messages)
    assert counts(business.there) == (1, 1, 0)
    assert len(business.there.asked("POST /v1/(invoices|credit_notes).*")) == asked


async def test_prepaid_credits_are_a_line_and_what_is_due_is_asked_for(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    asked = NewGrant(agent=AGENT, amount=D(50), currency="USD", effective_at=JANUARY.start)
    await business.billing.grant_credits(TENANT, asked, key="g", by=HUMAN)
    ours = await business.final(subscription)
    await business.work()
    theirs = the_only(business.there.books.invoices)
    assert (ours.due, theirs["total"]) == (D("107.20"), 10_720)
    assert business.there.books.lines[theirs["id"]][-1]["amount"] == -5_000


async def test_a_correction_that_gives_tax_back_has_its_taxes_as_lines(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    business.at(FEBRUARY.end + HOUR)
    business.source.used(subscription, event(JANUARY.start + 2 * HOUR, id="late", value=-900))
    ours = await business.final(subscription, at=FEBRUARY.start)
    await business.work()
    theirs = [one for one in business.there.books.invoices.values() if one["number"] == "INV-000002"]
    assert [one["total"] for one in theirs] == [int(ours.due * 100)]
    assert all(line["taxes"] == [] for line in business.there.books.lines[theirs[0]["id"]])


async def test_a_total_that_is_not_ours_stays_a_draft(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    business.there.plan(Fault.DOWN, 20, "POST .*/finalize")
    with pytest.raises(StripeAway):
        await business.work(messages)
    books = business.there.books
    theirs = the_only(books.invoices)
    books.add_lines(theirs["id"], {"lines": [{"amount": "1", "metadata": {}}]})  # somebody did, in the dashboard
    business.there.calm()
    with pytest.raises(InvalidInput) as refused:
        await business.work(messages)
    assert (refused.value.code, refused.value.got, theirs["status"]) == ("MT-424", "15721", "draft")


async def test_a_void_invoice_is_void_there_and_a_draft_is_gone(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    await business.work()
    await business.billing.void_invoice(TENANT, ours.invoice_id, by=HUMAN)
    voiding = await business.messages()
    await business.work(voiding)
    await business.work(voiding)
    assert the_only(business.there.books.invoices)["status"] == "void"

    again = await business.final(subscription)
    business.there.plan(Fault.BROKEN, 40, "POST .*/finalize")
    with pytest.raises(StripeAway):
        await business.work()
    await business.billing.void_invoice(TENANT, again.invoice_id, by=HUMAN)
    business.there.calm()
    await business.work()
    assert [one["status"] for one in business.there.books.invoices.values()] == ["void"]


async def test_a_paid_invoice_is_not_voided_but_credited(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    await business.work()
    books = business.there.books
    books.pay(the_only(books.invoices)["id"])
    line = ours.lines[1].line_id
    note = await business.billing.credit_invoice(TENANT, ours.invoice_id, [(line, D(10))], by=HUMAN)
    crediting = await business.messages()
    await business.work(crediting)
    await business.work(crediting)
    theirs = the_only(books.credit_notes)
    assert (note.total, theirs["amount"], theirs["post_payment_amount"]) == (D(12), 1_200, 1_200)
    assert the_only(books.customers)["balance"] == -1_200


async def test_a_credit_note_over_an_open_invoice_lessens_it_and_can_be_voided(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    note = await business.billing.credit_invoice(TENANT, ours.invoice_id, [(ours.lines[1].line_id, D(10))], by=HUMAN)
    await business.work()
    theirs = the_only(business.there.books.invoices)
    assert theirs["amount_remaining"] == 15_720 - 1_200
    await business.billing.void_invoice(TENANT, note.invoice_id, by=HUMAN)
    await business.work()
    assert (theirs["amount_remaining"], the_only(business.there.books.credit_notes)["status"]) == (15_720, "void")


async def test_what_was_final_before_the_first_start_is_collected_when_it_is_asked_for(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    note = await business.billing.credit_invoice(TENANT, ours.invoice_id, [(ours.lines[1].line_id, D(10))], by=HUMAN)
    await business.messages()
    business.clock.advance(SECOND)
    await business.stripe.collect(TENANT, note.invoice_id)  # its invoice was collected elsewhere
    assert counts(business.there) == (0, 0, 0)
    await business.stripe.collect(TENANT, ours.invoice_id)
    await business.stripe.collect(TENANT, note.invoice_id)
    assert counts(business.there) == (1, 1, 1)


# Credits


async def test_credits_that_a_top_up_asks_for_are_granted_once_they_are_paid(business: Business) -> None:
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    rule = TopUpRule(rule_id=RuleId("r"), agent=AGENT, currency="USD", top_up=TopUp(below=D(5), amount=D(50)))
    await business.billing.set_top_up(TENANT, rule, by=HUMAN)
    messages = await business.messages()
    await business.work(messages)
    await business.work(messages)
    books = business.there.books
    theirs = the_only(books.invoices)
    assert (theirs["status"], theirs["total"], theirs["number"][-5:]) == ("open", 5_000, "-0001")
    (asked,) = await business.billing.purchases(TENANT)

    books.pay(theirs["id"])
    assert await receive(business, books.events[-1]) is Outcome.APPLIED
    paying = await business.messages()
    await business.work(paying)
    await business.work(paying)
    payment = await business.stripe.payment(TENANT, asked.purchase_id)
    assert payment is not None
    assert (payment.status, payment.paid) == (PaymentStatus.PAID, D(50))
    assert (await business.billing.wallet(TENANT, AGENT, "USD")).usable == D(50)


async def test_credits_that_somebody_buys_are_paid_like_those_of_a_top_up(business: Business) -> None:
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    wanted = NewPurchase(agent=AGENT, amount=D(25), currency="USD")
    asked = await business.billing.buy_credits(TENANT, wanted, key="k", by=HUMAN)
    messages = await business.messages()
    await business.work(messages)
    await business.work(messages)
    books = business.there.books
    theirs = the_only(books.invoices)
    assert (theirs["status"], theirs["total"]) == ("open", 2_500)
    books.pay(theirs["id"])
    assert await receive(business, books.events[-1]) is Outcome.APPLIED
    await business.work()
    paid = await business.billing.purchase(TENANT, asked.purchase_id)
    assert paid is not None
    assert (paid.state, (await business.billing.wallet(TENANT, AGENT, "USD")).usable) == (PurchaseState.PAID, D(25))


async def test_credits_that_nobody_pays_for_are_not_granted(business: Business) -> None:
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    rule = TopUpRule(rule_id=RuleId("r"), agent=AGENT, currency="USD", top_up=TopUp(below=D(5), amount=D(50)))
    await business.billing.set_top_up(TENANT, rule, by=HUMAN)
    await business.work()
    books = business.there.books
    books.mark_uncollectible(the_only(books.invoices)["id"])
    await receive(business, books.events[-1])
    await business.work()
    (asked,) = await business.billing.purchases(TENANT)
    assert (asked.state, (await business.billing.wallet(TENANT, AGENT, "USD")).usable) == (PurchaseState.FAILED, D(0))


# What goes wrong


INVOICING = ["/v1/customers", "/v1/invoices", r"/v1/invoices/\w+/add_lines", r"/v1/invoices/\w+/finalize"]


@pytest.mark.parametrize("what", INVOICING)
async def test_each_thing_is_made_once_whatever_happens_to_its_request(business: Business, what: str) -> None:
    business.at(JANUARY.end + HOUR)
    for fault in Fault:
        await business.final(await business.subscribed(AgentId(fault), key=fault.value))
        business.there.plan(fault, 2, f"POST {what}")
        await business.work()
    books = business.there.books
    assert counts(business.there) == (len(Fault), len(Fault), 0)
    for theirs in books.invoices.values():
        assert (theirs["status"], theirs["total"], len(books.lines[theirs["id"]])) == ("open", 15_720, 2)


@pytest.mark.parametrize("what", [*INVOICING, "/v1/credit_notes"])
async def test_after_its_key_is_forgotten_a_thing_is_looked_for(business: Business, what: str) -> None:
    business.at(JANUARY.end + HOUR)
    books = business.there.books
    for number, fault in enumerate((Fault.CUT, Fault.DROPPED), 1):
        ours = await business.final(await business.subscribed(AgentId(fault), key=fault.value))
        await business.billing.credit_invoice(TENANT, ours.invoice_id, [(ours.lines[0].line_id, D(1))], by=HUMAN)
        messages = await business.messages()
        business.there.plan(fault, 20, f"POST {what}")
        with pytest.raises(EnablementError):
            await business.work(messages)
        waiting = await business.stripe.unfinished(TENANT)
        assert [one.state for one in waiting] == [State.ASKED]

        business.there.calm()
        business.clock.advance((STRIPE_KEY_S + 3_700) * SECOND)
        for n in range(101):  # more than a page to look through
            books.create_customer({"name": f"somebody {n}"})
        await business.work(messages)
        customers = [c for c in books.customers.values() if c["metadata"]]
        assert (len(customers), *counts(business.there)[1:]) == (number, number, number)
    for theirs in books.invoices.values():
        assert (theirs["status"], len(books.lines[theirs["id"]])) == ("open", 2)


async def test_a_database_that_was_restored_finds_what_is_there(business: Business) -> None:
    """Its rows are lost, and another release would ask in other words: the keys are taken, so it looks."""
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    await business.work(messages)
    await business.store.write(lambda tx: tx.run("DELETE FROM stripe_object"))
    for kept in business.there._kept.values():
        kept.asked = "in other words"
    await business.work(messages)
    theirs = the_only(business.there.books.invoices)
    assert (counts(business.there), len(business.there.books.lines[theirs["id"]])) == ((1, 1, 0), 2)


async def test_a_limit_is_kept_and_opens_no_breaker(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    business.there.plan(Fault.LIMITED, 12, "POST /v1/customers")
    await business.work(messages)
    assert business.breaker.openings == 0
    business.there.plan(Fault.LIMITED, 40)
    await business.stripe.set_payer(TENANT, AGENT, Payer(name="Eve"), by=HUMAN)
    with pytest.raises(StripeAway) as limited:
        await business.work()
    assert (limited.value.code, limited.value.retry_after_s, limited.value.retryable) == ("MT-503", 1.0, True)


async def test_an_outage_opens_the_breaker(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    business.there.plan(Fault.DOWN, 10, "POST /v1/customers")
    await business.work()
    assert business.breaker.openings > 0
    assert (business.breaker.state, counts(business.there)) == (CircuitState.CLOSED, (1, 1, 0))


async def test_a_refusal_says_why_and_the_next_try_has_what_was_put_right(business: Business) -> None:
    subscription = await business.subscribed()
    await business.stripe.set_payer(TENANT, AGENT, Payer(name="Ada"), by=HUMAN)
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    with pytest.raises(StripeRefused) as refused:
        await business.work(messages)
    assert (refused.value.code, refused.value.retryable, refused.value.field) == ("MT-424", False, "customer")
    assert "Missing email" in refused.value.message
    assert [one.state for one in await things(business, Kind.INVOICE)] == [State.REFUSED]

    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    await business.work()
    await business.work(messages)
    assert counts(business.there) == (1, 1, 0)
    assert the_only(business.there.books.invoices)["status"] == "open"


async def test_a_wrong_key_holds_the_work_and_shows_no_secret(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    business.there.key = "sk_test_rolled"
    with pytest.raises(EnablementError) as away:
        await business.work(messages)
    assert away.value.retryable
    assert "sk_test_local" not in away.value.rendered() + repr(business.config)


async def test_the_dead_letter_of_a_refusal_is_replayed(store: Store, there: LocalStripe, clock: ManualClock) -> None:
    business = Business(store, there, clock)
    business.bus = EmbeddedBus(store, rule=Redelivery(deliveries_max=2, initial_s=0.01, backoff_max_s=0.02))
    business.stripe = Stripe(store, business.bus, clock, business.billing, business.config)
    subscription = await business.subscribed()
    await business.stripe.set_payer(TENANT, AGENT, Payer(name="Ada"), by=HUMAN)
    await business.stripe.start()
    clock.set(JANUARY.end + HOUR)
    await business.final(subscription)

    letters = await eventually(lambda: business.bus.dead_letters(TENANT))
    assert (letters[0].reason.code, letters[0].durable) == ("MT-424", "stripe")
    await business.stripe.set_payer(TENANT, AGENT, MAIL, by=HUMAN)
    await eventually(lambda: the_only(there.books.customers)["email"])
    await business.bus.replay_dead(TENANT, "stripe", [letters[0].id])
    await eventually(lambda: [i for i in there.books.invoices.values() if i["status"] == "open"])
    await business.stripe.stop()
    await business.bus.close()


async def test_what_waits_for_stripe_ends_with_the_process(
    store: Store, there: LocalStripe, clock: ManualClock
) -> None:
    business = Business(store, there, clock)
    subscription = await business.subscribed()
    there.plan(Fault.DOWN, 1_000)
    await business.stripe.start()
    clock.set(JANUARY.end + HOUR)
    await business.final(subscription)
    await eventually(lambda: there.requests)
    async with asyncio.timeout(10):
        await business.stripe.stop()
    assert await business.bus.dead_letters(TENANT) == []
    await business.bus.close()


# Accounts, ways of collecting


async def test_without_a_key_nothing_is_asked(store: Store, there: LocalStripe, clock: ManualClock) -> None:
    business = Business(store, there, clock)
    stripe = Stripe(store, business.bus, clock, business.billing, StripeConfig(url=there.url))
    await stripe.start()
    assert await business.bus.durables() == []
    await stripe.stop()


async def test_tenants_have_the_accounts_that_are_named(store: Store, there: LocalStripe, clock: ManualClock) -> None:
    business = Business(store, there, clock, accounts=(f"{TENANT}=acct_1",), collection=Collection.CHARGE_AUTOMATICALLY)
    subscription = await business.subscribed()
    clock.set(JANUARY.end + HOUR)
    await business.final(subscription)
    await business.work()
    assert (len(there.books.invoices), len(there.books_of("acct_1").invoices)) == (0, 1)
    assert the_only(there.books_of("acct_1").invoices)["collection_method"] == "charge_automatically"

    others = Stripe(store, business.bus, clock, business.billing, config(there, accounts=("globex=acct_2",)))
    for message in await business.messages():
        await others.consume(message)
    assert there.books_of("acct_2").invoices == {}
    await business.stripe.stop()


async def test_a_customer_that_stripe_has_already_is_taken(business: Business) -> None:
    known = business.there.books.create_customer({"name": "Ada", "email": "ada@example.com"})["id"]
    subscription = await business.subscribed()
    await business.stripe.set_payer(TENANT, AGENT, Payer(stripe_id=StripeId(known)), by=HUMAN)
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    await business.work()
    assert the_only(business.there.books.invoices)["customer"] == known
    assert counts(business.there) == (1, 1, 0)


async def test_agents_of_their_own_are_customers_of_their_own(business: Business) -> None:
    first = await business.subscribed()
    second = await business.subscribed(CHILD, key="child")
    business.at(JANUARY.end + HOUR)
    await asyncio.gather(business.final(first), business.final(second))
    await business.work()
    assert counts(business.there) == (2, 2, 0)


# Usage


METERED = {"meters": ("use=tokens",), "invoices": False}


@pytest.fixture
async def metered(store: Store, there: LocalStripe, clock: ManualClock) -> AsyncIterator[Business]:
    there.books.create_meter({"event_name": "tokens"})
    made = Business(store, there, clock, **METERED)
    with without_waiting(attempts_max=20):
        yield made
    await made.stripe.stop()


def told(there: LocalStripe) -> list[int]:
    return [int(one["payload"]["value"]) for one in there.books.meter_events.values()]


async def test_a_meter_is_told_the_differences_and_their_sum_is_the_quantity(metered: Business) -> None:
    subscription = await metered.subscribed(units=40)
    metered.at(JANUARY.start + 5 * DAY)
    draft = await metered.billing.draft_invoice(TENANT, subscription.subscription_id, by=HUMAN, at=JANUARY.start)
    await metered.work()
    metered.source.used(subscription, event(JANUARY.start + 6 * DAY, id="more", value="2.75"))
    metered.at(JANUARY.start + 7 * DAY)
    await metered.billing.recount_invoice(TENANT, draft.invoice_id, by=HUMAN)
    await metered.work()
    metered.source.used(subscription, event(JANUARY.start + 6 * DAY, id="less", value="-20"))
    metered.at(JANUARY.end + HOUR)
    await metered.billing.finalize_invoice(TENANT, draft.invoice_id, by=HUMAN)
    messages = await metered.messages()
    await metered.work(messages)
    await metered.work(messages)
    assert told(metered.there) == [40, 2, -20]
    assert metered.there.books.invoices == {}


async def test_usage_longer_than_fifteen_digits_goes_in_parts(metered: Business) -> None:
    subscription = await metered.subscribed(units=2 * 10**15 + 5)
    metered.at(JANUARY.end + HOUR)
    await metered.final(subscription)
    await metered.work()
    assert (told(metered.there), len(told(metered.there))) == ([10**15 - 1, 10**15 - 1, 7], 3)


async def test_usage_of_long_ago_is_told_as_of_when_it_still_counts(metered: Business) -> None:
    subscription = await metered.subscribed()
    metered.at(JANUARY.end + 60 * DAY)
    await metered.final(subscription)
    await metered.work()
    (one,) = metered.there.books.meter_events.values()
    assert now_s(metered.clock) - 35 * 86_400 < one["timestamp"] < now_s(metered.clock) - 33 * 86_400


async def test_usage_is_told_once_whatever_happens_to_its_request(metered: Business) -> None:
    metered.at(JANUARY.end + HOUR)
    for fault in Fault:
        await metered.final(await metered.subscribed(AgentId(fault), key=fault.value))
        metered.there.plan(fault, 2, "POST /v1/billing/meter_events")
        await metered.work()
    assert told(metered.there) == [1_000] * len(Fault)


@pytest.mark.parametrize(("fault", "foreign", "sums"), [
    (Fault.CUT, None, [1_000]), (Fault.DROPPED, None, [1_000]), (Fault.CUT, 3, [1_000, 3]),
])  # fmt: skip
async def test_after_its_key_is_forgotten_usage_is_told_from_the_sum(
    metered: Business, fault: Fault, foreign: int | None, sums: list[int]
) -> None:
    subscription = await metered.subscribed()
    metered.at(JANUARY.end + HOUR)
    await metered.final(subscription)
    messages = await metered.messages()
    metered.there.plan(fault, 20, "POST /v1/billing/meter_events")
    with pytest.raises(EnablementError):
        await metered.work(messages)
    metered.there.calm()
    if foreign is not None:  # somebody else uses our meter for our customer: nobody can tell any more
        at = str(JANUARY.end // SECOND - 1)
        payload = {"stripe_customer_id": the_only(metered.there.books.customers)["id"], "value": str(foreign)}
        metered.there.books.create_meter_event({"event_name": "tokens", "payload": payload, "timestamp": at})
    metered.clock.advance((STRIPE_KEY_S + 3_700) * SECOND)
    if foreign is None:
        await metered.work(messages)
    else:
        with pytest.raises(StripeRefused) as refused:
            await metered.work(messages)
        assert refused.value.got == "1003"
    assert told(metered.there) == sums


async def test_a_meter_that_is_not_there_is_named(store: Store, there: LocalStripe, clock: ManualClock) -> None:
    business = Business(store, there, clock, **METERED)
    subscription = await business.subscribed()
    clock.set(JANUARY.end + HOUR)
    await business.final(subscription)
    with pytest.raises(StripeRefused) as refused:
        await business.work()
    assert "tokens" in refused.value.message
    there.books.create_meter({"event_name": "tokens"})
    await business.stripe.stop()


# Webhooks


async def collected(business: Business) -> Any:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    ours = await business.final(subscription)
    await business.work()
    return ours


def finalized(business: Business) -> Any:
    """The event of that."""
    return [one for one in business.there.books.events if one["type"] == "invoice.finalized"][-1]


async def receive(business: Business, event: Any, **how: Any) -> Outcome:
    headers, body = business.there.webhook(event, **how)
    return (await business.receipts.receive(headers, body)).outcome


async def test_a_payment_is_known_recorded_and_published(business: Business) -> None:
    ours = await collected(business)
    books = business.there.books
    books.pay(the_only(books.invoices)["id"])
    watch = await business.bus.subscribe("metering.payment.*", "watch")
    assert await receive(business, books.events[-1]) is Outcome.APPLIED
    assert await receive(business, books.events[-1]) is Outcome.DUPLICATE

    payment = await business.stripe.payment(TENANT, ours.invoice_id)
    assert payment is not None
    assert (payment.status, payment.paid, payment.currency) == (PaymentStatus.PAID, Decimal("157.20"), "USD")
    (message,) = await watch.fetch(10)
    assert (message.subject, message.tenant) == ("metering.payment.paid", TENANT)
    await watch.close()


async def test_the_order_of_webhooks_does_not_matter(business: Business) -> None:
    """Every order of the same events ends in the same status, for any sequence of things that happened."""
    ours = await collected(business)
    books, id = business.there.books, next(iter(business.there.books.invoices))
    business.clock.advance(5 * SECOND)
    books.payment_failed(id)
    books.mark_uncollectible(id)
    business.clock.advance(5 * SECOND)
    books.pay(id)
    said = [e for e in books.events if e["type"].startswith("invoice.") and e["type"] != "invoice.updated"]
    assert [e["type"].removeprefix("invoice.") for e in said] == [
        "created", "finalized", "payment_failed", "marked_uncollectible", "paid",
    ]  # fmt: skip
    for known, order in ((4, said[::-1]), (3, [said[2], said[3], said[0], said[1]]), (2, [said[2], said[1]])):
        await business.store.write(lambda tx: tx.run("DELETE FROM stripe_payment"))
        await business.store.write(lambda tx: tx.run("DELETE FROM stripe_event"))
        for one in order:
            await receive(business, one)
        payment = await business.stripe.payment(TENANT, ours.invoice_id)
        assert payment is not None
        assert payment.said_at == said[known]["created"] * SECOND
        assert payment.status == list(PaymentStatus)[{4: 6, 3: 4, 2: 3}[known]]


async def test_what_is_not_stripes_is_not_believed(business: Business) -> None:
    await collected(business)
    event = finalized(business)
    headers, body = business.there.webhook(event)
    old, _ = business.there.webhook(event, at_s=now_s(business.clock) - 301)
    ahead, _ = business.there.webhook(event, at_s=now_s(business.clock) + 302)
    another, _ = business.there.webhook(event, secret="whsec_other")
    bad: list[dict[str, str]] = [
        old, ahead, another, {}, {"stripe-signature": ""}, {"Stripe-Signature": "t=1"}, {"Stripe-Signature": "v1=ab"},
        {"Stripe-Signature": headers["Stripe-Signature"].replace("v1=", "v0=")},
        {"Stripe-Signature": headers["Stripe-Signature"].replace("t=", "t=0,t=")},
        {"Stripe-Signature": "t=" + "9" * 40 + ",v1=" + "é" * 64},
    ]  # fmt: skip
    for one in bad:
        with pytest.raises(SignatureVerificationFailed):
            await business.receipts.receive(one, body)
    with pytest.raises(SignatureVerificationFailed):
        await business.receipts.receive(headers, body + b" ")
    with pytest.raises(InvalidInput):
        await business.receipts.receive(headers, b"x" * (1024 * 1024 + 1))
    lowered = {name.lower(): value for name, value in headers.items()}
    assert (await business.receipts.receive(lowered, body)).outcome is Outcome.APPLIED

    closed = Receipts(business.store, business.clock, StripeConfig(url=business.there.url), by=LAYER, tenant=TENANT)
    with pytest.raises(InternalError) as shut:
        await closed.receive(headers, body)
    assert shut.value.code == "PL-501"


async def test_a_webhook_is_answered_by_its_status(business: Business) -> None:
    await collected(business)
    headers, body = business.there.webhook(finalized(business))
    raw = [(b"stripe-signature", headers["Stripe-Signature"].encode())]
    answers = [
        await business.receipts.webhook(*one)
        for one in ((raw, body), (raw, body), (raw * 2, body), ([], body), (raw, b"{}"), (raw, b"x" * 2_000_000))
    ]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, b""), (200, b""), (401, b"PL-941"), (401, b"PL-941"), (401, b"PL-941"), (413, b"PL-413"),
    ]  # fmt: skip


async def test_what_is_not_ours_is_let_go(business: Business) -> None:
    await collected(business)
    books = business.there.books
    customer = the_only(books.customers)["id"]
    books.create_invoice({"customer": customer, "collection_method": "charge_automatically"})
    assert await receive(business, books.events[-1]) is Outcome.FOREIGN
    assert await receive(business, books.events[0]) is Outcome.FOREIGN  # customer.created
    books.pay(next(iter(books.invoices)))
    assert await receive(business, books.events[-1] | {"livemode": True}) is Outcome.FOREIGN
    assert await receive(business, books.events[-1] | {"account": "acct_9"}) is Outcome.FOREIGN


async def test_a_webhook_that_is_faster_than_our_row_shall_come_again(business: Business) -> None:
    subscription = await business.subscribed()
    business.at(JANUARY.end + HOUR)
    await business.final(subscription)
    messages = await business.messages()
    business.there.plan(Fault.CUT, 20, "POST /v1/invoices")
    with pytest.raises(EnablementError):
        await business.work(messages)
    created = business.there.books.events[-1]
    assert created["type"] == "invoice.created"
    with pytest.raises(EnablementError) as early:
        await receive(business, created)
    assert (early.value.code, early.value.retryable) == ("MT-503", True)
    business.there.calm()
    await business.work(messages)
    assert await receive(business, created) is Outcome.APPLIED


async def test_usage_that_stripe_could_not_use_is_said(business: Business) -> None:
    watch = await business.bus.subscribe("metering.meter.*", "watch")
    thin = {
        "id": "evt_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "livemode": False,
        "created": "2024-02-01T00:00:00.000Z", "related_object": {"id": "mtr_1", "type": "billing.meter"},
        "data": {"developer_message_summary": "There is 1 invalid event", "reason": {"error_count": 1}},
    }  # fmt: skip
    assert await receive(business, thin) is Outcome.APPLIED
    (message,) = await watch.fetch(10)
    assert message.subject == "metering.meter.refused"
    await watch.close()


async def test_receipts_are_forgotten_when_nothing_can_come_again(business: Business) -> None:
    await collected(business)
    assert await receive(business, finalized(business)) is Outcome.APPLIED
    assert await business.receipts.forget_old() == 0
    business.clock.advance(31 * DAY)
    assert await business.receipts.forget_old() == 1


async def test_another_tenants_payment_is_not_shown(business: Business) -> None:
    ours = await collected(business)
    await receive(business, finalized(business))
    assert await business.stripe.payment(TENANT, ours.invoice_id) is not None
    assert await business.stripe.payment(TenantId("globex"), ours.invoice_id) is None
    assert (await business.billing.invoice(TENANT, ours.invoice_id)).status is InvoiceStatus.FINAL
    assert (await business.stripe.payer(TENANT, AgentId("nobody"))) == KnownPayer(AgentId("nobody"), Payer(), None)
