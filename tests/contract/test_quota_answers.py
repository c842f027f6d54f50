"""What humans answer to quotas, from a program: in this process and over HTTP."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import ApprovalDenied, InvalidInput, OversightRequired, Unauthorized
from creto.common.ids import EventId
from creto.common.timestamps import HOUR
from creto.contracts import BillableEvent, CostThresholdType, RequireApproval
from creto.edge.api.approvers import TierTerms
from creto.metering import AllowWithNotification, Ask, Block, EventState, Limit, Told, Window, WindowUnit
from creto.oversight import Bound, RequestState, Verdict
from creto.platform.nhi import PrincipalKind
from creto.sdk import Creto
from tests.contract.sdk_office import WAIT_S, Office, working

DAY = Window(WindowUnit.DAY)


@pytest.fixture
def office(office: Office) -> Office:
    """The bot may do what developers may."""
    office.operator.policies.assign_role(agent=office.key.nhi, role="developer")
    return office


def asking(office: Office, limit: int = 5) -> str:
    """A quota of the bot beyond which a human decides; the acts that it counts."""
    act = f"{office.policy}.call"
    office.operator.quotas.put(
        quota_id=office.policy, counts=(act,), agent=office.key.nhi, limits=(Limit(limit, DAY),),
        overflow=Ask(policy_id=office.policy),
    )  # fmt: skip
    return act


def test_a_reservation_beyond_a_quota_that_asks_waits_and_is_let_through_once(office: Office) -> None:
    """given a quota that asks / when more is reserved / then it is one request about that act, whose approval is good for one reservation."""
    act, me = asking(office), office.key.nhi
    office.bot.quotas.reserve(agent=me, event_type=act, amount=5)
    found = office.bot.quotas.check(agent=me, event_type=act, amount=3)
    assert (found.outcome, found.policy_id) == ("require_approval", office.policy)
    with pytest.raises(OversightRequired) as caught:
        office.bot.quotas.reserve(agent=me, event_type=act, amount=3)
    (asked,) = office.open()
    assert (caught.value.code, caught.value.details["request_id"]) == ("MT-202", asked.request_id)
    arguments = str(office.operator.approvals.get(request_id=asked.request_id).arguments)
    assert f'"agent":"{me}","event_type":"{act}","amount":3' in arguments

    with working(
        lambda: office.bot.awaiting_approval(WAIT_S).quotas.reserve(agent=me, event_type=act, amount=3)
    ) as done:
        assert office.decide() == asked.request_id
    assert done[0].amount == 3
    with pytest.raises(OversightRequired) as again:
        office.bot.quotas.reserve(agent=me, event_type=act, amount=3)
    assert again.value.details["request_id"] != asked.request_id


def test_where_two_quotas_ask_each_of_their_policies_has_to_be_met(office: Office) -> None:
    """given quotas of one act that ask under two policies / when it goes beyond both / then it is one request of both, for one of which is not enough."""
    act, me, other = asking(office, 0), office.key.nhi, f"{office.policy}-other"
    judge = office.operator.register(f"judge-{office.policy}", kind=PrincipalKind.HUMAN)
    office.operator.approvals.put_policy(policy_id=other, tiers=(TierTerms(name="all", approvers=(judge.nhi,)),))
    terms = Ask(policy_id=other)
    office.operator.quotas.put(quota_id=other, counts=(act,), agent=me, limits=(Limit(0, DAY),), overflow=terms)
    both = f"{office.policy} + {other}"
    assert office.bot.quotas.check(agent=me, event_type=act).policy_id == both
    with pytest.raises(OversightRequired) as caught:
        office.bot.quotas.reserve(agent=me, event_type=act)
    assert caught.value.policy_id == both
    assert office.decide() == caught.value.details["request_id"]
    (asked,) = office.open()
    assert (asked.request_id, asked.state) == (caught.value.details["request_id"], RequestState.PENDING)
    with pytest.raises(OversightRequired):
        office.bot.quotas.reserve(agent=me, event_type=act)


ASKED = '@id("held") @oversight("%s") forbid (principal is Agent, action == Action::"reserve_quota", resource);'


@pytest.mark.parametrize("who", ["both", "one"])
def test_where_a_policy_and_a_quota_ask_each_has_to_be_met(office: Office, who: str) -> None:
    """given a policy that asks about reserving and a quota that asks about the act under another / when it is approved / then by both, or not at all."""
    act, me, other = asking(office, 0), office.key.nhi, f"{office.policy}-cedar"
    judge = office.operator.auth.whoami().agent
    if who == "one":
        judge = office.operator.register(f"judge-{office.policy}", kind=PrincipalKind.HUMAN).nhi
    office.operator.approvals.put_policy(policy_id=other, tiers=(TierTerms(name="all", approvers=(judge,)),))
    office.operator.policies.upload(text=ASKED % other, activate=True)
    try:
        with pytest.raises(OversightRequired) as caught:
            office.bot.quotas.reserve(agent=me, event_type=act)
        assert caught.value.policy_id == f"{office.policy} + {other}"
        request_id = office.decide()
        assert caught.value.details["request_id"] == request_id
        if who == "both":
            token = office.bot.approvals.wait(request_id=request_id).result.override_token
            assert office.bot.with_override(token).quotas.reserve(agent=me, event_type=act).amount == 1
        else:
            assert office.operator.approvals.get(request_id=request_id).standing.missing_policies == (other,)
            with pytest.raises(OversightRequired):
                office.bot.quotas.reserve(agent=me, event_type=act)
    finally:
        office.operator.policies.upload(text="", activate=True)


def test_an_approval_of_a_policy_that_asked_first_passes_no_quota_that_asks(office: Office) -> None:
    """given an approval under a policy / when a quota asks under another by the time it is used / then it lets nothing through, and is not used up."""
    act, me, other = f"{office.policy}.call", office.key.nhi, f"{office.policy}-cedar"
    boss = office.operator.auth.whoami().agent
    office.operator.approvals.put_policy(policy_id=other, tiers=(TierTerms(name="all", approvers=(boss,)),))
    office.operator.policies.upload(text=ASKED % other, activate=True)
    try:
        with pytest.raises(OversightRequired) as caught:
            office.bot.quotas.reserve(agent=me, event_type=act)
        assert caught.value.policy_id == other
        token = office.bot.approvals.wait(request_id=office.decide()).result.override_token
        asking(office, 0)
        with pytest.raises(Exception, match="PL-706"):
            office.bot.with_override(token).quotas.reserve(agent=me, event_type=act)
        office.operator.quotas.delete(quota_id=office.policy)
        assert office.bot.with_override(token).quotas.reserve(agent=me, event_type=act).amount == 1
    finally:
        office.operator.policies.upload(text="", activate=True)


def test_a_token_for_one_amount_is_none_for_another_and_costs_no_quota(office: Office) -> None:
    act, me = asking(office, 0), office.key.nhi
    with pytest.raises(OversightRequired) as caught:
        office.bot.quotas.reserve(agent=me, event_type=act, amount=1)
    office.decide()
    token = office.bot.approvals.wait(request_id=str(caught.value.details["request_id"])).result.override_token
    with pytest.raises(Exception, match="PL-706"):
        office.bot.with_override(token).quotas.reserve(agent=me, event_type=act, amount=100)
    assert office.bot.with_override(token).quotas.reserve(agent=me, event_type=act, amount=1).amount == 1
    with pytest.raises(Exception, match="PL-70"):
        office.bot.with_override(token).quotas.reserve(agent=me, event_type=act, amount=1)


def test_a_reservation_is_ended_by_whom_it_is_for_who_made_it_and_operators(office: Office) -> None:
    """given agents that know a reservation's id / when another's is settled or released / then it is refused, and it stays whole."""
    me, act = office.key.nhi, f"{office.policy}.call"
    held = [office.bot.quotas.reserve(agent=me, event_type=act).reservation_id for _ in range(2)]
    other = office.operator.register(f"other-{office.policy}")
    now = office.operator.time.get_timestamp().timestamps[0]
    boss = office.operator.register(f"boss-{office.policy}", kind=PrincipalKind.HUMAN)
    chain = boss.delegate(
        other.nhi, actions=("*",), tenant=office.operator.tenant, not_before=now, not_after=type(now)(now + HOUR)
    )
    with office.acting(other, chain) as stranger:
        for end in (stranger.quotas.settle, stranger.quotas.release):
            with pytest.raises(Unauthorized, match="PL-403"):
                end(reservation_id=held[0])
        mine = stranger.quotas.reserve(agent=other.nhi, event_type=act)
        assert stranger.quotas.settle(reservation_id=mine.reservation_id).amount == 1
    assert office.bot.quotas.settle(reservation_id=held[0]).amount == 1
    assert office.operator.quotas.release(reservation_id=held[1]).amount == 0
    for_me = office.operator.quotas.reserve(agent=me, event_type=act)
    assert office.bot.quotas.release(reservation_id=for_me.reservation_id).amount == 0


def test_who_is_denied_reserves_nothing(office: Office) -> None:
    act, me = asking(office, 0), office.key.nhi
    with working(lambda: office.bot.awaiting_approval(WAIT_S).quotas.reserve(agent=me, event_type=act)) as done:
        office.decide(Verdict.DENY, reason="no more today")
    assert isinstance(done[0], ApprovalDenied)
    assert "no more today" in str(done[0])


def test_half_a_character_is_no_text(office: Office) -> None:
    """given half of a surrogate pair in a body, a path, a query / when it is sent / then it is a bad request, in the words of the product."""
    me, half = office.key.nhi, "\ud83d"
    used = replace(payment(office, "pay", "e-half"), properties={"note": half})
    with pytest.raises(InvalidInput, match="MT-400") as caught:
        office.bot.metering.submit_event(event=used)
    assert caught.value.got == "half of a surrogate pair"
    with pytest.raises(InvalidInput, match="MT-400"):
        office.bot.quotas.reserve(agent=me, event_type=half)
    with pytest.raises(InvalidInput, match="PL-400"):
        office.bot.objects.put(key=half, content=b"x")
    with pytest.raises(InvalidInput, match="PL-400"):
        office.bot.audit.query(event=half)


def limit_that_asks(office: Office) -> tuple[str, str]:
    """A limit on cost of one event beyond which a human decides; what it counts, and an event id."""
    act = f"{office.policy}.pay"
    threshold = RequireApproval(approvers=(office.operator.auth.whoami().agent,))
    office.operator.quotas.put_threshold(
        threshold_id=office.policy, threshold_type=CostThresholdType.PER_TRANSACTION, limit=Decimal(10), action=threshold,
        counts=(act,), agent=office.key.nhi,
    )  # fmt: skip
    return act, f"pay-{office.policy}"


def payment(office: Office, act: str, event_id: str) -> BillableEvent:
    return BillableEvent(
        event_id=EventId(event_id), tenant=office.operator.tenant, agent_nhi=office.key.nhi, idempotency_key=event_id,
        delegation_chain=tuple(office.chain.agents), event_type=act, properties={"amount": "50"},
        timestamp=office.operator.time.get_timestamp().timestamps[0],
    )  # fmt: skip


@pytest.mark.parametrize("verdict", [Verdict.APPROVE, Verdict.DENY])
def test_an_event_that_waits_is_waited_for(office: Office, verdict: Verdict) -> None:
    """given a cost that asks / when the agent waits with its event / then it hears what became of it, as soon as it is decided."""
    act, event_id = limit_that_asks(office)
    used = payment(office, act, event_id)
    with pytest.raises(OversightRequired) as caught:
        office.bot.metering.submit_event(event=used)
    assert (caught.value.code, caught.value.details["event_id"]) == ("MT-202", event_id)
    assert office.bot.metering.wait_event(event_id=event_id, timeout_s=0).state is EventState.HELD
    with pytest.raises(OversightRequired):
        office.bot.awaiting_approval(0.01).metering.submit_event(event=used)

    with working(lambda: office.bot.awaiting_approval(WAIT_S).metering.submit_event(event=used)) as done:
        office.decide(verdict, reason="too dear")
    if verdict is Verdict.APPROVE:
        assert done[0].event_id == event_id
        assert office.bot.metering.wait_event(event_id=event_id).state is EventState.COUNTED
    else:
        assert isinstance(done[0], ApprovalDenied)
        assert "too dear" in done[0].reason
        assert office.bot.metering.wait_event(event_id=event_id).state is EventState.RELEASED


@pytest.mark.parametrize("act", ["void", "finalize", "release"])
def test_an_event_that_is_decided_by_hand_takes_its_request_back(office: Office, act: str) -> None:
    counts, event_id = limit_that_asks(office)
    with pytest.raises(OversightRequired):
        office.bot.metering.submit_event(event=payment(office, counts, event_id))
    while not office.open():
        threading.Event().wait(0.01)
    (asked,) = office.open()
    getattr(office.operator.metering, act)(event_id=event_id, reason="by hand")
    for _ in range(WAIT_S * 100):
        found = office.operator.approvals.get(request_id=asked.request_id)
        if found.approval.state != "pending":
            break
        threading.Event().wait(0.01)
    assert found.approval.state == "cancelled"
    assert f"the event {event_id}" in found.approval.reason


def in_the_log(office: Office, event: str) -> list[Any]:
    """Entries of such an event about the quota, once there are any."""
    for _ in range(WAIT_S * 100):
        page = office.operator.audit.query(event=event, resource=f"metering:quota:{office.policy}")
        if page.items:
            return list(page.items)
        threading.Event().wait(0.01)
    raise AssertionError(f"no {event}")


def telling(office: Office, policy: bool = True) -> tuple[str, list[Any]]:
    """A quota of 20 beyond which acts go on and somebody is told; the acts that it counts. Finance is `quota_notification_policy`."""
    act = f"{office.policy}.think"
    office.operator.quotas.put(
        quota_id=office.policy, counts=(act,), agent=office.key.nhi, limits=(Limit(20, DAY),), overflow=AllowWithNotification(),
    )  # fmt: skip
    if policy:
        tier = TierTerms(name="finance", approvers=(office.operator.auth.whoami().agent,))
        office.operator.approvals.put_policy(policy_id="quota_notification_policy", tiers=(tier,))
    return act, []


def notices(office: Office, count: int) -> list[Told]:
    """What the bot was told, once it is as much."""
    for _ in range(WAIT_S * 100):
        found = office.bot.quotas.notices(agent=office.key.nhi).items
        if len(found) >= count:
            return list(found)
        threading.Event().wait(0.01)
    raise AssertionError(f"only {found}")


@pytest.mark.parametrize("world", ["approved", "edited", "denied", "blocked"])
def test_what_humans_answer_to_a_quota_that_is_used_up_is_done(office: Office, world: str) -> None:
    """given a quota at 95 % / when finance answers / then the quota is what they said, the ledger says who, and the agent is told."""
    act, _ = telling(office)
    me = office.key.nhi
    office.bot.quotas.reserve(agent=me, event_type=act, amount=19)
    (first,) = notices(office, 1)
    assert first.notice.text == f"You've used 95% of quota {office.policy}: 19 of 20 for this day"
    assert first.notice.overflow_action == "allow_with_notification"
    asked = (office.open() or [None])[0]
    for _ in range(WAIT_S * 100):
        if asked is not None:
            break
        threading.Event().wait(0.01)
        asked = (office.open() or [None])[0]
    assert asked is not None
    decide = partial(office.operator.approvals.decide, request_id=asked.request_id, round=asked.round)
    whole = json.loads(str(office.operator.approvals.get(request_id=asked.request_id).arguments))
    assert (whole["answer"], whole["new_limit"], whole["current_usage"], whole["limit"]) == ("increase", 40, 19, 20)
    match world:
        case "approved":
            decide(verdict=Verdict.APPROVE)
        case "edited":
            decide(verdict=Verdict.APPROVE, arguments=json.dumps(whole | {"new_limit": 200}, separators=(",", ":")))
        case "denied":
            decide(verdict=Verdict.DENY, reason="not now")
        case "blocked":
            decide(verdict=Verdict.DENY, reason="stop", counter=(Bound(path="answer", equal='"block"'),))

    last = notices(office, 2)[0]
    quota = office.operator.quotas.get(quota_id=office.policy)
    text, limit, overflow = {
        "approved": (f"Quota {office.policy} is 40 for this day now; it was 20", 40, AllowWithNotification()),
        "edited": (f"Quota {office.policy} is 200 for this day now; it was 20", 200, AllowWithNotification()),
        "denied": (f"Quota {office.policy} stays as it is: 20 for this day", 20, AllowWithNotification()),
        "blocked": (f"Quota {office.policy} blocks beyond 20 for this day from now on", 20, Block()),
    }[world]
    assert (last.notice.text, quota.limits[0].amount, quota.overflow) == (text, limit, overflow)
    (entry,) = in_the_log(office, "QuotaAnswered")
    assert entry.agent_nhi == office.operator.auth.whoami().agent


def test_without_a_policy_nobody_is_asked_and_the_list_says_so(tmp_path: Path) -> None:
    with Creto.local(tmp_path / "creto.db") as creto:
        me = creto.auth.whoami().agent
        creto.quotas.put(quota_id="q", limits=(Limit(10, DAY),), counts=("call",), overflow=AllowWithNotification())
        creto.quotas.reserve(agent=me, event_type="call", amount=10)
        for _ in range(WAIT_S * 100):
            page = creto.quotas.notices()
            if page.items:
                break
            threading.Event().wait(0.01)
        assert page.items[0].request_id is None
        assert "quota_notification_policy" in str(page.nobody_asked)


def test_no_request_of_an_agent_changes_a_quota(office: Office) -> None:
    """given a request that looks like a quota's, made by the agent / when it is approved / then the quota stays."""
    telling(office, policy=False)
    arguments = {"quota_id": office.policy, "window": "day", "answer": "increase", "new_limit": 1_000_000}
    made = office.bot.approvals.create(
        policy_id=office.policy, action="quota_breach", resource=f"metering:quota:{office.policy}", arguments=json.dumps(arguments)
    )  # fmt: skip
    office.operator.approvals.decide(request_id=made.request_id, verdict=Verdict.APPROVE, round=made.round)
    office.bot.approvals.wait(request_id=made.request_id, timeout_s=WAIT_S)
    office.operator.quotas.put_rate(counts=f"{office.policy}.other", micros=1)  # behind what would have been written
    assert office.operator.quotas.get(quota_id=office.policy).limits[0].amount == 20
