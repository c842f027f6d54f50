"""The pure rules of usage: whose subscription an event is billed by, how time is cut, what a page is, how bytes become events."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, SubscriptionId, TenantId, new_id
from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    BillableEvent,
    BucketSize,
    EventForm,
    Period,
    PerUnit,
    Phase,
    Plan,
    Subscription,
    UsageBy,
    UsageQuery,
    UsageRow,
    read_event,
)
from creto.metering.accounts import payer_of
from creto.metering.admission import admitted, coded, name_prefix, unpacked
from creto.metering.events import id_of
from creto.metering.slices import cursor_of, paged, slices, told_for
from creto.metering.totals import Cell, Reading, Value, aligned, cover, number_in
from creto.metering.types import PlanId
from tests.unit.metering.examples import (
    AGENT,
    CHILD,
    HUMAN,
    JANUARY,
    TENANT,
    D,
    at,
    charge,
    event,
    meter,
    plan,
    subscription,
)

CHAIN = (HUMAN, AGENT, CHILD)
PLANS = {
    "p": plan(charge(PerUnit(unit=D(1)))),
    "talk": plan(charge(PerUnit(unit=D(1)), meter=meter(event_type="talk")), plan_id="talk"),
}


def plan_of(plan_id: PlanId, version: int) -> Plan:
    return PLANS[plan_id]


def of(agent: AgentId, id: str, plan_id: str = "p", started: int = JANUARY.start, **more: object) -> Subscription:
    phases = (Phase(PlanId(plan_id), 1, started),)
    return subscription(started, subscription_id=SubscriptionId(id), agent=agent, phases=phases, **more)


def paid_by(known: list[Subscription], type: str = "use", when: int = JANUARY.start + DAY) -> str | None:
    by_agent: dict[AgentId, list[Subscription]] = {}
    for one in known:
        by_agent.setdefault(one.agent, []).append(one)
    found = payer_of(CHAIN, type, when, by_agent, plan_of)
    return None if found is None else found.subscription_id


def test_the_nearest_subscription_that_meters_an_event_pays() -> None:
    root, own, talk = of(HUMAN, "root"), of(CHILD, "own"), of(CHILD, "talk", "talk")
    assert paid_by([root]) == "root"
    assert paid_by([root, own]) == "own"
    assert paid_by([root, talk]) == "root"
    assert paid_by([root, talk], "talk") == "talk"
    assert paid_by([talk], "use") is None
    assert paid_by([]) is None


def test_a_subscription_pays_for_its_own_time_and_the_newest_of_several() -> None:
    late = of(CHILD, "late", started=JANUARY.start + 2 * DAY)
    ended = of(CHILD, "ended", ends_at=JANUARY.start + 2 * DAY)
    root = of(HUMAN, "root")
    assert paid_by([late, ended, root]) == "ended"
    assert paid_by([late, ended, root], when=JANUARY.start + 2 * DAY) == "late"
    assert paid_by([root, late, of(CHILD, "a"), of(CHILD, "b")], when=JANUARY.start + 3 * DAY) == "late"
    assert paid_by([of(CHILD, "a"), of(CHILD, "b")]) == "b"


@pytest.mark.parametrize(
    ("bucket", "zone", "first", "count"),
    [
        (BucketSize.DAY, "UTC", "2024-03-31T00:00:00Z", 3),
        (BucketSize.DAY, "Europe/Berlin", "2024-03-30T23:00:00Z", 4),
        (BucketSize.WEEK, "UTC", "2024-04-01T00:00:00Z", 2),
        (BucketSize.MONTH, "UTC", "2024-04-01T00:00:00Z", 2),
    ],
)
def test_slices_begin_where_the_wall_clock_says(bucket: BucketSize, zone: str, first: str, count: int) -> None:
    period = Period(at("2024-03-30T12:00:00"), at("2024-04-01T23:00:00"), zone)
    cut = slices(UsageQuery(meter=meter(), period=period, bucket=bucket))
    assert cut.bounds[1] == at(first)
    assert len(cut.bounds) - 1 == count
    assert (cut.bounds[0], cut.bounds[-1]) == (period.start, period.end)
    assert [cut.index(bound) for bound in cut.bounds[:-1]] == list(range(count))


def test_a_cover_takes_the_longest_cells_that_fit() -> None:
    start, end = JANUARY.start + HOUR // 2, JANUARY.start + 2 * DAY + 3 * HOUR
    found = cover(start, end, aligned([]))
    assert (found.days.start, found.days.end) == (JANUARY.start + DAY, JANUARY.start + 2 * DAY)
    assert sum(s.end - s.start for s in found.hours) == 26 * HOUR
    assert sum(s.end - s.start for s in found.rest) == HOUR // 2
    assert cover(start, end, aligned([JANUARY.start + HOUR])).days.start == cover(start, end, HOUR).days.end
    assert cover(start, end, aligned([start + 1])).rest[0].end == end


def test_whom_usage_is_told_for() -> None:
    told = {by: told_for(UsageQuery(meter=meter(), period=JANUARY, by=by), CHAIN) for by in UsageBy}
    assert told == {UsageBy.ALL: ("",), UsageBy.AGENT: (CHILD,), UsageBy.ANCESTOR: CHAIN}


def test_pages_hold_each_row_once() -> None:
    rows = [UsageRow(0, 1, Decimal(n % 3), 1, AgentId(f"a{n}")) for n in range(7)]
    seen, after = [], None
    while True:
        page = paged(UsageQuery(meter=meter(), period=JANUARY, limit=3, after=after), reversed(rows))
        seen += page.rows
        if (after := page.next) is None:
            break
    assert seen == rows
    top = paged(UsageQuery(meter=meter(), period=JANUARY, top=2), rows)
    assert [row.agent for row in top.rows] == ["a2", "a5"]
    for bad in ("", "§", cursor_of(-1)):
        with pytest.raises(InvalidInput):
            paged(UsageQuery(meter=meter(), period=JANUARY, after=bad), rows)


def test_a_question_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"period": Period(5, 5)}, {"limit": 0}, {"top": 0}, {"meter": meter(carries=True)}):
        with pytest.raises(InvalidInput):
            UsageQuery(**{"meter": meter(), "period": JANUARY, **wrong})  # type: ignore[arg-type]


def test_numbers_are_told_from_text() -> None:
    values = {
        5: 5,
        True: None,
        "1.50": D("1.50"),
        "-3": D(-3),
        "": None,
        ".": None,
        "1e3": None,
        "٣": None,
        "x" * 50: None,
    }
    assert {value: number_in(value) for value in values} == values


def test_a_reading_tells_when_an_event_lacks_what_is_read() -> None:
    reading = Reading()
    assert reading.add(Cell(2, {"v": Value(2, D(3), D(2))}), "v")
    assert reading.add(Cell(), "v")
    assert not reading.add(Cell(2, {"v": Value(1, D(3), D(3))}), "v")
    assert Reading().add(Cell(1), None)


def test_ids_come_back_from_rows_as_they_were() -> None:
    for id in (new_id(), "order-17", "018f0000-0000-4000-8000-000000000000", "ÿ-ü"):
        assert unpacked(coded(id, "event_id")) == id


def cloud(**changes: str) -> bytes:
    fields = {
        "specversion": '"1.0"', "id": '"1"', "source": '"/s"', "type": '"use"', "subject": '"agent"',
        "time": '"2024-01-11T12:00:00.5+01:00"', "data": '{"value":0.10,"n":5,"ok":true}', **changes,
    }  # fmt: skip
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()


def test_a_cloud_event_is_read_digit_by_digit() -> None:
    read, form = read_event(cloud(), TENANT)
    assert isinstance(read, BillableEvent)
    assert form is EventForm.CLOUD
    assert (read.event_id, read.idempotency_key, read.agent_nhi) == ("/s#1", "/s#1", "agent")
    assert read.properties == {"value": "0.10", "n": 5, "ok": True}
    assert read.timestamp == at("2024-01-11T11:00:00") + 500_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": '"0.3"'},
        {"time": '"yesterday"'},
        {"data": '{"deep":{}}'},
        {"data": '{"big":1e999999999}'},
        {"data": "[]"},
        {"subject": "5"},
        {"id": '""'},
        {"source": '""'},
    ],
)
def test_a_cloud_event_that_is_none_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(EnablementError):
        read_event(cloud(**changes), TENANT)


def test_no_two_cloud_events_have_one_name() -> None:
    first, _ = read_event(cloud(source='"a#b"', id='"c"'), TENANT)
    second, _ = read_event(cloud(source='"a"', id='"b#c"'), TENANT)
    third, _ = read_event(cloud(source='"a"', id='"b%23c"'), TENANT)
    assert len({id_of(first), id_of(second), id_of(third)}) == 3


def test_the_data_of_a_cloud_event_may_be_base64() -> None:
    coded = cloud(data="null").replace(b'"data":null', b'"data_base64":"eyJuIjo1fQ=="')
    read, _ = read_event(coded, TENANT)
    assert read.properties == {"n": 5}
    with pytest.raises(InvalidInput, match="data_base64"):
        read_event(cloud(data_base64='"e30="'), TENANT)


def test_an_event_as_the_client_writes_it_is_of_the_tenant_it_came_for() -> None:
    body = (
        b'{"event_id":"r","agent_nhi":"agent:nhi:ed25519:x","delegation_chain":[],"event_type":"inference","consensus_timestamp":7,'
        b'"idempotency_key":"r","properties":{"type":"NetworkEgress","sandbox_id":"s","destination":"x:443","bytes_transferred":5}}'
    )
    read, form = read_event(body, TENANT)
    assert (form, read.tenant, read.timestamp) == (EventForm.RUNTIME, TENANT, 7)


@pytest.mark.parametrize("value", [1.5, D("1.5"), None, ["a"], 2**63])
def test_a_property_that_could_not_be_read_again_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"properties\.value"):
        admitted(event(5, id="e", value=value), EventForm.BILLABLE, TENANT, name_prefix(TENANT), lambda _: None, 5)


def test_half_a_character_is_refused_and_not_stored() -> None:
    broken = event(5, id="e", text="\ud800")
    with pytest.raises(InvalidInput):
        admitted(broken, EventForm.BILLABLE, TENANT, name_prefix(TENANT), lambda _: None, 5)
    with pytest.raises(InvalidInput):
        admitted(event(5, id="\ud800"), EventForm.BILLABLE, TENANT, name_prefix(TENANT), lambda _: None, 5)
    assert name_prefix(TENANT) != name_prefix(TenantId("other"))
