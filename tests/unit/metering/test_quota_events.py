"""What reported usage counts on quotas: for all events, in any order and any batches."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.ids import AgentId
from creto.common.timestamps import DAY, HOUR
from creto.contracts import BillableEvent
from creto.metering import Limit, Measure, Quota, Window, WindowUnit
from creto.metering.attribution import chain_of
from creto.metering.quota_events import amount_of, bookings
from creto.metering.quota_rules import named
from tests.fuzz import examples
from tests.unit.metering.examples import HUMAN, JANUARY, event

AGENTS = [AgentId(f"a{n}") for n in range(4)]
WINDOWS = (Window(WindowUnit.DAY, zone="Europe/Berlin"), Window(WindowUnit.HOUR, count=6), Window(WindowUnit.LIFETIME))
QUOTAS = tuple(
    Quota(quota_id=f"q{n}", limits=tuple(Limit(5, window) for window in WINDOWS), measures=Measure.EVENTS, **more)
    for n, more in enumerate(
        [
            {},
            {"property": "value"},
            {"shared": True},
            {"own_acts": True},
            {"agent": AGENTS[0]},
            {"counts": ("use.*",), "currency": "USD"},
        ]
    )
)


@st.composite
def used(draw: st.DrawFn, number: int) -> BillableEvent:
    chain = (HUMAN, *AGENTS[: draw(st.integers(1, 4))])
    value: Any = draw(st.integers(-5, 100) | st.sampled_from(["0.5", "many", "1e3"]) | st.none())
    properties = {"value": value, "cost_usd": "0.000002"} if value is not None else {}
    at = JANUARY.start + draw(st.integers(0, 3 * DAY))
    kind = draw(st.sampled_from(["use", "use.more"]))
    return event(at, id=f"e{number}", agent=chain[-1], chain=chain, type=kind, **properties)


@st.composite
def many(draw: st.DrawFn) -> list[BillableEvent]:
    return [draw(used(n)) for n in range(draw(st.integers(1, 15)))]


def counters(batches: list[list[BillableEvent]], now: int, sign: int = 1) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches:
        for booking in bookings(QUOTAS, batch, now, sign=sign):
            found[booking.counter] = found.get(booking.counter, 0) + booking.amount
    return {name: amount for name, amount in found.items() if amount}


@given(many(), st.randoms(), st.integers(1, 15), st.integers(0, DAY - HOUR))
@settings(max_examples=examples(60), deadline=None)
def test_neither_order_nor_batches_nor_arrival_change_a_counter(
    events: list[BillableEvent], chance: random.Random, size: int, later: int
) -> None:
    shuffled = chance.sample(events, len(events))
    pieces = [shuffled[n : n + size] for n in range(0, len(events), size)]
    now = JANUARY.start + HOUR
    assert counters([events], now) == counters(pieces, now + later)

    gone = chance.sample(events, len(events) // 2)
    left = [one for one in events if one not in gone]
    rest = counters([events], now)
    for name, amount in counters([gone], now, sign=-1).items():
        rest[name] = rest.get(name, 0) + amount
    assert {name: amount for name, amount in rest.items() if amount} == counters([left], now)


@given(many())
@settings(max_examples=examples(60), deadline=None)
def test_a_counter_is_the_sum_over_the_events_of_its_owner_in_its_window(events: list[BillableEvent]) -> None:
    quotas = {quota.quota_id: quota for quota in QUOTAS}
    for name, amount in counters([events], JANUARY.start + HOUR).items():
        counted = named(quotas, name)
        assert counted is not None
        assert counted.key == name
        quota = quotas[counted.quota_id]
        mine = [
            one
            for one in events
            if one.timestamp in counted.period
            and (quota.counts == ("*",) or one.event_type.startswith("use."))
            and (counted.owner is None or counted.owner in (chain_of(one)[-1:] if quota.own_acts else chain_of(one)))
        ]
        assert amount == sum(amount_of(quota, one) for one in mine)
        assert amount > 0


def test_windows_that_are_long_over_are_left_alone() -> None:
    late = [event(JANUARY.start)]
    quota = Quota(quota_id="q", limits=(Limit(1, Window(WindowUnit.DAY)),), measures=Measure.EVENTS)
    assert bookings([quota], late, JANUARY.start + 2 * DAY - 1) != []
    assert bookings([quota], late, JANUARY.start + 2 * DAY) == []


def test_only_counters_that_the_quotas_have_are_named() -> None:
    quotas = {"q0": QUOTAS[0]}
    for key in ("q0/a0/1day@@UTC/0", "q1/a0/6hour@@UTC/0", "q0/a0/6hour@@UTC/x", "q0", "budget/00"):
        assert named(quotas, key) is None
    found = named(quotas, "q0/*/6hour@@UTC/0")
    assert found is not None
    assert found.owner is None
