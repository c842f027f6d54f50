"""What holds for all events, all trees, all splits."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common.ids import AgentId
from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    Aggregation,
    Bill,
    BillableEvent,
    Charge,
    Commitment,
    Correction,
    Coupon,
    Flat,
    Graduated,
    Grant,
    Invoice,
    InvoiceStatus,
    Line,
    Meter,
    Package,
    Payer,
    PayerRule,
    Percentage,
    PerUnit,
    Phase,
    Price,
    Tax,
    Terms,
    Tier,
    Usage,
    Volume,
    bill,
    booking,
    borne,
    borne_by,
    by_chain,
    canonical,
    changed,
    corrections,
    cost_tree,
    draft,
    iso,
    measure,
    paused,
    quantity,
    resumed,
    standing,
    tallies,
)
from creto.metering.plans import phase_at
from creto.metering.types import ChargeId, CouponId, GrantId, PlanId
from tests.fuzz import examples
from tests.unit.metering.examples import JANUARY, D, charge, event, heading, meter, plan, subscription

MANY = settings(max_examples=max(100, examples(20)))
USD = iso("USD")
AGENTS = [AgentId(f"a{i}") for i in range(6)]

quantities = st.decimals(min_value=0, max_value=10_000, places=4)
instants = st.integers(JANUARY.start, JANUARY.end - 1)
chains = st.lists(st.sampled_from(AGENTS), min_size=1, max_size=5, unique=True).map(tuple)


@st.composite
def streams(draw: st.DrawFn, max_size: int = 12) -> list[BillableEvent]:
    count = draw(st.integers(0, max_size))
    made = []
    for number in range(count):
        chain = draw(chains)
        made.append(
            event(
                draw(instants),
                id=f"e{number}",
                agent=chain[-1],
                chain=chain,
                value=str(draw(quantities)),
                region=draw(st.sampled_from(["eu", "us"])),
                operation=draw(st.sampled_from(["add", "add", "remove"])),
            )
        )
    return made


tiers = (Tier(up_to=D(10), unit=D("0.5"), flat=D(1)), Tier(up_to=D(100), unit=D("0.31")), Tier(unit=D("0.007")))
PRICES: list[Price] = [
    Flat(flat=D(7)),
    PerUnit(unit=D("0.0123")),
    Graduated(tiers=tiers),
    Volume(tiers=tiers),
    Package(size=D(7), package=D("0.99")),
    Percentage(percent=D("1.3"), fixed=D("0.3"), free_events=1, minimum=D(1)),
]
METERS = [
    *(meter(a) for a in Aggregation),
    meter(Aggregation.SUM, prorated=True),
    meter(Aggregation.UNIQUE_COUNT, prorated=True, carries=True),
    meter(Aggregation.MAX, bucket_ns=DAY),
    meter(Aggregation.SUM, group_by=("region",)),
]


@st.composite
def orders(draw: st.DrawFn) -> Bill:
    """A subscription with a few charges of any kind, perhaps paused or changed in mid-period, and who pays."""
    charges: list[Charge] = []
    for number in range(draw(st.integers(1, 3))):
        least, most = draw(st.tuples(quantities, quantities).map(sorted))
        measured: Meter = draw(st.sampled_from(METERS))
        asked = charge(
            draw(st.sampled_from(PRICES)),
            meter=replace(measured, meter_id=f"m{number}"),
            minimum=draw(st.none() | st.just(least)),
            maximum=draw(st.none() | st.just(most)),
            commitment=draw(st.none() | st.just(Commitment(amount=D(30), overage_factor=D("1.5")))),
        )
        charges.append(replace(asked, charge_id=ChargeId(f"c{number}")))
    first = plan(*charges, fee="10", payer=draw(payers), minimum=draw(st.none() | quantities))
    second = replace(first, version=2, fees=(), charges=tuple(charges[:1]))
    own = subscription()
    if draw(st.booleans()):
        own = changed(own, first.plan_id, 2, draw(instants))
    if draw(st.booleans()):
        since, until = sorted((draw(instants), draw(instants)))
        own = resumed(paused(own, since), until)
    wallets = draw(st.frozensets(st.sampled_from(AGENTS)))
    return Bill(plans=(first, second), subscription=own, period=JANUARY, wallets=wallets)


payers = st.sampled_from(
    [
        Payer(PayerRule.ROOT),
        Payer(PayerRule.LEAF),
        Payer(PayerRule.NEAREST_WITH_WALLET),
        Payer(PayerRule.SPLIT, (D(50), D(30), D(20))),
    ]
)


def invoice(asked: Bill, events: Sequence[BillableEvent], id: str = "inv") -> Invoice:
    return draft(heading(id=id), bill(asked, events))


@MANY
@given(orders(), streams(), st.randoms())
def test_order_of_arrival_never_changes_a_bill(asked: Bill, events: list[BillableEvent], random: object) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert canonical(invoice(asked, shuffled)) == canonical(invoice(asked, events))


@MANY
@given(orders(), streams(), instants)
def test_a_change_that_changes_nothing_is_none(asked: Bill, events: list[BillableEvent], at: int) -> None:
    """Said as another version of the same, so that there is another phase."""
    same = [replace(plan, version=plan.version + 10) for plan in asked.plans]
    own = asked.subscription
    split = sorted(
        [*own.phases, Phase(PlanId("p"), (phase_at(own.phases, at) or own.phases[0]).version + 10, at)],
        key=lambda p: p.since,
    )
    after = replace(asked, plans=(*asked.plans, *same), subscription=replace(own, phases=tuple(split)))

    assert bill(after, events) == bill(asked, events)


@MANY
@given(orders(), streams())
def test_everything_twice_changes_nothing(asked: Bill, events: list[BillableEvent]) -> None:
    assert canonical(invoice(asked, [*events, *events])) == canonical(invoice(asked, events))


@pytest.mark.parametrize("counted", METERS, ids=lambda m: f"{m.aggregation}{'-prorated' * m.prorated}")
@MANY
@given(streams(), st.data())
def test_a_period_in_two_runs_equals_one(counted: Meter, events: list[BillableEvent], data: st.DataObject) -> None:
    """Whichever event was in which run, and in whatever order they came."""
    runs = [data.draw(st.booleans()) for _ in events]
    first = tallies(counted, [e for e, run in zip(events, runs, strict=True) if run], JANUARY)
    second = tallies(counted, [e for e, run in zip(events, runs, strict=True) if not run], JANUARY)

    groups = first.keys() | second.keys()
    merged = {g: second[g].merged(first[g]) if g in first and g in second else (first | second)[g] for g in groups}

    at_once = measure(counted, standing(events), JANUARY)
    assert {g: quantity(counted, t, JANUARY) for g, t in merged.items()} == {
        g: usage.quantity for g, usage in at_once.items() if g in groups
    }


@MANY
@given(st.sampled_from(PRICES), st.lists(quantities, min_size=1, max_size=6), st.none() | quantities)
def test_a_period_booked_in_parts_costs_what_it_costs_at_once(
    price: Price, parts: list[Decimal], minimum: Decimal | None
) -> None:
    asked = charge(price, minimum=minimum)
    booked, used = D(0), D(0)
    for part in parts:
        used += part
        booked += booking(asked, Usage(used), booked, USD, final=part is parts[-1])

    assert booked == booking(asked, Usage(used), D(0), USD)


coupons = st.one_of(
    st.decimals(min_value=0, max_value=100, places=2).map(lambda p: Coupon(coupon_id=CouponId(f"p{p}"), percent=p)),
    st.decimals(min_value=0, max_value=500, places=2).map(
        lambda a: Coupon(coupon_id=CouponId(f"f{a}"), amount=a, currency="USD")
    ),
)
taxes = st.decimals(min_value=0, max_value=30, places=3).map(lambda p: Tax(code=f"t{p}", percent=p))


@MANY
@given(orders(), streams(), st.lists(coupons, max_size=2), st.lists(taxes, max_size=2), quantities)
def test_the_sum_of_lines_is_the_total(
    asked: Bill, events: list[BillableEvent], off: list[Coupon], on: list[Tax], balance: Decimal
) -> None:
    balance = USD.rounded(balance)
    grant = Grant(grant_id=GrantId("g"), amount=balance, currency="USD")
    terms = Terms(coupons=tuple(off), taxes=tuple(on), grants=(grant,), remaining={grant.grant_id: balance})

    made = draft(heading(), bill(asked, events), terms)

    assert made.subtotal == sum(line.amount for line in made.lines)
    assert made.total == sum(line.taxable + sum(t.amount for t in line.taxes) for line in made.lines)
    assert made.tax == sum(t.amount for t in made.taxes)
    assert made.due == made.total - min(balance, made.total)
    assert all(abs(line.amount - line.exact) < D("0.01") and line.taxable >= 0 for line in made.lines)


@MANY
@given(orders(), streams())
def test_attribution_sums_to_the_invoice(asked: Bill, events: list[BillableEvent]) -> None:
    made = invoice(asked, events)

    assert sum(borne_by(made.lines).values(), D(0)) == made.subtotal
    assert all(sum((s.amount for s in line.shares), D(0)) == line.amount for line in made.lines)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[AgentId, ...]]:
    """The chains of a random delegation tree, up to sixteen deep."""
    known: list[tuple[AgentId, ...]] = [(AgentId("root"),)]
    for number in range(draw(st.integers(0, 30))):
        above = draw(st.sampled_from(known))
        if len(above) < 16:
            known.append((*above, AgentId(f"n{number}")))
    return known


@MANY
@given(trees(), payers, st.decimals(min_value=-1_000, max_value=1_000, places=2), st.data())
def test_cost_over_a_tree_is_the_amount(
    tree: list[tuple[AgentId, ...]], payer: Payer, amount: Decimal, data: st.DataObject
) -> None:
    uses = [(chain, data.draw(quantities)) for chain in tree]
    wallets = {chain[-1] for chain in tree if data.draw(st.booleans())}

    parts = by_chain(amount, uses, USD)
    shares = borne(parts, payer, wallets, USD)
    (root,) = cost_tree(parts)

    assert sum((share.amount for share in shares), D(0)) == amount
    assert root.total == amount
    assert all(share.amount * amount >= 0 for share in shares)


@MANY
@given(orders(), streams(), streams(max_size=4), st.lists(coupons, max_size=2), st.lists(taxes, max_size=1), st.data())
def test_late_corrected_and_void_events_come_to_the_bill_in_time(
    asked: Bill,
    events: list[BillableEvent],
    late: list[BillableEvent],
    off: list[Coupon],
    on: list[Tax],
    data: st.DataObject,
) -> None:
    """Billed without them, then corrected: together what would have come had all been known."""
    late = [replace(e, event_id=f"late-{e.event_id}") for e in late]
    wrong = [
        Correction(e.event_id, data.draw(st.none() | st.just(replace(e, properties={**e.properties, "value": "1"}))))
        for e in events
        if data.draw(st.booleans())
    ]
    known = standing([*events, *late], wrong)

    terms = Terms(coupons=tuple(off), taxes=tuple(on))
    first = replace(draft(heading(), bill(asked, events), terms), status=InvoiceStatus.FINAL)
    in_time = draft(heading(), bill(asked, known), terms)
    fixes = corrections.rebooked(corrections.booked([first], first.invoice_id), in_time.lines, first.invoice_id)
    second = replace(draft(heading(id="inv2"), fixes, terms), status=InvoiceStatus.FINAL)
    books = corrections.booked([first, second], first.invoice_id)

    for part in ("subtotal", "discount", "tax", "total"):
        assert getattr(first, part) + getattr(second, part) == getattr(in_time, part)
    assert both(first.lines, second.lines) == both(in_time.lines, [])
    assert corrections.rebooked(books, in_time.lines, first.invoice_id) == []


def both(first: Sequence[Line], second: Sequence[Line]) -> dict[AgentId, Decimal]:
    return {agent: amount for agent, amount in borne_by([*first, *second]).items() if amount}


@MANY
@given(st.lists(st.tuples(instants, quantities), max_size=8), st.permutations(range(3)))
def test_money_paid_beforehand_is_neither_made_nor_lost(
    usage: list[tuple[int, Decimal]], priorities: list[int]
) -> None:
    from creto.metering import Cycle, CycleUnit, Rollover, balance, burn_down, check_books, used_by

    start = JANUARY.start
    grants = [
        Grant(grant_id=GrantId("a"), amount=D(900), currency="USD", priority=priorities[0], effective_at=start, expires_at=start + 9 * DAY),
        Grant(grant_id=GrantId("b"), amount=D(5_000), currency="USD", priority=priorities[1], effective_at=start + 2 * DAY, voided_at=start + 20 * DAY),
        Grant(grant_id=GrantId("c"), amount=D(50), currency="USD", priority=priorities[2], effective_at=start + HOUR, renews=Cycle(CycleUnit.WEEK, start), rollover=Rollover(maximum=D(20))),
    ]  # fmt: skip

    book = burn_down(grants, used_by(usage), start, JANUARY.end)
    check_books(book.postings)

    for grant in grants:
        of_it = balance(p for p in book.postings if p.grant_id == grant.grant_id)
        assert of_it.granted == of_it.remaining + of_it.used + of_it.expired + of_it.voided
        assert of_it.remaining == book.left[grant.grant_id]
    assert balance(book.postings).used + book.overage == sum((amount for _, amount in usage), D(0))
