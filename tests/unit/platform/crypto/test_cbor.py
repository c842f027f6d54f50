"""CBOR as authenticators write it: read exactly, and anything else refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.platform.crypto.cbor import DEPTH_MAX, Cbor, decode
from tests.unit.platform.crypto.authenticator import cbor

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(-(2**63), 2**63) | st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_is_written_is_read(value: Cbor) -> None:
    try:
        assert decode(cbor(value)) == value
    except InvalidInput as error:
        assert "nesting" in error.message  # deeper than authenticators nest


@pytest.mark.parametrize(
    ("hex", "value"),
    # RFC 8949, appendix A
    [
        ("00", 0), ("17", 23), ("1818", 24), ("1903e8", 1_000), ("1b000000e8d4a51000", 1_000_000_000_000),
        ("20", -1), ("3903e7", -1_000), ("f4", False), ("f6", None), ("40", b""), ("4401020304", b"\x01\x02\x03\x04"),
        ("6449455446", "IETF"), ("62c3bc", "ü"), ("83010203", [1, 2, 3]), ("a201020304", {1: 2, 3: 4}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
    ],
)  # fmt: skip
def test_the_examples_of_the_standard(hex: str, value: Cbor) -> None:
    assert decode(bytes.fromhex(hex)) == value


@pytest.mark.parametrize(
    "hex",
    ["", "18", "1c", "5f", "9f01ff", "bf", "f93c00", "fb3ff199999999999a", "c001", "ff", "62c328", "0001", "a201010102", "a1f500", "a1810100", "9bffffffffffffffff", "5bffffffffffffffff", "f7"],
)  # fmt: skip
def test_anything_else_is_refused(hex: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(bytes.fromhex(hex))
    assert caught.value.code == "PL-216"


def test_nesting_has_an_end() -> None:
    deep: Cbor = 1
    for _ in range(DEPTH_MAX):
        deep = [deep]
    assert decode(cbor(deep)) == deep
    with pytest.raises(InvalidInput):
        decode(cbor([deep]))
    with pytest.raises(InvalidInput):
        decode(b"\x81" * 100_000)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error(data: bytes) -> None:
    try:
        decode(data)
    except InvalidInput as error:
        assert error.code == "PL-216"
