"""Reading: from bytes to a usage event, whatever form it came in.

    event, form = read_event(data, tenant)

Forms are told apart by what only they have: CloudEvents 1.0 by `specversion`, the runtime's events by the type of their properties,
messaging's by having no id but their key. What leaves its tenant out is of the tenant it came for, and the client's documents also
write `consensus_timestamp`. In a CloudEvent `id` is unique per `source`; its `subject` is the agent, the extension `delegationchain` names
the chain from the root down, with spaces between. Its `time` has to be there: sent again without one it would be another event.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.limits import BODY_BYTES_MAX
from creto.common.timestamps import from_iso
from creto.contracts import BillableEvent, MessageBillableEvent, RuntimeUsageEvent
from creto.metering.types import UsageEvent
from creto.metering.usage_types import EventForm

DIGITS_MAX = 40  # as amounts are read; an exponent may not make a number long
RUNTIME_TYPES = frozenset({b'"SandboxAllocated"', b'"InferenceCall"', b'"NetworkEgress"'})


ABSENT = msgspec.Raw()  # no bytes, which is no JSON


class Probe(msgspec.Struct, frozen=True):
    specversion: str | None = None
    tenant: msgspec.Raw = ABSENT
    timestamp: msgspec.Raw = ABSENT
    event_id: msgspec.Raw = ABSENT
    properties: msgspec.Raw = ABSENT


class TypeProbe(msgspec.Struct, frozen=True):
    type: msgspec.Raw = ABSENT


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """CloudEvents 1.0, the JSON format; attributes that do not concern metering are passed over."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: msgspec.Raw = ABSENT
    data_base64: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)] = b""
    delegationchain: str = ""
    idempotencykey: str | None = None


TYPES: dict[EventForm, type[UsageEvent]] = {
    EventForm.BILLABLE: BillableEvent,
    EventForm.RUNTIME: RuntimeUsageEvent,
    EventForm.MESSAGE: MessageBillableEvent,
}
_data = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def form_of(data: bytes, probe: Probe) -> EventForm:
    if probe.specversion is not None:
        return EventForm.CLOUD
    if not bytes(probe.event_id):
        return EventForm.MESSAGE
    properties = bytes(probe.properties).lstrip()
    if properties[:1] != b"{":
        return EventForm.BILLABLE
    kind = wire.decode(properties, TypeProbe, code="MT-400", what="properties")
    return EventForm.RUNTIME if bytes(kind.type) in RUNTIME_TYPES else EventForm.BILLABLE


def read_event(data: bytes, tenant: TenantId) -> tuple[UsageEvent, EventForm]:
    """Any bytes give an event or InvalidInput MT-400."""
    if len(data) > BODY_BYTES_MAX:
        raise InvalidInput.of("event", got=f"{len(data)} bytes", expected=f"at most {BODY_BYTES_MAX}", code="MT-400")
    probe = wire.decode(data, Probe, code="MT-400", what="event")
    form = form_of(data, probe)
    if form is EventForm.CLOUD:
        return from_cloud(wire.decode(data, CloudEvent, code="MT-400", what="event"), tenant), form
    if not bytes(probe.tenant) or not bytes(probe.timestamp):
        data = completed(data, tenant)
    return wire.decode(data, TYPES[form], code="MT-400", what="event"), form


def completed(data: bytes, tenant: TenantId) -> bytes:
    fields = wire.decode(data, dict[str, msgspec.Raw], code="MT-400", what="event")
    fields.setdefault("tenant", msgspec.Raw(wire.encode(tenant)))
    if "timestamp" not in fields and "consensus_timestamp" in fields:
        fields["timestamp"] = fields.pop("consensus_timestamp")
    return wire.encode(fields)


def from_cloud(cloud: CloudEvent, tenant: TenantId) -> BillableEvent:
    """A CloudEvent as an event of ours. It carries no signature: who sends it vouches for it."""
    if cloud.specversion != "1.0":
        raise InvalidInput.of("specversion", got=cloud.specversion, expected="1.0", code="MT-400")
    for name, value in (("id", cloud.id), ("source", cloud.source)):
        if not value:
            raise InvalidInput.of(name, got=value, expected="what is not empty", code="MT-400")
    if cloud.data_base64 and bytes(cloud.data):
        raise InvalidInput.of("data_base64", got="data as well", expected="one of the two", code="MT-400")
    # Only the part before the last # may hold one: two events never have the same name.
    event_id = f"{cloud.source}#{cloud.id.replace('%', '%25').replace('#', '%23')}"
    try:
        properties = _data.decode(bytes(cloud.data) or cloud.data_base64 or b"{}")
    except (msgspec.DecodeError, RecursionError) as error:
        raise wire.misfit(error, "MT-400", "data") from error
    return BillableEvent(
        event_id=EventId(event_id),
        tenant=tenant,
        agent_nhi=AgentId(cloud.subject),
        delegation_chain=tuple(AgentId(agent) for agent in cloud.delegationchain.split()),
        event_type=cloud.type,
        timestamp=from_iso(cloud.time, "time"),
        idempotency_key=cloud.idempotencykey or event_id,
        properties={name: plain(name, value) for name, value in properties.items() if value is not None},
    )


def plain(name: str, value: Any) -> str | int | bool:
    """A value of a CloudEvent's data as an event has it: a number with a point becomes a decimal string, digit by digit."""
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= DIGITS_MAX:
        return format(value, "f")
    if isinstance(value, str | int):
        return value
    raise InvalidInput.of(f"data.{name}", got=value, expected="a text, a number or a boolean", code="MT-400")


FORMS = {RuntimeUsageEvent: EventForm.RUNTIME, MessageBillableEvent: EventForm.MESSAGE}


def type_of(event: dict[str, Any]) -> type[msgspec.Struct]:
    """The struct of an event that is JSON already; of one that fits none, what its errors are told by."""
    kind = event["properties"].get("type") if isinstance(event.get("properties"), dict) else None
    if event.get("specversion") is not None:
        return CloudEvent
    if event.get("event_id") is None:
        return MessageBillableEvent
    return RuntimeUsageEvent if wire.encode(kind) in RUNTIME_TYPES else BillableEvent


def form_of_event(event: UsageEvent) -> EventForm:
    return FORMS.get(type(event), EventForm.BILLABLE)
