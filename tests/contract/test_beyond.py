"""What goes beyond a quota at a price is billed at that price, once, and shows why; over every engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.contracts import BillableEvent
from creto.metering import (
    Aggregation,
    Billing,
    ChargeBeyond,
    EventsQuery,
    InvoiceStatus,
    Limit,
    LineKind,
    Metering,
    PerUnit,
    Quota,
    Quotas,
    StoredEvents,
    Subscription,
    UnsafeTrustEverybody,
    Window,
    WindowUnit,
    quota_charges,
)
from creto.metering.quota_charges import STALE_NS
from creto.platform.consensus.testing import ManualClock
from creto.store import Store
from tests.contract.buses import eventually
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D, charge, event, meter, plan

PARTS = ("creto.store", "creto.platform.consensus", "creto.metering")
MONTH = Window(WindowUnit.MONTH)


class Shop:
    """A subscription that pays 0.01 for each call, and a quota of 100 calls beyond which each costs one and a half times that."""

    def __init__(self, store: Store, folder: Path, open_: ExitStack) -> None:
        self.store, self.folder, self._open = store, folder, open_
        self.clock = ManualClock(JANUARY.start + HOUR)
        self.metering = Metering(store, self.clock, UnsafeTrustEverybody())
        self.billing = Billing(store, self.clock, StoredEvents())
        self.quotas = self.node()

    def node(self) -> Quotas:
        quotas = Quotas(self.store, self.clock, folder=self.folder, now=self.clock.now)
        quotas.charges.bill_by(self.metering.enter)
        self._open.callback(quotas.close)
        return quotas

    async def opened(self, factor: str = "1.5") -> Subscription:
        made = plan(charge(PerUnit(unit=D("0.01")), meter=meter(Aggregation.COUNT, event_type="call")))
        await self.billing.create_plan(TENANT, made, by=HUMAN)
        quota = Quota(
            quota_id="calls", counts=("call",), agent=AGENT, limits=(Limit(100, MONTH),), overflow=ChargeBeyond(factor=D(factor))
        )  # fmt: skip
        await self.quotas.put_quota(TENANT, quota, by=HUMAN)
        return await self.billing.subscribe(TENANT, AGENT, made.plan_id, key="k", by=HUMAN, starts_at=JANUARY.start)

    async def use(self, count: int, start: int = 0) -> None:
        """So many calls, each reserved, made and reported."""
        for n in range(start, start + count):
            hold = await self.quotas.reserve(TENANT, AGENT, "call")
            await self.metering.ingest_event(TENANT, called(self.clock.now(), n), by=AGENT)
            await self.quotas.settle(TENANT, hold.reservation_id)

    async def lines(self, subscription: Subscription) -> list[tuple[LineKind, Any, Any]]:
        made = await self.billing.preview(TENANT, subscription.subscription_id, at=JANUARY.start + DAY)
        return [(line.kind, line.quantity, line.amount) for line in made.lines]


def called(at: int, n: int) -> BillableEvent:
    return event(at, id=f"call-{n}", type="call")


@pytest.fixture
def shop(make_store: MakeStore, tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as open_:
        yield Shop(make_store(parts=PARTS), tmp_path / "quotas", open_)


async def test_what_is_beyond_costs_its_factor(shop: Shop) -> None:
    """given 120 calls on a quota of 100 / when the month is billed / then 20 of them cost one and a half times their price."""
    subscription = await shop.opened()
    await shop.use(120)
    assert await shop.lines(subscription) == [(LineKind.USAGE, 120, D("1.20")), (LineKind.BEYOND, 20, D("0.10"))]

    shop.clock.set(JANUARY.end + DAY)
    invoice = await shop.billing.draft_invoice(TENANT, subscription.subscription_id, by=HUMAN, at=JANUARY.start)
    await shop.billing.close_invoice(TENANT, invoice.invoice_id, by=HUMAN)
    final = await shop.billing.finalize_invoice(TENANT, invoice.invoice_id, by=HUMAN)
    assert (final.status, final.total) == (InvoiceStatus.FINAL, D("1.30"))
    line = final.lines[-1]
    assert line.description == "use beyond quota calls, × 1.5"
    why = await shop.billing.explain_line(TENANT, final.invoice_id, line.line_id)
    assert why.root_holds
    assert (why.events_total, sum(part.part for part in why.events)) == (20, D("0.10"))
    assert [step.label for step in why.line.steps] == ["beyond calls: 0.01 each × (1.5 − 1)"]
    assert (await shop.billing.reproduce_invoice(TENANT, final.invoice_id)).same
    assert len(wire.decode(await shop.billing.invoice_file(TENANT, final.invoice_id), Any)["events"]) == 140  # type: ignore[arg-type]
    where = await shop.billing.explain_event(TENANT, why.events[0].event_id)
    assert [part.line_id for part in where.lines] == [line.line_id]


@pytest.mark.parametrize(("factor", "more"), [("1", "0"), ("0", "-0.02"), ("3", "0.04")])
async def test_a_factor_below_one_takes_off(shop: Shop, factor: str, more: str) -> None:
    subscription = await shop.opened(factor)
    await shop.use(102)
    assert (await shop.lines(subscription))[-1] == (LineKind.BEYOND, 2, D(more))


async def test_only_what_was_taken_is_billed_and_once(shop: Shop) -> None:
    """given holds beyond the quota / when one takes less, one is released, one expires / then what was taken is billed, nothing else."""
    subscription = await shop.opened()
    await shop.use(100)
    less, none, late = [
        (await shop.quotas.reserve(TENANT, AGENT, "call", 10, ttl_s=60)).reservation_id for _ in range(3)
    ]
    await shop.quotas.settle(TENANT, less, 4)
    await shop.quotas.release(TENANT, none)
    shop.clock.advance(61 * SECOND)
    await asyncio.to_thread(shop.quotas.upkeep.once, shop.clock.now())
    with pytest.raises(Exception, match="MT-404"):
        await shop.quotas.settle(TENANT, late)
    assert (await shop.lines(subscription))[-1] == (LineKind.BEYOND, 4, D("0.02"))
    assert await shop.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM metering_beyond")) == 0


async def test_inside_the_gate_it_is_the_same(shop: Shop) -> None:
    subscription = await shop.opened()
    await shop.use(100)
    book = shop.quotas.book
    for amount in (3, 0, None):
        held: Any = await asyncio.to_thread(book.reserve, TENANT, AGENT, None, "call", "r", 5)
        assert held.outcome == "charge"
        book.settle(held, amount)
        book.release(held)

    async def billed() -> bool:
        return (await shop.lines(subscription))[-1][1] == 8

    assert await eventually(billed)


async def test_what_a_dead_process_let_through_is_billed_as_reserved(shop: Shop) -> None:
    """given an act beyond the quota whose process dies / when its reservation is long over / then another one bills it, once."""
    subscription = await shop.opened()
    await shop.use(100)
    dead = shop.node()
    await asyncio.to_thread(dead.book.reserve, TENANT, AGENT, None, "call", "r", 7)
    shop.clock.advance(STALE_NS + SECOND)
    for _ in range(2):
        await asyncio.to_thread(shop.quotas.charges.book_left, shop.clock.now())
    assert (await shop.lines(subscription))[-1] == (LineKind.BEYOND, 7, D("0.04"))


async def test_an_act_that_is_refused_because_the_store_is_slow_is_never_billed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given a store that writes too late that an act went beyond / when the act is refused / then nothing of it stays."""
    subscription = await shop.opened()
    await shop.use(101)
    busy = threading.Event()
    ended: list[int] = []
    charges, end = shop.quotas.charges, shop.quotas.charges.end
    monkeypatch.setattr(charges, "end", lambda beyond, units: (ended.append(units), end(beyond, units)))
    monkeypatch.setattr(quota_charges, "QUOTA_DRAW_S_MAX", 0)
    occupied = shop.store.submit(lambda tx: busy.wait(10))
    reserved = asyncio.ensure_future(shop.quotas.reserve(TENANT, AGENT, "call", 5))
    with pytest.raises(ConnectionFailed):
        await reserved
    busy.set()
    await asyncio.wrap_future(occupied)
    await eventually(lambda: ended)
    assert ended == [0]

    async def gone() -> bool:
        return await shop.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM metering_beyond")) == 0

    await eventually(gone)
    assert (await shop.lines(subscription))[-1] == (LineKind.BEYOND, 1, D("0.01"))


async def test_nobody_reports_what_only_the_layer_books(shop: Shop) -> None:
    """INVARIANT: an agent that says it went beyond a quota that takes off gets nothing for it."""
    properties: dict[str, Any] = {"units": 100, "quota": "calls", "factor": "0", "charge": ""}
    forged = event(shop.clock.now(), type="quota.beyond/call", **properties)
    with pytest.raises(InvalidInput, match="MT-400"):
        await shop.metering.ingest_event(TENANT, forged, by=AGENT)
    await shop.metering.ingest_event(TENANT, called(shop.clock.now(), 1), by=AGENT)
    with pytest.raises(InvalidInput, match="MT-400"):
        await shop.metering.correct_event(
            TENANT, event(shop.clock.now(), id="call-1", type="quota.beyond/call", **properties), by=HUMAN, reason="?"
        )


async def test_what_was_booked_can_become_less_and_nothing_else(shop: Shop) -> None:
    """given a booking of two units / when it is corrected / then it may be of fewer; no other terms, more of it, or none that can be read."""
    subscription = await shop.opened()
    await shop.use(100)
    hold = await shop.quotas.reserve(TENANT, AGENT, "call", 2)
    await shop.metering.ingest_batch(TENANT, [called(shop.clock.now(), n) for n in (100, 101)], by=AGENT)
    await shop.quotas.settle(TENANT, hold.reservation_id)
    page = await shop.metering.events(TENANT, EventsQuery(event_type="quota.beyond/call"))
    (booked,) = [one.event for one in page.items]
    for wrong in (
        {"factor": "abc"},
        {"factor": "9"},
        {"quota": "other"},
        {"units": 3},
        {"units": -1},
        {"units": "1"},
        {"x": 1},
    ):
        changed = replace(booked, properties=booked.properties | wrong)
        with pytest.raises(InvalidInput, match="MT-400"):
            await shop.metering.correct_event(TENANT, changed, by=HUMAN, reason="?")
    with pytest.raises(InvalidInput, match="MT-400"):
        await shop.metering.correct_event(TENANT, replace(booked, properties={}), by=HUMAN, reason="?")
    less = replace(booked, properties=booked.properties | {"units": 1})
    await shop.metering.correct_event(TENANT, less, by=HUMAN, reason="One failed.")
    assert (await shop.lines(subscription))[-1] == (LineKind.BEYOND, 1, D("0.01"))


@pytest.mark.parametrize("folded", [True, False])
async def test_what_is_billed_beyond_a_quota_is_not_unpaid(shop: Shop, folded: bool) -> None:
    """given acts beyond a quota / when their agent has a subscription / then they are paid for, and else they are not."""
    subscription = await shop.opened()
    await shop.use(102)
    if folded:
        await shop.metering.fold()
    assert (await shop.metering.unpaid(TENANT, JANUARY)).items == ()
    await shop.billing.delete_subscription(TENANT, subscription.subscription_id)
    found = (await shop.metering.unpaid(TENANT, JANUARY)).items
    assert {one.event_type: one.events for one in found} == {"call": 102, "quota.beyond/call": 2}
