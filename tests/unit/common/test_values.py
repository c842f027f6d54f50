"""Money, time, the wire and the envelope."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import examples, spoiled

from creto.common import wire
from creto.common.envelope import ENVELOPE_CONTEXT, EventEnvelope
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.fingerprint import fingerprint
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.money import from_micros, minor_digits, parse_amount, rounded, to_micros
from creto.common.timestamps import HOUR, ConsensusTimestamp, duration_ns, from_iso, iso


@pytest.mark.parametrize(("amount", "currency", "shown"), [("2.345", "USD", "2.35"), ("2.5", "JPY", "3"), ("-2.345", "USD", "-2.35"), ("1.0005", "KWD", "1.001"), ("1.00005", "CLF", "1.0001")])  # fmt: skip
def test_amounts_round_half_up_to_the_currency(amount: str, currency: str, shown: str) -> None:
    assert str(rounded(Decimal(amount), currency)) == shown


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_micros_are_exact(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros


@pytest.mark.parametrize("text", ["1e3", "NaN", "Infinity", "1,5", "", ".", "1.2.3", "٣", "--1", "1" * 41])
def test_only_plain_decimals_are_amounts(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_amount(text)


def test_an_amount_finer_than_a_millionth_is_refused() -> None:
    with pytest.raises(InvalidInput):
        to_micros(Decimal("0.0000001"))
    with pytest.raises(InvalidInput):
        to_micros(Decimal("1000000000000.00000000000000000000000001"))


def test_a_currency_is_three_capitals() -> None:
    with pytest.raises(InvalidInput):
        minor_digits("usd")


@given(st.integers(0, 4_102_444_800 * 10**9))
def test_timestamps_survive_their_text(timestamp: int) -> None:
    assert from_iso(iso(timestamp)) == timestamp


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        from_iso(text)
    except InvalidInput as error:
        assert error.field == "timestamp"


def test_offsets_are_honoured() -> None:
    assert from_iso("2026-01-01T02:00:00+02:00") == from_iso("2026-01-01T00:00:00Z")


def test_durations_as_people_type_them() -> None:
    assert duration_ns("2h") == 2 * HOUR
    with pytest.raises(InvalidInput):
        duration_ns("2 hours")


class Order(StrEnum):
    UP = "up"


class Step(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=1)]


class Page(msgspec.Struct):
    limit: int
    cursor: Annotated[str, msgspec.Meta(min_length=3)] | None = None
    order: Order = Order.UP
    steps: tuple[Step, ...] = ()


@pytest.mark.parametrize(
    ("data", "field", "got", "expected"),
    [
        (b'{"limit": "x"}', "$.limit", "str", "int"),
        (b"[]", "body", "array", "object"),
        (b'{"limit": 1.0}', "$.limit", "float", "int"),
        (b"{", "body", "what cannot be read: Input data was truncated", "JSON"),
        (b'{"limit": 1, "cursor": 2}', "$.cursor", "int", "str | null"),
        (b'{"limit": 1, "cursor": "ab"}', "$.cursor", "str of length 2", "str of length >= 3"),
        (b'{"limit": 1, "order": "down"}', "$.order", "'down'", "one of up"),
        (b'{"limit": 1, "steps": [{"size": 1}, {"size": 0}]}', "$.steps[1].size", "0", "int >= 1"),
        (b'{"limit": 1, "steps": [{"size": 1, "high": 1}]}', "$.steps[0].high", "an unknown field", "one of size"),
        (b'{"limit": 1, "steps": [{}]}', "$.steps[0].size", "nothing", "a value"),
        (b"{}", "$.limit", "nothing", "a value"),
        (b'{"limit": 1, "cursor": "ab", ', "$.cursor", None, "str of length >= 3"),
        (b"\xff", "body", "what cannot be read: JSON is malformed: invalid character (byte 0)", "JSON"),
    ],
)
def test_misfits_name_their_field(data: bytes, field: str, got: str | None, expected: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.decode(data, Page)
    assert (caught.value.field, caught.value.got) == (field, got)
    assert expected in (None, caught.value.expected)


def test_a_misfit_of_a_value_does_not_say_what_may_be_a_secret() -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.convert({"limit": 1, "cursor": "pw"}, Page)
    assert caught.value.got == "str of length 2"
    assert "pw" not in caught.value.rendered()


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        wire.decode(data, Page)
    except InvalidInput as error:
        assert error.code == "PL-400"


def test_deep_nesting_is_refused_not_fatal() -> None:
    with pytest.raises(InvalidInput):
        wire.decode(b"[" * 200_000, list)


class Echo:
    """Signs with a fixed prefix; enough to see what is signed."""

    def sign(self, message: bytes, context: bytes) -> bytes:
        return fingerprint(context + message)

    def verify(self, agent: AgentId, message: bytes, signature: bytes, context: bytes) -> None:
        if fingerprint(context + message) != signature:
            raise SignatureVerificationFailed("PL-210")


def envelope() -> EventEnvelope[dict[str, int]]:
    return EventEnvelope("t", EventId("e"), TenantId("acme"), AgentId("a"), (), ConsensusTimestamp(1), {"n": 1})


def test_an_envelope_is_signed_over_everything_but_its_signature() -> None:
    signed = envelope().signed(Echo())
    signed.verify(Echo())
    assert signed.canonical_bytes() == envelope().canonical_bytes()
    assert ENVELOPE_CONTEXT in b"creto/event/v1"
    for change in ({"payload": {"n": 2}}, {"tenant": TenantId("other")}, {"timestamp": ConsensusTimestamp(2)}):
        with pytest.raises(SignatureVerificationFailed):
            msgspec.structs.replace(signed, **change).verify(Echo())


def test_a_spoiled_envelope_is_refused_or_not_verified() -> None:
    """given a signed envelope / when its bytes are spoiled / then they do not decode, do not verify, or are another spelling of the same."""
    signed = envelope().signed(Echo())
    for data in spoiled(wire.encode(signed), 500, seed="envelope"):
        try:
            read = wire.decode(data, EventEnvelope[dict[str, int]])
            read.verify(Echo())
        except (InvalidInput, SignatureVerificationFailed):
            continue
        assert read == signed


def test_an_unsigned_envelope_does_not_verify() -> None:
    with pytest.raises(SignatureVerificationFailed):
        envelope().verify(Echo())
