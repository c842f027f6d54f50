"""The use cases around deciding: grants, counter-proposals, edits, batches, the desk, degraded memory, the gate of the runtime."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from creto.common.breaker import CircuitBreaker, CircuitState
from creto.common.errors import ConnectionFailed, EnablementError, Unauthorized
from creto.common.ids import PolicyId, RequestId, SandboxId
from creto.common.telemetry import Metrics
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.common.tracing import Span
from creto.contracts import (
    SUBJECT_DECISION,
    SUBJECT_NOTIFICATION,
    ActionContext,
    Approved,
    Denied,
    ExternalApiCall,
    FilesystemWrite,
    NotRequired,
    OversightDecisionEvent,
    OversightRequirement,
    PrivilegedOperation,
    Prohibited,
    Required,
    ResourceLimits,
    SandboxAction,
    SpawnChild,
)
from creto.oversight import (
    Approvals,
    Bound,
    Channel,
    GrantTerms,
    GrantWish,
    NotificationChannel,
    NotificationKind,
    OversightPolicy,
    Quorum,
    RequestState,
    Verdict,
    render,
)
from creto.oversight.types import NoteKind
from creto.store.types import Position
from tests.unit.oversight.test_scenarios import approving, refused
from tests.unit.oversight.world import P1, P2, TENANT, World, asked, consume, id_of, pending, person, tier, token_of


async def events(world: World, subject: str) -> list[Any]:
    rows = await world.store.read(lambda tx: tx.outbox_tail(Position(), 1_000))
    return [row for row in rows if row.subject.startswith(subject)]


# Asking


async def test_a_requirement_stands_in_for_a_policy(world: World) -> None:
    unknown = OversightPolicy(policy_id=PolicyId("none"), tiers=P1.tiers)
    await refused("OV-400", world.request(unknown))
    required = OversightRequirement(approvers=(id_of("alice"),), reason="large transfer")
    record = await world.request(unknown, requirement=required)
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_approvers_can_be_written_as_addresses(world: World) -> None:
    await world.contact("alice", "cfo@company.com", Channel.EMAIL)
    required = OversightRequirement(approvers=("cfo@company.com",), reason="large transfer")
    record = await world.request(OversightPolicy(policy_id=PolicyId("none"), tiers=P1.tiers), requirement=required)
    assert (await world.approve(record, "alice")).state is RequestState.APPROVED


async def test_what_nobody_could_approve_is_refused_at_once(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("dave"), tiers=(tier("dave"),))
    await refused("OV-424", world.request(policy))
    assert await world.oversight.list_pending_requests(TENANT) == []


async def test_the_ancestors_of_the_agent_cannot_approve(world: World) -> None:
    record = await world.request(P2, chain=("alice", "reviewer-bot", "bot-7"))
    assert "SELF_APPROVAL" in (await refused("OV-403", world.approve(record, "alice"))).message
    await world.approve(record, "bob")
    assert (await world.approve(record, "carol")).state is RequestState.APPROVED


class LostMemory:
    async def fetch_reasoning_context(self, *_: object) -> list[object]:
        raise ConnectionFailed("PL-503", "memory is away")


async def test_without_memory_the_request_goes_on_and_says_so(world: World) -> None:
    breaker = CircuitBreaker("memory", failure_threshold=2)
    degraded = world.twin(memory=LostMemory(), breaker=breaker)
    for number in range(3):
        record = await degraded.request(arguments={"n": number})
        assert record.ask.reasoning_code == "OV-503"
        assert "Its reasoning is not available: OV-503" in render(record.ask).text()
    assert breaker.state is CircuitState.OPEN
    assert breaker.refusals == 1
    assert (await degraded.approve(record, "alice")).state is RequestState.APPROVED


class Reason(msgspec.Struct):
    text: str


class ForgetfulMemory:
    """Away until it is back."""

    def __init__(self) -> None:
        self.back = False

    async def fetch_reasoning_context(self, *_: object) -> list[Reason]:
        if not self.back:
            raise ConnectionFailed("PL-503", "memory is away")
        return [Reason("Invoice 17 is due")]


async def test_the_reasons_come_when_memory_is_back(world: World) -> None:
    await world.contact("alice", "U1")
    memory = ForgetfulMemory()
    layer = world.twin(memory=memory, breaker=CircuitBreaker("memory", failure_threshold=100))
    shown, voted = await layer.request(P2), await layer.request(P2, {"n": 2})
    await layer.approve(voted, "alice")
    await layer.pass_s(31)
    memory.back = True
    for _ in range(4):
        await layer.pass_s(31)
    later = await layer.now_of(shown)
    assert (later.ask.round, later.ask.reasoning, later.ask.reasoning_code) == (2, ("Invoice 17 is due",), None)
    assert later.display_hash != shown.display_hash
    sent = await layer.oversight.notifications(TENANT, shown.ask.request_id)
    assert [one.kind for one in sent] == [NotificationKind.ASKED, NotificationKind.EDITED]
    assert "SUPERSEDED" in (await refused("OV-409", layer.click(shown, "alice", round=1))).message
    assert (await layer.now_of(voted)).ask == voted.ask
    assert (await layer.approve(voted, "bob")).state is RequestState.APPROVED


async def test_a_cancelled_or_old_request_is_asked_anew(world: World) -> None:
    first = await world.request()
    await world.oversight.cancel(TENANT, first.ask.request_id, by=id_of("bot-7"))
    second = await world.request()
    await world.deny(second, "alice")
    assert (await world.request()).ask.request_id == second.ask.request_id
    world.clock.advance(DAY)
    third = await world.request()
    assert len({first.ask.request_id, second.ask.request_id, third.ask.request_id}) == 3


async def test_an_approval_is_acted_on_in_time_or_asked_for_again(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("short"), execution_s=60)
    record = await world.request(policy)
    await world.approve(record, "alice")
    world.clock.advance(61 * SECOND)
    assert "EXPIRED" in (await refused("OV-410", token_of(world, record))).message
    assert (await world.request(policy)).progress.state is RequestState.PENDING


async def test_who_asks_does_not_learn_which_requests_of_others_there_are(world: World) -> None:
    theirs, nobodys = (await world.request()).ask.request_id, RequestId("req-none")
    for field, code in (("takes_up", "OV-400"), ("supersedes", "OV-403")):
        asked = [
            (one, world.request(arguments={"n": 2}, agent="reviewer-bot", **{field: one})) for one in (theirs, nobodys)
        ]
        said = [(await refused(code, asking)).rendered().replace(one, "REQUEST") for one, asking in asked]
        assert said[0] == said[1]


async def test_only_its_agent_replaces_a_request(world: World) -> None:
    record = await world.request()
    other = world.request(arguments={"n": 2}, agent="reviewer-bot", supersedes=record.ask.request_id)
    await refused("OV-403", other)
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


# Deciding


async def test_a_vote_that_may_not_change(world: World) -> None:
    policy = await world.policy(P2, policy_id=PolicyId("fixed"), vote_change=False)
    record = await world.request(policy)
    await world.approve(record, "alice")
    await refused("OV-409", world.deny(record, "alice"))


async def test_a_denial_with_a_reason_where_the_policy_wants_one(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("why"), reason_required=True)
    record = await world.request(policy)
    await refused("OV-400", world.deny(record, "alice", reason="  "))
    assert (await world.deny(record, "alice", reason="not now")).state is RequestState.DENIED


async def test_approve_for_a_while(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=3_600, uses_max=5))
    first = await world.request(policy, idempotency_key="1")
    await world.approve(first, "alice", wish=GrantWish(ttl_s=600, uses=2))
    states = [(await world.request(policy, idempotency_key=str(n))).progress.state for n in range(2, 5)]
    assert states == [RequestState.APPROVED, RequestState.APPROVED, RequestState.PENDING]
    (grant,) = await world.oversight.grants(TENANT)
    assert (grant.uses, grant.granted_by) == (2, person("alice"))


async def test_a_grant_ends_when_it_is_taken_back(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=3_600, uses_max=5))
    await world.approve(await world.request(policy, idempotency_key="1"), "alice", wish=GrantWish(ttl_s=600, uses=2))
    (grant,) = await world.oversight.grants(TENANT)
    await refused("OV-403", world.oversight.end_grant(TENANT, grant.grant_id, by=id_of("mallory")))
    await world.oversight.end_grant(TENANT, grant.grant_id, by=id_of("bob"))
    assert (await world.request(policy, idempotency_key="2")).progress.state is RequestState.PENDING


async def test_a_grant_of_somebody_who_left_is_worth_nothing(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=3_600, uses_max=5))
    await world.approve(await world.request(policy, idempotency_key="1"), "alice", wish=GrantWish(ttl_s=600, uses=2))
    await world.nhi.revoke(TENANT, id_of("alice"))
    assert (await world.request(policy, idempotency_key="2")).progress.state is RequestState.PENDING


async def test_a_counter_proposal_is_taken_up_once(world: World) -> None:
    record = await world.request(arguments={"amount": 50})
    bounds = (Bound(path="amount", at_most="40"),)
    await world.deny(record, "alice", reason="40 at most", counter=bounds)
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Denied)
    assert result.counter == bounds
    assert (await world.request(arguments={"amount": 45})).progress.state is RequestState.PENDING
    assert (await world.request(arguments={"amount": 40})).progress.state is RequestState.APPROVED
    assert (await world.request(arguments={"amount": 39})).progress.state is RequestState.PENDING


async def test_a_counter_proposal_is_about_what_was_asked(world: World) -> None:
    record = await world.request(arguments={"amount": 50, "to": {"name": "ann"}})
    unknown = (Bound(path="to.name", equal='"ben"'), Bound(path="nope", at_most="4"), Bound(path="to", equal='"ben"'))
    error = await refused("OV-400", world.deny(record, "alice", counter=unknown))
    assert (error.field, error.got) == ("counter", "nope, to")
    assert (await world.now_of(record)).progress.state is RequestState.PENDING
    await world.deny(record, "alice", counter=unknown[:1])


async def test_every_channel_tells_what_was_proposed_instead(world: World) -> None:
    await world.contact("bob", "U2")
    policy = await world.policy(P2, policy_id=PolicyId("two"), quorum=Quorum(approvals=2, denials=2))
    record = await world.request(policy, {"amount": 50})
    (card,) = await world.oversight.notifications(TENANT, record.ask.request_id)
    await world.deny(record, "alice", reason="Too much.", counter=(Bound(path="amount", at_most="40"),))
    assert (
        "alice denied (own key): Too much.; proposed instead: amount at most 40"
        in (await world.oversight.letter(card)).standing
    )
    await world.deny(record, "bob", counter=(Bound(path="amount", at_most="30"),))
    assert (await world.oversight.letter(card)).decision.endswith("; proposed instead: amount at most 30")


async def test_an_edit_is_checked_against_schema_and_policy(world: World) -> None:
    await world.permit_all(
        '@id("cap") forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 100 };'
    )

    strict = await world.policy(P2, arguments_schemas={"*": '{"required": ["amount"]}'})
    record = await world.request(strict)
    await refused("OV-400", world.approve(record, "alice", arguments=b'{"other": 1}'))
    assert "POLICY" in (await refused("OV-403", world.approve(record, "alice", arguments=b'{"amount": 101}'))).message
    assert (await world.approve(record, "alice", arguments=b'{"amount": 100}')).round == 2


async def test_two_edits_at_once_are_one(world: World) -> None:
    await world.permit_all()
    record = await world.request(P2)
    work = [world.approve(record, name, arguments=b'{"amount": %d}' % n) for n, name in enumerate(("alice", "bob"))]
    results = await asyncio.gather(*work, return_exceptions=True)
    (late,) = [one for one in results if isinstance(one, EnablementError)]
    assert "SUPERSEDED" in late.message
    assert (await world.now_of(record)).ask.round == 2


async def test_a_batch_waits_until_each_item_is_decided(world: World) -> None:
    record = await world.request(P2, items=approving(3))
    await world.approve(record, "alice", items={"i2": Verdict.DENY})
    receipt = await world.approve(record, "bob", items={"i0": Verdict.DENY, "i2": Verdict.DENY})
    assert receipt.state is RequestState.APPROVED
    assert (await world.now_of(record)).progress.approved_items == ("i1",)


async def test_an_item_that_is_not_there_is_refused_before_there_is_anything_to_sign(world: World) -> None:
    batch, whole = await world.request(P2, items=approving(2)), await world.request(P2, {"n": 9})
    for record, ids in ((batch, "of i0, i1"), (whole, "none: ")):
        error = await refused("OV-400", world.approve(record, "alice", items={"nope": Verdict.DENY}))
        assert ids in error.message
    assert await world.entries("ApprovalReceived") == []
    assert await world.entries("DenialReceived") == []


async def test_a_second_process_takes_the_first_ones_token_back(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    first = await token_of(world, record)
    second = await token_of(world.twin(), record)
    assert first != second
    await refused("PL-703", consume(world, record, first))
    await consume(world, record, second)
    await refused("OV-410", token_of(world, record))


# The desk


async def test_comments_questions_and_answers(world: World) -> None:
    await world.contact("alice", "U1")
    record = await world.request()
    id, desk = record.ask.request_id, world.oversight
    await desk.comment(TENANT, id, "looks large", by=id_of("bob"))
    await desk.ask(TENANT, id, "Which invoice?", by=id_of("alice"))
    await refused("OV-403", desk.answer(TENANT, id, "17", by=id_of("mallory")))
    await refused("OV-403", desk.comment(TENANT, id, "hello", by=id_of("mallory")))
    await desk.answer(TENANT, id, "17", by=id_of("bot-7"))
    notes = [(note.kind, note.text) for note in await desk.notes(TENANT, id)]
    assert notes == [(NoteKind.COMMENT, "looks large"), (NoteKind.QUESTION, "Which invoice?"), (NoteKind.ANSWER, "17")]
    assert NotificationKind.ANSWERED in [n.kind for n in await desk.notifications(TENANT, id)]
    assert len(await events(world, "oversight.questions")) == 1


async def test_nothing_is_said_about_what_is_over(world: World) -> None:
    record = await world.request()
    id, desk = record.ask.request_id, world.oversight
    await world.deny(record, "alice", reason="no")
    for late in (
        desk.comment(TENANT, id, "hm", by=id_of("bob")),
        desk.ask(TENANT, id, "why?", by=id_of("alice")),
        desk.answer(TENANT, id, "so", by=id_of("bot-7")),
    ):
        assert "already denied" in (await refused("OV-409", late)).message
    assert await desk.notes(TENANT, id) == []


async def test_a_snoozed_request_is_out_of_one_inbox_alone(world: World) -> None:
    record = await world.request(P2)
    await world.oversight.snooze(TENANT, record.ask.request_id, by=id_of("alice"), for_s=60)
    assert await world.oversight.inbox(TENANT, id_of("alice")) == []
    assert len(await world.oversight.inbox(TENANT, id_of("bob"))) == 1
    assert await world.oversight.inbox(TENANT, id_of("mallory")) == []
    world.clock.advance(61 * SECOND)
    assert len(await world.oversight.inbox(TENANT, id_of("alice"))) == 1


async def test_a_flood_hides_nobody_elses_request(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creto.oversight.requests.PAGE_ITEMS_MAX", 3)
    for number in range(7):
        await world.request(P1, {"n": number})
    late = [await world.request(P2, {"n": number}, agent="reviewer-bot") for number in range(4)]
    first = await world.oversight.inbox(TENANT, id_of("bob"), limit=2)
    rest = await world.oversight.inbox(TENANT, id_of("bob"), after=first[-1].ask.request_id, limit=3)
    assert [one.ask.request_id for one in (*first, *rest)] == [one.ask.request_id for one in late]


async def test_only_who_approved_takes_it_back_and_only_unused(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    await refused("OV-403", world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("bob")))
    await consume(world, record, await token_of(world, record))
    await refused("OV-410", world.oversight.revoke(TENANT, record.ask.request_id, by=id_of("alice")))


async def test_who_is_told_where(world: World) -> None:
    await world.contact("alice", "U1", Channel.SLACK)
    await world.contact("alice", "alice@corp.example", Channel.EMAIL)
    only_mail = msgspec.structs.replace(tier("alice"), channels=(NotificationChannel(channel=Channel.EMAIL),))
    policy = await world.policy(P1, policy_id=PolicyId("mail"), tiers=(only_mail,))
    record = await world.request(policy)
    (told,) = await world.oversight.notifications(TENANT, record.ask.request_id)
    assert (told.channel, told.address, told.kind) == (Channel.EMAIL, "alice@corp.example", NotificationKind.ASKED)
    assert [row.subject for row in await events(world, SUBJECT_NOTIFICATION)] == [f"{SUBJECT_NOTIFICATION}.email"]
    assert "tier" in world.oversight.unreachable(TENANT)[PolicyId("P3")]


# What others see


async def test_the_decision_is_on_the_bus_without_the_token(world: World) -> None:
    record = await world.request()
    await world.approve(record, "alice")
    token = await token_of(world, record)
    (row,) = await events(world, SUBJECT_DECISION)
    event = msgspec.json.decode(row.payload, type=OversightDecisionEvent)
    assert (event.request_id, event.approver.nhi) == (record.ask.request_id, id_of("alice"))
    assert event.signature
    assert token.encode() not in row.payload


async def test_the_metrics_of_the_spec(world: World) -> None:
    metrics = Metrics()
    counting = world.twin(metrics=metrics)
    await counting.approve(await counting.request(), "alice")
    text = metrics.render()
    assert 'oversight_requests_created_total{policy_id="P1"} 1' in text
    assert 'oversight_state_transitions_total{from="PENDING",to="APPROVED"} 1' in text
    assert 'oversight_approvals_latency_seconds_count{tier="1"} 1' in text


async def test_spans_name_the_request_its_state_and_who_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    set_on: dict[str, object] = {}
    monkeypatch.setattr(Span, "set", lambda self, name, value: set_on.update({str(name): value}))
    record = await world.request(P2)
    assert set_on == {"oversight.request_id": record.ask.request_id, "oversight.state": "PENDING"}
    await world.approve(record, "alice")
    await world.deny(record, "bob")
    expected = {"oversight.state": "DENIED", "oversight.approver": person("bob")}
    assert set_on == {"oversight.request_id": record.ask.request_id, **expected}


async def test_new_trouble_is_shown_before_old(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creto.oversight.delivery.PAGE_ITEMS_MAX", 2)
    await world.contact("alice", "U1")
    records = [await world.request(P1, {"n": number}) for number in range(3)]
    shown = [one.request_id for one in (await world.oversight.health(TENANT)).undelivered]
    assert shown == [records[2].ask.request_id, records[1].ask.request_id]


def act(what: Any) -> SandboxAction:
    return SandboxAction(action_type=what, agent_nhi=id_of("dave"), delegation_chain=(), context=ActionContext())


async def test_the_gate_of_the_runtime(world: World) -> None:
    await world.permit_all(
        '@id("egress") @oversight("P1") forbid (principal, action == Action::"network.egress", resource);',
        '@id("mount") forbid (principal, action == Action::"sandbox.privileged", resource);',
    )
    gate, sandbox = Approvals(world.oversight), SandboxId("sb-1")
    assert (
        gate.check_approval_required(TENANT, sandbox, act(SpawnChild(image="x", resources=ResourceLimits())))
        == NotRequired()
    )
    assert gate.check_approval_required(TENANT, sandbox, act(FilesystemWrite(path="/etc/passwd"))) == NotRequired()
    asks = gate.check_approval_required(
        TENANT, sandbox, act(ExternalApiCall(destination="example.com:443", method="POST"))
    )
    assert asks == Required(policy_id=PolicyId("P1"), estimated_wait_s=1_800)
    assert isinstance(
        gate.check_approval_required(TENANT, sandbox, act(PrivilegedOperation(operation="mount"))), Prohibited
    )
    waiting = asyncio.create_task(gate.await_approval(TENANT, sandbox, asked()))
    await pending(world)
    (record,) = await world.oversight.list_pending_requests(TENANT)
    assert record.ask.sandbox_id == sandbox
    await world.approve(record, "alice")
    assert isinstance(await waiting, Approved)
    await refused("OV-409", gate.cancel_approval(TENANT, record.ask.request_id))
    with pytest.raises(Unauthorized):
        await gate.await_approval(TENANT, None, msgspec.structs.replace(asked(), tenant="other"))


async def test_a_cancelled_wait_ends_and_says_so(world: World) -> None:
    gate = Approvals(world.oversight)
    waiting = asyncio.create_task(gate.await_approval(TENANT, None, asked()))
    await pending(world)
    (record,) = await world.oversight.list_pending_requests(TENANT)
    await gate.cancel_approval(TENANT, record.ask.request_id)
    await refused("OV-409", waiting)
    assert world.oversight.waiting() == 0
    await refused("OV-404", gate.cancel_approval(TENANT, RequestId("req-none")))


async def test_a_thousand_waiters_are_no_threads(world: World) -> None:
    import threading

    before = threading.active_count()
    record = await world.request()
    waiting = [asyncio.create_task(world.oversight.await_decision(TENANT, record.ask.request_id)) for _ in range(1_000)]
    for _ in range(2_000):
        if world.oversight.waiting() == 1_000:
            break
        await asyncio.sleep(0.005)
    assert threading.active_count() <= before + 4
    await world.deny(record, "alice")
    assert all(isinstance(one, Denied) for one in await asyncio.gather(*waiting))


async def test_break_glass_is_for_whom_the_policy_names(world: World) -> None:
    arm = {"agent": id_of("bot-7"), "action": "code.deploy", "resource": "service:web", "reason": "outage"}
    await refused("OV-400", world.oversight.break_glass(TENANT, P1.policy_id, by=id_of("carol"), **arm))
    from creto.oversight import BreakGlassTerms

    policy = await world.policy(P1, policy_id=PolicyId("glass"), break_glass=BreakGlassTerms(armers=(id_of("carol"),)))
    await refused("OV-403", world.oversight.break_glass(TENANT, policy.policy_id, by=id_of("bob"), **arm))
    await refused("OV-400", world.oversight.break_glass(TENANT, policy.policy_id, by=id_of("carol"), ttl_s=901, **arm))
    await refused(
        "OV-400", world.oversight.break_glass(TENANT, policy.policy_id, by=id_of("carol"), **arm | {"reason": " "})
    )
    assert await world.oversight.grants(TENANT) == []


async def test_delegations_have_bounds(world: World) -> None:
    now = world.clock.now()
    for to, ends_at in (("alice", now + DAY), ("bob", now), ("bob", now + 91 * DAY), ("reviewer-bot", now + DAY)):
        work = world.oversight.delegate(
            TENANT,
            of=id_of("alice"),
            to=id_of(to),
            starts_at=now,
            ends_at=ConsensusTimestamp(ends_at),
            by=id_of("alice"),
        )
        await refused("OV-400", work)
    whole, to_come = 90 * DAY, ConsensusTimestamp(now + 30 * DAY)
    for starts_at, ends_at in (
        (now, now + whole),
        (to_come, to_come + whole),
    ):  # counted from its start, whenever that is
        planned = await world.oversight.delegate(
            TENANT, of=id_of("carol"), to=id_of("trudy"), starts_at=starts_at, ends_at=ConsensusTimestamp(ends_at),
            by=id_of("carol"),
        )  # fmt: skip
        await world.oversight.end_delegation(TENANT, planned.delegation_id, by=id_of("carol"))
    for starts_at, ends_at in ((to_come, to_come + whole + 1), (now - 2 * DAY, now - DAY)):
        error = await refused(
            "OV-400",
            world.oversight.delegate(
                TENANT, of=id_of("carol"), to=id_of("trudy"), starts_at=ConsensusTimestamp(starts_at),
                ends_at=ConsensusTimestamp(ends_at), by=id_of("carol"),
            ),
        )  # fmt: skip
        assert "90 days from its start" in error.message
    given = await world.oversight.delegate(
        TENANT, of=id_of("alice"), to=id_of("trudy"), starts_at=now, ends_at=ConsensusTimestamp(now + DAY),
        policies=(P2.policy_id,), by=id_of("alice"),
    )  # fmt: skip
    await refused("OV-403", world.approve(await world.request(P1), "trudy"))
    await world.approve(await world.request(P2), "trudy")
    assert await world.oversight.end_delegation(TENANT, given.delegation_id, by=id_of("alice"))
    await refused("OV-403", world.approve(await world.request(P2, {"n": 2}), "trudy"))
