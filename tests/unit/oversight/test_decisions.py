"""Decision files: verified offline, with public keys alone; anything altered is noticed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId
from creto.oversight import Assurance, Channel, DecisionFile, Evidence, Quorum, RequestState, Verdict, attest
from creto.oversight.types import GrantTerms, GrantWish
from creto.platform.audit import Keys, verify_file
from creto.platform.crypto import SignatureSuite
from creto.platform.nhi import nhi_of
from tests.unit.oversight.world import HUMANS, LAYER, P1, P2, TENANT, World, id_of, key_of, person

AGENTS: dict[AgentId, bytes] = {id_of(name): key_of(name).public.to_bytes() for name in HUMANS}
AGENTS[nhi_of(LAYER.public)] = LAYER.public.to_bytes()
KEYS = Keys(agents=AGENTS)


@pytest.fixture
async def data(world: World) -> bytes:
    record = await world.request(P2)
    await world.approve(record, "alice")
    await world.click(record, "bob", delivery="d1")
    return await world.oversight.decision_file(TENANT, record.ask.request_id)


async def test_a_decision_says_who_and_how_sure(data: bytes) -> None:
    verdict = verify_file(data, KEYS)
    assert verdict.kind == "oversight decision"
    assert verdict.details["people"] == (person("alice"), person("bob"))
    assert verdict.details["assurance"] == ["own key", "relayed:slack"]
    assert len(data) < 64 * 1024


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
async def test_no_bit_can_be_changed(data: bytes, place: float, bit: int) -> None:
    at = int(place * len(data))
    altered = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
    with pytest.raises(EnablementError):
        verify_file(altered, KEYS)


def changed(data: bytes, **fields: Any) -> bytes:
    """Altered, and sealed again by a service that lies: the votes must still tell."""
    return msgspec.structs.replace(DecisionFile.decode(data), **fields).sealed(LAYER).encode()


async def test_even_the_service_cannot_lie_about_the_votes(data: bytes) -> None:
    decision = DecisionFile.decode(data)
    lies: list[dict[str, Any]] = [
        {"state": RequestState.DENIED},
        {"votes": decision.votes[:1]},
        {"votes": (decision.votes[0], decision.votes[0])},
        {"votes": (decision.votes[0], msgspec.structs.replace(decision.votes[1], seat=person("alice")))},
        {"args_hash": b"x" * 33},
        {"display_hash": b"x" * 33},
        {"resource": "account:8"},
        {"request_id": "req-other"},
        {"policy": msgspec.structs.replace(decision.policy, quorum=Quorum(approvals=1))},
        {"excluded": (person("alice"),)},
        {"state": RequestState.PENDING},
    ]
    for lie in lies:
        with pytest.raises(SignatureVerificationFailed) as caught:
            verify_file(changed(data, **lie), KEYS)
        assert caught.value.code == "OV-401"


async def test_only_trusted_keys_count(data: bytes, world: World) -> None:
    without_layer = {nhi: key for nhi, key in AGENTS.items() if key != LAYER.public.to_bytes()}
    without_alice = {nhi: key for nhi, key in AGENTS.items() if nhi != id_of("alice")}
    swapped = AGENTS | {id_of("alice"): key_of("eve").public.to_bytes()}
    for agents in (without_layer, without_alice, swapped):
        with pytest.raises(SignatureVerificationFailed):
            verify_file(data, Keys(agents=agents))
    with pytest.raises(InvalidInput):
        verify_file(data, Keys())


async def test_the_service_never_signs_as_a_human(world: World) -> None:
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    with pytest.raises(InvalidInput):
        attest(ballot, LAYER, Evidence(channel=Channel.SLACK, account="U1"), Assurance.OWN_KEY)
    stranger = attest(ballot, key_of("mallory"), Evidence(channel=Channel.WEB, account="U1"), Assurance.SESSION)
    with pytest.raises(SignatureVerificationFailed):
        await world.oversight.submit_response(TENANT, stranger)


async def test_half_a_signature_is_none(world: World) -> None:
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    from creto.oversight import sign

    with pytest.raises(SignatureVerificationFailed):
        await world.oversight.submit_response(TENANT, sign(ballot, key_of("alice").component(SignatureSuite.ED25519)))


async def test_silence_and_grants_are_proved_too(world: World) -> None:
    silent = await world.request(P2, {"n": 1})
    await world.pass_s(3_601)
    verify_file(await world.oversight.decision_file(TENANT, silent.ask.request_id), KEYS)
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=60, uses_max=2))
    first = await world.request(policy, idempotency_key="1")
    await world.approve(first, "alice", wish=GrantWish(ttl_s=60, uses=2))
    second = await world.request(policy, idempotency_key="2")
    verify_file(await world.oversight.decision_file(TENANT, second.ask.request_id), KEYS)


@pytest.mark.timeout(600)
async def test_many_files_are_verified(data: bytes, deep: bool) -> None:
    for _ in range(10_000 if deep else 100):
        verify_file(data, KEYS)
