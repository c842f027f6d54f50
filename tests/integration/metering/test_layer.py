"""Metering in a running layer: quotas inside the gate, costs that humans decide about, and what a provider calls back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.app import App, running
from creto.bus import Message
from creto.common import wire
from creto.common.envelope import EventEnvelope
from creto.common.errors import (
    InternalError,
    NotFound,
    OversightRequired,
    QuotaExceeded,
    SignatureVerificationFailed,
    Unauthorized,
)
from creto.common.ids import AgentId, EventId, RequestId, TenantId
from creto.common.settings import ArchiveMode, MeteringConfig
from creto.common.timestamps import DAY, HOUR, ConsensusTimestamp, iso
from creto.contracts import (
    SUBJECT_DECISION,
    SUBJECT_THRESHOLD_EXCEEDED,
    BillableEvent,
    BillingPeriod,
    CostThreshold,
    CostThresholdExceededEventV2,
    CostThresholdType,
    DecisionApproved,
    DecisionDenied,
    DecisionEscalated,
    HumanIdentity,
    OversightDecision,
    OversightDecisionEvent,
    RequireApproval,
)
from creto.edge.accounting import accounted, archived
from creto.edge.api import quotas, usage
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.costs import CostApprovals
from creto.metered import STRIPE_WEBHOOK
from creto.metering import AllowWithNotification, EventState, Limit, Quota, Threshold, WaitingEnded, Window, WindowUnit
from creto.metering.terms import MeteringTerms
from creto.oversight import Channel, EscalationTier, Evidence, OversightPolicy, RequestState, Verdict
from creto.oversight.sources import QUOTA_POLICY
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Caller, DelegationChain, PrincipalKind, delegate, nhi_of, registration_proof
from creto.security.authz.types import Granted, QuotaDenied
from creto.store.types import Position
from tests.contract.buses import eventually
from tests.layers import settings
from tests.unit.metering.examples import D, event


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path)) as found:
        yield found


async def human(app: App) -> AgentId:
    key = SigningKey.generate()
    proof = registration_proof(key, tenant=app.tenant, kind=PrincipalKind.HUMAN, name="cfo")
    return (await app.parts.nhi.register(app.tenant, PrincipalKind.HUMAN, key.public, "cfo", proof=proof)).nhi


def payment(app: App, amount: str, id: str = "pay") -> BillableEvent:
    made = event(app.parts.clock.now(), id=id, agent=app.operator, chain=(app.operator,), type="payment", amount=amount)
    return replace(made, tenant=app.tenant)


async def asked(app: App) -> Any:
    async def open_request() -> Any:
        found = await app.parts.triggers.waiting(app.tenant)
        return found[0].request_id if found else None

    request_id = await eventually(open_request)
    return await app.parts.oversight.get(app.tenant, request_id)


async def asking(app: App, kind: CostThresholdType, limit: str | int) -> Threshold:
    """One beyond which a human is asked."""
    return Threshold(
        threshold=CostThreshold(
            threshold_id="one", threshold_type=kind, limit=D(limit), currency="USD",
            action=RequireApproval(approvers=(await human(app),)),
        )
    )  # fmt: skip


async def held(app: App, amount: str) -> Any:
    """What a human is asked because of a payment."""
    with pytest.raises(OversightRequired):
        await app.parts.metering.ingest_event(app.tenant, payment(app, amount), by=app.operator)
    return await asked(app)


@pytest.mark.parametrize("approve", [True, False])
async def test_what_crosses_a_threshold_waits_for_a_human(app: App, approve: bool) -> None:
    """given a limit that asks / when an event crosses it / then oversight asks the approver, and the decision ends the waiting."""
    parts = app.parts
    await parts.triggers.put_threshold(
        app.tenant, await asking(app, CostThresholdType.PER_MONTH, "100"), by=app.operator
    )
    record = await held(app, "150")
    assert record.progress.state is RequestState.PENDING
    assert record.ask.action == "cost_threshold"

    decision = DecisionApproved() if approve else DecisionDenied(reason="too dear")
    await parts.triggers.on_decision(app.tenant, record.ask.request_id, decision, by=app.operator)
    stored = await parts.metering.event(app.tenant, EventId("pay"))
    assert stored.state is (EventState.COUNTED if approve else EventState.RELEASED)
    total = parts.triggers.get_accumulated_cost(app.tenant, app.operator, BillingPeriod.CURRENT_MONTH).total_cost
    assert total == (150 if approve else 0)


async def test_an_agent_that_runs_away_waits_for_a_human(app: App) -> None:
    """given a threshold on anomalies / when a flagged agent uses something / then the approver is asked and sees why, and approves."""
    parts = app.parts
    await parts.triggers.put_threshold(app.tenant, await asking(app, CostThresholdType.ANOMALY, 0), by=app.operator)
    now = parts.clock.now()
    loop = [replace(event(now + n, id=f"loop{n}", agent=app.operator, chain=()), tenant=app.tenant) for n in range(200)]
    await parts.metering.ingest_batch(app.tenant, loop, by=app.operator)

    async def flagged() -> Any:
        return await parts.triggers.anomalies.flag(app.tenant, app.operator)

    await eventually(flagged)
    with pytest.raises(OversightRequired):
        await parts.metering.ingest_event(app.tenant, payment(app, "1"), by=app.operator)
    record = await asked(app)
    assert "AnomalyDetected" in record.ask.arguments.decode()
    await parts.triggers.on_decision(app.tenant, record.ask.request_id, DecisionApproved(), by=app.operator)
    assert (await parts.metering.event(app.tenant, EventId("pay"))).state is EventState.COUNTED


async def test_a_decision_on_the_bus_ends_the_waiting(app: App) -> None:
    parts = app.parts
    await parts.triggers.put_threshold(
        app.tenant, await asking(app, CostThresholdType.PER_TRANSACTION, "1"), by=app.operator
    )
    record = await held(app, "2")
    await parts.oversight.cancel(app.tenant, record.ask.request_id, by=app.operator)

    async def released() -> bool:
        return (await parts.metering.event(app.tenant, EventId("pay"))).state is EventState.RELEASED

    assert await eventually(released)


async def test_a_request_made_of_an_event_that_waits_no_more_is_taken_back(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given an event voided while its request is being made / when the message comes, and again as after a crash / then nobody is left asked."""
    parts = app.parts
    threshold = await asking(app, CostThresholdType.PER_TRANSACTION, "1")
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    hearing = await parts.bus.subscribe(SUBJECT_THRESHOLD_EXCEEDED, "test", hear)
    await parts.triggers.put_threshold(app.tenant, threshold, by=app.operator)
    with pytest.raises(OversightRequired) as held:
        await parts.metering.ingest_event(app.tenant, payment(app, "2"), by=app.operator)
    assert held.value.details["event_id"] == "pay"
    first = await asked(app)
    await eventually(lambda: done(heard))
    await hearing.close()
    await parts.metering.void_event(app.tenant, EventId("pay"), by=app.operator, reason="by hand")

    async def withdrawn() -> bool:
        record = await parts.oversight.get(app.tenant, first.ask.request_id)
        return record.progress.state is RequestState.CANCELLED

    assert await eventually(withdrawn)
    monkeypatch.setattr(parts.triggers, "waits", lambda *_: done(True))  # as it looked a moment before
    approvals = CostApprovals(parts.bus, parts.triggers, parts.quotas, parts.oversight)
    for _ in range(2):
        await approvals.exceeded(heard[0])
        assert await parts.oversight.list_pending_requests(app.tenant) == []


async def done(value: Any) -> Any:
    return value


async def heard_of(app: App, subject: str) -> list[Message]:
    """What comes over the bus from now on."""
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    await app.parts.bus.subscribe(subject, "test", hear)
    return heard


async def test_nobody_on_the_bus_says_what_crossed_a_threshold_or_was_decided(app: App) -> None:
    """given a cost that waits for a human / when somebody publishes another crossing, or says that it was approved / then it is refused, and waits still."""
    parts, heard = app.parts, await heard_of(app, SUBJECT_THRESHOLD_EXCEEDED)
    await parts.triggers.put_threshold(
        app.tenant, await asking(app, CostThresholdType.PER_TRANSACTION, "1"), by=app.operator
    )
    record = await held(app, "2")
    assert await eventually(lambda: done(heard))
    approvals = CostApprovals(parts.bus, parts.triggers, parts.quotas, parts.oversight)
    own = wire.decode(heard[0].payload, EventEnvelope[CostThresholdExceededEventV2])
    other = SigningKey.generate()
    for forged in (
        replace(own, signature=None),
        replace(own, payload=replace(own.payload, current_cost=D(0))),
        replace(own, agent_nhi=nhi_of(other.public)).signed(other),
    ):
        with pytest.raises(SignatureVerificationFailed):
            await approvals.exceeded(replace(heard[0], payload=wire.encode(forged)))
    with pytest.raises(SignatureVerificationFailed, match="tenant"):
        await approvals.exceeded(replace(heard[0], tenant=TenantId("other")))
    await approvals.decided(said(app, record.ask.request_id, DecisionApproved()))
    assert (await parts.metering.event(app.tenant, EventId("pay"))).state is EventState.HELD
    for event_id in ("pay", "another"):
        ended = WaitingEnded(
            request_id=record.ask.request_id, event_id=EventId(event_id), act="voided", by=app.operator
        )
        await approvals.ended(replace(heard[0], payload=wire.encode(ended)))
    assert (await parts.oversight.get(app.tenant, record.ask.request_id)).progress.state is RequestState.PENDING


def said(app: App, request_id: RequestId, decision: OversightDecision) -> Message:
    """`oversight.decisions`, by whomever."""
    event = OversightDecisionEvent(
        request_id=request_id, decision=decision, approver=HumanIdentity(nhi=app.operator, display_name="x"),
        signature=b"", timestamp=app.parts.clock.now(),
    )  # fmt: skip
    return Message("1", SUBJECT_DECISION, app.tenant, "x", wire.encode(event), {}, 1, Position())


async def test_a_question_about_a_quota_that_went_to_the_next_tier_is_not_answered_by_that(app: App) -> None:
    """given a quota at its notice / when the question escalates / then the quota is what the human says after, not nothing."""
    parts, finance = app.parts, await human(app)
    tiers = (EscalationTier(name="one", approvers=(finance,)), EscalationTier(name="two", approvers=(finance,)))
    policy = OversightPolicy(policy_id=QUOTA_POLICY, tiers=tiers)
    await parts.oversight.put_policy(app.tenant, policy, by=app.operator)
    quota = Quota(
        quota_id="calls",
        limits=(Limit(20, Window(WindowUnit.DAY)),),
        counts=("tool.call",),
        overflow=AllowWithNotification(),
    )
    await parts.quotas.put_quota(app.tenant, quota, by=app.operator)
    await parts.quotas.reserve(app.tenant, app.operator, "tool.call", 19)
    assert await eventually(lambda: parts.oversight.list_pending_requests(app.tenant))
    (record,) = await parts.oversight.list_pending_requests(app.tenant)
    approvals = CostApprovals(parts.bus, parts.triggers, parts.quotas, parts.oversight)
    await approvals.decided(said(app, record.ask.request_id, DecisionEscalated(next_tier="two")))
    evidence = Evidence(channel=Channel.WEB, account="cfo")
    await parts.oversight.relay_response(
        app.tenant, record.ask.request_id, approver=finance, verdict=Verdict.APPROVE, evidence=evidence
    )

    async def raised() -> bool:
        return (await parts.quotas.quota(app.tenant, "calls")).limits[0].amount == 40

    assert await eventually(raised)


async def test_quotas_hold_inside_the_gate(app: App) -> None:
    quota = Quota(quota_id="calls", limits=(Limit(2, Window(WindowUnit.HOUR)),), counts=("tool.call",))
    await app.parts.quotas.put_quota(app.tenant, quota, by=app.operator)
    check = app.parts.authz.tenant(app.tenant).check
    found = [await asyncio.to_thread(check, app.operator, "tool.call", "r") for _ in range(3)]
    assert [type(one) for one in found] == [Granted, Granted, QuotaDenied]
    with pytest.raises(QuotaExceeded):
        await app.parts.quotas.reserve(app.tenant, app.operator, "tool.call")


async def test_the_bus_brings_usage_and_rounds_are_turned(app: App) -> None:
    from creto.common import wire

    used = payment(app, "1", id="from-the-bus")
    await app.parts.bus.publish("metering.events.payment", wire.encode(used), tenant=app.tenant, agent=used.agent_nhi)

    async def there() -> bool:
        try:
            return (await app.parts.metering.event(app.tenant, used.event_id)).state is EventState.COUNTED
        except NotFound:
            return False

    assert await eventually(there)
    assert await accounted(app.parts, app.operator) == []


async def test_a_worker_archives_what_is_over(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, terms = app.parts, app.parts.metering_terms
    old = replace(payment(app, "1"), timestamp=parts.clock.now() - 3 * DAY)
    await parts.metering.ingest_event(app.tenant, old, by=app.operator)
    assert terms.archives
    terms.archives = False
    assert await archived(parts, app.operator) == []
    assert (await parts.archive.parts(app.tenant)).items == ()
    terms.archives = True
    for _ in range(2):
        assert await archived(parts, app.operator) == []
        (part,) = (await parts.archive.parts(app.tenant)).items
    sealed = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert sealed
    assert not any(b"PAR1" in path.read_bytes() for path in sealed)
    assert (await parts.archive.read(app.tenant, part.day, part.part)).startswith(b"PAR1")

    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert await archived(parts, app.operator) == ["archive"]
    with pytest.raises(InternalError) as refused:
        await parts.archive.run(0, by=app.operator)
    assert (refused.value.code, refused.value.hint) == ("PL-501", "pip install 'creto[analytics]'")
    assert not MeteringTerms.of(MeteringConfig()).archives
    with pytest.raises(InternalError):
        MeteringTerms.of(MeteringConfig(archive=ArchiveMode.ON))


async def test_a_callback_without_a_secret_is_not_believed(app: App) -> None:
    answer = await app.parts.callbacks[STRIPE_WEBHOOK]([], b"{}")
    assert answer.status >= 400


async def test_who_may_report_says_the_tenants_policy_and_never_for_others(app: App) -> None:
    """given a developer / when they report usage of their own and of others, in any form / then only their own is in, unless even that has to be signed."""
    key, ask = SigningKey.generate(), Dispatcher(app.parts)
    proof = registration_proof(key, tenant=app.tenant, kind=PrincipalKind.HUMAN, name="dev")
    dev = (await app.parts.nhi.register(app.tenant, PrincipalKind.HUMAN, key.public, "dev", proof=proof)).nhi
    await app.parts.authz.assign_role(app.tenant, dev, "developer", actor=app.operator)
    victim, now = await human(app), app.parts.clock.now()
    call = Call(Caller(app.tenant, dev, PrincipalKind.HUMAN, ("*",), ConsensusTimestamp(now + HOUR)), app.tenant)

    def cloud(agent: AgentId, **more: str) -> dict[str, Any]:
        attributes = {"specversion": "1.0", "id": agent, "source": "/s", "type": "use", "time": iso(now)}
        return {**attributes, "subject": agent, "data": {"value": 1}, **more}

    async def reported(*events: dict[str, Any]) -> list[str]:
        done = await ask(usage.SUBMIT_MANY, call, usage.SubmitEvents(events=events))
        return [r.error.code if r.error else str(r.status) for r in done.results]

    assert await reported(cloud(dev), cloud(victim), cloud(victim, agent_nhi=dev)) == ["accepted", "MT-403", "MT-403"]
    own = replace(event(now, id="own", agent=dev, chain=(victim, dev), value=1), tenant=app.tenant)
    with pytest.raises(Unauthorized, match="this chain"):
        await ask(usage.SUBMIT, call, usage.SubmitEvent(event=own))
    forbid = 'forbid (principal, action == Action::"report_unsigned", resource);'
    await app.parts.authz.upload_policies(app.tenant, forbid, actor=app.operator, activate=True)
    assert await reported(cloud(dev, id="again")) == ["MT-403"]


async def test_a_reservation_is_on_the_counts_of_all_above(app: App) -> None:
    """given a limit of an owner / when an agent reserves under their delegation, without any role / then the owner's count holds it, and their limit ends it."""
    owner_key, bot_key, ask = SigningKey.generate(), SigningKey.generate(), Dispatcher(app.parts)
    people = {}
    for name, key, kind in (("owner", owner_key, PrincipalKind.HUMAN), ("bot", bot_key, PrincipalKind.AGENT)):
        proof = registration_proof(key, tenant=app.tenant, kind=kind, name=name)
        people[name] = (await app.parts.nhi.register(app.tenant, kind, key.public, name, proof=proof)).nhi
    owner, bot, now = people["owner"], people["bot"], app.parts.clock.now()
    until = ConsensusTimestamp(now + HOUR)
    link = delegate(
        owner_key, None, bot, tenant=app.tenant, actions=("*",), resources=("*",), not_before=now, not_after=until
    )
    caller = Caller(app.tenant, bot, PrincipalKind.AGENT, ("*",), until)
    call = Call(caller, app.tenant, chain=DelegationChain((link,)))
    limit = Quota(quota_id="calls", limits=(Limit(3, Window(WindowUnit.DAY)),), counts=("x",), agent=owner)
    await app.parts.quotas.put_quota(app.tenant, limit, by=app.operator)

    held = [await ask(quotas.RESERVE, call, quotas.ReserveQuota(agent=bot, event_type="x")) for _ in range(3)]
    with pytest.raises(QuotaExceeded):
        await ask(quotas.RESERVE, call, quotas.ReserveQuota(agent=bot, event_type="x"))
    decided = await ask(quotas.CHECK, call, quotas.CheckQuota(agent=bot, event_type="x"))
    assert (decided.remaining, decided.decided_by) == (0, owner)
    await ask(quotas.RELEASE, call, quotas.OfReservation(reservation_id=held[0].reservation_id))
    assert (await app.parts.quotas.usage(app.tenant, [owner]))[0].used == 2
    with pytest.raises(Unauthorized):
        await ask(quotas.RESERVE, call, quotas.ReserveQuota(agent=owner, event_type="x"))
