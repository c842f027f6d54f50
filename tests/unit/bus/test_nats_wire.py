"""Messages on NATS: what goes out comes back; foreign bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.bus.nats_wire import ENVELOPE, MESSAGE_ID, packed, unpacked, wire_subject
from creto.common.errors import InvalidInput
from creto.common.ids import TenantId
from creto.store import OutboxRow, Position

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=5), st.binary(max_size=50))
def test_a_row_comes_back_as_a_message(tenant: str, agent: str, headers: dict[str, str], payload: bytes) -> None:
    row = OutboxRow(Position(1, 2), "id-1", TenantId(tenant), "a.b", agent, payload, headers)
    _, body, wire = packed(row, "creto", 8, 1 << 20)
    plain = {name: value for name, value in wire.items() if name in (MESSAGE_ID, ENVELOPE)}
    assert all(value.isascii() and "\n" not in value and "\r" not in value for value in plain.values())
    message, elsewhere = unpacked(wire, body, 1, Position(9, 9))
    assert elsewhere is None
    assert (message.id, message.subject, message.tenant, message.agent) == ("id-1", "a.b", tenant, agent)
    assert (message.payload, message.headers, message.position) == (payload, headers, Position(9, 9))


def test_a_large_payload_stays_in_the_outbox() -> None:
    row = OutboxRow(Position(1, 2), "id-1", TenantId("t"), "a.b", "a", b"x" * 1000, {})
    _, body, wire = packed(row, "creto", 8, 3000)
    assert body == b""
    assert unpacked(wire, body, 1, Position())[1] == Position(1, 2)


def test_what_is_published_again_is_no_duplicate_to_the_broker_and_the_same_message_to_us() -> None:
    row = OutboxRow(Position(1, 2), "id-1", TenantId("t"), "a.b", "a", b"x", {})
    ids = []
    for round_number in range(3):
        _, body, wire = packed(row, "creto", 8, 1 << 20, round_number)
        assert unpacked(wire, body, 1, Position())[0].id == "id-1"
        ids.append(wire[MESSAGE_ID])
    assert len(set(ids)) == 3


@given(st.dictionaries(st.sampled_from([ENVELOPE, MESSAGE_ID, "x"]), st.text(max_size=50)))
def test_foreign_headers_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        unpacked(headers, b"", 1, Position())


def test_subjects_and_patterns_lie_on_their_lane() -> None:
    assert wire_subject("creto", 3, "a.b") == "creto.3.a.b"
    assert wire_subject("creto", 3, ">") == "creto.3.>"
    assert wire_subject("creto", 3, "dead.a.b") == "creto_dead.3.a.b"
    assert wire_subject("creto", 3, "dead.>") == "creto_dead.3.>"
    assert wire_subject("creto", 3, "deadline.x") == "creto.3.deadline.x"
