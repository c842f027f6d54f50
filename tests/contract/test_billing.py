"""Billing on both engines: plans, subscriptions, invoices, from the first draft to the credit note."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from creto.common.errors import AlreadyExists, IdempotencyConflict, InvalidInput, NotFound
from creto.common.ids import TenantId
from creto.common.timestamps import DAY
from creto.metering import (
    Aggregation,
    InvoiceKind,
    InvoiceStatus,
    LineKind,
    Override,
    PerUnit,
    SubscriptionStatus,
    invoice_digest,
)
from creto.metering.types import ChargeId, PlanId
from tests.contract.billing_desk import FEBRUARY, PLAN, TERMS, Desk, entries, set_clock
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D, charge, event, meter, plan


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=("creto.store", "creto.metering")))


async def test_plans_have_versions_that_stay(desk: Desk) -> None:
    first = await desk.billing.create_plan(TENANT, PLAN, by=HUMAN)
    second = await desk.billing.revise_plan(TENANT, plan(fee="40"), by=HUMAN)

    assert (first.version, second.version) == (1, 2)
    assert await desk.billing.plan(TENANT, PlanId("p")) == second
    assert await desk.billing.plan(TENANT, PlanId("p"), 1) == PLAN
    assert await desk.billing.plans(TENANT) == [second]
    assert await desk.billing.plans(TenantId("other")) == []
    with pytest.raises(AlreadyExists) as twice:
        await desk.billing.create_plan(TENANT, PLAN, by=HUMAN)
    assert (twice.value.code, twice.value.message) == ("MT-412", "there is a plan p already")
    with pytest.raises(InvalidInput):
        await desk.billing.revise_plan(TENANT, plan(currency="EUR"), by=HUMAN)
    with pytest.raises(NotFound):
        await desk.billing.revise_plan(TENANT, plan(plan_id="q"), by=HUMAN)


async def test_a_subscription_is_made_once_for_each_key(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, PLAN, by=HUMAN)
    first, second = await asyncio.gather(
        *(desk.billing.create_subscription(TENANT, AGENT, "p", "order-1") for _ in range(2))
    )
    assert first == second
    assert len(await desk.billing.subscriptions(TENANT, agent=AGENT)) == 1
    with pytest.raises(IdempotencyConflict):
        await desk.billing.create_subscription(TENANT, CHILD, "p", "order-1")
    with pytest.raises(NotFound):
        await desk.billing.create_subscription(TENANT, AGENT, "nothing", "order-2")


async def test_a_deleted_subscription_never_was_and_twice_is_as_good_as_once(desk: Desk) -> None:
    subscription = await desk.subscribed()
    await desk.drafted(subscription)
    for _ in range(2):
        await desk.billing.delete_subscription(TENANT, subscription.subscription_id)

    with pytest.raises(NotFound):
        await desk.billing.subscription(TENANT, subscription.subscription_id)
    assert await desk.billing.invoices(TENANT, subscription.subscription_id) == []


async def test_steps_of_a_subscription_are_kept_and_wrong_ones_change_nothing(desk: Desk) -> None:
    subscription = await desk.subscribed()
    id = subscription.subscription_id
    await desk.billing.revise_plan(TENANT, plan(charge(PerUnit(unit=D("0.05"))), fee="62"), by=HUMAN)

    set_clock(desk, JANUARY.start + 10 * DAY)
    await desk.billing.pause(TENANT, id, by=HUMAN)
    with pytest.raises(AlreadyExists):
        await desk.billing.pause(TENANT, id, by=HUMAN)
    await desk.billing.resume(TENANT, id, by=HUMAN)
    later = await desk.billing.change_plan(TENANT, id, PlanId("p"), by=HUMAN, at_period_end=True)
    assert [p.since for p in later.phases] == [JANUARY.start, JANUARY.end]
    ended = await desk.billing.cancel(TENANT, id, by=HUMAN)
    assert (ended.status, ended.ends_at) == (SubscriptionStatus.CANCELLED, JANUARY.end)
    gone = await desk.billing.terminate(TENANT, id, by=HUMAN)

    assert await desk.billing.subscription(TENANT, id) == gone
    acts = [e.action for e in entries(desk.store) if e.action.startswith("metering.subscription")]
    assert [a.rpartition(".")[2] for a in acts] == [
        "created",
        "paused",
        "resumed",
        "changed",
        "cancelled",
        "terminated",
    ]


async def test_a_plan_of_another_currency_or_cycle_is_another_subscription(desk: Desk) -> None:
    subscription = await desk.subscribed()
    await desk.billing.create_plan(TENANT, plan(plan_id="eur", currency="EUR"), by=HUMAN)
    await desk.billing.create_plan(TENANT, plan(plan_id="year", cycle="year"), by=HUMAN)
    for other in ("eur", "year"):
        with pytest.raises(InvalidInput):
            await desk.billing.change_plan(TENANT, subscription.subscription_id, PlanId(other), by=HUMAN)


async def test_a_preview_costs_nothing_and_keeps_nothing(desk: Desk) -> None:
    subscription = await desk.subscribed(override=Override(fees={ChargeId("base"): D(10)}))
    desk.source.used(subscription, event(JANUARY.start + DAY, value=30))

    seen = await desk.billing.preview(TENANT, subscription.subscription_id, terms=TERMS)

    assert (seen.status, seen.subtotal, seen.total) == (InvoiceStatus.PREVIEW, 13, D("15.60"))
    assert await desk.billing.invoices(TENANT, subscription.subscription_id) == []


async def test_from_draft_to_a_number(desk: Desk) -> None:
    subscription = await desk.subscribed()
    invoice_id = await desk.drafted(subscription)
    desk.source.used(subscription, event(JANUARY.start + DAY, value=30))
    assert (await desk.billing.recount_invoice(TENANT, invoice_id, by=HUMAN)).subtotal == 34

    with pytest.raises(AlreadyExists):
        await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)
    set_clock(desk, JANUARY.end)
    assert (await desk.billing.close_invoice(TENANT, invoice_id, by=HUMAN)).status is InvoiceStatus.GRACE
    desk.source.used(subscription, event(JANUARY.start + 2 * DAY, value=10))
    final = await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN, series="2024")

    assert (final.status, final.number, final.subtotal) == (InvoiceStatus.FINAL, "2024-000001", 35)
    assert await desk.billing.invoice(TENANT, invoice_id) == final
    assert sum((share.amount for line in final.lines for share in line.shares), D(0)) == final.subtotal
    for again in (desk.billing.recount_invoice, desk.billing.finalize_invoice, desk.billing.close_invoice):
        with pytest.raises(AlreadyExists):
            await again(TENANT, invoice_id, by=HUMAN)
    generated = [e for e in entries(desk.store) if e.event == "InvoiceGenerated"]
    assert len(generated) == 1
    told = [e for e in entries(desk.store) if e.event == "InvoiceFinalized"]
    assert invoice_digest(final) in bytes(told[0].metadata).decode()


async def test_one_invoice_for_a_period_and_numbers_without_gaps(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, PLAN, by=HUMAN)
    ids = []
    for i in range(8):
        made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key=str(i), by=HUMAN, starts_at=JANUARY.start)
        ids.append(await desk.drafted(made))
        with pytest.raises(AlreadyExists):
            await desk.drafted(made)
    set_clock(desk, JANUARY.end)

    finals = await asyncio.gather(
        *(desk.billing.finalize_invoice(TENANT, i, by=HUMAN) for i in [*ids, ids[0]]), return_exceptions=True
    )

    numbers = sorted(f.number or "" for f in finals if not isinstance(f, BaseException))
    assert numbers == [f"INV-{n:06}" for n in range(1, 9)]
    assert sum(isinstance(f, AlreadyExists) for f in finals) == 1


async def test_late_and_corrected_usage_is_booked_on_the_next_invoice_once(desk: Desk) -> None:
    subscription = await desk.subscribed()
    desk.source.used(subscription, event(JANUARY.start + DAY, id="a", value=30))
    january = await desk.drafted(subscription)
    set_clock(desk, JANUARY.end)
    first = await desk.billing.finalize_invoice(TENANT, january, by=HUMAN)

    set_clock(desk, JANUARY.end + DAY)
    desk.source.used(subscription, event(JANUARY.start + 2 * DAY, id="late", value=5))
    february = await desk.drafted(subscription, FEBRUARY.start)
    set_clock(desk, FEBRUARY.end)
    second = await desk.billing.finalize_invoice(TENANT, february, by=HUMAN)
    march = await desk.billing.preview(TENANT, subscription.subscription_id, at=FEBRUARY.end)

    (fix,) = [line for line in second.lines if line.kind is LineKind.CORRECTION]
    assert (fix.amount, fix.corrects, fix.period) == (D("0.50"), first.invoice_id, JANUARY)
    assert (second.subtotal, second.tax) == (D("31.50"), D("6.30"))
    assert [line for line in march.lines if line.corrects] == []

    with pytest.raises(AlreadyExists):
        await desk.billing.void_invoice(TENANT, january, by=HUMAN)
    await desk.billing.void_invoice(TENANT, february, by=HUMAN)
    voided = await desk.billing.void_invoice(TENANT, january, by=HUMAN)
    assert (voided.status, voided.number) == (InvoiceStatus.VOID, first.number)
    again = await desk.drafted(subscription)
    assert (await desk.billing.invoice(TENANT, again)).subtotal == D("34.50")


async def test_seats_carry_from_period_to_period(desk: Desk) -> None:
    seats = plan(charge(PerUnit(unit=D(10)), meter=meter(Aggregation.SUM, carries=True)))
    subscription = await desk.subscribed(seats)
    desk.source.used(subscription, event(JANUARY.start + DAY, value=3), event(FEBRUARY.start + DAY, value=-1))

    costs = [
        (await desk.billing.preview(TENANT, subscription.subscription_id, at=at)).subtotal
        for at in (JANUARY.start, FEBRUARY.start, FEBRUARY.end)
    ]

    assert costs == [30, 20, 20]


async def test_a_subscription_that_ended_is_invoiced_at_once(desk: Desk) -> None:
    subscription = await desk.subscribed()
    invoice_id = await desk.drafted(subscription)
    set_clock(desk, JANUARY.start + 10 * DAY)
    await desk.billing.terminate(TENANT, subscription.subscription_id, by=HUMAN)

    final = await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    assert final.subtotal == 10
    with pytest.raises(AlreadyExists):
        await desk.billing.delete_subscription(TENANT, subscription.subscription_id)


async def test_credit_notes_have_numbers_of_their_own_and_an_end(desk: Desk) -> None:
    subscription = await desk.subscribed()
    invoice_id = await desk.drafted(subscription)
    with pytest.raises(AlreadyExists):
        await desk.billing.credit_invoice(TENANT, invoice_id, [("base", D(1))], by=HUMAN)
    set_clock(desk, JANUARY.end)
    await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    with pytest.raises(InvalidInput):
        await desk.billing.credit_invoice(TENANT, invoice_id, [("base", D(32))], by=HUMAN)
    first, second = await asyncio.gather(
        *(desk.billing.credit_invoice(TENANT, invoice_id, [("base", D(n))], by=HUMAN) for n in (20, 11))
    )

    assert sorted([first.number or "", second.number or ""]) == ["CN-000001", "CN-000002"]
    assert sorted([first.total, second.total]) == [Decimal("13.20"), 24]
    assert (first.kind, first.status, first.corrects) == (InvoiceKind.CREDIT_NOTE, InvoiceStatus.FINAL, invoice_id)
    held = await desk.billing.invoices(TENANT, subscription.subscription_id)
    assert {i.invoice_id for i in held} == {invoice_id, first.invoice_id, second.invoice_id}


async def test_a_tenant_sees_nothing_of_another(desk: Desk) -> None:
    subscription = await desk.subscribed()
    invoice_id = await desk.drafted(subscription)
    other = TenantId("other")
    for ask in (
        desk.billing.subscription(other, subscription.subscription_id),
        desk.billing.invoice(other, invoice_id),
        desk.billing.plan(other, PlanId("p")),
        desk.billing.terminate(other, subscription.subscription_id, by=HUMAN),
        desk.billing.void_invoice(other, invoice_id, by=HUMAN),
    ):
        with pytest.raises(NotFound):
            await ask
    assert await desk.billing.subscriptions(other) == []
