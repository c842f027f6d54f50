"""An edit of a call that the gate holds can be called."""

from __future__ import annotations

import pytest

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.edge.api import objects
from creto.edge.api import time as times
from creto.edge.forms import check_edit

LEASE = wire.encode(times.AcquireLease(name="a", ttl_s=600))


def test_other_values_of_the_same_request_are_taken() -> None:
    check_edit(times.ACQUIRE.name, wire.encode(times.AcquireLease(name="a", ttl_s=60)), LEASE)


@pytest.mark.parametrize(
    "edited",
    [
        b'{"name":"a","ttl_s":"long"}', b'{"name":"a","ttl_s":0}', b'{"name":"a","ttl_s":60,"x":1}', b'{"ttl_s":60}',
        b'{"name": "a", "ttl_s": 60}', b'{"name":"b","ttl_s":600}', b"[]",
    ],
)  # fmt: skip
def test_what_could_not_be_called_is_refused(edited: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_edit(times.ACQUIRE.name, edited, LEASE)
    assert caught.value.code == "OV-400"


def test_a_body_that_nobody_reads_stays() -> None:
    before = b'{"content":{"digest":"00","size_bytes":1},"key":"k"}'
    fields = wire.decode(before, dict[str, object])
    whole = {
        name: getattr(objects.PutObject(key="k", content=b""), name) for name in objects.PutObject.__struct_fields__
    }
    before = wire.encode(whole | fields)
    check_edit(objects.PUT.name, before, before)
    with pytest.raises(InvalidInput):
        check_edit(objects.PUT.name, before.replace(b'"00"', b'"11"'), before)
