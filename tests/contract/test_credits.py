"""Credits on both engines: grants, burning, ends, buying more; the books balance whatever happens at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from decimal import Decimal

import pytest

from creto.common import wire
from creto.common.errors import AlreadyExists, IdempotencyConflict, InvalidInput, NotFound, QuotaExceeded
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    Account,
    BurnCredits,
    Burnt,
    Cycle,
    CycleUnit,
    GrantBook,
    InvoiceStatus,
    NewGrant,
    NewPurchase,
    Payer,
    PayerRule,
    PerUnit,
    PurchaseState,
    Rollover,
    TopUp,
    TopUpRule,
    Wallet,
    balance,
    check_books,
    preset,
)
from creto.metering.types import GrantId
from creto.metering.wallets import RuleId
from tests.contract.billing_desk import Desk, entries, set_clock
from tests.contract.processes import line, python_module
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D, charge, event, plan

START = JANUARY.start


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=("creto.store", "creto.metering")))


async def granted(desk: Desk, amount: str, key: str = "g", agent: AgentId = AGENT, **more: object) -> GrantBook:
    wanted = NewGrant(agent=agent, amount=D(amount), **{"currency": "USD", **more})  # type: ignore[arg-type]
    return await desk.billing.grant_credits(TENANT, wanted, key=key, by=HUMAN)


async def burn(desk: Desk, amount: str, key: str, **more: object) -> Burnt:
    asked = BurnCredits(**{"agent": AGENT, "amount": D(amount), "currency": "USD", "ref": f"job {key}", **more})  # type: ignore[arg-type]
    return await desk.billing.burn_credits(TENANT, asked, key=key, by=AGENT)


async def balanced(desk: Desk, agent: AgentId = AGENT) -> Wallet:
    """The wallet, once its books were added up again from its postings."""
    found = await desk.billing.wallet(TENANT, agent, "USD")
    for book in found.grants:
        postings = await desk.billing.grant_postings(TENANT, book.grant.grant_id, limit=1_000)
        check_books(postings)
        kept = balance(postings)
        assert kept.granted == kept.remaining + kept.used + kept.expired + kept.voided
        assert kept.used == book.balance.used
        assert kept.granted <= book.balance.granted  # a renewal that is due counts before it is posted
    total = found.balance
    assert total.granted == total.remaining + total.used + total.expired + total.voided
    return found


async def test_credits_are_granted_and_burnt_once_for_each_key(desk: Desk) -> None:
    first, again = await granted(desk, "10"), await granted(desk, "10")
    assert first == again
    with pytest.raises(IdempotencyConflict):
        await granted(desk, "11")

    burnt, repeated = await burn(desk, "3.25", "a"), await burn(desk, "3.25", "a")

    assert burnt == repeated == Burnt(burnt.uses, D(0), D("6.75"))
    assert [(use.grant_id, use.amount) for use in burnt.uses] == [(first.grant.grant_id, D("3.25"))]
    assert (await balanced(desk)).usable == D("6.75")
    (posting,) = await desk.billing.postings_for(TENANT, "job a")
    assert (posting.source, posting.target, posting.amount) == (Account.REMAINING, Account.USED, D("3.25"))


async def test_they_burn_by_priority_then_expiry_then_age(desk: Desk) -> None:
    for key, more in {
        "old": {},
        "ends": {"expires_at": JANUARY.end},
        "first": {"priority": 1},
        "later": {"effective_at": START + DAY},
    }.items():
        await granted(desk, "1", key, **more)

    burnt = await burn(desk, "5", "all")

    by_id = {b.grant.grant_id: b.grant for b in (await balanced(desk)).grants}
    order = [(by_id[use.grant_id].priority, by_id[use.grant_id].expires_at) for use in burnt.uses]
    assert order == [(1, None), (50, JANUARY.end), (50, None)]
    assert (burnt.short, burnt.usable) == (2, 0)
    set_clock(desk, START + DAY)
    assert (await balanced(desk)).usable == 1


async def test_they_burn_in_the_order_that_the_tenant_asks_for(desk: Desk) -> None:
    await granted(desk, "5", "old", priority=90)
    set_clock(desk, START + DAY)
    await granted(desk, "5", "new", priority=10)
    await desk.billing.set_rules(TENANT, preset("killbill").rules(), by=HUMAN)
    await burn(desk, "5", "a")
    left = {grant.grant.priority: grant.balance.remaining for grant in (await balanced(desk)).grants}
    assert left == {90: 0, 10: 5}


async def test_all_or_nothing_takes_nothing_where_it_is_too_little(desk: Desk) -> None:
    await granted(desk, "2")
    with pytest.raises(QuotaExceeded) as short:
        await burn(desk, "3", "a", whole=True)
    assert (short.value.code, short.value.got, short.value.expected) == ("MT-402", "2", "3")
    assert (await burn(desk, "2", "a", whole=True)).usable == 0


async def test_a_grant_pays_for_what_it_may_pay_for_alone(desk: Desk) -> None:
    await granted(desk, "5", only=("tokens",))
    assert (await burn(desk, "1", "a")).short == 1
    assert (await burn(desk, "1", "b", names=("tokens",))).short == 0


async def test_many_burns_at_once_never_take_more_than_there_is(desk: Desk) -> None:
    for key in range(3):
        await granted(desk, "3.33", f"g{key}", priority=key)

    burnt = await asyncio.gather(
        *(burn(desk, "0.3", f"b{key}", whole=True) for key in range(60)), return_exceptions=True
    )

    passed = [b for b in burnt if isinstance(b, Burnt)]
    assert all(isinstance(b, Burnt | QuotaExceeded) for b in burnt)
    assert len(passed) == 33
    assert (await balanced(desk)).balance.used == D("9.9")


async def test_two_nodes_never_take_more_than_there_is(desk: Desk, make_store: MakeStore) -> None:
    other = Desk(make_store(parts=("creto.store", "creto.metering")))
    await granted(desk, "10")
    asked = [burn(node, "0.7", f"b{n}", whole=True) for n in range(20) for node in (desk, other)]

    burnt = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(b, Burnt | QuotaExceeded) for b in burnt)
    # Both nodes asked with the same keys: each key has one effect, and both hear of it.
    assert sum(isinstance(b, Burnt) for b in burnt) >= 28
    assert (await balanced(desk)).balance.used == D("9.8")


async def test_four_processes_never_take_more_than_there_is(desk: Desk, store_url: str) -> None:
    await granted(desk, "10")
    with ExitStack() as running:
        nodes = [
            running.enter_context(python_module("tests.contract.credit_node", store_url, str(n), "20", "0.3"))
            for n in range(4)
        ]
        passed = [int(await asyncio.to_thread(line, node)) for node in nodes]

    assert sum(passed) == 33
    assert (await balanced(desk)).balance.used == D("9.9")


async def test_what_ends_unused_is_expired_and_what_is_voided_is_void(desk: Desk) -> None:
    ending = await granted(desk, "5", "a", expires_at=START + DAY)
    lasting = await granted(desk, "5", "b")
    await burn(desk, "2", "x")
    set_clock(desk, START + DAY)
    seen = await balanced(desk)
    assert (seen.balance.expired, seen.usable) == (3, 5)

    assert await desk.billing.tend_credits() == 1
    assert await desk.billing.tend_credits() == 0
    gone = await desk.billing.void_credits(TENANT, lasting.grant.grant_id, by=HUMAN)

    assert gone.balance.voided == 5
    after = await balanced(desk)
    assert (after.balance.used, after.balance.expired, after.balance.voided, after.usable) == (2, 3, 5, 0)
    for grant_id in (ending.grant.grant_id, lasting.grant.grant_id):
        with pytest.raises(AlreadyExists):
            await desk.billing.void_credits(TENANT, grant_id, by=HUMAN)
    acts = [e.action for e in entries(desk.store) if e.action.startswith("metering.credits")]
    assert acts == [f"metering.credits.{act}" for act in ("granted", "granted", "burnt", "aged", "voided")]


async def test_a_grant_renews_and_rolls_over_what_it_may(desk: Desk) -> None:
    weekly = Cycle(CycleUnit.WEEK, START)
    await granted(desk, "10", renews=weekly, rollover=Rollover(maximum=D(4)))
    await burn(desk, "3", "a")
    set_clock(desk, START + 7 * DAY)
    assert (await balanced(desk)).usable == 14
    assert (await burn(desk, "14", "b")).usable == 0
    set_clock(desk, START + 21 * DAY)
    assert await desk.billing.tend_credits() == 1
    after = await balanced(desk)
    assert (after.usable, after.balance.granted, after.balance.used, after.balance.expired) == (14, 40, 17, 9)


async def test_returned_credits_go_back_where_they_came_from_once(desk: Desk) -> None:
    await granted(desk, "5", "a", expires_at=START + DAY)
    await granted(desk, "5", "b")
    await burn(desk, "7", "x")
    set_clock(desk, START + 2 * DAY)

    back = await desk.billing.return_credits(TENANT, "job x", by=HUMAN)
    assert sum(use.amount for use in back) == 7
    assert await desk.billing.return_credits(TENANT, "job x", by=HUMAN) == ()

    after = await balanced(desk)
    assert (after.usable, after.balance.used, after.balance.expired) == (5, 0, 5)


@pytest.mark.parametrize("ref", ["invoice/inv-1", "purchase/1", "a#b", ""])
async def test_a_reference_of_the_layer_is_not_for_others(desk: Desk, ref: str) -> None:
    with pytest.raises(InvalidInput):
        await burn(desk, "1", "k", ref=ref)
    with pytest.raises(InvalidInput):
        await desk.billing.return_credits(TENANT, ref, by=HUMAN)


@pytest.mark.parametrize(
    "wrong",
    [{"amount": "0"}, {"amount": "0.0000001"}, {"expires_at": START}, {"currency": "XXX"}, {"only": ("x",) * 51}],
)
async def test_a_grant_that_cannot_be_is_refused(desk: Desk, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        await granted(desk, **{"amount": "1", **wrong})  # type: ignore[arg-type]
    assert (await balanced(desk)).grants == ()


async def test_more_is_asked_for_below_a_threshold_and_comes_when_it_is_paid(desk: Desk) -> None:
    await granted(desk, "10")
    rule = TopUpRule(
        rule_id=RuleId("low"), agent=AGENT, currency="USD", top_up=TopUp(amount=D(5), below=D(6)), expires_after_days=30
    )
    await desk.billing.set_top_up(TENANT, rule, by=HUMAN)
    assert await desk.billing.purchases(TENANT) == []

    await burn(desk, "8", "a")
    await burn(desk, "0.5", "b")

    (asked,) = await desk.billing.purchases(TENANT)
    assert (asked.amount, asked.state, asked.rule_id) == (5, PurchaseState.PENDING, "low")
    paid = await desk.billing.settle_purchase(TENANT, asked.purchase_id, paid=True, by=HUMAN)
    assert await desk.billing.settle_purchase(TENANT, asked.purchase_id, paid=True, by=HUMAN) == paid
    with pytest.raises(AlreadyExists):
        await desk.billing.settle_purchase(TENANT, asked.purchase_id, paid=False, by=HUMAN)
    found = await balanced(desk)
    assert found.usable == D("6.5")
    bought = next(b.grant for b in found.grants if b.grant.grant_id == paid.grant_id)
    assert bought.reason == f"purchase/{asked.purchase_id}"
    assert bought.expires_at == bought.created_at + 30 * DAY

    await burn(desk, "1", "c")
    (_, second) = await desk.billing.purchases(TENANT)
    await desk.billing.settle_purchase(TENANT, second.purchase_id, paid=False, by=HUMAN)
    await desk.billing.drop_top_up(TENANT, rule.rule_id, by=HUMAN)
    await burn(desk, "5", "d")
    assert len(await desk.billing.purchases(TENANT)) == 2
    with pytest.raises(NotFound):
        await desk.billing.drop_top_up(TENANT, rule.rule_id, by=HUMAN)


async def test_a_cycle_buys_once_in_each_of_its_periods(desk: Desk) -> None:
    rule = TopUpRule(
        rule_id=RuleId("monthly"), agent=AGENT, currency="USD", payment=False,
        top_up=TopUp(amount=D(20), cycle=Cycle(CycleUnit.MONTH, START)),
    )  # fmt: skip
    await desk.billing.set_top_up(TENANT, rule, by=HUMAN)
    assert await desk.billing.top_ups(TENANT) == [rule]
    for days in (1, 2, 31, 32):
        set_clock(desk, START + days * DAY)
        await desk.billing.tend_credits()
    assert (await balanced(desk)).usable == 40


@pytest.mark.parametrize("wrong", [{"expires_after_days": 0}, {"top_up": TopUp(amount=D("0.0000001"), below=D(1))}])
def test_a_rule_that_could_never_buy_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        TopUpRule(
            **{"rule_id": "r", "agent": AGENT, "currency": "USD", "top_up": TopUp(amount=D(1), below=D(1)), **wrong}  # type: ignore[arg-type]
        )


async def test_what_is_left_may_be_used_longer_and_burns_later(desk: Desk) -> None:
    """given two grants / when the one that ends first is made to last / then the other burns first, and it is there after its first end"""
    first = await granted(desk, "10", "first", expires_at=START + DAY)
    other = await granted(desk, "10", "other", expires_at=START + 2 * DAY)
    later = await desk.billing.extend_credits(TENANT, first.grant.grant_id, START + 3 * DAY, by=HUMAN)
    assert (later.grant.expires_at, later.balance) == (START + 3 * DAY, first.balance)
    assert [use.grant_id for use in (await burn(desk, "4", "a")).uses] == [other.grant.grant_id]
    set_clock(desk, START + 2 * DAY)
    await desk.billing.tend_credits()
    assert (await balanced(desk)).usable == 10
    shorter = await desk.billing.extend_credits(TENANT, first.grant.grant_id, START + 2 * DAY + HOUR, by=HUMAN)
    assert shorter.grant.expires_at == START + 2 * DAY + HOUR
    set_clock(desk, START + 2 * DAY + HOUR)
    await desk.billing.tend_credits()
    assert (await balanced(desk)).balance.expired == 16
    told = [e for e in entries(desk.store) if e.event == "CreditsExtended"]
    assert [wire.decode(e.metadata, dict[str, object])["expires_at"] for e in told] == [
        START + 3 * DAY, START + 2 * DAY + HOUR,
    ]  # fmt: skip


async def test_a_grant_may_be_made_to_last_for_ever_but_not_after_its_end(desk: Desk) -> None:
    kept, lost = await granted(desk, "1", "kept", expires_at=START + DAY), await granted(desk, "1", "lost")
    assert (await desk.billing.extend_credits(TENANT, kept.grant.grant_id, None, by=HUMAN)).grant.expires_at is None
    for past in (START - DAY, int(desk.billing._clock.now())):
        with pytest.raises(InvalidInput):
            await desk.billing.extend_credits(TENANT, lost.grant.grant_id, past, by=HUMAN)
    await desk.billing.extend_credits(TENANT, lost.grant.grant_id, START + DAY, by=HUMAN)
    set_clock(desk, START + DAY)
    with pytest.raises(AlreadyExists):
        await desk.billing.extend_credits(TENANT, lost.grant.grant_id, START + 2 * DAY, by=HUMAN)
    with pytest.raises(NotFound):
        await desk.billing.extend_credits(TENANT, GrantId("cr-none"), None, by=HUMAN)
    assert (await balanced(desk)).usable == 1


async def test_credits_are_bought_once_for_each_key_and_come_when_they_are_paid(desk: Desk) -> None:
    wanted = NewPurchase(agent=AGENT, amount=D(25), currency="USD", priority=7, expires_after_days=10)
    asked = await desk.billing.buy_credits(TENANT, wanted, key="k", by=HUMAN)
    assert await desk.billing.buy_credits(TENANT, wanted, key="k", by=HUMAN) == asked
    assert await desk.billing.purchases(TENANT) == [asked]
    assert (asked.state, asked.rule_id, (await balanced(desk)).usable) == (PurchaseState.PENDING, "", 0)
    paid = await desk.billing.settle_purchase(TENANT, asked.purchase_id, paid=True, by=HUMAN)
    (book,) = (await balanced(desk)).grants
    assert (book.grant.grant_id, book.grant.amount, book.grant.priority) == (paid.grant_id, 25, 7)
    assert book.grant.expires_at == book.grant.created_at + 10 * DAY
    failed = await desk.billing.buy_credits(TENANT, wanted, key="other", by=HUMAN)
    await desk.billing.settle_purchase(TENANT, failed.purchase_id, paid=False, by=HUMAN)
    assert (await balanced(desk)).usable == 25


@pytest.mark.parametrize(
    "wrong", [{"amount": D(0)}, {"amount": D("0.0000001")}, {"currency": "euros"}, {"expires_after_days": 0}]
)
def test_nothing_that_could_not_be_paid_is_bought(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        NewPurchase(**{"agent": AGENT, "amount": D(1), "currency": "USD", **wrong})  # type: ignore[arg-type]


# Credits on invoices


async def test_credits_pay_an_invoice_when_it_becomes_final_and_come_back_when_it_is_void(desk: Desk) -> None:
    subscription = await desk.subscribed(plan(charge(PerUnit(unit=D("0.10"))), fee="31"))
    desk.source.used(subscription, event(START + DAY, id="a", value=100))
    await granted(desk, "5", "tokens", only=("use",))
    await granted(desk, "20", "any", priority=90)
    invoice_id = (await desk.billing.draft_invoice(TENANT, subscription.subscription_id, by=HUMAN, at=START)).invoice_id
    assert (await balanced(desk)).usable == 25
    set_clock(desk, JANUARY.end)

    final = await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    assert (final.total, final.due) == (41, 16)
    assert (await balanced(desk)).usable == 0
    lineage = await desk.billing.postings_for(TENANT, f"invoice/{invoice_id}")
    assert {p.ref.partition("#")[2]: p.amount for p in lineage if p.amount == 5} == {"use": 5}
    assert sum(p.amount for p in lineage) == 25
    with pytest.raises(InvalidInput):
        await desk.billing.return_credits(TENANT, f"invoice/{invoice_id}", by=HUMAN)

    await desk.billing.void_invoice(TENANT, invoice_id, by=HUMAN)
    assert (await balanced(desk)).usable == 25


async def test_two_invoices_and_burns_at_once_never_spend_a_credit_twice(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(fee="31"), by=HUMAN)
    ids = []
    for key in range(4):
        made = await desk.billing.subscribe(TENANT, AGENT, plan().plan_id, key=str(key), by=HUMAN, starts_at=START)
        ids.append((await desk.billing.draft_invoice(TENANT, made.subscription_id, by=HUMAN, at=START)).invoice_id)
    await granted(desk, "100")
    set_clock(desk, JANUARY.end)

    results = await asyncio.gather(
        *(desk.billing.finalize_invoice(TENANT, id, by=HUMAN) for id in ids),
        *(burn(desk, "1", f"b{n}") for n in range(8)),
    )

    paid = sum(r.total - r.due for r in results if not isinstance(r, Burnt))
    burnt = sum(use.amount for r in results if isinstance(r, Burnt) for use in r.uses)
    found = await balanced(desk)
    assert paid + burnt == found.balance.used == 100
    assert all(r.status is InvoiceStatus.FINAL for r in results if not isinstance(r, Burnt))


async def test_what_an_agent_bears_its_own_wallet_pays_and_the_subscriber_the_rest(desk: Desk) -> None:
    asked = plan(charge(PerUnit(unit=D(1))), payer=Payer(PayerRule.NEAREST_WITH_WALLET))
    subscription = await desk.subscribed(asked)
    await granted(desk, "4", "child", agent=CHILD)
    await granted(desk, "100", "own", agent=AGENT, priority=90)
    desk.source.used(
        subscription,
        event(START + DAY, id="a", value=10, agent=CHILD, chain=(HUMAN, AGENT, CHILD)),
        event(START + DAY, id="b", value=3),
        event(START + DAY, id="c", value=2, agent="stranger", chain=(HUMAN, "stranger")),
    )
    invoice_id = await desk.drafted(subscription, terms=None)
    set_clock(desk, JANUARY.end)

    final = await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    assert {s.agent: s.amount for s in final.lines[0].shares} == {CHILD: 10, AGENT: 3, HUMAN: 2}
    assert (await balanced(desk, CHILD)).balance.used == 4
    assert (await balanced(desk, AGENT)).balance.used == 11
    assert final.due == 0
    again = await desk.billing.reproduce_invoice(TENANT, invoice_id)
    assert again.same


async def test_a_credit_note_may_go_to_the_wallet_and_comes_back_unless_it_was_used(desk: Desk) -> None:
    subscription = await desk.subscribed(plan(fee="31"))
    invoice_id = await desk.drafted(subscription, terms=None)
    set_clock(desk, JANUARY.end)
    await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    notes = [
        await desk.billing.credit_invoice(TENANT, invoice_id, [("base", D(10))], by=HUMAN, as_credits=True)
        for _ in range(2)
    ]
    assert (await balanced(desk)).usable == 20
    await burn(desk, "3", "a")

    with pytest.raises(AlreadyExists):
        await desk.billing.void_invoice(TENANT, notes[0].invoice_id, by=HUMAN)
    await desk.billing.void_invoice(TENANT, notes[1].invoice_id, by=HUMAN)
    after = await balanced(desk)
    assert (after.usable, after.balance.voided) == (7, 10)


async def test_a_credit_note_gives_credits_back_to_the_grants_that_paid_and_takes_them_again_when_it_is_void(
    desk: Desk,
) -> None:
    subscription = await desk.subscribed(plan(fee="31"))
    await granted(desk, "12.4")
    invoice_id = await desk.drafted(subscription, terms=None)
    set_clock(desk, JANUARY.end)
    await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    first, second = [
        await desk.billing.credit_invoice(TENANT, invoice_id, [("base", D("15.5"))], by=HUMAN) for _ in range(2)
    ]
    assert [(n.total, n.due) for n in (first, second)] == [(D("15.5"), D("9.3"))] * 2
    assert (await balanced(desk)).usable == D("12.4")
    await desk.billing.void_invoice(TENANT, first.invoice_id, by=HUMAN)
    assert (await balanced(desk)).usable == D("6.2")
    await burn(desk, "1", "a")
    with pytest.raises(AlreadyExists):
        await desk.billing.void_invoice(TENANT, second.invoice_id, by=HUMAN)


async def test_an_invoice_below_zero_goes_to_the_wallet_and_pays_the_next(desk: Desk) -> None:
    subscription = await desk.subscribed(plan(charge(PerUnit(unit=D(1))), fee="31"))
    id = subscription.subscription_id
    desk.source.used(subscription, event(START + DAY, id="wrong", value=100))
    invoices = []
    for number, at in enumerate((START, JANUARY.end, JANUARY.end + 29 * DAY)):
        set_clock(desk, at)
        made = await desk.billing.draft_invoice(TENANT, id, by=HUMAN, at=at)
        set_clock(desk, made.period.end)
        invoices.append(await desk.billing.finalize_invoice(TENANT, made.invoice_id, by=HUMAN))
        if not number:
            set_clock(desk, JANUARY.end + 1)
            desk.source.used(subscription, event(START + 2 * DAY, id="right", value=-100))

    assert [(i.total, i.due, i.carried) for i in invoices] == [(131, 131, 0), (-69, 0, 69), (31, 0, 0)]
    assert (await balanced(desk)).usable == 38
    with pytest.raises(AlreadyExists):
        await desk.billing.void_invoice(TENANT, invoices[1].invoice_id, by=HUMAN)
    await desk.billing.void_invoice(TENANT, invoices[2].invoice_id, by=HUMAN)
    await desk.billing.void_invoice(TENANT, invoices[1].invoice_id, by=HUMAN)
    assert (await balanced(desk)).usable == 0


async def test_a_grant_of_after_the_period_pays_for_it_too_and_one_that_ended_does_not(desk: Desk) -> None:
    subscription = await desk.subscribed(plan(fee="31"))
    invoice_id = await desk.drafted(subscription, terms=None)
    await granted(desk, "5", "ended", expires_at=JANUARY.end + DAY)
    set_clock(desk, JANUARY.end + 2 * DAY)
    await granted(desk, "7", "late")
    assert (await desk.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)).due == 24
    assert (await balanced(desk)).balance.expired == 5


async def test_wallets_of_a_tenant_are_its_own(desk: Desk) -> None:
    made = await granted(desk, "5")
    other = TenantId("other")
    assert (await desk.billing.wallet(other, AGENT, "USD")).usable == 0
    with pytest.raises(NotFound):
        await desk.billing.void_credits(other, made.grant.grant_id, by=HUMAN)
    assert await desk.billing.grant_postings(other, made.grant.grant_id) == []


async def test_whatever_happens_in_whatever_order_the_books_balance(desk: Desk) -> None:
    chance = random.Random(7)
    ids = []
    spent = Decimal(0)
    for number in range(120):
        match chance.randrange(6):
            case 0 | 1:
                ends = chance.choice([None, desk.clock.now() + chance.randrange(1, 9) * DAY])
                renews = chance.choice([None, None, Cycle(CycleUnit.DAY, START)])
                amount = str(Decimal(chance.randrange(1, 10**8)).scaleb(-6))
                book = await granted(
                    desk, amount, f"g{number}", expires_at=ends, renews=renews, priority=chance.randrange(5)
                )
                ids.append(book.grant.grant_id)
            case 2 | 3:
                burnt = await burn(desk, str(Decimal(chance.randrange(1, 10**8)).scaleb(-6)), f"b{number}")
                spent += sum(use.amount for use in burnt.uses)
            case 4 if ids:
                try:
                    await desk.billing.void_credits(TENANT, chance.choice(ids), by=HUMAN)
                except AlreadyExists:
                    continue
            case _:
                set_clock(desk, desk.clock.now() + chance.randrange(1, 40) * DAY // 20)
                await desk.billing.tend_credits()
    found = await balanced(desk)
    assert found.balance.used == spent > 0
    assert found.balance.remaining == sum((b.balance.remaining for b in found.grants), D(0))
