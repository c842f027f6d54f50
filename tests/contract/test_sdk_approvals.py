"""Asking humans from a program: the same in this process and over HTTP, synchronous and awaited, and over the death of who waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from creto.common.errors import (
    ApprovalDenied,
    EnablementError,
    InvalidInput,
    OversightRequired,
    Timeout,
    Unauthorized,
)
from creto.common.timestamps import HOUR
from creto.contracts import Approved, RiskLevel
from creto.edge.api.approvers import TierTerms
from creto.edge.api.needs import ApprovalNeed
from creto.oversight import Bound, RequestState, Verdict
from creto.platform.nhi import PrincipalKind, rotation_proofs
from creto.sdk import AgentKey, AsyncCreto, AsyncHumanLayer, Creto, HumanLayer, approval, require_approval
from tests.contract.sdk_office import WAIT_S, Office, working
from tests.layers import Layer

KEPT = '@id("ask") @oversight("%s") forbid (principal is Agent, action == Action::"objects:write", resource == Object::"kept");'


def test_a_call_that_needs_an_approval_waits_for_it_and_goes_through_once(office: Office) -> None:
    """given a policy that asks / when the agent calls / then the gate has asked the humans, and their yes is good for this one call."""
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    office.operator.policies.upload(text=KEPT % office.policy, activate=True)
    office.operator.objects.put(key="kept", content=b"x")
    with pytest.raises(OversightRequired) as caught:
        office.bot.objects.delete(key="kept")
    (asked,) = office.open()
    assert caught.value.details["request_id"] == asked.request_id
    assert asked.action == "objects:write"
    assert asked.resource == "object:kept"
    patient = office.bot.awaiting_approval(timeout_s=WAIT_S)
    with working(lambda: patient.objects.delete(key="kept")) as done:
        assert office.decide() == asked.request_id
    assert not isinstance(done[0], Exception), done
    office.operator.objects.put(key="kept", content=b"y")
    with pytest.raises(OversightRequired) as again:
        office.bot.awaiting_approval(timeout_s=0.01).objects.delete(key="kept")
    assert again.value.details["request_id"] != asked.request_id
    facts = office.operator.approvals.get(request_id=str(again.value.details["request_id"])).shown.facts
    assert "its approval was used" in facts[0]


def test_whether_a_call_needs_an_approval_is_said_beforehand(office: Office) -> None:
    """given a policy that asks about one object / when the agent asks before it acts / then it learns who decides and how sure, and nobody is asked."""
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    office.operator.policies.upload(text=KEPT % office.policy, activate=True)
    check = office.bot.approvals.check_approval_required
    me = office.operator.auth.whoami()
    found = check(action="objects:write", resource="object:kept")
    assert (found.need, found.policy_id, found.assurance, found.risk) == (
        ApprovalNeed.REQUIRED,
        office.policy,
        "A1",
        RiskLevel.LOW,
    )
    assert [one.approvals for one in found.demands] == [1]
    assert [[who.person for who in tier.approvers] for tier in found.tiers] == [[me.agent]]
    assert found.estimated_wait_s == 3_600
    assert check(action="objects:write", resource="object:other").need is ApprovalNeed.NOT_REQUIRED
    assert office.open() == []


def test_an_act_that_no_policy_mentions_is_prohibited_until_a_policy_to_ask_under_is_named(office: Office) -> None:
    """given an act on which the policies say nothing / when the agent asks about it / then the check said who would decide, and beforehand why not."""
    check, act = office.bot.approvals.check_approval_required, {"action": "gift.send", "resource": "customer:ann"}
    silent = check(**act)
    assert (silent.need, "a policy that is named" in silent.reason) == (ApprovalNeed.PROHIBITED, True)
    named = check(**act, policy_id=office.policy)
    assert (named.need, named.policy_id, named.estimated_wait_s) == (ApprovalNeed.REQUIRED, office.policy, 3_600)
    with pytest.raises(EnablementError, match="OV-400"):
        check(**act, policy_id="nobody-stored-this")
    assert office.open() == []
    office.operator.policies.upload(
        text='@id("never") forbid (principal, action, resource == Resource::"customer:ann");', activate=True
    )
    assert check(**act, policy_id=office.policy).need is ApprovalNeed.PROHIBITED
    with pytest.raises(EnablementError, match="OV-403"):
        office.bot.approvals.create(policy_id=office.policy, **act)


@pytest.mark.parametrize(
    ("instead", "called"),
    [('{"amount":40,"to":"ann"}', (40, "ann", "", ())), ('{"amount":40}', None), ('{"amount":40,"to":"ann","more":1}', None), ('{"amount":40,"to":"ann","most":[1]}', None), ("[40]", None)],
)  # fmt: skip
def test_a_function_is_called_with_nothing_that_a_human_took_out(
    office: Office, instead: str, called: tuple[object, ...] | None
) -> None:
    """given a call that an approver edits / when they take an argument out, or put in one that there is not / then it is not called with the one asked for."""
    calls: list[tuple[object, ...]] = []

    @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
    def send(amount: int, to: str, note: str = "", *more: int) -> None:
        calls.append((amount, to, note, more))

    with working(lambda: send(500, "eve", "burn this", 7)) as done:
        office.decide(arguments=instead)
    if called is None:
        assert isinstance(done[0], InvalidInput)
        assert "amount, to, note, more" in str(done[0])
    assert calls == ([called] if called else [])


def test_a_function_is_not_called_with_what_its_arguments_have_become(office: Office) -> None:
    calls, payees = list[list[str]](), ["ann"]
    pay = require_approval(office.bot, office.policy, timeout_s=WAIT_S)(lambda to: calls.append([*to]))
    with working(lambda: pay(payees)) as done:
        while not office.open():
            threading.Event().wait(0.01)
        payees.append("eve")
        office.decide()
    assert isinstance(done[0], InvalidInput)
    assert calls == []


def test_the_history_is_by_who_or_by_when(office: Office) -> None:
    for who in ("agent", "approver"):
        with pytest.raises(InvalidInput, match="OV-400 since"):
            office.operator.approvals.history(**{who: office.operator.auth.whoami().agent}, since=1)


def test_a_generator_is_no_function_to_ask_about(office: Office) -> None:
    def rows() -> Any:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        require_approval(office.bot, office.policy)(rows)


def test_two_policies_that_ask_about_one_call_are_both_met(office: Office) -> None:
    """given a second policy, of another human's / when the first one's says yes / then the call does not go through."""
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    bea = office.operator.register("bea", kind=PrincipalKind.HUMAN)
    strong = f"{office.policy}-strong"
    tier = TierTerms(name="all", approvers=(bea.nhi,))
    office.operator.approvals.put_policy(policy_id=strong, tiers=(tier,))
    second = (KEPT % strong).replace('"ask"', '"ask-too"')
    office.operator.policies.upload(text=f"{KEPT % office.policy}\n{second}", activate=True)
    office.operator.objects.put(key="kept", content=b"x")
    with pytest.raises(OversightRequired) as caught:
        office.bot.objects.delete(key="kept")
    assert caught.value.policy_id == f"{office.policy} + {strong}"
    request_id = office.decide()
    case = office.operator.approvals.get(request_id=request_id)
    assert case.approval.state is RequestState.PENDING
    assert case.standing.missing_policies == (strong,)
    assert [one.policy_id for one in case.policy.joint] == [office.policy, strong]
    with pytest.raises(OversightRequired):
        office.bot.awaiting_approval(timeout_s=0.01).objects.delete(key="kept")
    assert office.operator.objects.get(key="kept").data == b"x"


def test_what_no_human_can_be_asked_about_stays_refused_and_says_why(office: Office) -> None:
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    office.operator.policies.upload(text=KEPT % "nobody-stored-this", activate=True)
    with pytest.raises(OversightRequired) as caught:
        office.bot.objects.put(key="kept", content=b"x")
    assert "request_id" not in caught.value.details
    assert str(caught.value.details["not_asked"]).startswith("OV-400")


def test_a_large_body_is_asked_about_by_its_digest(office: Office) -> None:
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    office.operator.policies.upload(text=KEPT % office.policy, activate=True)
    with working(lambda: office.bot.awaiting_approval(WAIT_S).objects.put(key="kept", content=bytes(300_000))) as done:
        request_id = office.decide()
    assert done[0].size == 300_000
    arguments = office.operator.approvals.get(request_id=request_id).arguments
    assert arguments is not None
    assert '"size_bytes":300000' in arguments


def test_a_function_runs_once_a_human_agrees(office: Office) -> None:
    sent: list[tuple[str, int]] = []

    @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
    def refund(customer: str, amount: int = 5) -> str:
        """Give money back."""
        sent.append((customer, amount))
        return "done"

    with working(lambda: refund("ann")) as done:
        request_id = office.decide()
    assert (done, sent) == (["done"], [("ann", 5)])
    shown = office.operator.approvals.get(request_id=request_id).shown
    assert [str(line) for line in shown.arguments] == ["amount = 5", 'customer = "ann"']
    assert shown.says == ("Give money back.",)


def test_a_human_changes_the_arguments_and_those_are_used(office: Office) -> None:
    @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
    def refund(customer: str, *notes: str, amount: int) -> tuple[str, tuple[str, ...], int]:
        return customer, notes, amount

    with working(lambda: refund("ann", "late", amount=500)) as done:
        office.decide(arguments='{"amount":40,"customer":"ann","notes":["late"]}')
    assert done == [("ann", ("late",), 40)]


def test_a_denial_is_raised_and_said(office: Office) -> None:
    @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
    def wipe(table: str) -> None:
        raise AssertionError("it ran")

    with working(lambda: wipe("users")) as done:
        office.decide(Verdict.DENY, reason="not on a Friday")
    assert isinstance(done[0], ApprovalDenied)
    assert done[0].reason == "not on a Friday"
    with pytest.raises(ApprovalDenied):
        wipe("users")  # the answer stands


def test_a_block_and_its_caller_s_own_time(office: Office) -> None:
    """given a caller that gives up / when a human agrees later / then whoever asks again has the decision at once, once."""
    terms: dict[str, Any] = {"action": "code.deploy", "resource": "service:web", "arguments": {"sha": "9f2c"}}
    with pytest.raises(Timeout, match="OV-504"), approval(office.bot, office.policy, timeout_s=0.05, **terms):
        raise AssertionError("it ran")
    (asked,) = office.open()
    assert asked.state is RequestState.PENDING
    office.decide()
    with approval(office.bot, office.policy, timeout_s=WAIT_S, **terms) as go:
        assert (go.request_id, go.arguments, go.changed) == (asked.request_id, {"sha": "9f2c"}, False)
    with pytest.raises(Timeout, match="OV-504"):
        office.bot.approvals.granted(policy_id=office.policy, timeout_s=0.05, **terms)
    assert office.open()[0].request_id != asked.request_id


@pytest.mark.parametrize("timeout_s", [-1, -0.5, float("nan")])
def test_less_than_no_time_is_refused_before_anybody_is_asked(office: Office, timeout_s: float) -> None:
    terms: dict[str, Any] = {"action": "code.deploy", "resource": "service:web"}
    asks = office.bot.approvals
    for ask in (
        lambda: asks.await_approval(policy_id=office.policy, timeout_s=timeout_s, **terms),
        lambda: asks.granted(policy_id=office.policy, timeout_s=timeout_s, **terms),
        lambda: asks.wait(request_id="req-1", timeout_s=timeout_s),
        lambda: office.bot.metering.wait_event(event_id="ev-1", timeout_s=timeout_s),
        lambda: office.bot.awaiting_approval(timeout_s=timeout_s),
        lambda: require_approval(office.bot, office.policy, timeout_s=timeout_s),
    ):
        with pytest.raises(InvalidInput, match="timeout_s: expected 0 or more seconds") as refused:
            ask()
        assert (refused.value.code, refused.value.field) == ("PL-400", "timeout_s")
    assert office.open() == []


def test_a_counter_proposal_is_taken_up_or_left(office: Office) -> None:
    """given a human who would agree to less / when the agent accepts / then that runs, once; when it does not, it is a denial that says what would do."""
    terms: dict[str, Any] = {
        "action": "funds.transfer",
        "resource": "account:7",
        "arguments": {"to": "ann", "amount": 50},
    }
    looked: list[Any] = []

    def enough(proposed: Any) -> bool:
        looked.append(proposed)
        return bool(proposed["amount"] >= 30)

    def pay() -> Any:
        with approval(office.bot, office.policy, timeout_s=WAIT_S, accept=enough, **terms) as go:
            return go

    for most, paid in (("20", False), ("40", True)):
        with working(pay) as done:
            denied = office.decide(Verdict.DENY, reason="too much", counter=(Bound(path="amount", at_most=most),))
        assert looked.pop() == {"to": "ann", "amount": int(most)}
        if paid:
            assert (done[0].arguments, done[0].changed) == ({"to": "ann", "amount": 40}, True)
            shown = office.operator.approvals.get(request_id=done[0].request_id).shown
            assert any(f"denied {denied} and proposed" in fact and "amount at most 40" in fact for fact in shown.facts)
        else:
            assert isinstance(done[0], ApprovalDenied)
            assert done[0].details["proposed"] == "amount at most 20"
            terms["resource"] = "account:8"  # another call: the answer to this one stands
    with pytest.raises(InvalidInput, match="OV-400"):
        office.bot.approvals.create(
            policy_id=office.policy, action="funds.transfer", resource="account:8", arguments='{"to":"ann","amount":41}',
            takes_up=denied,
        )  # fmt: skip


def test_arguments_that_json_cannot_say_are_refused(office: Office) -> None:
    with pytest.raises(InvalidInput, match="OV-400"):
        office.bot.approvals.granted(policy_id=office.policy, action="a", resource="b", arguments={"x": object()})


def test_nobody_fetches_anothers_token(office: Office) -> None:
    with pytest.raises(Timeout):
        office.bot.approvals.await_approval(policy_id=office.policy, action="a", resource="b", timeout_s=0.01)
    request_id = office.decide()
    theirs = office.operator.approvals.wait(request_id=request_id).result
    mine = office.bot.approvals.wait(request_id=request_id).result
    assert isinstance(theirs, Approved)
    assert isinstance(mine, Approved)
    assert theirs.override_token is None
    assert mine.override_token is not None
    with pytest.raises(Unauthorized, match="OV-403"):
        office.operator.approvals.use(request_id=request_id, override_token=mine.override_token)
    assert office.bot.approvals.use(request_id=request_id, override_token=mine.override_token).arguments == "{}"
    with pytest.raises(Unauthorized, match="PL-704"):
        office.bot.approvals.use(request_id=request_id, override_token=mine.override_token)


def test_who_waits_or_acts_is_signed_in_first(office: Office) -> None:
    """given an agent that died while it waited / when waiting or acting is the first that its next process does / then it is known."""
    asked = office.bot.approvals.create(policy_id=office.policy, action="a", resource="b")
    with office.acting(office.key, office.chain) as again:
        assert again.approvals.wait(request_id=asked.request_id, timeout_s=0).state is RequestState.PENDING
    office.decide()
    with office.acting(office.key, office.chain) as again, pytest.raises(Unauthorized, match="PL-703"):
        again.approvals.use(request_id=asked.request_id, override_token="x")
    with office.acting(office.key, office.chain) as again, pytest.raises(EnablementError, match="OV-409"):
        again.approvals.report(request_id=asked.request_id, succeeded=True)


def test_an_agent_with_another_key_since_acts_on_what_it_asked(office: Office) -> None:
    """given a request / when the agent's key is rotated / then its next key waits, fetches, acts and reports; nobody else's does."""
    asked = office.bot.approvals.create(policy_id=office.policy, action="a", resource="b")
    operator, key = office.operator, AgentKey.generate()
    old_proof, new_proof = rotation_proofs(office.key.signing, key.signing, tenant=operator.tenant)
    operator.agents.rotate(
        agent=office.key.nhi, verify_key=key.public.to_bytes(), old_proof=old_proof, new_proof=new_proof
    )
    other = operator.register("other")
    with office.acting(key, office.chain_to(key)) as bot, office.acting(other, office.chain_to(other)) as stranger:
        assert bot.approvals.wait(request_id=asked.request_id, timeout_s=0).state is RequestState.PENDING
        assert [one.request_id for one in bot.approvals.history(agent=office.key.nhi).items] == [asked.request_id]
        office.decide()
        result = bot.approvals.wait(request_id=asked.request_id).result
        assert isinstance(result, Approved)
        assert result.override_token is not None
        used = {"request_id": asked.request_id, "override_token": result.override_token}
        for act in (
            lambda: stranger.approvals.wait(request_id=asked.request_id),
            lambda: stranger.approvals.use(**used),
            lambda: stranger.approvals.report(request_id=asked.request_id, succeeded=True),
        ):
            with pytest.raises(Unauthorized, match="PL-403"):
                act()
        with pytest.raises(Unauthorized, match="PL-706"):
            office.bot.approvals.use(**used)  # the former key, while it overlaps: the token is not its own
        assert bot.approvals.use(**used).arguments == "{}"
        assert bot.approvals.report(request_id=asked.request_id, succeeded=True).succeeded


def test_an_agent_names_neither_its_approvers_nor_somebody_else(office: Office) -> None:
    from creto.contracts import OversightRequirement

    chosen = OversightRequirement(approvers=(office.key.nhi,), reason="me")
    with pytest.raises(InvalidInput, match="OV-400"):
        office.bot.approvals.create(policy_id="unknown", action="a", resource="b", requirement=chosen)
    other = office.operator.register("other")
    with pytest.raises(Unauthorized, match="PL-403"):
        office.bot.approvals.create(policy_id=office.policy, action="a", resource="b", agent=other.nhi)


def test_the_call_shapes_of_humanlayer(office: Office) -> None:
    hl = HumanLayer(office.bot, office.policy, timeout_s=WAIT_S)

    @hl.require_approval()
    def multiply(x: int, y: int) -> int:
        return x * y

    with working(lambda: multiply(6, 7)) as done:
        office.decide()
    assert done == [42]
    with working(lambda: multiply(1, y=1)) as done:
        office.decide(Verdict.DENY, reason="too easy")
    assert done == ["User denied multiply with message: too easy"]
    with working(lambda: hl.human_as_tool()("Which month?")) as done:
        office.decide(reason="May")
    assert done == ["May"]
    with working(lambda: hl.human_as_tool(contact_channel=office.policy)("Which year?")) as done:
        office.decide(Verdict.DENY)
    assert done == ["no"]


def test_a_question_that_is_asked_again_is_answered_again(office: Office) -> None:
    class ContactChannel:
        slack = "C1"

    tool = HumanLayer(
        office.bot, office.policy, timeout_s=WAIT_S, run_id="r", agent_name="a", verbose=True
    ).human_as_tool(ContactChannel(), response_options=[])
    for degrees in ("20", "21"):
        with working(lambda: tool("How warm is it now?")) as done:
            office.decide(reason=degrees)
        assert done == [degrees]


def test_a_method_is_asked_about_without_its_object(office: Office) -> None:
    class Bank:
        @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
        def pay(self, amount: int) -> int:
            return amount

        @classmethod
        @require_approval(office.bot, office.policy, timeout_s=WAIT_S)
        def close(cls, year: int) -> int:
            return year

    for work, line in ((lambda: Bank().pay(5), "amount = 5"), (lambda: Bank.close(2026), "year = 2026")):
        with working(work) as done:
            request_id = office.decide()
        assert not isinstance(done[0], Exception), done
        shown = office.operator.approvals.get(request_id=request_id).shown
        assert [str(one) for one in shown.arguments] == [line]


def test_what_cannot_be_guarded_is_said_where_it_is_written(office: Office) -> None:
    guard = require_approval(office.bot, office.policy)

    async def later() -> None: ...

    for wrong in (later, staticmethod(print)):
        with pytest.raises(TypeError, match=r"AsyncCreto|beneath"):
            guard(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="AsyncCreto"):
        HumanLayer(office.bot, office.policy).require_approval()(later)


def test_a_question_reaches_the_agent_and_its_answer_the_approver(office: Office) -> None:
    """given an agent that waits / when an approver asks / then the agent is told, answers, and the answer stands beside the request."""
    heard: list[str] = []

    def answer(question: str) -> str:
        heard.append(question)
        return "Because it is broken."

    terms: dict[str, Any] = {"policy_id": office.policy, "action": "code.deploy", "resource": "service:web"}
    with pytest.raises(Timeout):
        office.bot.approvals.await_approval(**terms, timeout_s=0.01)
    (asked,) = office.open()
    office.operator.approvals.ask(request_id=asked.request_id, text="Why now?")
    assert [one.text for one in office.bot.approvals.wait(request_id=asked.request_id, timeout_s=0.01).questions] == [
        "Why now?"
    ]
    with working(lambda: office.bot.approvals.await_approval(**terms, timeout_s=WAIT_S, answer=answer)) as done:
        for _ in range(WAIT_S * 100):
            notes = office.operator.approvals.get(request_id=asked.request_id).notes
            if len(notes) == 2 or done:
                break
            threading.Event().wait(0.01)
        assert not done
        office.decide()
    assert isinstance(done[0], Approved)
    assert (heard, [one.text for one in notes]) == (["Why now?"], ["Why now?", "Because it is broken."])
    assert office.operator.approvals.wait(request_id=asked.request_id).questions == ()


def test_a_weaker_policy_is_no_way_round_and_an_edit_has_to_be_a_call(office: Office) -> None:
    """given a call that the gate holds / then no other policy can be asked about it, and no edit approves what cannot be called."""
    office.operator.policies.assign_role(agent=office.key.nhi, role="operator")
    office.operator.policies.upload(text=KEPT % office.policy, activate=True)
    tier = TierTerms(name="all", approvers=(office.operator.auth.whoami().agent,))
    office.operator.approvals.put_policy(policy_id=f"{office.policy}-weak", tiers=(tier,))
    with pytest.raises(OversightRequired):
        office.bot.objects.retain(key="kept", until=2**60)
    (held,) = office.open()
    arguments = office.operator.approvals.get(request_id=held.request_id).arguments or ""
    with pytest.raises(Unauthorized, match="POLICY"):
        office.bot.approvals.create(
            policy_id=f"{office.policy}-weak", action=held.action, resource=held.resource, arguments=arguments
        )
    for nonsense in ('{"amount":"lots","x":[1]}', arguments.replace('"kept"', '"other"'), arguments.replace("{", "{ ")):
        with pytest.raises(InvalidInput, match="OV-400"):
            office.operator.approvals.decide(
                request_id=held.request_id, verdict=Verdict.APPROVE, round=held.round, arguments=nonsense
            )


# Awaited


@pytest.fixture
async def awaited(tmp_path: Path) -> AsyncIterator[tuple[AsyncCreto, AsyncCreto]]:
    async with AsyncCreto.local(tmp_path / "creto.db") as operator:
        ada = await operator.register("ada", kind=PrincipalKind.HUMAN)
        bot = await operator.register("bot")
        now = (await operator.time.get_timestamp()).timestamps[0]
        chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=operator.tenant)  # fmt: skip
        tier = TierTerms(name="all", approvers=((await operator.auth.whoami()).agent,))
        await operator.approvals.put_policy(policy_id="p", tiers=(tier,))
        yield operator, operator.acting(chain)


async def decided(operator: AsyncCreto, verdict: Verdict = Verdict.APPROVE, **terms: Any) -> None:
    for _ in range(WAIT_S * 100):
        found = (await operator.approvals.list()).items
        if found:
            await operator.approvals.decide(
                request_id=found[0].request_id, verdict=verdict, round=found[0].round, **terms
            )
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody asked")


async def test_the_same_awaited(awaited: tuple[AsyncCreto, AsyncCreto]) -> None:
    operator, bot = awaited

    @require_approval(bot, "p", timeout_s=WAIT_S)
    async def refund(amount: int) -> int:
        return amount

    hl = AsyncHumanLayer(bot, "p", timeout_s=WAIT_S)
    works: list[tuple[Any, Any, Any]] = [
        (lambda: refund(5), {}, 5),
        (lambda: refund(500), {"arguments": '{"amount":40}'}, 40),
        (
            lambda: hl.require_approval()(refund.__wrapped__)(1),
            {"verdict": Verdict.DENY},
            "User denied refund with message: ",
        ),  # type: ignore[attr-defined]
        (lambda: hl.human_as_tool()("Which month?"), {"reason": "May"}, "May"),
    ]
    for work, terms, expected in works:
        done, _ = await asyncio.gather(work(), decided(operator, **terms))
        assert done == expected
    with pytest.raises(Timeout):
        async with approval(bot, "p", action="a", resource="b", timeout_s=0.01):
            raise AssertionError("it ran")
    with pytest.raises(TypeError), approval(bot, "p", action="a", resource="b"):
        pass


# The death of who waits

WAITER = """
import sys
from creto.sdk import AgentKey, Creto
from creto.platform.nhi import DelegationChain

url, key, chain = sys.argv[1:]
with Creto.connect(url, key=AgentKey.load(key), chain=DelegationChain.from_bytes(open(chain, "rb").read())) as creto:
    print("waiting", flush=True)
    go = creto.approvals.granted(policy_id="p-dying", action="code.deploy", resource="service:web", arguments={"sha": "9f2c"})
    print("ran", go.request_id, flush=True)
"""


def test_a_process_that_died_while_waiting_has_the_decision_when_it_asks_again(served: Layer, tmp_path: Path) -> None:
    with Creto.connect(served.rest, token=served.token) as operator:
        ada, bot = operator.register("ada", kind=PrincipalKind.HUMAN), operator.register("dying")
        now = operator.time.get_timestamp().timestamps[0]
        chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=operator.tenant)  # fmt: skip
        tier = TierTerms(name="all", approvers=(operator.auth.whoami().agent,))
        operator.approvals.put_policy(policy_id="p-dying", tiers=(tier,))
        office = Office(operator, operator, "p-dying", bot, chain)
        bot.save(tmp_path / "bot.key")
        (tmp_path / "chain").write_bytes(chain.to_bytes())
        command = [sys.executable, "-c", WAITER, served.rest, str(tmp_path / "bot.key"), str(tmp_path / "chain")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "waiting\n"
            while not office.open():
                assert first.poll() is None
            first.kill()
        request_id = office.decide()
        again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert again.stdout.split() == ["waiting", "ran", request_id]
