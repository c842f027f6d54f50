"""Aggregation: which events count, in which group, and what a meter carries on."""

from __future__ import annotations

import pytest

from creto.common.errors import InvalidInput
from creto.common.timestamps import DAY, HOUR
from creto.contracts import InferenceCall, MessageEventType, MessagePriority, MessageProperties, RuntimeUsageEvent
from creto.metering import (
    Aggregation,
    Carried,
    Correction,
    MessageBillableEvent,
    Period,
    PropertyFilter,
    billable,
    events_root,
    measure,
    standing,
)
from creto.metering.aggregation import carried_on
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D, event, meter

START = JANUARY.start


def read(asked: object, *events: object) -> dict[object, object]:
    return {group: usage.quantity for group, usage in measure(asked, standing(events), JANUARY).items()}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (Aggregation.COUNT, 3),
        (Aggregation.SUM, D("7.5")),
        (Aggregation.MAX, 5),
        (Aggregation.LATEST, D("0.5")),
        (Aggregation.UNIQUE_COUNT, 3),
        (Aggregation.WEIGHTED_SUM, (D(2) * 31 + D(5) * 16 + D("0.5")) / 31),
    ],
)
def test_each_aggregation(aggregation: Aggregation, expected: object) -> None:
    events = [
        event(START, id="a", value=2),
        event(START + 15 * DAY, id="b", value="5"),
        event(START + 30 * DAY, id="c", value="0.5"),
    ]
    got = read(meter(aggregation), *events)[()]
    assert round(got, 12) == round(D(str(expected)), 12)  # type: ignore[call-overload]


def test_a_period_is_half_open() -> None:
    edges = [
        event(START - 1, value=1),
        event(START, value=10),
        event(JANUARY.end - 1, value=100),
        event(JANUARY.end, value=1000),
    ]
    assert read(meter(), *edges) == {(): 110}


def test_filters_choose_and_groups_divide() -> None:
    asked = meter(
        filters=(PropertyFilter("tier", ("gold", "true")), PropertyFilter("test", ("true",), except_for=True)),
        group_by=("region",),
    )
    events = [
        event(START, id="a", value=1, tier="gold", region="eu"),
        event(START, id="b", value=2, tier=True, region="eu"),
        event(START, id="c", value=4, tier="gold", region="us"),
        event(START, id="d", value=8, tier="lead", region="us"),
        event(START, id="e", value=16, tier="gold", region="us", test=True),
        event(START, id="f", value=32, tier="gold"),
        event(START, id="g", value=64, tier="gold", type="other"),
    ]
    assert read(asked, *events) == {(("region", "eu"),): 3, (("region", "us"),): 4, (("region", ""),): 32}


def test_buckets_measure_each_slice_apart() -> None:
    events = [event(START, id="a", value=3), event(START + 1, id="b", value=5), event(START + HOUR, id="c", value=4)]
    assert list(read(meter(Aggregation.MAX, bucket_ns=HOUR), *events).values()) == [5, 4]


@pytest.mark.parametrize("value", ["1e3", "NaN", "", "1,5", True, "0x10", "9" * 50])
def test_a_value_that_is_no_number_is_refused_by_its_name(value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(meter(), event(START, value=value))
    assert (refused.value.code, refused.value.field) in {
        ("MT-400", "properties.value"),
        ("PL-400", "properties.value"),
    }


def test_voided_events_do_not_count_and_corrected_ones_count_as_corrected() -> None:
    events = [event(START, id="a", value=1), event(START, id="b", value=2), event(START, id="c", value=4)]
    corrected = [Correction(events[0].event_id), Correction(events[1].event_id, event(START, id="b", value=20))]
    assert [e.properties["value"] for e in standing(events, corrected)] == [20, 4]

    again = Correction(events[1].event_id, event(START, id="b", value=200), at=1)
    assert standing(events, [again, *corrected]) == standing(events, [*corrected, again])
    assert standing(events, [again, *corrected])[0].properties["value"] == 200


def test_of_two_events_with_one_id_the_same_counts_whichever_came_first() -> None:
    one, other = event(START, id="a", value=1), event(START, id="a", value=2)
    assert standing([one, other]) == standing([other, one])


@pytest.mark.parametrize(
    ("aggregation", "next_level"),
    [
        (Aggregation.SUM, Carried(D(7))),
        (Aggregation.LATEST, Carried(D(2))),
        (Aggregation.UNIQUE_COUNT, Carried(values=frozenset({"2", "old"}))),
    ],
)
def test_a_meter_that_carries_begins_with_what_was_there(aggregation: Aggregation, next_level: Carried) -> None:
    events = [
        event(START, id="a", value=5 if aggregation is not Aggregation.UNIQUE_COUNT else "gone"),
        event(START + 1, id="b", value=2),
        event(START + 2, id="c", value="gone", operation="remove"),
    ]
    events = events if aggregation is Aggregation.UNIQUE_COUNT else events[:2]
    before = {(): Carried(values=frozenset({"old"})) if aggregation is Aggregation.UNIQUE_COUNT else Carried()}

    carried = carried_on(meter(aggregation, carries=True), events, JANUARY, before)
    february = Period(JANUARY.end, JANUARY.end + 29 * DAY)

    assert carried == {(): next_level}
    expected = len(next_level.values) or next_level.level
    assert measure(meter(aggregation, carries=True), [], february, carried)[()].quantity == expected


def test_every_usage_event_of_the_spec_is_billable() -> None:
    call = RuntimeUsageEvent(
        event_id="e1",
        tenant=TENANT,
        agent_nhi=AGENT,
        delegation_chain=(HUMAN, AGENT),
        event_type="inference_tokens",
        timestamp=START,
        properties=InferenceCall(
            sandbox_id="sb", model_id="m", provider="p", input_tokens=100, output_tokens=200, cost_usd=D("0.0042")
        ),
        idempotency_key="k1",
        signature=b"s",
    )  # type: ignore[arg-type]
    message = MessageBillableEvent(
        idempotency_key="k2",
        tenant=TENANT,
        agent_nhi=AGENT,
        delegation_chain=(HUMAN, AGENT),
        event_type=MessageEventType.MESSAGE_SENT,
        timestamp=START,
        properties=MessageProperties(
            message_size_bytes=10,
            recipient_count=3,
            priority=MessagePriority.HIGH,
            encrypted=True,
            signature_algorithm="hybrid",
        ),
    )  # type: ignore[arg-type]

    assert billable(call).properties == {
        "type": "InferenceCall",
        "sandbox_id": "sb",
        "model_id": "m",
        "provider": "p",
        "input_tokens": 100,
        "output_tokens": 200,
        "cost_usd": "0.0042",
    }
    assert (billable(call).signature, billable(message).event_id) == (b"s", "k2")
    assert billable(message).properties["recipient_count"] == 3
    assert billable(message).event_type == "message_sent"


def test_the_root_of_events_is_theirs_alone() -> None:
    events = standing([event(START, id="a", value=1), event(START + 1, id="b", value=2)])
    assert events_root(events) == events_root(standing(reversed(events)))
    assert events_root(events) != events_root(events[:1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"aggregation": Aggregation.SUM, "property": None},
        {"aggregation": Aggregation.MAX, "prorated": True},
        {"bucket_ns": 0},
    ],
)
def test_a_meter_that_cannot_count_is_refused(wrong: dict[str, object]) -> None:
    import msgspec

    with pytest.raises(InvalidInput):
        msgspec.structs.replace(meter(), **wrong)
