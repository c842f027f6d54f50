"""Every request and every answer survives the way through its message; whatever bytes come in, only documented errors come out."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, reject, settings

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import agent_id
from creto.contracts import (
    InferenceCall,
    MessageBillableEvent,
    MessageEventType,
    MessagePriority,
    MessageProperties,
    RuntimeUsageEvent,
)
from creto.edge.api import ENDPOINTS
from creto.edge.api.credits import PutCoupon
from creto.edge.api.fields import Agent
from creto.edge.api.quotas import PutQuota
from creto.edge.api.usage import SubmitEvent, SubmitEvents
from creto.edge.grpc.convert import to_message, to_struct
from creto.edge.grpc.schema import Schema, bare, is_struct, is_union, item_type, present
from creto.edge.grpc.server import parsed
from creto.metering import Limit, Window, WindowUnit
from creto.metering.reading import read_event
from tests import fuzz
from tests.fuzz import examples
from tests.unit.metering.examples import AGENT, TENANT, event

SCHEMA = Schema(ENDPOINTS)
UNDRAWN = {"Threshold", "Quota"}  # they check themselves so closely that what is drawn hardly ever is one
UNDRAWN |= {"SubmitEvent", "SubmitEvents"}  # an object of theirs is one of several structs: see below
ALL = {s for e in ENDPOINTS for s in (e.request_type, e.response)}
STRUCTS = sorted((s for s in ALL if s.__name__ not in UNDRAWN), key=lambda s: s.__name__)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Builtins that msgspec makes this type of, within its limits."""
    if hint == Agent:
        return st.binary(min_size=32, max_size=32).map(agent_id)
    limits: list[msgspec.Meta] = []
    while get_origin(hint) is not None and hasattr(hint, "__metadata__"):
        limits += [m for m in hint.__metadata__ if isinstance(m, msgspec.Meta)]
        hint = get_args(hint)[0]
    if type(None) in get_args(hint):
        inner = [a for a in get_args(hint) if a is not type(None)]
        return st.none() | (values(inner[0]) if len(inner) == 1 else of(present(hint)[0], limits))
    return of(present(hint)[0], limits)


def of(type_: Any, limits: list[msgspec.Meta]) -> st.SearchStrategy[Any]:
    least = max((m.min_length for m in limits if m.min_length is not None), default=0)
    if is_struct(type_):
        return later(type_)
    if is_union(type_):
        return st.one_of(*(tagged(bare(v)) for v in get_args(type_)))
    item = item_type(type_)
    if item is not None:
        return st.lists(values(item), min_size=least, max_size=least + 3)
    if get_origin(type_) is dict:
        key, value = get_args(type_)
        keys = values(key) if hasattr(key, "__members__") else st.text(min_size=1, max_size=5)
        return st.dictionaries(keys, values(value), max_size=3)
    if isinstance(type_, type) and hasattr(type_, "__members__"):
        return st.sampled_from([m.value for m in type_])  # type: ignore[attr-defined]
    if type_ is bool:
        return st.booleans()
    if type_ is int:
        lowest = max((m.ge for m in limits if m.ge is not None), default=-(2**63))
        highest = min((m.le for m in limits if m.le is not None), default=2**63 - 1)
        return st.integers(int(lowest), int(highest))
    if type_ is Decimal:
        return st.decimals(0, 10**6, places=3).map(str)
    if type_ is float:
        lowest, highest = (next((getattr(m, side) for m in limits), None) for side in ("ge", "le"))
        return st.floats(lowest, highest, allow_nan=False, allow_infinity=False)
    if type_ is bytes:
        return st.binary(min_size=least, max_size=least + 20)
    if type_ is str:
        for pattern in (m.pattern for m in limits if m.pattern):
            return st.from_regex(pattern).filter(lambda text: least <= len(text) <= least + 20 and "\n" not in text)
        return st.text(min_size=least, max_size=least + 20)
    return JSON


@cache
def later(struct: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Some hold others of their kind."""
    return st.deferred(lambda: struct_of(struct))


@cache
def struct_of(struct: Any) -> st.SearchStrategy[dict[str, Any]]:
    fields = {f.name: f for f in msgspec.structs.fields(struct)}
    hints = get_type_hints(struct, include_extras=True)
    return st.fixed_dictionaries(
        {n: values(hints[n]) for n, f in fields.items() if f.required},
        optional={n: values(hints[n]) for n, f in fields.items() if not f.required},
    )


@cache
def tagged(struct: Any) -> st.SearchStrategy[dict[str, Any]]:
    config = struct.__struct_config__
    return struct_of(struct).map(lambda found: {config.tag_field: config.tag, **found})


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda s: s.__name__)
@settings(max_examples=40 if fuzz.is_deep else 10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_struct_survives_its_message(struct: Any, data: st.DataObject) -> None:
    try:
        value = msgspec.convert(data.draw(struct_of(struct)), struct)
    except (msgspec.ValidationError, EnablementError):  # its own rules say more than its types
        reject()
    sent = to_message(value, SCHEMA).SerializeToString()
    assert to_struct(parsed(SCHEMA.message_class(struct), sent), struct) == value


@pytest.mark.parametrize(
    "struct", sorted({e.request_type for e in ENDPOINTS}, key=lambda s: s.__name__), ids=lambda s: s.__name__
)
@settings(max_examples=examples(20), deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_request_or_a_documented_error(struct: Any, data: bytes) -> None:
    try:
        assert isinstance(to_struct(parsed(SCHEMA.message_class(struct), data), struct), struct)
    except EnablementError as error:
        assert error.code in ("PL-400", "PL-101", "MT-400")


CLOUD = {
    "specversion": "1.0", "id": "1", "source": "/bots", "type": "use", "subject": AGENT, "time": "2026-01-01T00:00:00Z",
}  # fmt: skip
CALL = InferenceCall(
    sandbox_id="s", model_id="m", provider="p", input_tokens=1, output_tokens=2, cost_usd=Decimal("0.10")
)  # type: ignore[arg-type]
SENT = MessageProperties(
    message_size_bytes=1,
    recipient_count=2,
    priority=MessagePriority.NORMAL,
    encrypted=True,
    signature_algorithm="ed25519",
)
ABOUT: dict[str, Any] = {
    "tenant": TENANT,
    "agent_nhi": AGENT,
    "delegation_chain": (AGENT,),
    "timestamp": 1,
    "idempotency_key": "k",
}
EVENTS: list[Any] = [
    event(1, id="e", value=1, text="1", flag=True),
    RuntimeUsageEvent(event_id="r", event_type="inference", properties=CALL, signature=b"s", **ABOUT),  # type: ignore[arg-type]
    MessageBillableEvent(event_type=MessageEventType.MESSAGE_SENT, properties=SENT, **ABOUT),
    CLOUD | {"data": {"value": "1.5"}, "delegationchain": AGENT, "idempotencykey": "c"},
    CLOUD | {"data_base64": "eyJ2YWx1ZSI6MX0="},
]


@pytest.mark.parametrize("sent", EVENTS)
def test_an_event_in_any_form_has_a_message_of_its_own(sent: Any) -> None:
    """given an event as a struct or as JSON / when it goes through its message / then the same event is read of it, to the type of each property"""

    def read(asked: Any) -> Any:
        return read_event(wire.encode(asked), TENANT)

    one = to_struct(to_message(SubmitEvent(event=sent), SCHEMA), SubmitEvent)
    assert read(one.event) == read(sent)
    several = to_struct(to_message(SubmitEvents(events=(sent, sent)), SCHEMA), SubmitEvents)
    assert [read(one) for one in several.events] == [read(sent)] * 2


def test_a_message_of_no_form_is_refused_by_what_it_lacks() -> None:
    nothing = to_struct(SCHEMA.message_class(SubmitEvent)(event={}), SubmitEvent)
    with pytest.raises(InvalidInput) as refused:
        read_event(wire.encode(nothing.event), TENANT)
    assert refused.value.code == "MT-400"


def test_nothing_is_told_from_what_is_left_out() -> None:
    """given a default that says something / when an empty list or nothing is said / then it arrives so, and what is left out is the default."""
    window = Limit(1, Window(WindowUnit.DAY))
    for notify_at in ((), (50,), (95, 100)):
        quota = PutQuota(quota_id="q", limits=(window,), notify_at=notify_at)
        assert to_struct(to_message(quota, SCHEMA), PutQuota) == quota
    for periods in (None, 1, 3):
        coupon = PutCoupon(coupon_id="c", percent=Decimal(1), periods=periods)
        assert to_struct(to_message(coupon, SCHEMA), PutCoupon).periods == periods
    left_out = SCHEMA.message_class(PutCoupon)(coupon_id="c", percent="1")
    assert to_struct(left_out, PutCoupon).periods == 1


def test_a_message_names_the_field_that_does_not_fit() -> None:
    from creto.edge.api.time import GetTimestamps

    message = SCHEMA.message_class(GetTimestamps)(count=0)
    with pytest.raises(EnablementError) as caught:
        to_struct(message, GetTimestamps)
    assert "count" in str(caught.value.field)
