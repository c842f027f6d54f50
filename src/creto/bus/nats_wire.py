"""How messages look on NATS: subjects with a lane in front, headers, and the way back to a `Message`.

    metering.events.runtime  →  creto.3.metering.events.runtime      the lane is a hash of the agent
    dead.metering.events.x   →  creto_dead.3.metering.events.x

A lane keeps the order of its agents: each durable has one consumer per lane with one message out at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from creto.bus.subjects import DEAD, lane
from creto.bus.types import Message
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import TenantId
from creto.common.tracing import TRACEPARENT, TRACESTATE
from creto.store.types import OutboxRow, Position

MESSAGE_ID = "Nats-Msg-Id"  # JetStream drops what it has seen within its window
ROUND = "/"
EXPECTED_SEQ = "Nats-Expected-Last-Sequence"
ENVELOPE = "Creto-Envelope"
FRAME_BYTES = 2048  # what the protocol and our own headers take of a server's max_payload


class Envelope(msgspec.Struct, frozen=True):
    """What a message is besides its payload. `outbox` says that the payload was too large and still lies there."""

    tenant: TenantId
    agent: str
    subject: str
    headers: dict[str, str]
    outbox: Position | None = None


wire.prepare(Envelope)


def wire_subject(namespace: str, number: int, subject: str) -> str:
    """Where a subject, or the pattern of a durable, lies on a lane."""
    first, _, rest = subject.partition(".")
    return f"{namespace}_dead.{number}.{rest}" if first == DEAD and rest else f"{namespace}.{number}.{subject}"


def stream_subjects(namespace: str) -> list[str]:
    return [f"{namespace}.>", f"{namespace}_dead.>"]


def packed(
    row: OutboxRow, namespace: str, lanes: int, payload_max: int, round_number: int = 0
) -> tuple[str, bytes, dict[str, str]]:
    """Subject, payload and headers of a row. W3C trace headers stand openly, so that other programs can follow.

    What is published again because it was taken out of the stream has the round behind its id: the broker still knows the id alone.
    """
    envelope = Envelope(row.tenant, row.agent, row.subject, row.headers)
    text = ascii_json(envelope)
    payload = row.payload
    if len(payload) + len(text) + FRAME_BYTES > payload_max:
        payload, text = b"", ascii_json(msgspec.structs.replace(envelope, outbox=row.position))
    trace: dict[str, str] = {name: row.headers[name] for name in (TRACEPARENT, TRACESTATE) if name in row.headers}
    subject = wire_subject(namespace, lane(row.tenant, row.agent, lanes), row.subject)
    once = f"{row.message_id}{ROUND}{round_number}" if round_number else row.message_id
    return subject, payload, {MESSAGE_ID: once, ENVELOPE: text, **trace}


def ascii_json(envelope: Envelope) -> str:
    """JSON with every other character escaped: a header is one line of ASCII."""
    text = msgspec.json.encode(envelope).decode()
    return "".join(c if " " <= c <= "~" else "".join(f"\\u{u:04x}" for u in utf16(c)) for c in text)


def utf16(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2)]


def unpacked(
    headers: Mapping[str, str], payload: bytes, deliveries: int, position: Position
) -> tuple[Message, Position | None]:
    """The message, and where in the outbox its payload lies if it was too large to travel."""
    try:
        envelope = msgspec.json.decode(headers[ENVELOPE], type=Envelope)
        message_id = headers[MESSAGE_ID].partition(ROUND)[0]
    except (KeyError, msgspec.DecodeError) as error:
        raise InvalidInput.of("message", got="foreign headers", expected="a message of this bus") from error
    message = Message(
        message_id, envelope.subject, envelope.tenant, envelope.agent, payload, envelope.headers, deliveries, position
    )
    return message, envelope.outbox
