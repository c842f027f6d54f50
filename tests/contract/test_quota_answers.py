"""What humans answer to quotas, from a program: in this process and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from creto.common.errors import ApprovalDenied, OversightRequired
from creto.common.ids import EventId
from creto.common.timestamps import HOUR
from creto.contracts import BillableEvent, CostThresholdType, RequireApproval
from creto.edge.api.approval_views import ApprovalView
from creto.edge.api.approvers import TierTerms
from creto.metering import Ask, EventState, Limit, Window, WindowUnit
from creto.oversight import Verdict
from creto.platform.nhi import DelegationChain, PrincipalKind
from creto.sdk import AgentKey, Creto
from tests.layers import Layer, layer

WAIT_S = 30
DAY = Window(WindowUnit.DAY)


class Office:
    """An operator who decides, and a bot that acts for Ada and may do what developers may."""

    def __init__(self, operator: Creto, bot: Creto, name: str, key: AgentKey, chain: DelegationChain) -> None:
        self.operator, self.bot, self.name, self.key, self.chain = operator, bot, name, key, chain

    def open(self) -> list[ApprovalView]:
        return [one for one in self.operator.approvals.list(limit=1_000).items if one.agent == self.key.nhi]

    def decide(self, verdict: Verdict = Verdict.APPROVE, **terms: Any) -> str:
        """As soon as the bot has asked."""
        for _ in range(WAIT_S * 100):
            found = self.open()
            if found:
                one = found[0]
                self.operator.approvals.decide(request_id=one.request_id, verdict=verdict, round=one.round, **terms)
                return one.request_id
            threading.Event().wait(0.01)
        raise AssertionError("nobody asked")


@contextmanager
def working(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs beside the block; what it gives, or raises, is in the list at the end."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    with layer(tmp_path_factory.mktemp("layer")) as found:
        yield found


@pytest.fixture(params=["local", "remote"])
def office(request: pytest.FixtureRequest, served: Layer, tmp_path: Path) -> Iterator[Office]:
    world, name = request.param, f"q{abs(hash(request.node.name))}"
    with (
        Creto.local(tmp_path / "creto.db") if world == "local" else Creto.connect(served.rest, token=served.token)
    ) as operator:
        ada = operator.register("ada", kind=PrincipalKind.HUMAN)
        bot = operator.register(f"bot-{world}")
        now = operator.time.get_timestamp().timestamps[0]
        chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=operator.tenant)  # fmt: skip
        operator.policies.assign_role(agent=bot.nhi, role="developer")
        tier = TierTerms(name="all", approvers=(operator.auth.whoami().agent,))
        operator.approvals.put_policy(policy_id=name, tiers=(tier,))
        if world == "local":
            yield Office(operator, operator.acting(chain), name, bot, chain)
        else:
            with Creto.connect(served.rest, key=bot, chain=chain) as mine:
                yield Office(operator, mine, name, bot, chain)


def asking(office: Office, limit: int = 5) -> str:
    """A quota of the bot beyond which a human decides; the acts that it counts."""
    act = f"{office.name}.call"
    office.operator.quotas.put(
        quota_id=office.name, counts=(act,), agent=office.key.nhi, limits=(Limit(limit, DAY),),
        overflow=Ask(policy_id=office.name),
    )  # fmt: skip
    return act


def test_a_reservation_beyond_a_quota_that_asks_waits_and_is_let_through_once(office: Office) -> None:
    """given a quota that asks / when more is reserved / then it is one request about that act, whose approval is good for one reservation."""
    act, me = asking(office), office.key.nhi
    office.bot.quotas.reserve(agent=me, event_type=act, amount=5)
    found = office.bot.quotas.check(agent=me, event_type=act, amount=3)
    assert (found.outcome, found.policy_id) == ("require_approval", office.name)
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


def test_who_is_denied_reserves_nothing(office: Office) -> None:
    act, me = asking(office, 0), office.key.nhi
    with working(lambda: office.bot.awaiting_approval(WAIT_S).quotas.reserve(agent=me, event_type=act)) as done:
        office.decide(Verdict.DENY, reason="no more today")
    assert isinstance(done[0], ApprovalDenied)
    assert "no more today" in str(done[0])


def limit_that_asks(office: Office) -> tuple[str, str]:
    """A limit on cost of one event beyond which a human decides; what it counts, and an event id."""
    act = f"{office.name}.pay"
    threshold = RequireApproval(approvers=(office.operator.auth.whoami().agent,))
    office.operator.quotas.put_threshold(
        threshold_id=office.name, threshold_type=CostThresholdType.PER_TRANSACTION, limit=Decimal(10), action=threshold,
        counts=(act,), agent=office.key.nhi,
    )  # fmt: skip
    return act, f"pay-{office.name}"


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
