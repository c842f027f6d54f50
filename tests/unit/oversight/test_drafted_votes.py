"""What happens between working out what a vote does and writing it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import EnablementError, SignatureVerificationFailed, Unauthorized
from creto.common.limits import OVERSIGHT_DRAFT_MS_MAX
from creto.common.timestamps import DAY, MILLISECOND, SECOND, ConsensusTimestamp
from creto.oversight import Channel, NotificationChannel, NotificationKind, Quorum, Record, RequestState, Verdict, sign
from creto.store.draft import Draft
from creto.store.types import Outcome, Tx
from tests.unit.oversight.test_passkeys import enrolled, signed
from tests.unit.oversight.world import P1, P2, TENANT, World, id_of, key_of, tier


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, world: World) -> list[str]:
    """Where votes were worked out: "draft" before the transaction, "tx" in it."""
    found: list[str] = []
    vote = world.oversight._vote

    def noted(tx: Tx, **options: Any) -> object:
        found.append("draft" if isinstance(tx, Draft) else "tx")
        return vote(tx, **options)

    monkeypatch.setattr(world.oversight, "_vote", noted)
    return found


def meanwhile(monkeypatch: pytest.MonkeyPatch, world: World, act: Callable[[], Awaitable[object]]) -> None:
    """Do this after the next vote was worked out, before its transaction."""
    write = world.oversight.write

    async def later(fn: Callable[[Tx], object]) -> object:
        monkeypatch.setattr(world.oversight, "write", write)
        await act()
        return await write(fn)

    monkeypatch.setattr(world.oversight, "write", later)


async def test_a_vote_is_worked_out_once_and_before_its_transaction(world: World, runs: list[str]) -> None:
    record = await world.request(P1)
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED
    assert runs == ["draft"]
    assert [entry.event for entry in await world.entries()][-2:] == ["ApprovalReceived", "StateTransition"]


async def test_another_vote_that_came_between_is_counted_with_it(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P2)
    ballot = await world.oversight.ballot(TENANT, record.ask.request_id, approver=id_of("bob"), verdict=Verdict.APPROVE)
    meanwhile(monkeypatch, world, lambda: world.approve(record, "alice"))
    receipt = await world.oversight.submit_response(TENANT, sign(ballot, key_of("bob")))
    assert (receipt.state, receipt.approvals) == (RequestState.APPROVED, 2)
    assert runs == ["draft", "draft", "tx"]


async def test_a_deadline_that_came_between_counts(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P2)

    async def pass_by() -> None:
        world.clock.advance(P2.tiers[0].timeout_s * SECOND)

    meanwhile(monkeypatch, world, pass_by)
    with pytest.raises(EnablementError, match="OV-409"):
        await world.approve(record, "alice")
    assert runs == ["draft", "tx"]
    assert (await world.now_of(record)).progress.state is RequestState.TIMED_OUT


async def test_what_was_worked_out_long_ago_is_worked_out_again(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P1)

    async def wait() -> None:
        world.clock.advance(OVERSIGHT_DRAFT_MS_MAX * MILLISECOND)

    meanwhile(monkeypatch, world, wait)
    await world.approve(record, "alice")
    assert runs == ["draft", "tx"]


async def test_a_voter_who_was_revoked_between_counts_no_more(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P2)
    await world.approve(record, "alice")
    meanwhile(monkeypatch, world, lambda: world.nhi.revoke(TENANT, id_of("alice"), reason="left"))
    receipt = await world.approve(record, "bob")
    assert (receipt.state, receipt.approvals) == (RequestState.PENDING, 1)
    assert runs == ["draft", "draft", "tx"]


async def test_who_left_the_group_between_does_not_decide(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.group("ops", "alice", "bob")
    record = await world.request(await world.policy(P2, tiers=(tier("group:ops"),), quorum=Quorum()))
    meanwhile(monkeypatch, world, lambda: world.group("ops", "bob"))
    with pytest.raises(Unauthorized, match="NOT_ELIGIBLE"):
        await world.approve(record, "alice")
    assert runs == ["draft", "tx"]
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


async def test_who_hears_of_no_changes_looks_again_in_the_transaction(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P1)
    monkeypatch.setattr(type(world.store), "signals_alive", property(lambda _: False))
    await world.approve(record, "alice")
    assert runs == ["draft", "tx"]


async def test_who_was_revoked_between_does_not_vote(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(P2)
    meanwhile(monkeypatch, world, lambda: world.nhi.revoke(TENANT, id_of("alice"), reason="left"))
    with pytest.raises(Unauthorized, match="NOT_IN_FORCE"):
        await world.approve(record, "alice")
    assert runs == ["draft", "tx"]
    assert (await world.oversight.case(TENANT, record.ask.request_id)).votes == ()


@pytest.mark.parametrize("when", ["drafted", "looked up"])
async def test_a_passkey_that_was_removed_between_decides_nothing(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    record, key = await world.request(P1), await enrolled(world, "alice")
    held = world.oversight.passkeys

    async def drop() -> object:
        return await world.oversight.drop_passkey(TENANT, key.credential_id, by=id_of("alice"))

    async def then_dropped(*of: Any) -> object:
        found = await held(*of)
        await drop()
        return found

    if when == "drafted":
        meanwhile(monkeypatch, world, drop)
    else:
        monkeypatch.setattr(world.oversight, "passkeys", then_dropped)
    with pytest.raises(SignatureVerificationFailed, match="not enrolled"):
        await signed(world, record, "alice", key)
    assert runs == ["draft", "tx"]
    assert (await world.oversight.case(TENANT, record.ask.request_id)).votes == ()
    assert [one.outcome for one in await world.entries("ApprovalReceived")] == [Outcome.DENIED]


async def test_who_left_the_group_before_the_timer_had_its_turn_does_not_decide(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time to undo is over; while the timer waits for the row, one of those who approved leaves."""
    await world.group("ops", "alice", "bob")
    record = await world.request(await world.policy(P2, tiers=(tier("group:ops"),), quorum=Quorum()))
    await world.click(record, "alice", hold_s=5)
    world.clock.advance(5 * SECOND)
    meanwhile(monkeypatch, world, lambda: world.group("ops", "bob"))
    await world.oversight.advance(TENANT, record.ask.request_id)
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


async def told(world: World, record: Record, address: str) -> list[NotificationKind]:
    found = await world.oversight.notifications(TENANT, record.ask.request_id)
    return [one.kind for one in found if one.address == address]


async def test_who_is_told_of_an_answer_between_learns_how_it_ended(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(await world.policy(P2, quorum=Quorum()))
    request_id = record.ask.request_id
    await world.oversight.ask(TENANT, request_id, "which?", by=id_of("alice"))
    await world.contact("bob", "U-bob")
    meanwhile(monkeypatch, world, lambda: world.oversight.answer(TENANT, request_id, "this one", by=record.ask.agent))
    await world.approve(record, "alice")
    assert runs == ["draft", "tx"]
    assert await told(world, record, "U-bob") == [NotificationKind.ANSWERED, NotificationKind.CLOSED]


async def test_who_is_told_at_another_address_between_learns_how_it_ended(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.contact("alice", "U-alice")
    await world.contact("alice", "https://example.com/alice", Channel.WEBHOOK)
    on_slack = replace(tier("alice", "bob"), channels=(NotificationChannel(channel=Channel.SLACK),))
    record = await world.request(await world.policy(P2, tiers=(on_slack,), quorum=Quorum()))

    async def fall_back() -> None:
        [card] = await world.oversight.take_notifications(Channel.SLACK)
        await world.oversight.failed(card, "gone", retry_after_s=None)
        [card] = await world.oversight.take_notifications(Channel.WEBHOOK)
        await world.oversight.sent(card)

    meanwhile(monkeypatch, world, fall_back)
    await world.approve(record, "bob")
    assert runs == ["draft", "tx"]
    assert await told(world, record, "https://example.com/alice") == [NotificationKind.ASKED, NotificationKind.CLOSED]


async def test_whose_time_to_stand_in_came_between_learns_how_it_ended(
    world: World, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.contact("bob", "U-bob")
    now = world.clock.now()
    begins, ends = ConsensusTimestamp(now + SECOND), ConsensusTimestamp(now + DAY)
    await world.oversight.delegate(
        TENANT, of=id_of("alice"), to=id_of("bob"), starts_at=begins, ends_at=ends, by=id_of("alice")
    )
    record = await world.request(P1)
    world.clock.set(begins)
    meanwhile(monkeypatch, world, lambda: world.timer.advance_once(begins))
    await world.approve(record, "alice")
    assert runs == ["draft", "tx"]
    assert await told(world, record, "U-bob") == [NotificationKind.ASKED, NotificationKind.CLOSED]


async def test_of_many_votes_at_once_none_is_lost(world: World) -> None:
    policy = await world.policy(P2, quorum=P2.quorum)
    for number in range(20):
        record = await world.request(policy, {"n": number})
        await asyncio.gather(world.approve(record, "alice"), world.approve(record, "bob"))
        assert (await world.now_of(record)).progress.state is RequestState.APPROVED
