"""The tenant's time zone: quotas that are set in it, and costs that are moved to it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.timestamps import HOUR, MINUTE, ConsensusTimestamp, from_iso
from creto.contracts import BillingPeriod, CostThresholdType
from creto.metering import Costs, CostTriggers, Limit, Quota, Quotas, Watch, Window, WindowUnit, Zones
from creto.metering.triggers import micros_of
from creto.platform.consensus.testing import ManualClock
from creto.store import Store
from tests.contract.stores import MakeStore
from tests.contract.test_triggers import BLOCK, PARTS
from tests.contract.test_triggers import Desk as Triggers
from tests.unit.metering.examples import AGENT, HUMAN, TENANT, D

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
EVENING = from_iso("2026-06-30T21:30:00Z")  # half past eleven in Berlin


class Desk(Triggers):
    def __init__(self, store: Store) -> None:
        super().__init__(store, ManualClock(EVENING))
        self.zones = Zones(store, self.clock)
        self.costs = Costs(store, self.clock, zone=self.zones.of)
        self.triggers = CostTriggers(store, self.clock, self.costs, Watch())
        self.quotas = Quotas(store, self.clock, now=self.clock.now, zones=self.zones)

    def spent(self, period: BillingPeriod) -> int:
        return self.costs.total(TENANT, AGENT, period, "USD", self.clock.now()).micros


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=PARTS))


async def test_windows_without_a_zone_get_the_tenants_when_a_quota_is_set(desk: Desk) -> None:
    before = Quota(quota_id="before", limits=(Limit(1, Window(WindowUnit.DAY)),))
    assert await desk.quotas.put_quota(TENANT, before, by=HUMAN) == before
    await desk.zones.put(TENANT, BERLIN, by=HUMAN)
    limits = (Limit(1, Window(WindowUnit.DAY)), Limit(9, Window(WindowUnit.MONTH, zone="UTC")))
    made = await desk.quotas.put_quota(TENANT, Quota(quota_id="after", limits=limits), by=HUMAN)
    assert [limit.window.where for limit in made.limits] == [BERLIN, "UTC"]
    assert await desk.quotas.quota(TENANT, "after") == made

    ends = {one.quota_id + one.window: one.resets_at for one in await desk.quotas.usage(TENANT, [AGENT])}
    assert ends["afterday"] == from_iso("2026-06-30T22:00:00Z")
    assert ends["beforeday"] == from_iso("2026-07-01T00:00:00Z")
    raised = await desk.quotas.set_limit(TENANT, "after", Window(WindowUnit.DAY), 5, by=HUMAN)
    assert raised.limits[0] == Limit(5, Window(WindowUnit.DAY, zone=BERLIN))


async def test_costs_begin_anew_at_the_tenants_midnight(desk: Desk) -> None:
    await desk.zones.put(TENANT, BERLIN, by=HUMAN)
    await desk.threshold("100", CostThresholdType.PER_DAY, BLOCK)
    await desk.spend("90")
    assert desk.check("20", BillingPeriod.CURRENT_DAY) is not None
    desk.clock.advance(HOUR)  # half past midnight
    assert desk.check("20", BillingPeriod.CURRENT_DAY) is None
    assert desk.spent(BillingPeriod.CURRENT_MONTH) == 0


async def test_what_was_spent_stays_spent_when_the_zone_changes(desk: Desk) -> None:
    periods = (
        BillingPeriod.CURRENT_DAY,
        BillingPeriod.CURRENT_MONTH,
        BillingPeriod.CURRENT_YEAR,
        BillingPeriod.LIFETIME,
    )
    await desk.spend("90", id="a")
    await desk.book(replace(desk.event("5", id="b"), timestamp=ConsensusTimestamp(from_iso("2025-12-15T12:00:00Z"))))
    expected = [micros_of(D(amount)) for amount in (90, 90, 90, 95)]
    assert [desk.spent(period) for period in periods] == expected
    for zone in (BERLIN, NEW_YORK, "America/St_Johns", "UTC"):
        await desk.zones.put(TENANT, zone, by=HUMAN)
        assert [desk.spent(period) for period in periods] == expected
        await desk.spend("1", id=zone)
        expected = [micros + 1_000_000 for micros in expected]
    assert (await desk.zones.settings(TENANT)).zone == "UTC"


@pytest.mark.parametrize("minute", [5, 25, 35, 55])
async def test_what_was_spent_in_the_hour_that_runs_stays_in_it(desk: Desk, minute: int) -> None:
    """given zones whose hours begin on the half hour / when the tenant moves there and back / then a limit of the hour holds on."""
    desk.clock.advance(-desk.clock.now() % HOUR + minute * MINUTE)
    await desk.spend("9")
    for zone in ("Asia/Kolkata", "UTC", "America/St_Johns", NEW_YORK, "UTC"):
        await desk.zones.put(TENANT, zone, by=HUMAN)
        assert desk.spent(BillingPeriod.CURRENT_HOUR) == 9_000_000


@pytest.mark.parametrize("at", ["18:10", "18:40"])
async def test_what_was_spent_today_stays_so_where_a_day_begins_within_an_hour(desk: Desk, at: str) -> None:
    """given a zone whose midnight is at 18:30 and whose hours begin at 18:00 / when the tenant moves there / then a limit of the day holds on."""
    desk.clock.advance(from_iso(f"2026-07-01T{at}:00Z") - desk.clock.now())
    await desk.spend("9")
    for zone in ("Asia/Colombo", "UTC", "Asia/Colombo"):
        await desk.zones.put(TENANT, zone, by=HUMAN)
        assert desk.spent(BillingPeriod.CURRENT_DAY) == desk.spent(BillingPeriod.CURRENT_HOUR) == 9_000_000


async def test_a_zone_is_one_that_there_is(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.zones.put(TENANT, "Mars/Olympus", by=HUMAN)
    assert (refused.value.code, refused.value.field) == ("MT-400", "zone")
    assert desk.zones.of(TENANT) == "UTC"
