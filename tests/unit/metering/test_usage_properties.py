"""What holds for all events: in any order, in any batches, repeated, voided, asked for before or after they were folded."""

from __future__ import annotations

import asyncio
import tempfile
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import DAY, HOUR, MINUTE
from creto.contracts import BillableEvent
from creto.metering import (
    Aggregation,
    Billing,
    BucketSize,
    CostReport,
    Metering,
    Period,
    PerUnit,
    StoredEvents,
    UnsafeTrustEverybody,
    UsageBy,
    UsageQuery,
    measure,
    read_event,
)
from creto.metering.totals import aligned, cover
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests.fuzz import examples
from tests.unit.metering.examples import HUMAN, JANUARY, TENANT, D, charge, event, meter, plan

AGENTS = [AgentId(f"a{n}") for n in range(4)]


@st.composite
def used(draw: st.DrawFn, number: int) -> BillableEvent:
    depth = draw(st.integers(1, 4))
    chain = (HUMAN, *AGENTS[:depth])
    value = draw(st.decimals(-1000, 1000, places=6).map(str) | st.integers(-1000, 1000))
    at = JANUARY.start + draw(st.integers(0, 31 * DAY - 1))
    return event(at, id=f"e{number}", agent=chain[-1], chain=chain, value=value, model=draw(st.sampled_from("ab")))


@st.composite
def many(draw: st.DrawFn) -> list[BillableEvent]:
    return [draw(used(n)) for n in range(draw(st.integers(1, 12)))]


class Told:
    """What is told of the same events."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.cost: CostReport | None = None
        self.invoice: list[Any] = []


async def told(batches: list[list[BillableEvent]], voided: set[str], fold: set[int]) -> Told:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/u.db", parts=("creto.store", "creto.metering"))
        try:
            metering = Metering(store, ManualClock(JANUARY.end), UnsafeTrustEverybody())
            billing = Billing(store, ManualClock(JANUARY.end), StoredEvents())
            await billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("0.0123"))), fee="31"), by=HUMAN)
            made = await billing.subscribe(TENANT, HUMAN, plan().plan_id, key="k", by=HUMAN, starts_at=JANUARY.start)
            for number, batch in enumerate(batches):
                await metering.ingest_batch(TENANT, batch, by=HUMAN)
                for one in batch:
                    if one.event_id in voided:
                        await metering.void_event(TENANT, one.event_id, by=HUMAN, reason="no")
                if number in fold:
                    await metering.fold()
            found = Told()
            for aggregation in (Aggregation.SUM, Aggregation.COUNT, Aggregation.MAX, Aggregation.LATEST):
                for by in UsageBy:
                    query = UsageQuery(meter=meter(aggregation), period=JANUARY, by=by, bucket=BucketSize.DAY)
                    found.rows += (await metering.query_usage(TENANT, query)).rows
            found.cost = await metering.query_cost(TENANT, made.subscription_id, at=JANUARY.start)
            found.invoice = list((await billing.preview(TENANT, made.subscription_id, at=JANUARY.start)).lines)
            return found
        finally:
            store.close()


@given(st.data(), many())
@settings(max_examples=examples(15), deadline=None)
def test_neither_order_nor_batches_nor_repetition_change_what_is_told(
    data: st.DataObject, events: list[BillableEvent]
) -> None:
    voided = {e.event_id for e in events if data.draw(st.booleans())}
    shuffled = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=5))))
    cut = data.draw(st.integers(1, len(shuffled)))
    pieces = [piece for piece in (shuffled[:cut], shuffled[cut:], events) if piece]

    once = asyncio.run(told([events], voided, set()))
    again = asyncio.run(told(pieces, voided, data.draw(st.sets(st.integers(0, 2)))))

    assert once.rows == again.rows
    assert once.invoice == again.invoice
    assert once.cost is not None
    assert again.cost is not None
    assert (once.cost.by_agent, once.cost.tree) == (again.cost.by_agent, again.cost.tree)
    cost = once.cost
    assert cost.total == sum((line.amount for line in once.invoice), Decimal())
    assert cost.total == sum((node.total for node in cost.tree), Decimal()) == sum(cost.by_agent.values(), Decimal())
    assert cost.total == cost.fixed + sum(cost.by_event_type.values(), Decimal())


@given(st.data(), many())
@settings(max_examples=examples(15), deadline=None)
def test_a_question_about_any_stretch_of_time_is_answered_as_by_counting(
    data: st.DataObject, events: list[BillableEvent]
) -> None:
    start = JANUARY.start + data.draw(st.integers(0, 30 * DAY // (30 * MINUTE))) * 30 * MINUTE
    length = data.draw(st.sampled_from([MINUTE, HOUR, 25 * HOUR, DAY, 3 * DAY + 7 * MINUTE]))
    period = Period(start, start + length)
    aggregation = data.draw(st.sampled_from([Aggregation.SUM, Aggregation.COUNT, Aggregation.MAX]))

    async def ask() -> list[Decimal]:
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(f"sqlite:///{Path(folder)}/u.db", parts=("creto.store", "creto.metering"))
            try:
                metering = Metering(store, ManualClock(JANUARY.end), UnsafeTrustEverybody())
                await metering.ingest_batch(TENANT, events[::2], by=HUMAN)
                await metering.fold()
                if events[1::2]:
                    await metering.ingest_batch(TENANT, events[1::2], by=HUMAN)
                query = UsageQuery(meter=meter(aggregation), period=period)
                return [row.quantity for row in (await metering.query_usage(TENANT, query)).rows]
            finally:
                store.close()

    expected = measure(meter(aggregation), events, period)[()]
    assert asyncio.run(ask()) == [expected.quantity]


@given(st.integers(0, 40 * DAY), st.integers(1, 40 * DAY), st.lists(st.integers(0, 80 * DAY), max_size=4))
def test_a_cover_covers_every_instant_once(start: int, length: int, bounds: list[int]) -> None:
    end = start + length
    found = cover(start, end, aligned(bound for bound in bounds if start < bound < end))
    spans = sorted((s.start, s.end) for s in (found.days, *found.hours, *found.rest) if s.start < s.end)
    assert spans[0][0] == start
    assert spans[-1][1] == end
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert found.days.start % DAY == found.days.end % DAY == 0 or found.days.start == found.days.end


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5).map(wire.encode)
)
def test_any_bytes_are_an_event_or_a_documented_error(data: bytes) -> None:
    try:
        read_event(data, TenantId("acme"))
    except EnablementError as error:
        assert isinstance(error, InvalidInput)
        assert error.code == "MT-400"
