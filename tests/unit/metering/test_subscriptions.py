"""Subscriptions and plans: states, changes in mid-period, pauses, trials, overrides."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput, NotFound
from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    Aggregation,
    Bill,
    Commitment,
    Graduated,
    LineKind,
    Override,
    Package,
    Payer,
    PayerRule,
    Percentage,
    PerUnit,
    Phase,
    Plan,
    Subscription,
    SubscriptionStatus,
    Tier,
    bill,
    cancelled,
    changed,
    effective,
    paused,
    resumed,
    revised,
    terminated,
)
from creto.metering.plans import checked, version_of
from creto.metering.types import ChargeId, PlanId
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, D, charge, event, meter, plan, subscription

START = JANUARY.start
BASIC = plan(charge(PerUnit(unit=D(1))), fee="31")
BETTER = plan(charge(PerUnit(unit=D("0.5"))), fee="62", version=2)


def amounts(asked: Subscription, *plans: Plan, events: tuple[object, ...] = (), **more: object) -> dict[str, object]:
    lines = bill(Bill(plans=plans or (BASIC,), subscription=asked, period=JANUARY, **more), list(events))  # type: ignore[arg-type]
    return {line.line_id: line.amount for line in lines}


def test_a_whole_month_costs_the_fee_and_a_part_of_it_its_days() -> None:
    assert amounts(subscription())["base"] == 31
    assert amounts(subscription(START + 7 * DAY + 10 * HOUR))["base"] == 24


def test_an_upgrade_in_mid_period_bills_each_part_by_its_plan() -> None:
    upgraded = changed(subscription(), PlanId("p"), 2, START + 15 * DAY + 12 * HOUR)
    events = (event(START + DAY, value=10), event(START + 20 * DAY, value=10))

    got = amounts(upgraded, BASIC, BETTER, events=events)

    second = START + 15 * DAY + 12 * HOUR
    assert got == {f"base@{START}": 15, f"base@{second}": 32, f"use@{START}": 10, f"use@{second}": 5}


FREE = plan(charge(PerUnit(unit=D(1)), free_units=D(31)), fee="31")


def test_a_change_to_the_same_begins_nothing_anew() -> None:
    own = subscription()
    for day in range(1, 6):
        own = changed(own, PlanId("p"), 1, START + day * DAY, Override())
    events = [event(START + day * DAY + HOUR, value=31) for day in range(5)]

    assert len(own.phases) == 1
    assert amounts(own, FREE, events=tuple(events)) == {"base": 31, "use": 124}


def test_a_change_of_another_charge_cuts_none() -> None:
    """One user, and a peak of 50, whatever became of the fee meanwhile."""
    users = charge(PerUnit(unit=D(10)), charge_id="users", meter=meter(Aggregation.UNIQUE_COUNT, property="user"))
    peak = charge(PerUnit(unit=D(1)), charge_id="peak", meter=meter(Aggregation.MAX))
    first = plan(users, peak, fee="31")
    dearer = changed(subscription(), PlanId("p"), 1, START + 10 * DAY, Override(fees={ChargeId("base"): D(62)}))
    events = (event(START, user="x", value=50), event(START + 20 * DAY, user="x", value=40))

    got = amounts(dearer, first, events=events)

    assert got == {f"base@{START}": 10, f"base@{START + 10 * DAY}": 42, "users": 10, "peak": 50}


def test_a_new_name_cuts_nothing() -> None:
    named = replace(FREE, version=2, fees=(replace(FREE.fees[0], name="Platform"),))
    got = amounts(changed(subscription(), PlanId("p"), 2, START + DAY), FREE, named)
    assert got == {"base": 31, "use": 0}


def test_free_units_of_a_charge_that_changes_are_prorated() -> None:
    dearer = replace(FREE, version=2, charges=(replace(FREE.charges[0], price=PerUnit(unit=D(2))),))
    upgraded = changed(subscription(), PlanId("p"), 2, START + 10 * DAY)

    got = amounts(upgraded, FREE, dearer, events=(event(START, value=15), event(START + 20 * DAY, value=31)))

    assert got == {"base": 31, f"use@{START}": 5, f"use@{START + 10 * DAY}": 20}


def test_what_a_price_gives_free_is_prorated_with_its_charge() -> None:
    package = Package(size=D(1), package=D(1), free_units=D(31))
    percentage = Percentage(percent=D(1), free_events=31, free_amount=D(62))
    assert package.for_part(10, 31).free_units == 10
    assert percentage.for_part(10, 31) == Percentage(percent=D(1), free_events=10, free_amount=D(20))


def test_to_another_plan_and_back_is_one_stretch_with_a_gap() -> None:
    dearer = replace(FREE, version=2, charges=(replace(FREE.charges[0], price=PerUnit(unit=D(2))),))
    away = changed(subscription(), PlanId("p"), 2, START + 10 * DAY)
    back = changed(away, PlanId("p"), 1, START + 20 * DAY)
    events = tuple(event(START + day * DAY, value=21) for day in (0, 15, 25))

    got = amounts(back, FREE, dearer, events=events)

    assert got == {"base": 31, f"use@{START}": 21, f"use@{START + 10 * DAY}": 22}


def test_a_change_of_the_plans_own_minimum_cuts_all_that_it_is_over() -> None:
    least = replace(BASIC, version=2, minimum=D(62))
    got = amounts(changed(subscription(), PlanId("p"), 2, START + 10 * DAY), BASIC, least)
    second = f"@{START + 10 * DAY}"
    assert got == {
        f"base@{START}": 10,
        f"use@{START}": 0,
        f"base{second}": 21,
        f"use{second}": 0,
        f"minimum{second}": 21,
    }


def test_another_payer_cuts_nothing_and_bears_what_is_used_from_then_on() -> None:
    leaf = replace(FREE, version=2, payer=Payer(PayerRule.LEAF))
    own = changed(subscription(), PlanId("p"), 2, START + 10 * DAY)
    events = [event(START, value=62), event(START + 20 * DAY, value=31)]

    lines = bill(Bill(plans=(FREE, leaf), subscription=own, period=JANUARY), events)

    (used,) = [line for line in lines if line.kind is LineKind.USAGE]
    assert (used.amount, {share.agent: share.amount for share in used.shares}) == (
        62,
        {HUMAN: D("41.33"), AGENT: D("20.67")},
    )


def test_a_trial_owes_nothing_for_what_was_not_used() -> None:
    trial = plan(charge(PerUnit(unit=D(1)), minimum=D(31)), fee="31", minimum=D(310), trial_days=10)
    got = amounts(subscription(), trial, events=(event(START + DAY, value=2),))
    assert got == {"base": 21, "use": 2, "use:minimum": 19, "minimum": 210 - 42}


def test_usage_in_a_trial_is_not_beyond_a_commitment_that_it_is_within() -> None:
    committed = plan(
        charge(PerUnit(unit=D(1))), commitment=Commitment(amount=D(310), overage_factor=D(2)), trial_days=30
    )
    assert amounts(subscription(), committed, events=(event(START, value=300),)) == {"use": 300}
    assert amounts(subscription(), committed) == {"use": 0, "minimum": 10}


def test_a_planned_change_can_be_replaced() -> None:
    later = changed(changed(subscription(), PlanId("p"), 2, JANUARY.end), PlanId("q"), 1, START + DAY)
    assert [(p.plan_id, p.version) for p in later.phases] == [("p", 1), ("q", 1)]
    with pytest.raises(InvalidInput):
        changed(later, PlanId("p"), 1, START - 1)


def test_a_pause_is_not_billed_and_its_usage_neither() -> None:
    asked = resumed(paused(subscription(), START + 10 * DAY), START + 20 * DAY)
    events = (event(START + 15 * DAY, value=7), event(START + 25 * DAY, value=3))

    got = amounts(asked, events=events)

    assert sum(v for k, v in got.items() if k.startswith("base")) == 21  # type: ignore[misc]
    assert sum(v for k, v in got.items() if k.startswith("use")) == 3  # type: ignore[misc]


def test_tiers_go_on_after_a_pause_where_they_were_before() -> None:
    tiers = plan(charge(Graduated(tiers=(Tier(up_to=D(10), unit=D(2), flat=D(5)), Tier(unit=D(1)))), minimum=D(31)))
    asked = resumed(paused(subscription(), START + 10 * DAY), START + 20 * DAY)

    events = (event(START + DAY, value=8), event(START + 21 * DAY, value=4))
    assert amounts(asked, tiers, events=events) == {"use": 27}
    assert amounts(asked, tiers, events=events[:1]) == {"use": 21}
    assert amounts(asked, tiers) == {"use": 5, "use:minimum": 16}


def test_seats_are_not_billed_while_paused_and_may_go_meanwhile() -> None:
    seats = plan(charge(PerUnit(unit=D(31)), meter=meter(Aggregation.SUM, carries=True, prorated=True)))
    asked = resumed(paused(subscription(), START + 10 * DAY), START + 20 * DAY)
    events = (event(START, value=2), event(START + 15 * DAY, value=-1))
    assert amounts(asked, seats, events=events) == {"use": 2 * 10 + 11}


def test_the_bounds_of_a_charge_hold_for_all_its_groups_together() -> None:
    regions = meter(group_by=("region",))
    capped = plan(charge(PerUnit(unit=D(1)), meter=regions, maximum=D(10)))
    trued_up = plan(charge(PerUnit(unit=D(1)), meter=regions, minimum=D(100)))
    events = (event(START, id="a", value=20, region="eu"), event(START, id="b", value=10, region="us"))

    assert amounts(subscription(), capped, events=events) == {"use:region=eu": D("6.67"), "use:region=us": D("3.33")}
    assert amounts(subscription(), trued_up, events=events) == {
        "use:region=eu": 20,
        "use:region=us": 10,
        "use:minimum": 70,
    }


def test_what_agents_send_cannot_make_two_lines_one() -> None:
    asked = plan(charge(PerUnit(unit=D(1)), meter=meter(group_by=("a", "b"))))
    events = (event(START, id="1", value=1, a="1:b=2", b="3"), event(START, id="2", value=2, a="1", b="2:b=3"))
    assert sorted(amounts(subscription(), asked, events=events).values()) == [1, 2]  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["a:b", "a=b", "a@1", "", " a"])
def test_a_charge_has_a_name_that_lines_can_bear(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked(plan(charge(PerUnit(unit=D(1)), charge_id=name)))


@pytest.mark.parametrize("value", ["NaN", "-1", "Infinity"])
def test_an_override_holds_numbers_alone(value: str) -> None:
    with pytest.raises(InvalidInput):
        Override(fees={ChargeId("base"): D(value)})


def test_who_is_paused_now_pays_until_the_pause_began() -> None:
    assert amounts(paused(subscription(), START + 10 * DAY))["base"] == 10


def test_a_trial_is_free_of_fees_and_not_of_usage() -> None:
    trial = plan(charge(PerUnit(unit=D(1))), fee="31", trial_days=14)
    got = amounts(subscription(START + 3 * DAY), trial, events=(event(START + 4 * DAY, value=2),))
    assert got == {"base": 14, "use": 2}
    assert "base" not in amounts(subscription(START + 20 * DAY), trial)


def test_seats_carry_over_a_change_of_plan() -> None:
    seats = meter(Aggregation.SUM, carries=True, prorated=True)
    old = plan(charge(PerUnit(unit=D(31)), meter=seats))
    new = plan(charge(PerUnit(unit=D(62)), meter=seats), version=2)
    upgraded = changed(subscription(), PlanId("p"), 2, START + 10 * DAY)

    got = amounts(upgraded, old, new, events=(event(START, value=1),))

    assert got == {f"use@{START}": 10, f"use@{START + 10 * DAY}": 42}


def test_cancelled_lasts_to_the_end_of_its_period_and_terminated_ends_now() -> None:
    ends = cancelled(subscription(), BASIC, START + 3 * DAY)
    assert (ends.status, ends.ends_at) == (SubscriptionStatus.CANCELLED, JANUARY.end)
    assert amounts(ends)["base"] == 31

    ended = terminated(ends, START + 3 * DAY)
    assert (ended.status, ended.ends_at) == (SubscriptionStatus.TERMINATED, START + 3 * DAY)
    assert amounts(ended)["base"] == 3


def test_what_has_ended_cannot_go_on() -> None:
    ended = terminated(subscription(), START + DAY)
    for act in (paused, resumed, terminated):
        with pytest.raises(AlreadyExists) as refused:
            act(ended, START + 2 * DAY)
        assert refused.value.code == "MT-412"


def test_an_override_changes_what_it_names_and_nothing_else() -> None:
    cheaper = Override(fees={ChargeId("base"): D(3)}, prices={ChargeId("use"): PerUnit(unit=D("0.1"))}, minimum=D(9))
    got = amounts(subscription(override=cheaper), events=(event(START, value=10),))
    assert got == {"base": 3, "use": 1, "minimum": 5}
    with pytest.raises(InvalidInput):
        effective(BASIC, Override(fees={ChargeId("bsae"): D(3)}))


def test_a_revision_is_the_next_version_and_leaves_the_old_one() -> None:
    new = revised(BASIC, minimum=D(50))
    assert (new.version, new.minimum, BASIC.minimum) == (2, 50, None)
    assert version_of([BASIC, new], PlanId("p")).version == 2
    assert version_of([BASIC, new], PlanId("p"), 1) is BASIC
    with pytest.raises(InvalidInput):
        revised(BASIC, currency="EUR")
    with pytest.raises(NotFound):
        version_of([BASIC], PlanId("p"), 9)


def test_a_plan_names_each_charge_once_and_a_currency_that_exists() -> None:
    with pytest.raises(InvalidInput):
        checked(plan(charge(PerUnit(unit=D(1))), charge(PerUnit(unit=D(2)))))
    with pytest.raises(InvalidInput):
        checked(plan(currency="XXX"))


def test_a_commitment_is_trued_up_once_the_period_is_over() -> None:
    committed = plan(charge(PerUnit(unit=D(1))), commitment=Commitment(amount=D(100), overage_factor=D("1.5")))
    few, many = (event(START, value=40),), (event(START, value=140),)

    assert amounts(subscription(), committed, events=few) == {"use": 40, "minimum": 60}
    assert amounts(subscription(), committed, events=many) == {"use": 140, "minimum": 20}
    assert amounts(subscription(), committed, events=few, final=False) == {"use": 40}


def test_lines_come_in_the_order_of_the_plan() -> None:
    lines = bill(Bill(plans=(BASIC,), subscription=subscription(), period=JANUARY), [event(START, value=1)])
    assert [line.kind for line in lines] == [LineKind.FEE, LineKind.USAGE]
    assert Phase(PlanId("p"), 1, START) in subscription().phases
