"""Cost triggers on both engines: what crosses a threshold, what waits, and how a decision ends the waiting."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.envelope import EventEnvelope
from creto.common.errors import InvalidInput, NotFound, OversightRequired, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, EventId, PolicyId, RequestId, TenantId
from creto.common.timestamps import DAY, HOUR
from creto.contracts import (
    AnomalyDetected,
    BillableEvent,
    BillingPeriod,
    Block,
    CostThreshold,
    CostThresholdExceededEventV2,
    CostThresholdType,
    CostTriggerV2,
    DecisionApproved,
    DecisionDenied,
    DecisionEscalated,
    NotifyOnly,
    PeriodLimit,
    RequireApproval,
    ThresholdAction,
    TransactionLimit,
)
from creto.metering import Costs, CostTriggers, EventState, Flagged, Metering, Threshold, UnsafeTrustEverybody, Watch
from creto.metering.anomalies import LEARNING_HOURS, History, Runaway
from creto.metering.habits import histories
from creto.metering.quota_types import Window, WindowUnit
from creto.metering.total_store import fold_step
from creto.platform.consensus.testing import ManualClock
from creto.store import Store
from creto.store.types import Entry, Position, ReadTx
from tests.contract.buses import eventually
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, TENANT, D, event

PARTS = ("creto.store", "creto.metering")
MONTH = BillingPeriod.CURRENT_MONTH
CFO = RequireApproval(approvers=("cfo@company.com",))
BLOCK = Block()


class Desk:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.costs = Costs(store, clock)
        self.watch = Watch()
        self.triggers = CostTriggers(store, clock, self.costs, self.watch)
        self.usage = Metering(store, clock, UnsafeTrustEverybody(), judge=self.triggers)
        self.triggers.use(self.usage)

    async def threshold(
        self, limit: str, kind: CostThresholdType = CostThresholdType.PER_MONTH, action: ThresholdAction = CFO, **more: Any
    ) -> None:  # fmt: skip
        threshold = CostThreshold(
            threshold_id=more.pop("name", "t"), threshold_type=kind, limit=D(limit), currency="USD", action=action
        )
        await self.triggers.put_threshold(TENANT, Threshold(threshold=threshold, **more), by=HUMAN)

    def event(self, amount: str, *, id: str = "e", agent: str = AGENT, **more: Any) -> BillableEvent:
        chain = (HUMAN, AGENT) if agent == AGENT else (HUMAN, AGENT, CHILD)
        return event(self.clock.now(), id=id, agent=agent, chain=chain, type="payment", amount=amount, **more)

    async def spend(self, amount: str, **more: Any) -> None:
        await self.book(self.event(amount, **more))

    async def book(self, spent: BillableEvent, sign: int = 1) -> None:
        await self.store.write(lambda tx: self.costs.add(tx, TENANT, [spent], sign=sign))

    async def ingest(self, taken: BillableEvent) -> EventState:
        """What became of it."""
        with suppress(OversightRequired):
            await self.usage.ingest_event(TENANT, taken, by=taken.agent_nhi)
        return (await self.usage.event(TENANT, taken.event_id)).state

    async def state(self, event_id: str) -> EventState:
        return (await self.usage.event(TENANT, EventId(event_id))).state

    def check(self, amount: str, period: BillingPeriod = MONTH, **more: Any) -> Any:
        return self.triggers.check_cost_threshold(TENANT, self.event(amount, **more), period)

    def spent(self) -> Decimal:
        return self.triggers.get_accumulated_cost(TENANT, AgentId(AGENT), MONTH).total_cost

    async def published(self) -> list[CostThresholdExceededEventV2]:
        rows = await self.store.read(lambda tx: tx.outbox_tail(Position(), 1_000))
        return [
            wire.decode(row.payload, EventEnvelope[CostThresholdExceededEventV2]).payload
            for row in rows
            if row.subject == "metering.thresholds.exceeded"
        ]


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=PARTS), ManualClock())


def test_it_is_what_the_contract_says(desk: Desk) -> None:
    triggers: CostTriggerV2 = desk.triggers
    assert triggers.check_batch(TENANT, [], MONTH) == []


async def test_below_a_limit_nothing_triggers_and_above_it_does(desk: Desk) -> None:
    await desk.threshold("10000")
    assert desk.check("5000") is None
    assert desk.check("10000") is None
    trigger = desk.check("15000.0")
    assert (trigger.current_cost, trigger.threshold, trigger.currency) == (15_000, 10_000, "USD")
    assert trigger.reason == PeriodLimit(accumulated=D(15_000), limit=D(10_000), period=MONTH)
    assert desk.check("15000", BillingPeriod.CURRENT_HOUR) is None


@pytest.mark.parametrize(
    ("kind", "period", "later"),
    [
        (CostThresholdType.PER_HOUR, BillingPeriod.CURRENT_HOUR, HOUR),
        (CostThresholdType.PER_DAY, BillingPeriod.CURRENT_DAY, DAY),
        (CostThresholdType.PER_MONTH, BillingPeriod.CURRENT_MONTH, 31 * DAY),
        (CostThresholdType.LIFETIME, BillingPeriod.LIFETIME, None),
    ],
)
async def test_costs_add_up_until_their_period_ends(
    desk: Desk, kind: CostThresholdType, period: BillingPeriod, later: int | None
) -> None:
    await desk.threshold("10", kind)
    await desk.spend("6.50")
    assert desk.check("3.50", period) is None
    assert desk.check("3.51", period).current_cost == D("10.01")
    desk.clock.advance(later or 400 * DAY)
    assert (desk.check("10", period) is None) == (later is not None)


async def test_a_single_transaction_has_its_own_limit(desk: Desk) -> None:
    await desk.threshold("10", CostThresholdType.PER_TRANSACTION)
    await desk.spend("100")
    assert desk.check("10") is None
    assert desk.check("10.5").reason == TransactionLimit(amount=D("10.5"), limit=D(10))


async def test_what_those_below_spend_counts_for_who_is_named(desk: Desk) -> None:
    await desk.threshold("10", agent=AGENT, policy_id=PolicyId("board"))
    await desk.spend("6", agent=CHILD)
    await desk.spend("3")
    assert desk.check("1", agent=CHILD) is None
    assert desk.check("2", agent=CHILD).policy_id == "board"
    mine = desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH)
    assert (mine.total_cost, mine.by_event_type) == (9, {"payment": D(9)})
    assert desk.triggers.get_accumulated_cost(TENANT, CHILD, BillingPeriod.CURRENT_YEAR).total_cost == 6
    assert desk.triggers.get_accumulated_cost(TENANT, HUMAN, BillingPeriod.CURRENT_QUARTER).total_cost == 9
    assert desk.triggers.get_accumulated_cost(TENANT, HUMAN, MONTH, "EUR").total_cost == 0


async def test_what_another_node_adds_is_seen(desk: Desk, make_store: MakeStore) -> None:
    other = Desk(make_store(parts=PARTS), desk.clock)
    await desk.threshold("10")
    assert other.check("10") is None
    await desk.spend("0.000001")
    await desk.store.settled(30)
    assert other.check("10").current_cost == D("10.000001")
    assert desk.check("10").current_cost == D("10.000001")


async def test_what_is_voided_does_not_count(desk: Desk) -> None:
    await desk.threshold("10")
    spent = desk.event("8")
    await desk.book(spent)
    assert desk.check("8") is not None
    await desk.book(spent, -1)
    assert desk.check("8") is None


async def test_the_strictest_of_several_answers(desk: Desk) -> None:
    await desk.threshold("1", name="tell", action=NotifyOnly(channels=("slack",)), policy_id=PolicyId("tell"))
    await desk.threshold("5", name="ask", policy_id=PolicyId("ask"))
    await desk.threshold("50", name="stop", action=BLOCK, policy_id=PolicyId("stop"))
    assert [desk.check(amount).policy_id for amount in ("2", "6", "51")] == ["tell", "ask", "stop"]
    named = [one.threshold for one in await desk.triggers.thresholds(TENANT)]
    found = desk.triggers.check_multiple_thresholds(TENANT, desk.event("6"), named)
    assert [trigger.threshold for trigger in found] == [5, 1]


async def test_a_batch_is_as_one_after_the_other(desk: Desk) -> None:
    await desk.threshold("10")
    events = [desk.event(amount, id=f"e{n}") for n, amount in enumerate(("4", "7", "6", "1"))]
    found = desk.triggers.check_batch(TENANT, events, MONTH)
    assert [trigger and trigger.current_cost for trigger in found] == [None, 11, None, 11]


async def test_a_token_may_cost_less_than_a_millionth(desk: Desk) -> None:
    await desk.threshold("0.000002", CostThresholdType.PER_TRANSACTION)
    now = desk.clock.now()
    cheap = event(now, type="inference", cost_usd="0.0000024")
    dear = event(now, type="inference", cost_usd="0.0000026")
    asked = [desk.triggers.check_cost_threshold(TENANT, one, MONTH) for one in (cheap, dear)]
    assert [one is not None for one in asked] == [False, True]


async def test_tokens_cost_what_the_table_says_where_nobody_says_more(desk: Desk) -> None:
    await desk.threshold("0.2", CostThresholdType.PER_TRANSACTION, action=BLOCK)
    call = event(
        desk.clock.now(), type="inference", provider="anthropic", model_id="claude-sonnet-4-5", input_tokens=100_000
    )
    with pytest.raises(QuotaExceeded, match=r"0\.3 USD"):
        await desk.ingest(call)
    with pytest.raises(NotFound):
        await desk.ingest(replace(call, properties={**call.properties, "model_id": "nobody-knows"}))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"amount": "a lot"}, "properties.amount"),
        ({"amount": "-50"}, "properties.amount"),
        ({"cost_usd": True}, "properties.cost_usd"),
        ({"amount": "5000", "currency": "EUR"}, "properties.currency"),
    ],
)
async def test_what_a_limit_looks_at_never_passes_because_its_cost_is_not_told(
    desk: Desk, said: dict[str, Any], field: str
) -> None:
    """given a limit / when an event hides what it cost, or takes some back / then it alone is refused, and there is no more room than before."""
    await desk.threshold("100", action=BLOCK, counts=("pay*",))
    hidden = replace(desk.event("1", id="hidden"), properties=said)
    done = await desk.usage.ingest_batch(TENANT, [hidden, desk.event("60", id="fine")], by=AGENT)
    assert [(r.error.code, r.error.field) if r.error else None for r in done.results] == [("MT-400", field), None]
    with pytest.raises(QuotaExceeded):
        await desk.ingest(desk.event("41", id="more"))
    elsewhere = replace(hidden, event_id="x", idempotency_key="x", event_type="note")  # no limit looks at it
    assert await desk.ingest(elsewhere) is EventState.COUNTED


async def test_a_limit_adds_up_only_what_it_counts(desk: Desk) -> None:
    await desk.threshold("100", action=BLOCK, counts=("payment",))
    await desk.ingest(replace(desk.event("150", id="other"), event_type="storage"))
    await desk.ingest(desk.event("60", id="a"))
    assert desk.check("40") is None
    assert desk.check("41").current_cost == 101
    many = desk.triggers.check_batch(
        TENANT, [replace(desk.event("90", id="s"), event_type="storage"), desk.event("40", id="b")], MONTH
    )
    assert many == [None, None]


async def test_a_limit_in_each_currency_holds_in_each(desk: Desk) -> None:
    await desk.threshold("100")
    euros = CostThreshold(
        threshold_id="eur", threshold_type=CostThresholdType.PER_MONTH, limit=D(50), currency="EUR", action=CFO
    )
    await desk.triggers.put_threshold(TENANT, Threshold(threshold=euros), by=HUMAN)
    assert desk.check("50", currency="EUR") is None
    assert desk.check("51", currency="EUR").currency == "EUR"


async def test_an_event_waits_for_its_decision_and_counts_when_it_is_approved(desk: Desk) -> None:
    await desk.threshold("10000", action=CFO)
    payment = desk.event("50000", id="pay")
    assert await desk.ingest(payment) is EventState.HELD
    (published,) = await desk.published()
    assert published.triggering_event == payment
    assert published.cost_breakdown is not None
    assert (published.threshold.action, published.current_cost, published.period) == (CFO, 50_000, MONTH)
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 0

    await desk.triggers.awaits(TENANT, EventId("pay"), RequestId("req-1"))
    (waiting,) = await desk.triggers.waiting(TENANT)
    assert (waiting.event_id, waiting.request_id) == ("pay", "req-1")
    decided = partial(desk.triggers.on_decision, TENANT, RequestId("req-1"), by=HUMAN)
    assert await decided(DecisionEscalated(next_tier="ceo"))
    assert await desk.ingest(payment) is EventState.HELD  # the agent asks again
    assert await decided(DecisionApproved())
    assert not await decided(DecisionApproved())

    assert await desk.ingest(payment) is EventState.COUNTED
    assert len(await desk.published()) == 1
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 50_000


async def test_who_finalizes_by_hand_ends_the_waiting(desk: Desk) -> None:
    await desk.threshold("1")
    await desk.ingest(desk.event("2", id="pay"))
    await desk.usage.finalize_event(TENANT, EventId("pay"), by=HUMAN)
    assert await desk.triggers.waiting(TENANT) == []
    assert not await desk.triggers.finalize_event(TENANT, EventId("pay"), by=HUMAN)


async def test_a_denied_event_never_counts(desk: Desk) -> None:
    await desk.threshold("1")
    await desk.ingest(desk.event("2", id="pay"))
    await desk.triggers.awaits(TENANT, EventId("pay"), RequestId("r"))
    await desk.triggers.on_decision(TENANT, RequestId("r"), DecisionDenied(reason="no"), by=HUMAN)
    assert await desk.state("pay") is EventState.RELEASED
    assert await desk.triggers.waiting(TENANT) == []
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 0


async def test_events_one_after_the_other_are_stopped_at_the_limit(desk: Desk) -> None:
    await desk.threshold("10")
    found = [await desk.ingest(desk.event("4", id=f"e{n}")) for n in range(4)]
    assert found == [EventState.COUNTED, EventState.COUNTED, EventState.HELD, EventState.HELD]


async def test_a_batch_that_comes_in_is_as_one_after_the_other(desk: Desk) -> None:
    """Of agents side by side and below one another, before the limit, at it and beyond; who wants to know is told of the right sum."""
    await desk.threshold("100", agent=AGENT)
    await desk.threshold("45", kind=CostThresholdType.PER_DAY, action=NotifyOnly(channels=("ops",)), name="day")
    await desk.spend("10")
    amounts = ("30", "30", "20", "15", "10", "1")
    batch = [desk.event(a, id=f"e{n}", agent=CHILD if n % 2 else AGENT) for n, a in enumerate(amounts)]

    done = await desk.usage.ingest_batch(TENANT, batch, by=AGENT)

    assert [one.status for one in done.results] == [*["accepted"] * 3, "held", "accepted", "held"]
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 100
    told = [(one.agent_nhi, one.threshold.threshold_id, one.current_cost) for one in await desk.published()]
    assert told == [(AGENT, "day", 90), (CHILD, "t", 105), (CHILD, "t", 101)]


async def test_who_only_wants_to_know_is_told_once_in_a_period(desk: Desk) -> None:
    await desk.threshold("1", action=NotifyOnly(channels=("slack",)))
    for n in range(4):
        assert await desk.ingest(desk.event("1", id=f"e{n}")) is EventState.COUNTED
    desk.clock.advance(31 * DAY)
    await desk.ingest(desk.event("2", id="later"))

    async def told() -> list[Any]:
        found = await desk.published()
        return found if len(found) >= 2 else []

    assert [one.current_cost for one in await eventually(told)] == [2, 2]


async def test_what_is_blocked_does_not_come_in(desk: Desk) -> None:
    await desk.threshold("1", action=BLOCK)
    for _ in range(2):
        with pytest.raises(QuotaExceeded, match="beyond the limit of 1"):
            await desk.usage.ingest_event(TENANT, desk.event("2", id="e"), by=AGENT)
    (published,) = await desk.published()  # once, however often it comes
    assert published.threshold.action == Block()
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 0
    assert await desk.ingest(desk.event("1", id="e")) is EventState.COUNTED


async def test_events_at_once_never_pass_a_limit_together(desk: Desk, make_store: MakeStore) -> None:
    other = Desk(make_store(parts=PARTS), desk.clock)
    await desk.threshold("1")
    await desk.store.settled(30)
    found = await asyncio.gather(*(who.ingest(who.event("0.30", id=f"e{n}")) for n in range(20) for who in (desk, other) if n % 2 == (who is desk)))  # fmt: skip
    assert found.count(EventState.COUNTED) == 3
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == D("0.90")


async def test_what_is_voided_or_corrected_is_not_spent(desk: Desk) -> None:
    await desk.threshold("10")
    wrong, gone = desk.event("4", id="wrong"), desk.event("5", id="gone")
    for one in (wrong, gone):
        await desk.ingest(one)
    await desk.usage.void_event(TENANT, gone.event_id, by=HUMAN, reason="twice")
    right = replace(wrong, properties={"amount": "9"})
    await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="a digit")
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, MONTH).total_cost == 9


async def test_a_runaway_is_told_of(desk: Desk) -> None:
    def subjects(tx: ReadTx) -> list[str]:
        return [row.subject for row in tx.outbox_tail(Position(), 10_000) if row.subject == "metering.anomalies"]

    for n in range(170):
        await desk.usage.ingest_event(TENANT, event(desk.clock.now(), id=f"e{n}", type="call", path="/x"), by=AGENT)

    async def told() -> list[str]:
        return await desk.store.read(subjects)

    assert await eventually(told) == ["metering.anomalies"]
    assert desk.check("0.01").policy_id == "anomaly_policy"


async def test_who_runs_away_is_seen_everywhere_until_a_human_has_looked(desk: Desk, make_store: MakeStore) -> None:
    other = Desk(make_store(parts=PARTS), desk.clock)
    for agent in (AGENT, CHILD):
        for n in range(170):
            one = event(desk.clock.now(), id=f"{agent}{n}", agent=agent, type="call", path="/x")
            await desk.usage.ingest_event(TENANT, one, by=AGENT)
        desk.clock.advance(HOUR)

    async def flagged() -> tuple[Flagged, ...]:
        return (await other.triggers.anomalies.flagged(TENANT, desk.clock.now())).items

    async def both() -> tuple[Flagged, ...]:
        return found if len(found := await flagged()) == 2 else ()

    async def suspected(whose: Desk, expected: bool) -> bool:
        return (whose.check("0.01") is not None) is expected

    newest, first = await eventually(both)
    assert (newest.agent, first.agent, first.kind, first.event_type) == (CHILD, AGENT, "loop", "call")
    assert first.reason.actual_rate > 100
    page = await other.triggers.anomalies.flagged(TENANT, 0, limit=1)
    rest = await other.triggers.anomalies.flagged(TENANT, 0, limit=1, cursor=page.cursor)
    assert (page.items, rest.items, rest.cursor) == ((newest,), (first,), None)
    assert await eventually(partial(suspected, other, True))

    await other.triggers.anomalies.forgive(TENANT, AGENT, by=HUMAN)
    assert await eventually(partial(suspected, desk, False))
    assert await flagged() == (newest,)
    assert await other.triggers.anomalies.flag(TENANT, AGENT) is None
    ledger = await desk.store.read(lambda tx: tx.ledger_tail(Position(), 10_000))
    (entry,) = (e for e in (wire.decode(row.body, Entry) for row in ledger) if e.event == "AnomalyCleared")
    assert (entry.agent_nhi, wire.decode(entry.metadata, Flagged)) == (HUMAN, first)
    desk.clock.advance(DAY)
    assert await flagged() == ()


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "waiting"])
async def test_a_restart_knows_the_habits(desk: Desk, make_store: MakeStore, folded: bool) -> None:
    for hour in range(LEARNING_HOURS + 2):
        named = [event(desk.clock.now() + n, id=f"{hour}-{n}", type="call", path=f"/{hour}/{n}") for n in range(5)]
        await desk.usage.ingest_batch(TENANT, named, by=AGENT)
        desk.clock.advance(HOUR)
    if folded:
        while await desk.store.write(fold_step):
            pass
    restarted = Desk(make_store(parts=PARTS), desk.clock)
    await restarted.usage.ingest_event(TENANT, event(desk.clock.now(), id="first", type="call"), by=AGENT)

    async def learnt() -> bool:
        return restarted.watch.hours_known(TENANT, AgentId(AGENT)) == LEARNING_HOURS + 2

    assert await eventually(learnt)
    more = [event(desk.clock.now() + n, id=f"more{n}", type="call", path=f"/more/{n}") for n in range(100)]
    await restarted.usage.ingest_batch(TENANT, more, by=AGENT)

    async def flagged() -> Flagged | None:
        return await restarted.triggers.anomalies.flag(TENANT, AgentId(AGENT))

    told = await eventually(flagged)
    assert told is not None
    assert (told.kind, told.reason.expected_rate) == ("runaway", 5)


async def test_a_restart_knows_what_was_forgiven_and_until_when_who_is_flagged(desk: Desk) -> None:
    def known() -> History:
        return desk.store.read_now(lambda tx: histories(tx, TENANT, [AgentId(AGENT)], desk.clock.now()))[AgentId(AGENT)]

    assert known() == History({})
    await runs_away(desk)
    flagged = await desk.triggers.anomalies.flag(TENANT, AgentId(AGENT))
    assert flagged is not None
    assert known() == History({}, quiet_until=flagged.until)
    for _ in range(2):
        desk.clock.advance(HOUR)
        await desk.triggers.anomalies.forgive(TENANT, AgentId(AGENT), by=HUMAN)
        found = known()
        assert (found.quiet_until, desk.clock.now() - (found.forgiven_at or 0) < HOUR) == (0, True)


async def runs_away(desk: Desk, agent: str = AGENT) -> None:
    found = Runaway(D(2), D(900))
    await desk.store.write(lambda tx: desk.triggers.anomalies.tell(tx, TENANT, desk.event("1", agent=agent), found))


async def test_an_anomaly_is_a_reason(desk: Desk) -> None:
    await runs_away(desk)
    trigger = desk.check("0.01")
    assert trigger.policy_id == "anomaly_policy"
    assert isinstance(trigger.reason, AnomalyDetected)
    assert 0 < trigger.reason.confidence <= Decimal(1)


async def test_who_runs_away_waits_for_a_human_where_a_threshold_says_so(desk: Desk, make_store: MakeStore) -> None:
    await desk.spend("1", id="none")  # nothing asks yet
    await runs_away(desk)
    assert await desk.ingest(desk.event("50", id="a")) is EventState.COUNTED
    await desk.threshold("0", CostThresholdType.ANOMALY, policy_id=PolicyId("look"))
    restarted = Desk(make_store(parts=PARTS), desk.clock)
    assert await restarted.ingest(desk.event("0.01", id="b")) is EventState.HELD
    free = event(desk.clock.now(), id="c", agent=AGENT, type="call")
    assert await restarted.ingest(free) is EventState.HELD
    assert await restarted.ingest(desk.event("50", id="d", agent=CHILD)) is EventState.COUNTED
    told, _ = await restarted.published()
    assert told.anomaly == AnomalyDetected(expected_rate=D(2), actual_rate=D(900), confidence=D("0.99"))
    trigger = restarted.check("7")
    assert (trigger.policy_id, trigger.reason, trigger.current_cost) == ("look", told.anomaly, 7)

    await desk.triggers.finalize_event(TENANT, EventId("b"), by=HUMAN)
    await desk.triggers.anomalies.forgive(TENANT, AGENT, by=HUMAN)
    assert await restarted.ingest(desk.event("0.01", id="e")) is EventState.COUNTED

    await runs_away(desk)
    desk.clock.advance(DAY)  # the alarm is over
    assert await restarted.ingest(desk.event("0.01", id="f")) is EventState.COUNTED


async def test_what_a_flagged_agent_may_spend_all_the_same(desk: Desk) -> None:
    await desk.threshold("5", CostThresholdType.ANOMALY)
    await runs_away(desk)
    assert await desk.ingest(desk.event("5", id="a")) is EventState.COUNTED
    assert await desk.ingest(event(desk.clock.now(), id="b", agent=AGENT, type="call")) is EventState.COUNTED
    assert await desk.ingest(desk.event("5.01", id="c")) is EventState.HELD
    assert await desk.ingest(desk.event("1", id="d", currency="EUR")) is EventState.HELD


async def test_of_who_runs_away_whoever_wants_to_know_hears_once_in_an_alarm(desk: Desk) -> None:
    await desk.threshold("0", CostThresholdType.ANOMALY, NotifyOnly(channels=()))
    await runs_away(desk)
    for n in range(3):
        assert await desk.ingest(desk.event("1", id=f"e{n}")) is EventState.COUNTED
    assert len(await desk.published()) == 1


async def test_a_correction_is_judged_as_an_event_that_comes(desk: Desk) -> None:
    await desk.threshold("100")
    known = desk.event("60")
    await desk.ingest(known)
    fits = replace(known, properties={"amount": "90"})
    assert (await desk.usage.correct_event(TENANT, fits, by=HUMAN, reason="more")).state is EventState.COUNTED
    too_much = replace(known, properties={"amount": "5000000"})
    done = await desk.usage.correct_event(TENANT, too_much, by=HUMAN, reason="a slip")
    assert (done.state, desk.spent()) == (EventState.HELD, 0)
    (waits,) = await desk.triggers.waiting(TENANT)
    assert waits.exceeded.current_cost == 5_000_000

    await desk.triggers.awaits(TENANT, known.event_id, RequestId("req-1"))
    await desk.triggers.on_decision(TENANT, RequestId("req-1"), DecisionDenied(reason="no"), by=HUMAN)
    again = await desk.usage.event(TENANT, known.event_id)
    assert (again.state, again.event.properties, desk.spent()) == (EventState.COUNTED, {"amount": "90"}, 90)
    assert [act.act for act in again.history][-4:] == ["corrected", "held", "released", "reinstated"]

    await desk.usage.correct_event(TENANT, too_much, by=HUMAN, reason="it was so")
    await desk.triggers.finalize_event(TENANT, known.event_id, by=HUMAN)
    assert desk.spent() == 5_000_000


async def test_a_correction_that_is_blocked_changes_nothing_and_is_recorded(desk: Desk) -> None:
    await desk.threshold("100", action=BLOCK)
    known = desk.event("60")
    await desk.ingest(known)
    with pytest.raises(QuotaExceeded) as refused:
        await desk.usage.correct_event(TENANT, replace(known, properties={"amount": "101"}), by=HUMAN, reason="more")
    assert (refused.value.code, desk.spent(), len(await desk.published())) == ("MT-429", 60, 1)
    assert (await desk.usage.event(TENANT, known.event_id)).event == known


async def test_a_pattern_that_could_match_nothing_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.threshold("1", counts=("a*b",))
    assert (refused.value.code, refused.value.field) == ("MT-400", "counts")
    await desk.threshold("1", counts=("a*", "b"))


async def test_an_hour_in_which_a_day_begins_counts_on_both_sides(make_store: MakeStore) -> None:
    store, clock = make_store(parts=PARTS), ManualClock()
    costs = Costs(store, clock, zone=lambda _: "Australia/Lord_Howe")  # half an hour of summer time
    day = (clock.now() // DAY + 200) * DAY + 10 * HOUR
    window = Window(WindowUnit.DAY, zone="Australia/Lord_Howe")
    starts = window.period(day).end
    for n, at in enumerate((starts - 1, starts, starts + HOUR // 2)):
        one = event(at, id=f"e{n}", type="payment", amount="1")
        await store.write(lambda tx, one=one: costs.add(tx, TENANT, [one]))  # type: ignore[misc]
    before = costs.total(TENANT, AgentId(AGENT), BillingPeriod.CURRENT_DAY, "USD", starts - 1).micros
    after = costs.total(TENANT, AgentId(AGENT), BillingPeriod.CURRENT_DAY, "USD", starts).micros
    assert (before, after) == (1_000_000, 2_000_000)


async def test_bad_questions_are_refused(desk: Desk) -> None:
    with pytest.raises(Unauthorized):
        desk.triggers.check_cost_threshold(TenantId("other"), desk.event("1"), MONTH)
    with pytest.raises(InvalidInput):
        await desk.threshold("-1")
    with pytest.raises(NotFound):
        await desk.triggers.awaits(TENANT, EventId("never"), RequestId("r"))
    with pytest.raises(NotFound):
        await desk.triggers.delete_threshold(TENANT, "never", by=HUMAN)
    assert not await desk.triggers.finalize_event(TENANT, EventId("never"), by=HUMAN)


async def test_a_deleted_threshold_holds_no_more(desk: Desk) -> None:
    await desk.threshold("1")
    assert desk.check("2") is not None
    await desk.triggers.delete_threshold(TENANT, "t", by=HUMAN)
    assert desk.check("2") is None


async def test_old_hours_are_pruned_and_totals_stay(desk: Desk) -> None:
    await desk.spend("5")
    before = desk.clock.now() + 40 * DAY
    assert await desk.store.write(lambda tx: desk.costs.prune(tx, before)) == 2
    assert desk.triggers.get_accumulated_cost(TENANT, AGENT, BillingPeriod.LIFETIME).total_cost == 5


async def test_other_tenants_see_none_of_it(desk: Desk) -> None:
    await desk.spend("5")
    other = TenantId("other")
    assert desk.triggers.get_accumulated_cost(other, AgentId(AGENT), MONTH).total_cost == 0
    assert await desk.triggers.thresholds(other) == []
