"""Coupons, taxes, other currencies, overrides, and the invoice run, on both engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput, NotFound
from creto.common.ids import TenantId
from creto.common.timestamps import DAY, ConsensusTimestamp
from creto.metering import (
    BillingRules,
    BurnKey,
    Coupon,
    ExchangeRate,
    Fee,
    Grant,
    InvoiceStatus,
    Override,
    Party,
    PerUnit,
    Tax,
    Terms,
    preset,
)
from creto.metering.types import ChargeId, CouponId, GrantId, PlanId
from tests.contract.billing_desk import FEBRUARY, Desk, set_clock
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D, at, charge, event, plan

START = JANUARY.start
HALF = Coupon(coupon_id=CouponId("half"), percent=D(50), periods=1)
MARCH = FEBRUARY.end


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=("creto.store", "creto.metering")))


async def invoiced(desk: Desk, subscription_id: Any, at: int) -> Any:
    made = await desk.billing.draft_invoice(TENANT, subscription_id, by=HUMAN, at=at)
    set_clock(desk, made.period.end)
    return await desk.billing.finalize_invoice(TENANT, made.invoice_id, by=HUMAN)


async def test_a_coupon_comes_off_for_its_periods_and_a_void_invoice_gives_one_back(desk: Desk) -> None:
    await desk.billing.create_coupon(TENANT, HALF, by=HUMAN)
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(20), name="VAT"), by=HUMAN)
    made = await desk.subscribed(plan(fee="31"), coupons=("half",), taxes=("vat",))

    first = await invoiced(desk, made.subscription_id, START)
    second = await invoiced(desk, made.subscription_id, FEBRUARY.start)

    assert (first.discount, first.tax, first.total) == (D("15.50"), D("3.10"), D("18.60"))
    assert [(use.coupon_id, use.amount) for use in first.coupons] == [("half", D("15.50"))]
    assert (second.discount, second.total) == (0, D("37.20"))

    for invoice in (second, first):
        await desk.billing.void_invoice(TENANT, invoice.invoice_id, by=HUMAN)
    assert (await invoiced(desk, made.subscription_id, FEBRUARY.start)).discount == D("15.50")


async def test_a_coupon_is_given_out_until_it_ends_and_to_so_many(desk: Desk) -> None:
    limited = Coupon(coupon_id=CouponId("two"), percent=D(5), redemptions_max=2, until=JANUARY.end)
    await desk.billing.create_coupon(TENANT, limited, by=HUMAN)
    await desk.billing.create_coupon(TENANT, Coupon(coupon_id=CouponId("eur"), amount=D(5), currency="EUR"), by=HUMAN)
    await desk.billing.create_plan(TENANT, plan(fee="31"), by=HUMAN)
    subscriptions = [await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key=str(n), by=HUMAN) for n in range(4)]

    given = await asyncio.gather(
        *(desk.billing.apply_coupon(TENANT, s.subscription_id, CouponId("two"), by=HUMAN) for s in subscriptions),
        return_exceptions=True,
    )

    assert sum(not isinstance(one, BaseException) for one in given) == 2
    assert all(isinstance(one, AlreadyExists) for one in given if isinstance(one, BaseException))
    with pytest.raises(InvalidInput):
        await desk.billing.apply_coupon(TENANT, subscriptions[0].subscription_id, CouponId("eur"), by=HUMAN)
    with pytest.raises(NotFound):
        await desk.billing.apply_coupon(TENANT, subscriptions[0].subscription_id, CouponId("none"), by=HUMAN)

    held = next(s for s, one in zip(subscriptions, given, strict=True) if not isinstance(one, BaseException))
    await desk.billing.delete_subscription(TENANT, held.subscription_id)
    free = next(s for s, one in zip(subscriptions, given, strict=True) if isinstance(one, BaseException))
    await desk.billing.apply_coupon(TENANT, free.subscription_id, CouponId("two"), by=HUMAN)
    removed = await desk.billing.remove_coupon(TENANT, free.subscription_id, CouponId("two"), by=HUMAN)
    assert removed.coupons == ()
    await desk.billing.apply_coupon(TENANT, free.subscription_id, CouponId("two"), by=HUMAN)
    await desk.billing.remove_coupon(TENANT, free.subscription_id, CouponId("two"), by=HUMAN)
    set_clock(desk, JANUARY.end)
    with pytest.raises(AlreadyExists):
        await desk.billing.apply_coupon(TENANT, free.subscription_id, CouponId("two"), by=HUMAN)


async def test_a_coupon_that_came_off_an_invoice_was_given_for_good(desk: Desk) -> None:
    await desk.billing.create_coupon(
        TENANT, Coupon(coupon_id=CouponId("one"), percent=D(5), redemptions_max=1), by=HUMAN
    )
    made = await desk.subscribed(plan(fee="31"), coupons=("one",))
    await invoiced(desk, made.subscription_id, START)
    await desk.billing.remove_coupon(TENANT, made.subscription_id, CouponId("one"), by=HUMAN)
    with pytest.raises(AlreadyExists):
        await desk.billing.apply_coupon(TENANT, made.subscription_id, CouponId("one"), by=HUMAN)


@pytest.mark.parametrize("series", ["", "bad series/..", "a/b", "-a", "a.", "a..b", "x" * 33, "ü"])
async def test_a_series_is_a_name_that_paper_and_files_can_bear(desk: Desk, series: str) -> None:
    made = await desk.subscribed(plan(fee="31"))
    draft = await desk.drafted(made)
    set_clock(desk, JANUARY.end)
    for attempt in (
        desk.billing.finalize_invoice(TENANT, draft, by=HUMAN, series=series),
        desk.billing.run_invoices(TENANT, by=HUMAN, series=series),
    ):
        with pytest.raises(InvalidInput) as refused:
            await attempt
        assert refused.value.field == "series"


async def test_coupons_and_taxes_are_kept_and_listed(desk: Desk) -> None:
    await desk.billing.create_coupon(TENANT, HALF, by=HUMAN)
    with pytest.raises(AlreadyExists) as twice:
        await desk.billing.create_coupon(TENANT, HALF, by=HUMAN)
    assert (twice.value.code, twice.value.message) == ("MT-412", "there is a coupon half already")
    assert await desk.billing.coupon(TENANT, HALF.coupon_id) == HALF
    assert await desk.billing.coupons(TENANT) == [HALF]
    vat = await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(19)), by=HUMAN)
    assert await desk.billing.taxes(TENANT) == [vat]
    assert await desk.billing.taxes(TenantId("other")) == await desk.billing.coupons(TenantId("other")) == []
    made = await desk.subscribed(plan(fee="31"))
    with pytest.raises(NotFound):
        await desk.billing.set_taxes(TENANT, made.subscription_id, ("gst",), by=HUMAN)
    with pytest.raises(InvalidInput):
        await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(101)), by=HUMAN)


async def test_a_coupon_that_is_dropped_stays_with_whoever_has_it(desk: Desk) -> None:
    never = Coupon(coupon_id=CouponId("never"), percent=D(5))
    for coupon in (HALF, never):
        await desk.billing.create_coupon(TENANT, coupon, by=HUMAN)
    made = await desk.subscribed(plan(fee="31"), coupons=("half",))

    assert (await desk.billing.drop_coupon(TENANT, HALF.coupon_id, by=HUMAN)).until is not None
    await desk.billing.drop_coupon(TENANT, never.coupon_id, by=HUMAN)

    assert (await invoiced(desk, made.subscription_id, START)).discount == D("15.50")
    other = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="other", by=HUMAN)
    with pytest.raises(AlreadyExists) as ended:
        await desk.billing.apply_coupon(TENANT, other.subscription_id, HALF.coupon_id, by=HUMAN)
    assert (ended.value.code, ended.value.got) == ("MT-412", "ended")
    for gone in (never.coupon_id, CouponId("unknown")):
        with pytest.raises(NotFound):
            await desk.billing.drop_coupon(TENANT, gone, by=HUMAN)
    await desk.billing.create_coupon(TENANT, never, by=HUMAN)  # its name is free again


async def test_a_tax_that_somebody_bears_is_not_dropped(desk: Desk) -> None:
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(20)), by=HUMAN)
    made = await desk.subscribed(plan(fee="31"), taxes=("vat",))

    with pytest.raises(AlreadyExists) as borne:
        await desk.billing.drop_tax(TENANT, "vat", by=HUMAN)
    assert (borne.value.code, borne.value.message) == ("MT-412", f"{made.subscription_id} bears the tax vat")

    await desk.billing.set_taxes(TENANT, made.subscription_id, (), by=HUMAN)
    await desk.billing.drop_tax(TENANT, "vat", by=HUMAN)
    assert await desk.billing.taxes(TENANT) == []
    with pytest.raises(NotFound):
        await desk.billing.drop_tax(TENANT, "vat", by=HUMAN)


async def test_an_invoice_is_found_by_its_number_and_a_plan_with_all_its_versions(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    final = await invoiced(desk, made.subscription_id, START)

    assert await desk.billing.invoice_numbered(TENANT, str(final.number)) == final
    assert await desk.billing.invoice_numbered(TENANT, "INV-999999") is None
    assert await desk.billing.invoice_numbered(TenantId("other"), str(final.number)) is None

    await desk.billing.revise_plan(TENANT, plan(fee="32"), by=HUMAN)
    assert [p.version for p in await desk.billing.plan_versions(TENANT, PlanId("p"))] == [1, 2]
    with pytest.raises(NotFound):
        await desk.billing.plan_versions(TENANT, PlanId("none"))


async def test_who_gets_an_agents_invoices_is_whom_its_newest_subscription_names(desk: Desk) -> None:
    first = await desk.subscribed(plan(fee="31"))
    second = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="second", by=HUMAN)
    await desk.billing.set_party(TENANT, Party(name="Us"), by=HUMAN)
    assert await desk.billing.customer_of(TENANT, AGENT) is None

    for subscription, name in ((first, "Ada"), (second, "Bob")):
        party = Party(name=name)
        await desk.billing.set_party(TENANT, party, by=HUMAN, subscription_id=subscription.subscription_id)
        assert await desk.billing.customer_of(TENANT, AGENT) == party


async def test_a_tax_that_changes_holds_for_invoices_that_are_not_final(desk: Desk) -> None:
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(10)), by=HUMAN)
    made = await desk.subscribed(plan(fee="31"))
    await desk.billing.set_taxes(TENANT, made.subscription_id, ("vat",), by=HUMAN)
    draft = await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=START)
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(20)), by=HUMAN)
    set_clock(desk, JANUARY.end)
    final = await desk.billing.finalize_invoice(TENANT, draft.invoice_id, by=HUMAN)
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(30)), by=HUMAN)
    assert (draft.tax, final.tax) == (D("3.10"), D("6.20"))
    assert (await desk.billing.invoice(TENANT, draft.invoice_id)).tax == D("6.20")


async def test_an_invoice_says_what_it_comes_to_in_another_currency_by_the_rate_of_its_period(desk: Desk) -> None:
    for since, rate in ((START, "150"), (JANUARY.end - 1, "155.5"), (JANUARY.end, "170")):
        await desk.billing.add_rate(TENANT, ExchangeRate("USD", "JPY", D(rate), ConsensusTimestamp(since)), by=HUMAN)
    with pytest.raises(AlreadyExists, match="1 USD is 150 JPY from 2024-01-01"):
        await desk.billing.add_rate(TENANT, ExchangeRate("USD", "JPY", D(1), ConsensusTimestamp(START)), by=HUMAN)
    assert await desk.billing.convert(TENANT, D("10.01"), "USD", "JPY", at=START + DAY) == 1502
    assert [r.rate for r in await desk.billing.rates(TENANT, "USD", "JPY", limit=2)] == [170, D("155.5")]
    made = await desk.subscribed(plan(fee="31"))
    await desk.billing.show_in(TENANT, made.subscription_id, "JPY", by=HUMAN)

    final = await invoiced(desk, made.subscription_id, START)

    assert final.shown is not None
    assert (final.shown.currency, final.shown.rate, final.shown.total) == ("JPY", D("155.5"), 4821)
    assert final.total == 31
    await desk.billing.show_in(TENANT, made.subscription_id, "EUR", by=HUMAN)
    with pytest.raises(NotFound):
        await desk.billing.preview(TENANT, made.subscription_id, at=FEBRUARY.start)


async def test_an_override_holds_from_its_day_on_and_changes_nothing_before(desk: Desk) -> None:
    made = await desk.subscribed(plan(charge(PerUnit(unit=D("0.10"))), fee="31"))
    desk.source.used(made, event(START + DAY, id="a", value=10), event(START + 20 * DAY, id="b", value=10))
    set_clock(desk, START + 10 * DAY)
    cheaper = Override(fees={ChargeId("base"): D("62")}, prices={ChargeId("use"): PerUnit(unit=D("0.05"))})
    await desk.billing.change_override(TENANT, made.subscription_id, cheaper, by=HUMAN)

    seen = await desk.billing.preview(TENANT, made.subscription_id, at=START)

    assert sorted(line.amount for line in seen.lines) == [D("0.50"), D("1.00"), 10, 42]
    await desk.billing.change_override(TENANT, made.subscription_id, Override(), by=HUMAN, at_period_end=True)
    assert (await desk.billing.preview(TENANT, made.subscription_id, at=FEBRUARY.start)).subtotal == 31
    with pytest.raises(InvalidInput):
        await desk.billing.change_override(
            TENANT, made.subscription_id, Override(fees={ChargeId("nothing"): D(1)}), by=HUMAN
        )


async def test_a_tenant_says_how_its_invoices_are_made_where_systems_differ(desk: Desk) -> None:
    assert await desk.billing.rules(TENANT) == BillingRules()
    await desk.billing.set_tax(TENANT, Tax(code="vat", percent=D(10)), by=HUMAN)
    fees = tuple(Fee(charge_id=ChargeId(f"f{n}"), amount=D("0.03")) for n in range(10))
    made = await desk.subscribed(plan(fees=fees), taxes=("vat",))
    draft = await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=START)

    wanted = replace(preset("flexprice").rules(), burn_order=(BurnKey.AGE,))
    await desk.billing.set_rules(TENANT, wanted, by=HUMAN)
    set_clock(desk, JANUARY.end)
    final = await desk.billing.finalize_invoice(TENANT, draft.invoice_id, by=HUMAN)
    await desk.billing.set_rules(TENANT, BillingRules(), by=HUMAN)

    assert (draft.tax, final.tax) == (0, D("0.03"))
    assert (await desk.billing.reproduce_invoice(TENANT, final.invoice_id)).same
    assert (await desk.billing.rules(TenantId("other"))) == BillingRules()
    with pytest.raises(NotFound):
        await desk.billing.set_rules(TENANT, replace(wanted, preset="nobody"), by=HUMAN)
    for order in ((), (BurnKey.AGE, BurnKey.AGE)):
        with pytest.raises(InvalidInput):
            BillingRules(burn_order=order)


async def test_credits_come_from_wallets_alone(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    grant = Grant(grant_id=GrantId("g"), amount=D(5), currency="USD")
    with pytest.raises(InvalidInput):
        await desk.billing.preview(TENANT, made.subscription_id, terms=Terms(grants=(grant,)))


async def test_a_run_makes_every_invoice_that_is_missing_and_makes_it_once(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(fee="31"), by=HUMAN)
    for key in range(3):
        await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key=str(key), by=HUMAN, starts_at=START)
    ended = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="x", by=HUMAN, starts_at=START)
    set_clock(desk, START + 5 * DAY)
    await desk.billing.terminate(TENANT, ended.subscription_id, by=HUMAN)
    set_clock(desk, MARCH + DAY)

    waiting = await desk.billing.run_invoices(TENANT, by=HUMAN, grace_ns=2 * DAY)
    both = await asyncio.gather(*(desk.billing.run_invoices(TENANT, by=HUMAN) for _ in range(2)))
    idle = await desk.billing.run_invoices(TENANT, by=HUMAN)

    assert (waiting.drafted, len(waiting.final)) == (7, 4)
    assert {id for run in both for id in run.final} | set(waiting.final) >= {
        i.invoice_id for i in await desk.billing.all_invoices(TENANT)
    }
    assert (idle.drafted, idle.final, idle.failed) == (0, (), {})
    final = await desk.billing.all_invoices(TENANT, status=InvoiceStatus.FINAL)
    assert sorted(i.number or "" for i in final) == [f"INV-{n:06}" for n in range(1, 8)]
    assert sorted(i.total for i in final) == [5, 31, 31, 31, 31, 31, 31]
    page = await desk.billing.run_invoices(TENANT, by=HUMAN, limit=2)
    assert page.cursor is not None


async def test_a_run_fills_the_gaps_that_drafts_by_hand_left(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    set_clock(desk, MARCH + DAY)
    await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=FEBRUARY.start)

    await desk.billing.run_invoices(TENANT, by=HUMAN)

    book = await desk.billing.invoices(TENANT, made.subscription_id)
    assert [(i.period.start, i.status) for i in book] == [(START, "final"), (FEBRUARY.start, "final")]


async def test_a_period_in_which_nothing_is_billed_has_no_invoice(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    set_clock(desk, START + DAY)
    for when in (START - DAY, FEBRUARY.start):
        with pytest.raises(InvalidInput) as refused:
            await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=when)
        assert refused.value.field == "at"
    await desk.billing.terminate(TENANT, made.subscription_id, by=HUMAN)
    set_clock(desk, MARCH)
    with pytest.raises(InvalidInput):
        await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=FEBRUARY.start)
    await desk.drafted(made)
    with pytest.raises(AlreadyExists) as twice:
        await desk.drafted(made)
    assert twice.value.code == "MT-412"


async def test_a_void_invoice_stays_so_until_its_period_is_drafted_by_hand(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    set_clock(desk, FEBRUARY.start)
    (final,) = (await desk.billing.run_invoices(TENANT, by=HUMAN)).final
    await desk.billing.void_invoice(TENANT, final, by=HUMAN)
    idle = await desk.billing.run_invoices(TENANT, by=HUMAN)
    assert (idle.drafted, idle.failed) == (0, {})
    await desk.drafted(made)
    assert len((await desk.billing.run_invoices(TENANT, by=HUMAN)).final) == 1


async def test_late_usage_of_a_subscription_that_ended_gets_an_invoice_of_its_own(desk: Desk) -> None:
    made = await desk.subscribed()
    set_clock(desk, START + 10 * DAY)
    await desk.billing.terminate(TENANT, made.subscription_id, by=HUMAN)
    (first,) = (await desk.billing.run_invoices(TENANT, by=HUMAN)).final
    set_clock(desk, START + 12 * DAY)
    desk.source.used(made, event(START + 5 * DAY, id="late", value=100))
    waiting = await desk.billing.run_invoices(TENANT, by=HUMAN)
    set_clock(desk, FEBRUARY.start + DAY)
    (second,) = (await desk.billing.run_invoices(TENANT, by=HUMAN)).final
    idle = await desk.billing.run_invoices(TENANT, by=HUMAN)

    assert (waiting.drafted, idle.drafted, waiting.failed, idle.failed) == (0, 0, {}, {})
    (line,) = (await desk.billing.invoice(TENANT, second)).lines
    assert (line.amount, line.corrects) == (10, first)


async def test_what_is_wrong_with_one_subscription_does_not_keep_the_others_waiting(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(fee="31"), by=HUMAN)
    broken = await desk.billing.subscribe(
        TENANT, AGENT, PlanId("p"), key="a", by=HUMAN, starts_at=START, shown_in="JPY"
    )
    await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="b", by=HUMAN, starts_at=START)
    set_clock(desk, JANUARY.end)
    run = await desk.billing.run_invoices(TENANT, by=HUMAN)
    assert (run.drafted, len(run.final)) == (1, 1)
    assert run.failed[broken.subscription_id].code == "MT-404"


async def test_a_fault_of_ours_in_one_subscription_does_not_keep_the_others_waiting(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    broken, good = [
        await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key=key, by=HUMAN, starts_at=START) for key in "ab"
    ]
    desk.source.used(good, event(START, value=1))
    desk.source.all[broken.subscription_id] = [None]  # type: ignore[list-item]
    set_clock(desk, JANUARY.end)
    run = await desk.billing.run_invoices(TENANT, by=HUMAN)
    assert len(run.final) == 1
    assert run.failed[broken.subscription_id].code == "PL-500"
    assert "NoneType" not in run.failed[broken.subscription_id].message


async def test_prices_of_tokens_are_told_as_of_a_day(desk: Desk) -> None:
    then, now = await desk.billing.token_prices(at=START), await desk.billing.token_prices(at=at("2026-01-01"))
    assert then.version == now.version
    assert ("openai", "gpt-5") not in {(p.provider, p.model) for p in then.prices}
    assert {p.model: p.per_million["input"] for p in now.prices}["gpt-5"] == D("1.25")


async def test_the_parties_on_paper_are_those_that_were_named(desk: Desk) -> None:
    made = await desk.subscribed(plan(fee="31"))
    assert (await desk.billing.letterhead(TENANT, made.subscription_id)).issuer.name == TENANT
    sender, customer = Party(name="Creto Ltd", tax_id="DE1"), Party(name="ACME", address=("1 Road", "Berlin"))
    await desk.billing.set_party(TENANT, sender, by=HUMAN)
    await desk.billing.set_party(TENANT, customer, by=HUMAN, subscription_id=made.subscription_id)
    head = await desk.billing.letterhead(TENANT, made.subscription_id)
    assert (head.issuer, head.customer) == (sender, customer)
