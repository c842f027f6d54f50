"""Fields: what the document says of their form is what the reader takes."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.edge.api.fields import within


@given(st.integers(0, 70), st.integers(0, 70))
def test_every_length_of_bytes_is_documented_as_it_is_read(bytes_min: int, more: int) -> None:
    field: Any = Annotated[bytes, within(bytes_min + more, bytes_min)]
    schema = msgspec.json.schema(field)
    for size in range(bytes_min + more + 8):
        text = b64encode(bytes(size)).decode()
        documented = schema.get("minLength", 0) <= len(text) <= schema["maxLength"]
        assert documented == reads(text, field), size
        assert documented or not bytes_min <= size <= bytes_min + more


def reads(text: str, field: Any) -> bool:
    try:
        msgspec.convert(text, field)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("bounds", "sizes"), [((65, 32), (31, 66)), ((8_192,), (0, 8_193)), ((255,), (0, 255))])
def test_bounds_widen_by_two_bytes_at_most(bounds: tuple[int, ...], sizes: tuple[int, int]) -> None:
    meta = within(*bounds)
    assert (meta.min_length, meta.max_length) == sizes
