"""Quotas that measure events, over every engine and place of the shared limit: what is reported counts, once, and acts are refused from there on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import ConnectionFailed, OversightRequired, QuotaExceeded
from creto.common.ids import AgentId, PolicyId, new_id
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.contracts import BillableEvent
from creto.metering import (
    AllowWithNotification,
    Ask,
    Limit,
    Measure,
    Metering,
    Quota,
    QuotaNotice,
    Quotas,
    QuotaUsage,
    Rate,
    UnsafeTrustEverybody,
    Window,
    WindowUnit,
)
from creto.metering.leases import Counted, Due
from creto.metering.quota import Taken
from creto.security.authz.types import QuotaOutcome
from creto.store.types import Position
from tests.contract.buses import eventually
from tests.contract.test_quotas import AGENT, HUMAN, TENANT, Nodes, nodes, passes, redis  # noqa: F401 - fixtures
from tests.unit.metering.examples import event

CALL = "inference.call"
ROOT, MIDDLE = AgentId("root"), AgentId("middle")


def quota(limit: int, *units: WindowUnit, **more: Any) -> Quota:
    limits = tuple(Limit(limit, Window(unit)) for unit in units or (WindowUnit.DAY,))
    return Quota(quota_id="q", counts=("inference.*",), limits=limits, measures=Measure.EVENTS, **more)


class Desk:
    """A node that ingests."""

    def __init__(self, nodes: Nodes) -> None:  # noqa: F811
        self.nodes = nodes
        self.quotas = nodes.node()
        self.metering = self.with_events(self.quotas)

    def with_events(self, quotas: Quotas) -> Metering:
        metering = Metering(self.nodes.stores[-1], self.nodes.clock, UnsafeTrustEverybody())
        metering.use_quotas(quotas.events)
        return metering

    def event(self, at: int = 0, name: str = "", chain: Sequence[AgentId] = (), **more: Any) -> BillableEvent:
        return event(
            self.nodes.clock.now() + at, id=name or new_id(), type=CALL, agent=AGENT, chain=(*chain, AGENT), **more
        )

    async def ingest(self, *events: BillableEvent) -> None:
        await self.metering.ingest_batch(TENANT, events, by=HUMAN)

    async def usage(self, agent: AgentId = AGENT, window: str = "day") -> QuotaUsage:
        found = await self.quotas.usage(TENANT, [agent])
        return next(one for one in found if one.quota_id == "q" and one.window == window)

    async def used(self, agent: AgentId = AGENT, window: str = "day") -> int:
        return (await self.usage(agent, window)).used

    async def notices(self) -> list[QuotaNotice]:
        rows = await self.nodes.stores[0].read(lambda tx: tx.outbox_tail(Position(), 1_000))
        return [wire.decode(r.payload, QuotaNotice) for r in rows if r.subject == "metering.quotas.notices"]


@pytest.fixture
def desk(nodes: Nodes) -> Desk:  # noqa: F811
    return Desk(nodes)


async def test_events_fill_a_quota_and_acts_are_refused_from_there_on(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    await desk.ingest(*(desk.event() for _ in range(9)))
    assert (await desk.quotas.check_quota(TENANT, AGENT, CALL)).allowed
    assert passes(desk.quotas, 1)

    await desk.ingest(*(desk.event() for _ in range(11)))

    found = await desk.usage()
    assert (found.used, found.limit, found.over) == (20, 10, 10)
    assert (await desk.quotas.check_quota(TENANT, AGENT, CALL)).outcome is QuotaOutcome.DENY
    assert not passes(desk.quotas, 1)
    with pytest.raises(QuotaExceeded):
        await desk.quotas.reserve(TENANT, AGENT, CALL)
    await desk.metering.ingest_event(TENANT, desk.event(), by=HUMAN)  # a fact all the same
    assert await desk.used() == 21


async def test_an_event_counts_for_all_above_it_in_each_window_once(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(100, WindowUnit.DAY, WindowUnit.MONTH), by=HUMAN)
    await desk.quotas.put_quota(TENANT, Quota(quota_id="acts", limits=quota(5).limits), by=HUMAN)
    one = desk.event(chain=(ROOT, MIDDLE))

    for _ in range(3):
        await desk.ingest(one, one, desk.event(name="other", chain=(ROOT,)))

    assert [await desk.used(agent) for agent in (ROOT, MIDDLE, AGENT)] == [2, 1, 2]
    assert [await desk.used(agent, "month") for agent in (ROOT, MIDDLE, AGENT)] == [2, 1, 2]
    acts = [one for one in await desk.quotas.usage(TENANT, [ROOT]) if one.quota_id == "acts"]
    assert [one.used for one in acts] == [0]


async def test_a_property_is_counted_in_whole_units_and_makes_no_room(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10_000, property="value"), by=HUMAN)
    for value in (1_200, "0.2", -500, "many", True):
        await desk.ingest(desk.event(value=value))
    await desk.metering.ingest_event(TENANT, desk.event(value=10**18), by=HUMAN)
    assert await desk.used() == 1_201 + 10**12


async def test_money_is_what_events_cost(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(1_000_000, currency="USD"), by=HUMAN)
    cost = [{"cost_usd": "0.6"}, {"amount": "5", "currency": "EUR"}, {"cost_usd": "0.7"}]
    for properties in cost[:2]:
        await desk.ingest(with_properties(desk.event(), properties))
    assert (await desk.quotas.check_quota(TENANT, AGENT, CALL)).allowed  # acts need no rate
    await desk.ingest(with_properties(desk.event(), cost[2]))
    assert await desk.used() == 1_300_000
    assert not passes(desk.quotas, 1)
    await desk.quotas.put_rate(TENANT, Rate(counts=CALL, micros=5, currency="EUR"), by=HUMAN)
    assert not passes(desk.quotas, 1)


def with_properties(one: BillableEvent, properties: dict[str, Any]) -> BillableEvent:
    return replace(one, properties=properties)


async def test_an_event_counts_in_the_window_of_its_own_time(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    await desk.ingest(desk.event(), desk.event(at=-HOUR), desk.event(at=-30 * DAY))
    assert await desk.used() == 1
    yesterday = f"q/{AGENT}/1day@@UTC/{(desk.nodes.clock.now() // DAY - 1) * DAY}"
    assert desk.quotas._limits.taken(TENANT, [yesterday]) == [1]


async def test_what_is_voided_or_corrected_comes_off_what_it_was_on(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10, property="value"), by=HUMAN)
    one, other, before = desk.event(value=4), desk.event(value=8), desk.event(value=5)
    await desk.ingest(one, other)
    assert not passes(desk.quotas, 1)

    await desk.metering.correct_event(TENANT, with_properties(other, {"value": 3}), by=HUMAN, reason="typo")
    assert await desk.used() == 7
    assert passes(desk.quotas, 1)
    await desk.metering.void_event(TENANT, other.event_id, by=HUMAN, reason="never was")
    await desk.metering.void_event(TENANT, other.event_id, by=HUMAN, reason="never was")
    assert await desk.used() == 4

    await desk.quotas.delete_quota(TENANT, "q", by=HUMAN)
    await desk.ingest(before)
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)  # counts otherwise now
    await desk.metering.void_event(TENANT, before.event_id, by=HUMAN, reason="never was")
    assert await desk.used() == 4
    await desk.metering.void_event(TENANT, one.event_id, by=HUMAN, reason="never was")
    assert await desk.used() == 0


async def test_a_held_event_counts_from_its_approval_on(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    held, released = desk.event(), desk.event()
    for one in (held, released):
        with pytest.raises(OversightRequired):
            await desk.metering.hold_event(TENANT, one, PolicyId("cfo"), by=HUMAN)
    assert await desk.used() == 0

    await desk.metering.finalize_event(TENANT, held.event_id, by=HUMAN)
    await desk.metering.finalize_event(TENANT, held.event_id, by=HUMAN)
    await desk.metering.release_event(TENANT, released.event_id, by=HUMAN)
    assert await desk.used() == 1
    await desk.metering.void_event(TENANT, held.event_id, by=HUMAN, reason="no")
    assert await desk.used() == 0


async def test_an_act_holds_room_only_while_it_runs(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    hold = await desk.quotas.reserve(TENANT, AGENT, CALL, 8)
    other = desk.quotas.book.reserve(TENANT, AGENT, None, CALL, "m", 2)
    assert isinstance(other, Taken)
    assert not passes(desk.quotas, 1)

    await desk.quotas.settle(TENANT, hold.reservation_id, 9)
    desk.quotas.book.settle(other, 3)
    desk.nodes.clock.advance(SECOND)

    assert passes(desk.quotas, 10)
    await asyncio.to_thread(desk.quotas.upkeep.once, desk.nodes.clock.now())
    desk.quotas.book.changed()
    await asyncio.to_thread(desk.quotas.upkeep.once, desk.nodes.clock.now())
    assert await desk.used() == 0


async def test_what_runs_when_events_fill_a_quota_makes_no_room_for_more(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    held = desk.quotas.book.reserve(TENANT, AGENT, None, CALL, "m", 5)
    assert isinstance(held, Taken)
    await desk.ingest(*(desk.event() for _ in range(10)))

    desk.quotas.book.settle(held)

    assert not passes(desk.quotas, 1)
    await asyncio.to_thread(desk.quotas.upkeep.once, desk.nodes.clock.now())
    assert await desk.used() == 10
    assert not passes(desk.quotas, 1)


async def test_what_other_nodes_hold_is_called_back_when_events_fill_a_quota(desk: Desk) -> None:
    other = desk.nodes.node()
    await desk.quotas.put_quota(TENANT, quota(100), by=HUMAN)
    assert passes(other, 1)  # and it holds more

    await desk.ingest(*(desk.event() for _ in range(100)))
    await desk.nodes.stores[0].settled(5)

    async def refused() -> bool:
        await asyncio.to_thread(other.upkeep.once, desk.nodes.clock.now())
        return not passes(other, 1)

    await eventually(refused, "the other node refuses")
    assert await desk.used() == 100


@pytest.mark.parametrize("overflow", [AllowWithNotification(), Ask(policy_id=PolicyId("cfo"))])
async def test_beyond_the_limit_acts_meet_the_overflow(desk: Desk, overflow: Any) -> None:
    await desk.quotas.put_quota(TENANT, quota(10, overflow=overflow), by=HUMAN)
    await desk.ingest(*(desk.event() for _ in range(12)))
    asked = await desk.quotas.check_quota(TENANT, AGENT, CALL)
    if isinstance(overflow, Ask):
        assert asked.outcome is QuotaOutcome.REQUIRE_APPROVAL
        with pytest.raises(OversightRequired):
            await desk.quotas.reserve(TENANT, AGENT, CALL)
    else:
        assert asked.outcome is QuotaOutcome.ALLOW_WITH_NOTIFICATION
        assert passes(desk.quotas, 1)
    assert (await desk.usage()).over == 2


async def test_marks_that_events_reach_are_told_once(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(20, overflow=AllowWithNotification()), by=HUMAN)
    for count in (18, 1, 1, 5):
        await desk.ingest(*(desk.event(chain=(ROOT,)) for _ in range(count)))
    again = desk.nodes.node()
    await desk.with_events(again).ingest_event(TENANT, desk.event(), by=HUMAN)

    async def told() -> bool:
        return len(await desk.notices()) >= 4

    await eventually(told, "marks of two agents")
    await desk.quotas.put_rate(TENANT, Rate(counts="x", micros=1), by=HUMAN)  # behind all that was told
    found = await desk.notices()
    assert sorted((one.agent or "", one.percent, one.used) for one in found) == [
        (ROOT, 95, 19), (ROOT, 100, 20), (AGENT, 95, 19), (AGENT, 100, 20)
    ]  # fmt: skip
    assert {(one.event_type, one.delegation_chain, one.outcome) for one in found} == {
        (CALL, (ROOT, AGENT), QuotaOutcome.ALLOW_WITH_NOTIFICATION)
    }


async def test_what_is_due_is_booked_once_whoever_dies(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the shared limit had it, and between that and its row: upkeep, of anybody, finishes both."""
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    book = type(desk.quotas._limits).book

    def away(_: object, dues: Sequence[Due]) -> Counted:
        raise ConnectionFailed("MT-503", "away")

    def dies(self: object, dues: Sequence[Due]) -> Counted:
        book(self, dues)  # type: ignore[arg-type]
        raise ConnectionFailed("MT-503", "it was booked, and nobody heard of it")

    for fault in (away, dies):
        monkeypatch.setattr(type(desk.quotas._limits), "book", fault)
        await desk.ingest(desk.event(), desk.event(), desk.event())
        monkeypatch.undo()
    assert await desk.used() == 3

    desk.nodes.clock.advance(10 * SECOND)
    for _ in range(3):
        await asyncio.to_thread(desk.quotas.upkeep.once, desk.nodes.clock.now())
        await desk.quotas.put_rate(TENANT, Rate(counts="x", micros=1), by=HUMAN)  # behind what it finished

    assert await desk.used() == 6
    rows = await desk.nodes.stores[0].read(lambda tx: tx.value("SELECT COUNT(*) FROM metering_quota_due"))
    assert rows == 0


async def test_two_who_book_the_same_book_it_once(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, quota(10), by=HUMAN)
    events = [desk.event() for _ in range(50)]
    one, other = desk.quotas, desk.nodes.node()
    due = Due(TENANT, "d", [])
    await asyncio.gather(*(desk.metering.ingest_event(TENANT, event, by=HUMAN) for event in events))
    desk.nodes.clock.advance(10 * SECOND)
    await asyncio.gather(
        *(asyncio.to_thread(quotas.events.book_left, desk.nodes.clock.now()) for quotas in (one, other) * 3)
    )
    assert one._limits.book([due]) == {}
    assert await desk.used() == 50


async def test_tenants_without_such_quotas_write_nothing_more(desk: Desk) -> None:
    await desk.quotas.put_quota(TENANT, Quota(quota_id="acts", limits=quota(5).limits), by=HUMAN)
    await desk.ingest(desk.event())
    for table in ("metering_quota_due", "metering_quota_known", "metering_quota_counted", "metering_quota_counter"):
        assert await desk.nodes.stores[0].read(lambda tx, t=table: tx.value(f"SELECT COUNT(*) FROM {t}")) == 0
