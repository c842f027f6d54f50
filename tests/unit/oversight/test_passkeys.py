"""Passkeys and second thoughts: a vote by a human's own passkey, offline proof of it, and five seconds in which a click can be undone."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from creto.common.errors import (
    EnablementError,
    IdempotencyConflict,
    NotFound,
    SignatureVerificationFailed,
    Unauthorized,
)
from creto.common.timestamps import SECOND
from creto.contracts import Approved, Denied
from creto.oversight import (
    Assurance,
    Channel,
    Counted,
    DecisionFile,
    Evidence,
    Quorum,
    Receipt,
    Record,
    RequestState,
    Verdict,
)
from creto.platform.audit import verify_file
from creto.platform.crypto.webauthn import Passkey, registered
from tests.unit.oversight.world import LAYER, P1, P2, TENANT, World, consume, id_of, key_of, keys_of, person, token_of
from tests.unit.platform.crypto.authenticator import Authenticator

KEYS = keys_of()
HOLD_S = 5


def evidence(name: str) -> Evidence:
    return Evidence(channel=Channel.WEB, account=id_of(name), method="session")


async def enrolled(world: World, name: str) -> Authenticator:
    key = Authenticator()
    passkey = registered(*key.make(b"c"), challenge=b"c")
    await world.oversight.enrol_passkey(TENANT, passkey, by=id_of(name), name="phone")
    return key


async def signed(
    world: World, record: Record, name: str, key: Authenticator, verdict: Verdict = Verdict.APPROVE, **options: Any
) -> Receipt:
    arguments = options.get("arguments")
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of(name), verdict=verdict, arguments=arguments
    )
    return await world.oversight.passkey_response(
        TENANT, approver=id_of(name), credential_id=key.credential_id, assertion=key.sign(ballot.signed_bytes()),
        evidence=evidence(name), **options,
    )  # fmt: skip


# Passkeys


async def test_a_passkey_is_the_humans_own_key(world: World) -> None:
    policy = await world.policy(P1, assurance=Assurance.OWN_KEY)
    record, key = await world.request(policy), await enrolled(world, "alice")
    with pytest.raises(Unauthorized, match="ASSURANCE"):
        await world.click(record, "alice", channel=Channel.WEB)
    assert (await signed(world, record, "alice", key)).state is RequestState.APPROVED
    data = await world.oversight.decision_file(TENANT, record.ask.request_id)
    verdict = verify_file(data, KEYS)
    assert verdict.details["assurance"] == ["passkey"]
    assert verdict.details["people"] == (person("alice"),)
    vote = DecisionFile.decode(data).votes[0].signed
    assert vote.assurance is Assurance.OWN_KEY
    ballot = vote.ballot
    assert (ballot.args_hash, ballot.display_hash) == (record.args_hash, record.display_hash)


async def test_an_edit_is_signed_with_what_it_makes(world: World) -> None:
    record, key = await world.request(), await enrolled(world, "alice")
    await world.permit_all()
    receipt = await signed(world, record, "alice", key, arguments=b'{"amount":7}')
    assert (receipt.state, receipt.round) == (RequestState.APPROVED, 2)
    verify_file(await world.oversight.decision_file(TENANT, record.ask.request_id), KEYS)


async def test_even_the_service_cannot_alter_what_a_passkey_signed(world: World) -> None:
    """given a service that lies and seals again / then the passkey's signature tells, as long as the passkey is believed."""
    record, key = await world.request(), await enrolled(world, "alice")
    await signed(world, record, "alice", key)
    decision = DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))
    vote = decision.votes[0]
    proof = vote.signed.proof
    other = Authenticator()
    swap = msgspec.structs.replace
    lies = [
        swap(vote.signed, ballot=swap(vote.signed.ballot, verdict=Verdict.DENY)),
        swap(vote.signed, ballot=swap(vote.signed.ballot, person=person("bob"))),
        swap(vote.signed, proof=swap(proof, enrolled=swap(proof.enrolled, person=person("bob")))),
        swap(vote.signed, proof=swap(proof, assertion=other.sign(vote.signed.ballot.signed_bytes()))),
        swap(vote.signed, proof=swap(proof, assertion=key.sign(b"something else"))),
        swap(vote.signed, proof=swap(proof, evidence=evidence("bob"))),
        swap(vote.signed, proof=swap(proof, signature=b"\x43" + bytes(3_373))),
    ]
    for lie in lies:
        with pytest.raises(SignatureVerificationFailed):
            verify_file(swap(decision, votes=(swap(vote, signed=lie),)).sealed(LAYER).encode(), KEYS)


async def test_only_an_enrolled_passkey_of_this_human(world: World) -> None:
    record = await world.request(P2)
    alices, stranger = await enrolled(world, "alice"), Authenticator()
    for name, key in (("bob", alices), ("alice", stranger)):
        with pytest.raises(SignatureVerificationFailed) as caught:
            await signed(world, record, name, key)
        assert caught.value.code == "OV-401"
    stranger.credential_id = alices.credential_id
    with pytest.raises(SignatureVerificationFailed):
        await signed(world, record, "alice", stranger)
    assert await world.oversight.drop_passkey(TENANT, alices.credential_id, by=id_of("alice"))
    assert not await world.oversight.drop_passkey(TENANT, alices.credential_id, by=id_of("alice"))
    with pytest.raises(SignatureVerificationFailed):
        await signed(world, record, "alice", alices)


async def test_a_ballot_of_somebody_else_is_nobodys_vote(world: World) -> None:
    record, key = await world.request(P2), await enrolled(world, "alice")
    bobs = await world.oversight.ballot(TENANT, record.ask.request_id, approver=id_of("bob"), verdict=Verdict.APPROVE)
    other = msgspec.structs.replace(bobs, approver=id_of("alice"))
    for ballot in (bobs, other):
        with pytest.raises(SignatureVerificationFailed):
            await world.oversight.passkey_response(
                TENANT, approver=id_of("alice"), credential_id=key.credential_id,
                assertion=key.sign(ballot.signed_bytes()), evidence=evidence("alice"),
            )  # fmt: skip


@pytest.mark.parametrize("challenge", [b"", b"x", b"{}", b"[]", b'{"request_id": "r"}'])
async def test_a_challenge_that_is_no_ballot(world: World, challenge: bytes) -> None:
    key = await enrolled(world, "alice")
    with pytest.raises(EnablementError) as caught:
        await world.oversight.passkey_response(
            TENANT, approver=id_of("alice"), credential_id=key.credential_id, assertion=key.sign(challenge),
            evidence=evidence("alice"),
        )  # fmt: skip
    assert caught.value.code == "OV-400"


async def test_a_passkey_is_enrolled_once(world: World) -> None:
    key = await enrolled(world, "alice")
    passkey = Passkey(credential_id=key.credential_id, public_key=key.cose(), site="localhost")
    with pytest.raises(IdempotencyConflict):
        await world.oversight.enrol_passkey(TENANT, passkey, by=id_of("bob"), name="mine")
    (mine,) = await world.oversight.passkeys(TENANT, id_of("alice"))
    assert (mine.name, mine.passkey) == ("phone", passkey)
    assert [e.event for e in await world.entries("PasskeyEnrolled")] == ["PasskeyEnrolled"]


# Second thoughts


async def held(world: World, record: Record, name: str, verdict: Verdict = Verdict.APPROVE, **options: Any) -> Receipt:
    return await world.oversight.relay_response(
        TENANT, record.ask.request_id, approver=id_of(name), verdict=verdict, evidence=evidence(name), hold_s=HOLD_S,
        **options,
    )  # fmt: skip


async def test_a_held_vote_has_its_effect_when_the_time_to_undo_is_over(world: World) -> None:
    record = await world.request()
    waiting = asyncio.create_task(world.oversight.await_decision(TENANT, record.ask.request_id))
    receipt = await held(world, record, "alice")
    assert (receipt.state, receipt.missing) == (RequestState.PENDING, 0)
    assert receipt.settles_at is not None
    await world.pass_s(HOLD_S - 1)
    assert not waiting.done()
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    await world.pass_s(2)
    assert isinstance(await waiting, Approved)
    assert (await world.now_of(record)).progress.decided_by == person("alice")
    verify_file(await world.oversight.decision_file(TENANT, record.ask.request_id), KEYS)


async def test_who_waits_needs_no_timer(world: World) -> None:
    record = await world.request()
    await held(world, record, "alice")
    world.clock.advance((HOLD_S + 1) * SECOND)
    async with asyncio.timeout(30):
        assert isinstance(await world.oversight.await_decision(TENANT, record.ask.request_id), Approved)


async def test_within_it_the_vote_is_taken_back_and_nothing_happened(world: World) -> None:
    record = await world.request()
    await held(world, record, "alice")
    after = await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    assert (after.progress.state, after.progress.settles_at) == (RequestState.PENDING, None)
    await world.pass_s(HOLD_S + 1)
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    assert [e.event for e in await world.entries("VoteWithdrawn")] == ["VoteWithdrawn"]
    await world.deny(record, "alice", reason="no, after all")
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Denied)
    data = await world.oversight.decision_file(TENANT, record.ask.request_id)
    assert len(DecisionFile.decode(data).votes) == 1


async def test_a_ballot_that_was_taken_back_counts_no_second_time(world: World) -> None:
    from creto.oversight import sign

    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    mine = sign(ballot, key_of("alice"))
    await world.oversight.submit_response(TENANT, mine, hold_s=HOLD_S)
    await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    with pytest.raises(IdempotencyConflict):
        await world.oversight.submit_response(TENANT, mine)
    await world.approve(record, "alice")
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED


async def test_after_it_there_is_nothing_to_undo(world: World) -> None:
    record = await world.request()
    await held(world, record, "alice")
    world.clock.advance((HOLD_S + 1) * SECOND)  # and no timer has looked
    with pytest.raises(IdempotencyConflict, match="already approved"):
        await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    token = await token_of(world, record)
    await consume(world, record, token)


async def test_a_denial_is_held_too(world: World) -> None:
    record = await world.request()
    await held(world, record, "alice", Verdict.DENY, reason="slip")
    await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    await world.approve(record, "alice")
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED


async def test_what_was_decided_in_time_is_not_undone_by_time(world: World) -> None:
    """given a click two seconds before the end of the last tier / then it counts, and it can be undone for two seconds."""
    record = await world.request(P2)
    await held(world, record, "bob")
    await world.at_s(record, 3_598)
    receipt = await held(world, record, "alice")
    assert receipt.settles_at == record.progress.deadline_at
    await world.at_s(record, 3_601)
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED
    late = await world.request(P2, {"n": 2})
    await held(world, late, "bob")
    await world.at_s(late, 3_598)
    await held(world, late, "alice")
    await world.oversight.undo(TENANT, late.ask.request_id, by=id_of("alice"))
    await world.at_s(late, 3_601)
    assert (await world.now_of(late)).progress.state is RequestState.TIMED_OUT


async def test_others_vote_on_meanwhile(world: World) -> None:
    """given an approval that waits / when a colleague denies at once / then it is denied, and nothing is left to settle."""
    record = await world.request(P2, {"n": 1})
    await held(world, record, "alice")
    await held(world, record, "bob")
    await world.deny(record, "carol", reason="stop")
    after = (await world.now_of(record)).progress
    assert (after.state, after.settles_at) == (RequestState.DENIED, None)
    policy = await world.policy(P2, quorum=Quorum(approvals=2, denials=2))
    other = await world.request(policy, {"n": 2})
    for name in ("alice", "bob"):
        await held(world, other, name)
    until = (await world.now_of(other)).progress.settles_at
    await world.deny(other, "carol")  # too few: it neither ends nor hurries what Bob may still undo
    after = (await world.now_of(other)).progress
    assert (after.state, after.settles_at) == (RequestState.PENDING, until)
    await world.pass_s(HOLD_S + 1)
    after = (await world.now_of(other)).progress
    assert (after.state, after.decided_by) == (RequestState.APPROVED, person("bob"))


async def test_who_agrees_without_a_hold_decides_at_once(world: World) -> None:
    record = await world.request(P2)
    await held(world, record, "alice")
    await held(world, record, "bob")
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


async def test_who_takes_back_what(world: World) -> None:
    record = await world.request(P2)
    with pytest.raises(NotFound):
        await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    await world.approve(record, "alice")
    with pytest.raises(NotFound):
        await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("bob"))
    await world.oversight.undo(
        TENANT, record.ask.request_id, by=id_of("alice")
    )  # the quorum was not met: no effect yet
    again = await world.approve(record, "alice")
    assert (again.counted, again.approvals) == (Counted.VOTE, 1)
    firm = await world.policy(P2, vote_change=False)
    other = await world.request(firm, {"n": 2})
    await world.approve(other, "alice")
    with pytest.raises(IdempotencyConflict, match="nobody change"):
        await world.oversight.undo(TENANT, other.ask.request_id, by=id_of("alice"))
    await held(world, other, "bob")
    await world.oversight.undo(TENANT, other.ask.request_id, by=id_of("bob"))  # a slip, not a change of mind


async def test_the_vote_before_counts_again(world: World) -> None:
    policy = await world.policy(P2, quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy)
    await world.deny(record, "alice")
    await world.approve(record, "bob")
    await held(world, record, "alice")
    await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    assert (await world.deny(record, "carol")).state is RequestState.DENIED


async def test_a_cancelled_request_settles_nothing(world: World) -> None:
    record = await world.request()
    await held(world, record, "alice")
    await world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
    await world.pass_s(HOLD_S + 1)
    assert (await world.now_of(record)).progress.state is RequestState.CANCELLED


async def test_a_second_click_is_the_first(world: World) -> None:
    record = await world.request()
    first = await held(world, record, "alice")
    second = await held(world, record, "alice")
    assert second.counted is Counted.REPEATED
    assert second.settles_at == first.settles_at
