"""Oversight over every engine: races, nodes that share one database, waits, restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from creto.common.errors import (
    ConnectionFailed,
    EnablementError,
    IdempotencyConflict,
    InvalidInput,
    SignatureVerificationFailed,
    Timeout,
    Unauthorized,
)
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.contracts import Approved, Denied, TimedOut, TimeoutAction
from creto.oversight import (
    Approvals,
    Channel,
    Counted,
    DecisionFile,
    Evidence,
    GroupNeed,
    Quorum,
    Receipt,
    Record,
    RequestState,
    Verdict,
    proved,
    sign,
    store_people,
)
from creto.oversight.passkeys import user_handle
from creto.oversight.timer import LEASE
from creto.platform.consensus import Leases
from creto.platform.crypto.webauthn import registered
from creto.platform.nhi import Identity, IssuedToken
from creto.store.types import EngineName
from tests.contract.processes import line, python_module, say
from tests.contract.stores import MakeStore
from tests.contract.token_node import ACT
from tests.unit.oversight.world import (
    HUMANS,
    P1,
    P2,
    PARTS,
    TENANT,
    World,
    asked,
    consume,
    id_of,
    key_of,
    keys_of,
    pending,
    person,
    tier,
    token_of,
)
from tests.unit.platform.crypto.authenticator import Authenticator

TOGETHER = 25  # requests whose approvers are released at once

ANY = P1.__class__(policy_id=PolicyId("any"), tiers=(tier("alice", "bob", "carol"),))


@pytest.fixture
async def world(make_store: MakeStore) -> World:
    world = await World.open(make_store(parts=PARTS))
    await world.policy(ANY)
    return world


async def outcomes(*work: Any) -> list[Any]:
    """What came of each, released together."""
    start = asyncio.Event()

    async def one(coroutine: Any) -> Any:
        await start.wait()
        return await coroutine

    tasks = [asyncio.create_task(one(coroutine)) for coroutine in work]
    await asyncio.sleep(0)
    start.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def requests(world: World, count: int, policy: Any) -> list[Record]:
    return [await world.request(policy, {"n": n}) for n in range(count)]


async def states(world: World, records: list[Record]) -> set[RequestState]:
    return {(await world.now_of(one)).progress.state for one in records}


def lost(results: list[Any]) -> list[BaseException]:
    errors = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, IdempotencyConflict) and one.code == "OV-409" for one in errors), errors
    return errors


@pytest.mark.timeout(900)
async def test_ov_022_two_approvers_at_once_lose_no_quorum(world: World, make_store: MakeStore, deep: bool) -> None:
    """Vote, count, update under committed reads leaves nearly all pending; with the request's row held first, none."""
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 1_500 if deep else 100, TOGETHER):
        records = [await world.request(P2, {"n": start + n}) for n in range(TOGETHER)]
        votes = [vote for one in records for vote in (world.click(one, "alice"), there.click(one, "bob"))]
        assert lost(await outcomes(*votes)) == []
        assert await states(world, records) == {RequestState.APPROVED}


async def test_ov_018_one_of_two_decides_and_the_other_is_told(world: World, make_store: MakeStore, deep: bool) -> None:
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 1_000 if deep else 50, TOGETHER):
        records = [await world.request(ANY, {"n": start + n}) for n in range(TOGETHER)]
        votes = [vote for one in records for vote in (world.click(one, "alice"), there.click(one, "bob"))]
        losers = lost(await outcomes(*votes))
        assert len(losers) == TOGETHER
        assert all("already approved by" in str(one) for one in losers)


async def test_ov_019_approve_and_deny_at_once(world: World, make_store: MakeStore, deep: bool) -> None:
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 1_000 if deep else 50, TOGETHER):
        records = [await world.request(ANY, {"n": start + n}) for n in range(TOGETHER)]
        votes = [vote for one in records for vote in (world.click(one, "alice"), there.click(one, "bob", Verdict.DENY))]
        results = await outcomes(*votes)
        assert len(lost(results)) == TOGETHER
        for record, pair in zip(records, zip(results[::2], results[1::2], strict=True), strict=True):
            (won,) = [one.state for one in pair if not isinstance(one, BaseException)]
            assert (await world.now_of(record)).progress.state is won
    said = await world.entries("ApprovalReceived") + await world.entries("DenialReceived")
    assert len(said) == 2 * (1_000 if deep else 50)  # both are on record, who lost too


async def test_ov_020_approve_against_the_deadline(world: World, make_store: MakeStore, deep: bool) -> None:
    """Both come to the row at once: the timer of the other node, whose time is past the deadline, and the vote, whose time is not."""
    there = world.twin(make_store(parts=PARTS))
    ends = Counter[RequestState]()
    for start in range(0, 1_500 if deep else 100, TOGETHER):
        records = [await world.request(ANY, {"n": start + n}) for n in range(TOGETHER)]
        first, last = records[0].progress.deadline_at, records[-1].progress.deadline_at
        reads = (1, 60, 120, 400)[start // TOGETHER % 4]  # of the clock, each a nanosecond, until the first is over
        world.clock.set(ConsensusTimestamp(first - reads))
        results = await outcomes(
            *(world.click(one, "alice") for one in records),
            *(there.timer.advance_once(ConsensusTimestamp(last + SECOND), limit=TOGETHER // 5) for _ in range(10)),
        )
        for record, vote in zip(records, results[:TOGETHER], strict=True):
            progress = (await world.now_of(record)).progress
            ends[progress.state] += 1
            if isinstance(vote, BaseException):
                assert isinstance(vote, IdempotencyConflict)
                assert progress.state is RequestState.TIMED_OUT
                assert "already timed out" in str(vote)
            else:
                assert vote.state is progress.state is RequestState.APPROVED
                assert progress.decided_at is not None
                assert progress.decided_at < record.progress.deadline_at
        await there.timer.advance_once(ConsensusTimestamp(last + SECOND))
    assert set(ends) == {RequestState.APPROVED, RequestState.TIMED_OUT}


async def one_winner(world: World, records: list[Record], results: list[Any]) -> None:
    """Of each pair one decided; the other is told by what, and it stays."""
    assert len(lost(results)) == len(records)
    for record, pair in zip(records, zip(results[::2], results[1::2], strict=True), strict=True):
        state = (await world.now_of(record)).progress.state
        ((won, late),) = [(a, b) for a, b in (pair, pair[::-1]) if isinstance(b, BaseException)]
        assert (won.state if isinstance(won, Receipt) else won.progress.state) is state
        assert f"already {state}" in str(late)


async def test_ov_024_deny_against_the_last_approval(world: World, make_store: MakeStore, deep: bool) -> None:
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 1_000 if deep else 50, TOGETHER):
        records = [await world.request(P2, {"n": start + n}) for n in range(TOGETHER)]
        for one in records:
            await world.click(one, "alice")
        votes = [vote for one in records for vote in (world.click(one, "bob"), there.click(one, "carol", Verdict.DENY))]
        await one_winner(world, records, await outcomes(*votes))
        assert await states(world, records) <= {RequestState.APPROVED, RequestState.DENIED}


async def test_approve_against_cancel(world: World, make_store: MakeStore, deep: bool) -> None:
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 1_000 if deep else 50, TOGETHER):
        records = [await world.request(ANY, {"n": start + n}) for n in range(TOGETHER)]
        cancels = (there.oversight.cancel(TENANT, one.ask.request_id, by=id_of("bot-7")) for one in records)
        work = [one for pair in zip((world.click(r, "alice") for r in records), cancels, strict=True) for one in pair]
        await one_winner(world, records, await outcomes(*work))
        assert await states(world, records) <= {RequestState.APPROVED, RequestState.CANCELLED}


@pytest.mark.parametrize("same", [True, False], ids=["replayed", "pressed twice"])
async def test_ov_025_and_026_one_human_at_once_everywhere_is_one_vote(
    world: World, make_store: MakeStore, deep: bool, same: bool
) -> None:
    """The same bytes again, or another press, on two channels, in two nodes: one vote, one answer to all."""
    there = world.twin(make_store(parts=PARTS))
    for start in range(0, 500 if deep else 25, TOGETHER):
        records = [await world.request(P2, {"n": start + n}) for n in range(TOGETHER)]
        clicks = [
            node.click(one, "alice", channel=channel, delivery="bytes" if same else f"{node is world} {channel}")
            for one in records
            for channel in ((Channel.SLACK,) if same else (Channel.SLACK, Channel.WEB))
            for node in (world, there)
        ]
        results = await outcomes(*clicks)
        assert [one for one in results if isinstance(one, BaseException)] == []
        assert {(one.approvals, one.state) for one in results} == {(1, RequestState.PENDING)}
        assert Counter(one.counted for one in results)[Counted.VOTE] == TOGETHER
    assert len(await world.entries("ApprovalReceived")) == (500 if deep else 25)


async def test_the_same_request_asked_everywhere_at_once_is_one(world: World, make_store: MakeStore) -> None:
    there = world.twin(make_store(parts=PARTS))
    found = await outcomes(*(node.request(ANY) for node in (world, there) for _ in range(10)))
    assert len({one.ask.request_id for one in found}) == 1


async def test_a_decision_there_wakes_who_waits_here(world: World, make_store: MakeStore) -> None:
    there = world.twin(make_store(parts=PARTS))
    record = await world.request(ANY)
    waiting = [
        asyncio.create_task(node.oversight.await_decision(TENANT, record.ask.request_id, timeout_s=20))
        for node in (world, there)
    ]
    await pending(world)
    await pending(there)
    await there.approve(record, "alice")
    assert all(isinstance(one, Approved) for one in await asyncio.gather(*waiting))
    assert world.oversight.waiting() == there.oversight.waiting() == 0


async def test_one_token_at_most_is_worth_something(world: World, make_store: MakeStore) -> None:
    there = world.twin(make_store(parts=PARTS))
    record = await world.request(ANY)
    await world.approve(record, "alice")
    results = await outcomes(*(n.oversight.await_decision(TENANT, record.ask.request_id) for n in (world, there) * 3))
    tokens = {one.override_token for one in results}
    used = await outcomes(*(consume(world, record, token) for token in tokens))
    assert sum(not isinstance(one, BaseException) for one in used) == 1


@pytest.mark.timeout(600)
async def test_ov_030_a_token_is_used_once_by_threads_of_many_processes(
    world: World, store_url: str, tmp_path: Path, deep: bool
) -> None:
    """Four processes of four threads each, all at the same tokens in the same order: each token has one user."""
    count = 2_000 if deep else 40
    issued = [await world.authz.issue_override(**ACT, ttl_s=3_600, actor=id_of("eve")) for _ in range(count)]
    (tmp_path / "tokens").write_text("\n".join(issued))
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(python_module("tests.contract.token_node", store_url, str(tmp_path / "tokens")))
            for _ in range(4)
        ]
        for node in nodes:
            assert await asyncio.to_thread(line, node) == "ready"
        for node in nodes:
            say(node, "go")
        used = [(await asyncio.to_thread(line, node)).split() for node in nodes]
    assert sorted(int(number) for numbers in used for number in numbers) == list(range(count))
    assert not deep or sum(bool(numbers) for numbers in used) > 1  # they were at it together


async def test_who_gives_up_leaves_the_request_pending(world: World) -> None:
    gate = Approvals(world.oversight)
    with pytest.raises(Timeout) as caught:
        await gate.await_approval(TENANT, None, asked(ANY), timeout_s=0)
    assert caught.value.code == "OV-504"
    (record,) = await world.oversight.list_pending_requests(TENANT)
    await world.deny(record, "bob", reason="too much")
    again = await Approvals(world.twin().oversight).await_approval(TENANT, None, asked(ANY), timeout_s=30)
    assert isinstance(again, Denied)
    assert (again.reason, again.approver.display_name) == ("too much", "bob")


async def test_several_policies_are_met_together_whoever_races(world: World) -> None:
    """given two policies with one common approver / when all four vote at once on two nodes / then nothing stays open, and its file holds."""
    weak = await world.policy(ANY, policy_id=PolicyId("weak"), tiers=(tier("alice", "bob"),))
    await world.policy(
        ANY, policy_id=PolicyId("strong"), tiers=(tier("group:g"),), quorum=Quorum(approvals=2, groups=(GroupNeed(group="g"),))
    )  # fmt: skip
    await world.group("g", "bob", "carol", "eve")
    await world.permit_all(
        *(f'@oversight("{one}") forbid (principal, action == Action::"funds.transfer", resource);' for one in ("weak", "strong"))
    )  # fmt: skip
    twin = world.twin()
    for number in range(5):
        record = await world.request(weak, {"n": number})
        names = ("alice", "bob", "carol", "eve")
        lost(await outcomes(*((world, twin)[place % 2].approve(record, name) for place, name in enumerate(names))))
        assert await states(world, [record]) == {RequestState.APPROVED}
        await consume(world, record, await token_of(world, record))
        data = await world.oversight.decision_file(TENANT, record.ask.request_id)
        proved(DecisionFile.decode(data), keys_of(*HUMANS, "bot-7"))


async def test_silence_ends_as_the_policy_says(world: World) -> None:
    policy = await world.policy(ANY, policy_id=PolicyId("silent"), final_action=TimeoutAction.AUTO_APPROVE)
    for one, action in ((policy, TimeoutAction.AUTO_APPROVE), (ANY, TimeoutAction.AUTO_DENY)):
        record = await world.request(one, {"policy": one.policy_id})
        await world.pass_s(3_601)
        result = await world.oversight.await_decision(TENANT, record.ask.request_id, timeout_s=30)
        assert isinstance(result, TimedOut)
        assert result.timeout_action is action
        assert (result.override_token is not None) == (action is TimeoutAction.AUTO_APPROVE)


async def test_a_vote_after_the_deadline_is_told_so_whether_the_timer_ran_or_not(world: World) -> None:
    record = await world.request(ANY)
    world.clock.advance(3_601 * SECOND)
    with pytest.raises(IdempotencyConflict, match="already timed out"):
        await world.approve(record, "alice")
    assert (await world.now_of(record)).progress.state is RequestState.TIMED_OUT


@pytest.mark.parametrize("steps_s", [(-3_600, 3_599), (3_599,), (-3_600, -3_600, 10), (0, 0, 0)], ids=str)
async def test_steps_of_a_wall_clock_end_nothing_too_early(world: World, steps_s: tuple[int, ...]) -> None:
    """Consensus time only grows; what a wall clock did is not time that passed."""
    record = await world.request(ANY)
    for step in steps_s:
        world.clock.set(ConsensusTimestamp(record.ask.created_at + step * SECOND))
        await world.timer.advance_once(world.clock.now())
        assert (await world.now_of(record)).progress.state is RequestState.PENDING
    await world.approve(record, "alice")


async def test_a_timer_in_each_process_fires_once(world: World, make_store: MakeStore) -> None:
    there = world.twin(make_store(parts=PARTS))
    records = await requests(world, TOGETHER, P1)
    world.clock.advance(301 * SECOND)
    now = world.clock.now()
    await outcomes(*(node.timer.advance_once(now) for node in (world, there) * 2))
    assert {(await world.now_of(one)).progress.tier for one in records} == {1}
    assert len(await world.entries("Escalated")) == TOGETHER


async def test_one_process_holds_the_timer(world: World, make_store: MakeStore) -> None:
    there, looked = world.twin(make_store(parts=PARTS)), asyncio.Event()

    async def pause(_: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    async with world.timer.running(pause):
        await asyncio.wait_for(looked.wait(), 10)
        lease = await Leases(there.store, there.clock).current(LEASE)
        assert lease is not None
        assert lease.holder.startswith(world.store.node)


async def test_groups_and_policies_change_on_every_node(world: World, make_store: MakeStore) -> None:
    there = world.twin(make_store(parts=PARTS))
    record = await there.request(ANY)
    await world.oversight.delegate(
        TENANT, of=id_of("carol"), to=id_of("trudy"), starts_at=world.clock.now(),
        ends_at=ConsensusTimestamp(world.clock.now() + 60 * SECOND), by=id_of("carol"),
    )  # fmt: skip
    assert await world.store.settled(10.0)  # on a busy machine fifty milliseconds may be too few
    assert (await there.approve(record, "trudy", on_behalf_of=person("carol"))).state is RequestState.APPROVED
    changed = await world.policy(ANY, tiers=(tier("eve"),))
    assert await world.store.settled(10.0)
    assert there.oversight.policy(TENANT, ANY.policy_id) == changed
    assert changed.version == 2


async def test_a_refused_vote_is_on_record(world: World) -> None:
    record = await world.request(ANY)
    with pytest.raises(EnablementError):
        await world.approve(record, "mallory")
    (entry,) = await world.entries("ApprovalReceived")
    assert (entry.outcome, entry.code) == ("denied", "OV-403")


def test_ov_129_what_is_acknowledged_survives_a_loss_of_power(make_store: MakeStore) -> None:
    store = make_store(parts=PARTS)
    if store.engine is EngineName.SQLITE:
        assert store.submit(lambda tx: tx.value("SELECT synchronous FROM pragma_synchronous")).result() == 2  # FULL
    else:
        assert store.submit(lambda tx: tx.value("SHOW synchronous_commit")).result() == "on"


# Second thoughts, and passkeys


async def test_a_click_is_undone_or_settles_never_both(world: World) -> None:
    """given held votes / when they are taken back twice, decided by others and looked at by the timer at once / then each has one end."""
    records = await requests(world, TOGETHER, P2)
    for record in records:
        for name in ("alice", "bob"):
            await world.click(record, name, channel=Channel.WEB, delivery=f"{name}{record.ask.request_id}", hold_s=5)
    undone = [world.oversight.undo(TENANT, one.ask.request_id, by=id_of("bob")) for one in records for _ in range(2)]
    results = await outcomes(*undone, *(world.deny(one, "carol") for one in records), world.pass_s(1))
    wrong = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, EnablementError) and one.code in ("OV-404", "OV-409") for one in wrong), wrong
    assert await states(world, records) == {RequestState.DENIED}
    await world.pass_s(6)
    assert await states(world, records) == {RequestState.DENIED}


async def test_a_held_vote_settles_on_another_node(world: World) -> None:
    twin = world.twin()
    record = await world.request(ANY)
    waiting = asyncio.create_task(twin.oversight.await_decision(TENANT, record.ask.request_id))
    await pending(twin)
    await world.click(record, "alice", channel=Channel.WEB, hold_s=5)
    assert not waiting.done()
    await twin.pass_s(6)
    async with asyncio.timeout(10):
        assert isinstance(await waiting, Approved)


async def test_passkeys_are_kept_and_a_withdrawn_vote_leaves_its_place(world: World) -> None:
    key = Authenticator()
    passkey = registered(*key.make(b"c"), challenge=b"c")
    await world.oversight.enrol_passkey(TENANT, passkey, by=id_of("alice"), name="phone", scopes=("*",))
    (mine,) = await world.twin().oversight.passkeys(TENANT, id_of("alice"))
    assert mine.passkey == passkey
    challenge, secret = await world.nhi.sign_in_challenge()
    tries = [
        node.oversight.sign_in(
            key.sign(challenge),
            secret,
            user_handle=user_handle(TENANT, person("alice")),
            credential_id=key.credential_id,
        )
        for node in (world, world.twin())
    ]
    issued = [one for one in await asyncio.gather(*tries, return_exceptions=True) if isinstance(one, IssuedToken)]
    assert [one.caller.agent for one in issued] == [id_of("alice")]  # once, on all nodes together
    assert await world.oversight.passkeys(TENANT, id_of("bob")) == []
    record = await world.request(P2)
    for _ in range(3):
        await world.approve(record, "alice")
        await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    await world.approve(record, "bob")
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    receipt = await world.oversight.passkey_response(
        TENANT, approver=id_of("alice"), credential_id=key.credential_id, assertion=key.sign(ballot.signed_bytes()),
        evidence=Evidence(channel=Channel.WEB, account="alice"),
    )  # fmt: skip
    assert receipt.state is RequestState.APPROVED


async def test_a_ballot_that_was_taken_back_never_counts_again(world: World) -> None:
    record, other = await world.request(P2), await world.request(P2, {"amount": 51})
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    signed = sign(ballot, key_of("alice"))
    await world.oversight.submit_response(TENANT, signed)
    await world.oversight.undo(TENANT, record.ask.request_id, by=id_of("alice"))
    with pytest.raises(IdempotencyConflict, match="used before"):
        await world.oversight.submit_response(TENANT, signed)
    moved = msgspec.structs.replace(ballot, request_id=other.ask.request_id)
    with pytest.raises(SignatureVerificationFailed):
        await world.oversight.submit_response(TENANT, msgspec.structs.replace(signed, ballot=moved))
    assert (await world.approve(record, "bob")).approvals == 1
    assert (await world.approve(other, "bob")).approvals == 1


async def test_a_policy_that_was_changed_often_hides_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(world.oversight.policies(TENANT))
    monkeypatch.setattr(store_people, "OVERSIGHT_GROUPS_MAX", count)
    for _ in range(count):
        first = await world.policy(P1)
    strict = await world.policy(P2, quorum=Quorum(approvals=3))
    held = world.oversight.policies(TENANT)
    assert (len(held), first in held, strict in held) == (count, True, True)


@pytest.mark.parametrize("kind", ["policy", "group", "contact", "delegation"])
async def test_what_nobody_would_read_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """given as many as are read but one / when several come at once / then one finds a place, the others are told; and none that is there is refused."""
    oversight, eve = world.oversight, id_of("eve")

    async def put(name: str) -> object:
        if kind == "policy":
            return await world.policy(P1, policy_id=PolicyId(name))
        if kind == "group":
            return await world.group(name, "sam")
        if kind == "contact":
            return await world.contact("sam", f"{name}@example.com", Channel.EMAIL)
        return await world.absent("sam", "sue")

    def held() -> int:
        book = {
            "policy": oversight.policies(TENANT), "group": oversight.groups(TENANT),
            "contact": [one for those in oversight.contacts(TENANT).values() for one in those],
            "delegation": oversight.delegations(TENANT),
        }  # fmt: skip
        return len(book[kind])

    await put("first")
    most = held() + 1
    monkeypatch.setattr(store_people, "OVERSIGHT_GROUPS_MAX", most)
    answers = await asyncio.gather(*(put(f"more-{number}") for number in range(8)), return_exceptions=True)
    refused = [one for one in answers if isinstance(one, InvalidInput)]
    assert (len(refused), held()) == (7, most)
    for error in refused:
        assert (error.code, error.field, error.got, error.expected) == (
            "OV-400", kind, f"number {most + 1}", f"{most} at most of one tenant"
        )  # fmt: skip
        assert error.hint
    if kind == "delegation":
        assert await oversight.end_delegation(TENANT, oversight.delegations(TENANT)[0].delegation_id, by=eve)
        world.clock.advance(31 * DAY)
    await put("first")


async def test_a_request_for_which_time_can_do_nothing_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await requests(world, 2, ANY)
    advance = world.oversight.advance

    async def failing(tenant: TenantId, request_id: RequestId) -> bool:
        if request_id == first.ask.request_id:
            raise InvalidInput("PL-400", "it cannot be told")
        return await advance(tenant, request_id)

    monkeypatch.setattr(world.oversight, "advance", failing)
    await world.pass_s(ANY.tiers[0].timeout_s)
    assert [(await world.now_of(one)).progress.state for one in (first, second)] == [
        RequestState.PENDING,
        RequestState.TIMED_OUT,
    ]


@pytest.mark.parametrize("linked", ["the id", "the address"])
async def test_nobody_gets_a_seat_by_an_address_that_is_anothers_name(world: World, linked: str) -> None:
    """Who may say whose an address of one channel is has no say in who decides."""
    await world.contact("alice", "alice@example.com", Channel.EMAIL)
    name = id_of("alice") if linked == "the id" else "alice@example.com"
    record = await world.request(await world.policy(P2, tiers=(tier(name),), quorum=Quorum()))
    await world.contact("mallory", name, Channel.MESSAGING)
    with pytest.raises(Unauthorized, match="NOT_ELIGIBLE"):
        await world.approve(record, "mallory")
    if linked == "the id":
        assert (await world.approve(record, "alice")).state is RequestState.APPROVED


@contextmanager
def unreadable(world: World, name: str) -> Iterator[None]:
    """The registry cannot say who that is, as when the store is away for a moment."""
    get = world.nhi.get_now

    def get_now(tenant: TenantId, agent: AgentId) -> Identity:
        if agent == id_of(name):
            raise ConnectionFailed("PL-503", "the store is away")
        return get(tenant, agent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.nhi, "get_now", get_now)
        yield


async def test_a_denial_of_whom_nobody_can_look_up_is_no_silence(world: World) -> None:
    two = Quorum(approvals=2, denials=2)
    record = await world.request(await world.policy(P2, quorum=two, final_action=TimeoutAction.AUTO_APPROVE))
    await world.deny(record, "alice")
    world.clock.advance(P2.tiers[0].timeout_s * SECOND)
    with unreadable(world, "alice"), pytest.raises(ConnectionFailed):
        await world.oversight.advance(TENANT, record.ask.request_id)
    await world.oversight.advance(TENANT, record.ask.request_id)
    assert (await world.now_of(record)).progress.final_action is TimeoutAction.AUTO_DENY


async def test_whom_nobody_can_look_up_keeps_the_seat(world: World) -> None:
    with unreadable(world, "alice"), pytest.raises(ConnectionFailed):
        await world.request(P1)
    record = await world.request(P1)
    assert record.progress.tier == 0
    with unreadable(world, "alice"), pytest.raises(ConnectionFailed):
        await world.approve(record, "alice")
    await world.approve(record, "alice")
    decided = await world.now_of(record)
    with unreadable(world, "alice"), pytest.raises(ConnectionFailed):
        await world.oversight.result(decided)
    assert isinstance(await world.oversight.result(decided), Approved)


async def test_a_vote_of_which_something_cannot_be_written_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await world.request(ANY)
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise InvalidInput("PL-400", "it cannot be told")

        patch.setattr(world.oversight, "close_cards", fail)
        with pytest.raises(InvalidInput, match="PL-400"):
            await world.approve(record, "alice")
    assert (await world.oversight.case(TENANT, record.ask.request_id)).votes == ()
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED
