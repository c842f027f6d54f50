"""Ids: time-ordered, unique, one spelling each."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.common.ids import (
    AgentIdentity,
    ResourceId,
    SandboxId,
    agent_key,
    base58_decode,
    base58_encode,
    checked_name,
    checked_tenant,
    new_id,
    new_uuid,
    next_id,
)


def test_ids_of_one_process_sort_as_they_were_made() -> None:
    made = [new_uuid() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(u.version == 7 and u.variant == "specified in RFC 4122" for u in made)


def test_ids_of_many_threads_are_distinct() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(new_id() for _ in range(2_000))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(made)) == 16_000


@given(st.binary(max_size=64))
def test_base58_round_trip(data: bytes) -> None:
    assert base58_decode(base58_encode(data)) == data


@given(st.binary(min_size=32, max_size=32))
def test_an_agent_id_names_its_key(key: bytes) -> None:
    identity = AgentIdentity.of(key)
    assert AgentIdentity.parse(identity.nhi) == identity
    assert str(identity).startswith("agent:nhi:ed25519:")


@given(st.text(max_size=80))
def test_any_text_is_an_agent_id_or_refused_as_one(text: str) -> None:
    for candidate in (text, "agent:nhi:ed25519:" + text):
        try:
            key = agent_key(candidate)
        except InvalidInput as error:
            assert error.code == "PL-101"
        else:
            assert AgentIdentity.of(key).nhi == candidate


@pytest.mark.parametrize(("bad"), ["", " a", "a\n", "x" * 201, "a\x00"])
def test_names_are_bounded_and_printable(bad: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_name(bad, "name")
    assert caught.value.field == "name"


def test_a_missing_tenant_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        checked_tenant(None)
    assert checked_tenant("acme") == "acme"


def test_resources_have_the_spec_s_uris() -> None:
    assert ResourceId.sandbox(SandboxId("sb-1")).to_uri() == "runtime:sandbox:sb-1"
    assert ResourceId.custom("billing", "x").to_uri() == "billing:x"


def test_the_next_id_sorts_right_behind() -> None:
    for made in (new_id(), new_id("req-"), "req-00000000-0000-7000-8000-0000ffffffff"):
        following = next_id(made)
        assert made < following < next_id(following)
        assert (len(following), following[:-36]) == (len(made), made[:-36])
