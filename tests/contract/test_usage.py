"""Usage on both engines: events in, once each, with a proof; held, voided, corrected; totals, series, costs out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import (
    AlreadyExists,
    ApprovalDenied,
    AuditError,
    ConnectionFailed,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    OversightRequired,
    QuotaExceeded,
)
from creto.common.ids import AgentId, EventId, PolicyId, TenantId, new_id
from creto.common.telemetry import Metrics
from creto.common.timestamps import DAY, HOUR, MINUTE, SECOND
from creto.contracts import (
    MessageBillableEvent,
    MessageEventType,
    MessagePriority,
    MessageProperties,
    NetworkEgress,
    OversightTrigger,
    RuntimeUsageEvent,
    TransactionLimit,
)
from creto.metering import (
    Aggregation,
    BillableEvent,
    Billing,
    BucketSize,
    EventState,
    Ingested,
    IngestStatus,
    LineKind,
    Metering,
    Period,
    PerUnit,
    PropertyFilter,
    StoredEvents,
    Unpaid,
    UnsafeTrustEverybody,
    UsageBy,
    UsageQuery,
    folding,
    total_store,
)
from creto.metering.types import PlanId
from creto.platform.audit.proof import parse_proof
from creto.platform.consensus.testing import ManualClock
from creto.store.types import Entry, Outcome, Position, Store, Tx
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D, charge, event, meter, plan
from tests.unit.platform.audit.logs import log

POLICY = PolicyId("cfo")
BELOW = AgentId(f"{CHILD}-below")
NOON = JANUARY.start + 10 * DAY + 12 * HOUR
FEBRUARY = Period(JANUARY.end, JANUARY.end + 29 * DAY)


class Spent:
    """What the judge was told that counts, and what does not any more."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()

    def add(self, tx: Tx, tenant: TenantId, events: Iterable[BillableEvent], *, sign: int = 1) -> None:
        tx.publish("metering.costs", b"{}", tenant=tenant, agent="costs")
        for one in events:
            self.ids[one.event_id] += sign


class HoldDear:
    """Events of more than a thousand wait, those of more than a million are refused."""

    def __init__(self) -> None:
        self.costs = Spent()
        self.seen: list[str] = []

    def asks(self, tenant: TenantId) -> bool:
        return True

    def ended(self, tx: Tx, tenant: TenantId, event_id: EventId, act: str, by: AgentId) -> None:
        tx.publish("metering.ended", b"{}", tenant=tenant, agent=event_id)

    def counted(self, tenant: TenantId, events: Sequence[BillableEvent]) -> None:
        self.seen += [event.event_id for event in events]

    def sitting(self, tx: Tx, tenant: TenantId, events: Sequence[BillableEvent]) -> HoldingDear:
        return HoldingDear(self, tx, tenant)


class HoldingDear:
    def __init__(self, judge: HoldDear, tx: Tx, tenant: TenantId) -> None:
        self.judge, self.tx, self.tenant = judge, tx, tenant

    def end(self) -> None:
        """Each was added as it was considered."""

    def consider(self, event: BillableEvent) -> OversightTrigger | None:
        value = Decimal(event.properties.get("value", 0))
        if value > 1_000_000:
            raise QuotaExceeded("MT-429", "too dear")
        if value <= 1_000:
            self.judge.costs.add(self.tx, self.tenant, [event])
            return None
        self.tx.publish("metering.thresholds.exceeded", wire.encode(event), tenant=self.tenant, agent=event.agent_nhi)
        reason = TransactionLimit(amount=value, limit=D(1_000))
        return OversightTrigger(policy_id=POLICY, reason=reason, current_cost=value, threshold=D(1_000), currency="USD")


class Desk:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(NOON)
        self.judge = HoldDear()
        self.usage = Metering(store, self.clock, UnsafeTrustEverybody(), judge=self.judge)
        self.billing = Billing(store, self.clock, StoredEvents())

    async def take(self, one: BillableEvent) -> Ingested:
        return await self.usage.ingest_event(TENANT, one, by=one.agent_nhi)

    async def total(self, asked: object = None, **more: object) -> Decimal:
        query = UsageQuery(meter=asked or meter(), period=JANUARY, **more)  # type: ignore[arg-type]
        return sum((row.quantity for row in (await self.usage.query_usage(TENANT, query)).rows), D(0))

    async def both(self, **more: object) -> Decimal:
        """What a query says must not depend on what is folded."""
        before = await self.total(**more)
        await self.usage.fold()
        assert await self.total(**more) == before
        return before

    async def published(self, subject: str) -> int:
        rows = await self.store.read(lambda tx: tx.outbox_tail(Position(), 10_000))
        return sum(row.subject == subject for row in rows)

    def entries(self) -> list[Entry]:
        rows = self.store.read_now(lambda tx: tx.ledger_tail(Position(), 10_000))
        return [wire.decode(row.body, Entry) for row in rows]


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store(parts=("creto.store", "creto.metering")))


def used(value: int | str = 1, at: int = NOON, **more: object) -> BillableEvent:
    return event(at, **{"id": new_id(), "value": value, **more})  # type: ignore[arg-type]


async def test_an_event_counts_once_however_often_it_comes(desk: Desk) -> None:
    one = used(5)
    first = await desk.usage.ingest_event(TENANT, one, by=AGENT)
    again = await desk.usage.ingest_event(TENANT, one, by=AGENT)

    assert (first.status, again.status) == (IngestStatus.ACCEPTED, IngestStatus.DUPLICATE)
    assert first.event_id == again.event_id == one.event_id
    assert await desk.both() == 5
    assert desk.judge.costs.ids == {one.event_id: 1}


async def test_a_name_stands_for_one_event_for_ever(desk: Desk) -> None:
    one = used(5)
    await desk.usage.ingest_event(TENANT, one, by=AGENT)
    desk.clock.set(NOON + 30 * DAY)
    for other in (
        replace(one, properties={"value": 6}),
        replace(one, event_id=EventId(new_id()), properties={"value": 7}),
        replace(one, idempotency_key="other"),
        replace(one, agent_nhi=CHILD, delegation_chain=(HUMAN, CHILD)),
    ):
        with pytest.raises(IdempotencyConflict) as refused:
            await desk.usage.ingest_event(TENANT, other, by=AGENT)
        assert (refused.value.code, refused.value.field in ("event_id", "idempotency_key")) == ("MT-409", True)
    again = await desk.usage.ingest_event(TENANT, one, by=AGENT)

    assert again.status is IngestStatus.DUPLICATE
    assert await desk.both() == 5
    # What was refused has taken no name.
    free = replace(used(1), idempotency_key="other")
    assert (await desk.usage.ingest_event(TENANT, free, by=AGENT)).status is IngestStatus.ACCEPTED


async def test_a_batch_answers_for_each_event(desk: Desk) -> None:
    known, twice, dear = used(1), used(2), used(2_000)
    await desk.usage.ingest_event(TENANT, known, by=AGENT)
    batch = [
        used(10),
        known,
        twice,
        twice,
        replace(twice, properties={"value": 3}),
        replace(used(1), tenant=TenantId("other")),
        used(1, NOON + HOUR),
        used(1, NOON - 367 * DAY),
        dear,
        used(1, type=""),
        used(1, chain=(HUMAN, AGENT, HUMAN, AGENT)),
        used(1, big=2**70),
        used(1, text="x" * 2_000),
    ]
    done = await desk.usage.ingest_batch(TENANT, batch, by=AGENT)

    assert [r.status.value for r in done.results] == [
        "accepted", "duplicate", "accepted", "duplicate", "rejected", "rejected", "rejected", "rejected", "held",
        "rejected", "rejected", "rejected", "rejected",
    ]  # fmt: skip
    assert (done.accepted, done.duplicates, done.held, done.rejected) == (2, 2, 1, 8)
    fields = [(r.error.code, r.error.field) for r in done.results if r.error]
    assert fields == [
        ("MT-409", "event_id"), ("MT-400", "tenant"), ("MT-400", "timestamp"), ("MT-400", "timestamp"),
        ("MT-400", "event_type"), ("MT-400", "delegation_chain"), ("MT-400", "properties.big"),
        ("MT-400", "properties.text"),
    ]  # fmt: skip
    assert await desk.both() == 13
    assert dear.event_id not in desk.judge.costs.ids
    with pytest.raises(InvalidInput):
        await desk.usage.ingest_batch(TENANT, [], by=AGENT)


async def test_a_batch_of_repetitions_leaves_nothing_behind(desk: Desk) -> None:
    batch = [used(n) for n in range(30)]
    await desk.usage.ingest_batch(TENANT, batch, by=AGENT)
    before = len(desk.entries())
    again = await desk.usage.ingest_batch(TENANT, batch[::-1], by=AGENT)

    assert (again.duplicates, again.entry_id, len(desk.entries())) == (30, None, before)


async def test_events_are_read_in_every_form_and_bad_ones_are_named(desk: Desk) -> None:
    runtime = RuntimeUsageEvent(
        event_id=EventId(new_id()), tenant=TENANT, agent_nhi=AGENT, delegation_chain=(HUMAN, AGENT), timestamp=NOON,
        event_type="network_egress", idempotency_key="r1",
        properties=NetworkEgress(sandbox_id="sb", destination="x", bytes_transferred=7),
    )  # type: ignore[arg-type]  # fmt: skip
    message = MessageBillableEvent(
        idempotency_key="m1", tenant=TENANT, agent_nhi=AGENT, delegation_chain=(AGENT,), timestamp=NOON,
        event_type=MessageEventType.MESSAGE_SENT,
        properties=MessageProperties(
            message_size_bytes=9, recipient_count=1, priority=MessagePriority.LOW, encrypted=True, signature_algorithm="x"
        ),
    )  # type: ignore[arg-type]  # fmt: skip
    cloud = (
        b'{"specversion":"1.0","id":"1","source":"/shop","type":"use","subject":"agent","time":"2024-01-11T12:00:00Z",'
        b'"delegationchain":"human agent","data":{"value":1.10,"ok":true,"none":null}}'
    )
    done = await desk.usage.ingest_encoded(
        TENANT, [wire.encode(runtime), wire.encode(message), cloud, b"{", b'{"event_id":1}', b"[1]"], by=AGENT
    )

    assert [r.status.value for r in done.results] == ["accepted"] * 3 + ["rejected"] * 3
    assert {r.error.code for r in done.results if r.error} == {"MT-400"}
    assert await desk.both() == D("1.10")
    assert await desk.total(meter(event_type="network_egress", property="bytes_transferred")) == 7
    assert await desk.total(meter(event_type="message_sent", property="message_size_bytes")) == 9
    stored = await desk.usage.event(TENANT, EventId("/shop#1"))
    assert stored.event.delegation_chain == (HUMAN, AGENT)


async def test_every_event_is_proved_in_its_batch(desk: Desk) -> None:
    single, batch = used(1), [used(n) for n in range(7)]
    await desk.usage.ingest_event(TENANT, single, by=AGENT)
    await desk.usage.ingest_batch(TENANT, [batch[0], *batch], by=AGENT)
    entries = {entry.event_id: entry for entry in desk.entries()}

    for one in (single, *batch):
        proof = await desk.usage.prove_event(TENANT, one.event_id)
        proof.batch.verify(entries[proof.entry_id])
        assert proof.batch.leaf == wire.encode(one)
    assert entries[(await desk.usage.prove_event(TENANT, single.event_id)).entry_id].event == "EventIngested"


async def test_a_proof_leads_from_the_event_to_the_log(make_store: MakeStore) -> None:
    desk = Desk(make_store(parts=("creto.store", "creto.platform.audit", "creto.metering")))
    audit = log(desk.store)
    batch = [used(n) for n in range(5)]
    await desk.usage.ingest_batch(TENANT, batch, by=AGENT)
    proof = await desk.usage.prove_event(TENANT, batch[3].event_id)
    whole = proof.within(await audit.prove(proof.entry_id, tenant=TENANT, fresh=True))

    read = parse_proof(whole.to_json())
    read.verify(await audit.trust())
    assert read.batch is not None
    assert wire.decode(read.batch.leaf, BillableEvent) == batch[3]
    other = replace(read, batch=replace(read.batch, leaf=wire.encode(batch[2])))
    with pytest.raises(AuditError):
        other.verify(await audit.trust())


def test_the_bytes_of_an_event_stay_what_they_were() -> None:
    """They are hashed into batches, invoices and the log: a field that is added must not change them."""
    assert wire.encode(event(5, id="e", value="1.5", a=True)) == (
        b'{"event_id":"e","tenant":"acme","agent_nhi":"agent","delegation_chain":["human","agent"],"event_type":"use",'
        b'"timestamp":5,"idempotency_key":"e","properties":{"a":true,"value":"1.5"},"signature":null}'
    )


async def test_folding_goes_on_beside_the_service(desk: Desk) -> None:
    paused = asyncio.Event()

    async def pause() -> None:
        paused.set()
        await asyncio.Event().wait()

    await desk.usage.ingest_batch(TENANT, [used(1), used(2)], by=AGENT)
    task = asyncio.create_task(desk.usage.keep_folding(pause))
    async with asyncio.timeout(10):
        await paused.wait()
    task.cancel()
    assert desk.store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM metering_batch WHERE folded = 0")) == 0
    assert await desk.total() == 3


async def test_who_ingests_folds_where_nobody_else_does(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker runs: what waits stays within its bound, and every total holds all of it."""
    monkeypatch.setattr(folding, "USAGE_LOOK_EVENTS", 60)
    monkeypatch.setattr(folding, "USAGE_WAITING_MAX", 200)
    most = 0
    for begin in range(0, 500, 10):
        batch = [event(NOON - n * SECOND, id=f"e{n}", value=n) for n in range(begin, begin + 10)]
        await desk.usage.ingest_batch(TENANT, batch, by=HUMAN)
        most = max(most, await desk.store.read(folding.waiting))
        if begin % 100 == 0:
            (row,) = (await desk.usage.query_usage(TENANT, UsageQuery(meter=meter(), period=JANUARY))).rows
            assert (row.events, row.quantity) == (begin + 10, sum(range(begin + 10)))
    assert 200 <= most < 200 + 60 + 30


async def test_events_are_in_when_folding_fails_after_them(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "USAGE_LOOK_EVENTS", 1)
    monkeypatch.setattr(folding, "USAGE_WAITING_MAX", 0)

    def away(tx: Tx) -> int:
        raise ConnectionFailed("PL-503", "the server is away")

    with monkeypatch.context() as outage:
        outage.setattr(total_store, "fold_step", away)
        done = await desk.usage.ingest_batch(TENANT, [event(NOON, id="e1")], by=HUMAN)
    assert done.accepted == 1
    assert await desk.store.read(total_store.waiting) == (1, 1)
    await desk.usage.ingest_event(TENANT, event(NOON, id="e2"), by=HUMAN)
    assert await desk.store.read(total_store.waiting) == (0, 0)


async def test_a_held_event_counts_when_it_is_finalized(desk: Desk) -> None:
    dear = used(2_000)
    for _ in range(2):
        with pytest.raises(OversightRequired) as waits:
            await desk.usage.ingest_event(TENANT, dear, by=AGENT)
        assert (waits.value.code, waits.value.policy_id) == ("MT-202", POLICY)
    assert await desk.both() == 0
    assert [e.outcome for e in desk.entries()] == [Outcome.PENDING]
    assert await desk.published("metering.thresholds.exceeded") == 1

    for _ in range(2):
        done = await desk.usage.finalize_event(TENANT, dear.event_id, by=HUMAN)
    assert (done.state, done.event, [a.act for a in done.history]) == (EventState.COUNTED, dear, ["held", "finalized"])
    assert desk.judge.costs.ids == {dear.event_id: 1}
    assert desk.judge.seen == [dear.event_id]
    assert await desk.both() == 2_000
    assert (await desk.usage.ingest_event(TENANT, dear, by=AGENT)).status is IngestStatus.DUPLICATE
    with pytest.raises(AlreadyExists):
        await desk.usage.release_event(TENANT, dear.event_id, by=HUMAN)


async def test_whatever_becomes_of_an_event_it_is_in_its_agents_history_once(desk: Desk) -> None:
    cheap, dear, denied = used(8), used(2_000), used(3_000)
    await desk.usage.ingest_batch(TENANT, [cheap, dear, denied], by=AGENT)
    await asyncio.gather(*(desk.usage.finalize_event(TENANT, dear.event_id, by=HUMAN) for _ in range(4)))
    for wrong in (cheap, dear):
        await desk.usage.ingest_batch(TENANT, [wrong, denied], by=AGENT)
        await desk.usage.correct_event(TENANT, replace(wrong, properties={"value": 9}), by=HUMAN, reason="typo")
        await desk.usage.void_event(TENANT, wrong.event_id, by=HUMAN, reason="twice")
    await desk.usage.release_event(TENANT, denied.event_id, by=HUMAN)
    assert desk.judge.seen == [cheap.event_id, dear.event_id]


async def test_what_is_refused_takes_no_name_and_repetitions_fare_alike(desk: Desk) -> None:
    dear, refused = used(2_000), used(2_000_000)
    done = await desk.usage.ingest_batch(TENANT, [dear, dear, refused, refused], by=AGENT)

    assert [r.status.value for r in done.results] == ["held", "held", "rejected", "rejected"]
    assert {r.error.code for r in done.results if r.error} == {"MT-429"}
    with pytest.raises(QuotaExceeded):
        await desk.usage.ingest_event(TENANT, refused, by=AGENT)
    cheaper = replace(refused, properties={"value": 1})
    assert (await desk.usage.ingest_event(TENANT, cheaper, by=AGENT)).status is IngestStatus.ACCEPTED
    assert await desk.both() == 1


async def test_a_released_event_never_counts(desk: Desk) -> None:
    dear = used(5)
    with pytest.raises(OversightRequired):
        await desk.usage.hold_event(TENANT, dear, POLICY, by=AGENT)
    await desk.usage.fold()
    await desk.usage.release_event(TENANT, dear.event_id, by=HUMAN, reason="too dear")

    with pytest.raises(ApprovalDenied):
        await desk.usage.ingest_event(TENANT, dear, by=AGENT)
    assert await desk.both() == 0


@pytest.mark.parametrize("folded", [True, False])
async def test_void_and_correction_change_what_counts_and_are_kept(desk: Desk, folded: bool) -> None:
    wrong, gone, other = used(5), used(7), used(1)
    await desk.usage.ingest_batch(TENANT, [wrong, gone, other], by=AGENT)
    if folded:
        await desk.usage.fold()
    right = replace(wrong, timestamp=NOON - 2 * DAY, properties={"value": 50})
    for _ in range(2):
        await desk.usage.void_event(TENANT, gone.event_id, by=HUMAN, reason="double")
        fixed = await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="typo")

    assert await desk.total() == 51
    assert await desk.both() == 51
    assert desk.judge.costs.ids == {wrong.event_id: 1, gone.event_id: 0, other.event_id: 1}
    assert await desk.both(asked=meter(Aggregation.MAX)) == 50
    assert (fixed.event, [a.act for a in fixed.history]) == (right, ["corrected"])
    voided = await desk.usage.event(TENANT, gone.event_id)
    assert (voided.state, voided.history[0].reason, voided.history[0].by) == (EventState.VOID, "double", HUMAN)
    # The original comes once more: it is known.
    assert (await desk.usage.ingest_event(TENANT, wrong, by=AGENT)).status is IngestStatus.DUPLICATE
    entries = {entry.event_id: entry for entry in desk.entries()}
    proof = await desk.usage.prove_event(TENANT, right.event_id)
    proof.batch.verify(entries[proof.entry_id])
    for again in (
        desk.usage.correct_event(TENANT, replace(gone, properties={"value": 8}), by=HUMAN, reason="x"),
        desk.usage.correct_event(TENANT, gone, by=HUMAN, reason="as it was"),
        desk.usage.void_event(TENANT, EventId("nothing"), by=HUMAN, reason="x"),
        desk.usage.correct_event(TENANT, replace(right, agent_nhi=CHILD), by=HUMAN, reason="x"),
        desk.usage.void_event(TENANT, other.event_id, by=HUMAN, reason=" "),
    ):
        with pytest.raises((AlreadyExists, NotFound, InvalidInput)):
            await again
    assert await desk.both() == 51


async def test_series_agents_ancestors_groups_and_the_largest(desk: Desk) -> None:
    events = [
        used(day, JANUARY.start + day * DAY + day * HOUR, agent=agent, chain=(HUMAN, AGENT, agent), model=model)
        for day in range(10)
        for agent, model in ((CHILD, "a"), (AgentId("twin"), "b"))
    ]
    await desk.usage.ingest_batch(TENANT, events, by=AGENT)
    for _ in range(2):
        days = await desk.usage.query_usage(
            TENANT, UsageQuery(meter=meter(), period=JANUARY, bucket=BucketSize.DAY, limit=20)
        )
        assert [row.quantity for row in days.rows] == [2 * d if d < 10 else 0 for d in range(20)]
        rest = await desk.usage.query_usage(
            TENANT, UsageQuery(meter=meter(), period=JANUARY, bucket=BucketSize.DAY, limit=20, after=days.next)
        )
        assert (len(rest.rows), rest.next) == (11, None)
        people = await desk.usage.query_usage(
            TENANT, UsageQuery(meter=meter(), period=JANUARY, by=UsageBy.ANCESTOR, top=3)
        )
        assert [(r.agent, r.quantity) for r in people.rows] == [(AGENT, 90), (HUMAN, 90), (CHILD, 45)]
        assert await desk.total(agent=AGENT) == 0
        assert await desk.total(agent=AGENT, delegates=True) == 90
        assert await desk.total(agent=CHILD) == 45
        models = await desk.usage.query_usage(
            TENANT, UsageQuery(meter=meter(group_by=("model",)), period=JANUARY, agent=CHILD)
        )
        assert [(r.group, r.quantity, r.events) for r in models.rows] == [({"model": "a"}, 45, 10)]
        only_b = meter(filters=(PropertyFilter("model", ("b",)),))
        assert await desk.total(only_b) == 45
        assert await desk.total(meter(Aggregation.UNIQUE_COUNT, property="model")) == 2
        odd = Period(JANUARY.start + 90 * MINUTE, JANUARY.start + 9 * DAY + 9 * HOUR + 1)
        assert (await desk.usage.query_usage(TENANT, UsageQuery(meter=meter(), period=odd))).rows[0].quantity == 90
        await desk.usage.fold()
    with pytest.raises(InvalidInput):
        await desk.usage.query_usage(TENANT, UsageQuery(meter=meter(), period=JANUARY, after="nonsense"))


async def test_totals_of_a_tenant_hold_nothing_of_another(desk: Desk) -> None:
    other = TenantId("other")
    mine = used(1)
    await desk.usage.ingest_event(TENANT, mine, by=AGENT)
    await desk.usage.ingest_event(other, replace(mine, tenant=other, properties={"value": 9}), by=AGENT)

    assert await desk.both() == 1
    found = await desk.usage.query_usage(other, UsageQuery(meter=meter(), period=JANUARY))
    assert found.rows[0].quantity == 9
    with pytest.raises(NotFound):
        await desk.usage.event(TenantId("third"), mine.event_id)


async def test_an_event_that_a_plan_could_not_bill_is_refused_at_the_door(desk: Desk) -> None:
    await desk.usage.ingest_event(TENANT, event(NOON, id="before", note="no value"), by=AGENT)
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    await subscribed(desk, HUMAN, "payer")
    for bad in ({}, {"value": "much"}, {"value": True}):
        with pytest.raises(InvalidInput) as refused:
            await desk.usage.ingest_event(TENANT, event(NOON, id=new_id(), **bad), by=AGENT)
        assert refused.value.field == "properties.value"
    await desk.usage.ingest_event(TENANT, used(7, agent=AGENT), by=AGENT)
    for _ in range(2):  # the one from before is named, and the rest is answered
        found = await desk.usage.query_usage(TENANT, UsageQuery(meter=meter(), period=JANUARY))
        assert ([row.quantity for row in found.rows], found.unread, found.unread_count) == ([7], ("before",), 1)
        await desk.usage.fold()


@pytest.mark.parametrize("folded", [False, True])
async def test_usage_that_nobody_pays_for_is_found_until_a_subscription_takes_it_over(desk: Desk, folded: bool) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("0.10")))), by=HUMAN)
    await subscribed(desk, AGENT, "later", starts_at=NOON + HOUR)
    chain = (HUMAN, AGENT, CHILD)
    desk.clock.set(NOON + 3 * HOUR)
    events = [used(10, NOON + n * HOUR, agent=CHILD, chain=chain) for n in range(3)]
    events += [
        used(1, NOON + 2 * HOUR, type="talk"),
        used(5, NOON, agent=HUMAN, chain=()),
        used(9, NOON, agent=HUMAN, chain=()),
    ]
    await desk.usage.ingest_batch(TENANT, events, by=HUMAN)
    await desk.usage.void_event(TENANT, events[-1].event_id, by=HUMAN, reason="twice")
    if folded:
        await desk.usage.fold()

    async def unpaid(**more: object) -> list[Unpaid]:
        return list((await desk.usage.unpaid(TENANT, JANUARY, **more)).items)  # type: ignore[arg-type]

    own, below, talk = Unpaid(HUMAN, "use", 1, NOON, NOON), Unpaid(CHILD, "use", 1, NOON, NOON), NOON + 2 * HOUR
    every = sorted([own, below, Unpaid(AGENT, "talk", 1, talk, talk)], key=lambda one: (one.agent, one.event_type))
    assert await unpaid() == every
    assert own not in await unpaid(agent=AGENT)
    first = await desk.usage.unpaid(TENANT, JANUARY, limit=2)
    rest = await desk.usage.unpaid(TENANT, JANUARY, limit=2, cursor=first.cursor)
    assert ([*first.items, *rest.items], rest.cursor) == (every, None)
    assert (await desk.usage.unpaid(TenantId("other"), JANUARY)).items == ()

    backdated = await subscribed(desk, HUMAN, "backdated", starts_at=JANUARY.start)
    assert [one.event_type for one in await unpaid()] == ["talk"]
    assert (await desk.billing.preview(TENANT, backdated.subscription_id)).subtotal == D("1.50")  # type: ignore[attr-defined]


async def test_usage_that_nobody_pays_for_is_counted_as_it_comes(make_store: MakeStore) -> None:
    metrics = Metrics()
    store = make_store(parts=("creto.store", "creto.metering"))
    desk = Desk(store)
    desk.usage = Metering(store, desk.clock, UnsafeTrustEverybody(), metrics=metrics)
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    await subscribed(desk, AGENT, "own")
    await desk.usage.ingest_batch(TENANT, [used(1), used(1, agent=CHILD, chain=()), used(1, type="talk")], by=HUMAN)
    said = metrics.render()
    assert 'metering_events_unpaid_total{event_type="use"} 1' in said
    assert 'metering_events_unpaid_total{event_type="talk"} 1' in said


async def test_a_plan_refuses_nothing_of_agents_whom_it_does_not_bill(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    bare = partial(event, NOON, note="no value")
    assert (await desk.take(bare(id="nobody pays"))).status is IngestStatus.ACCEPTED
    await subscribed(desk, CHILD, "other")
    await subscribed(desk, AGENT, "later", starts_at=NOON + HOUR)
    assert (await desk.take(bare(id="another pays for others"))).status is IngestStatus.ACCEPTED
    with pytest.raises(InvalidInput):
        await desk.take(bare(id="it pays", agent=CHILD, chain=(HUMAN, AGENT, CHILD)))
    desk.clock.set(max(desk.clock.now(), NOON + 3 * HOUR))
    with pytest.raises(InvalidInput):  # whoever is above pays as well
        await desk.take(event(NOON + 2 * HOUR, id="above", agent=BELOW, chain=(HUMAN, AGENT, BELOW), note="no value"))
    await desk.billing.create_plan(
        TENANT, plan(charge(PerUnit(unit=D(1)), meter=meter(property="note")), plan_id="q"), by=HUMAN
    )
    with pytest.raises(InvalidInput):  # the plan of another asks for something else
        await desk.take(event(NOON + 2 * HOUR, id="q", note="1"))


async def subscribed(desk: Desk, agent: AgentId, key: str, plan_id: str = "p", **more: object) -> object:
    made = {"key": key, "by": HUMAN, "starts_at": JANUARY.start, **more}
    return await desk.billing.subscribe(TENANT, agent, PlanId(plan_id), **made)  # type: ignore[arg-type]


async def test_usage_is_billed_by_the_nearest_subscription_that_meters_it(desk: Desk) -> None:
    own = charge(PerUnit(unit=D("0.10")))
    await desk.billing.create_plan(TENANT, plan(own), by=HUMAN)
    other = charge(PerUnit(unit=D(1)), meter=meter(event_type="talk"))
    await desk.billing.create_plan(TENANT, plan(other, plan_id="talk"), by=HUMAN)
    root = await subscribed(desk, AGENT, "root")
    chain = (HUMAN, AGENT, CHILD)
    await desk.usage.ingest_batch(
        TENANT,
        [used(100, agent=CHILD, chain=chain), used(3, agent=CHILD, chain=chain, type="talk"), used(10)],
        by=AGENT,
    )
    assert (await desk.billing.preview(TENANT, root.subscription_id)).subtotal == 11  # type: ignore[attr-defined]

    talk = await subscribed(desk, CHILD, "talk", "talk")
    assert (await desk.billing.preview(TENANT, root.subscription_id)).subtotal == 11  # type: ignore[attr-defined]
    assert (await desk.billing.preview(TENANT, talk.subscription_id)).subtotal == 3  # type: ignore[attr-defined]

    nearer = await subscribed(desk, CHILD, "nearer", starts_at=NOON + HOUR)
    assert (await desk.billing.preview(TENANT, root.subscription_id)).subtotal == 11  # type: ignore[attr-defined]
    desk.clock.set(NOON + 2 * HOUR)
    await desk.usage.ingest_event(TENANT, used(50, NOON + HOUR + SECOND, agent=CHILD, chain=chain), by=AGENT)
    assert (await desk.billing.preview(TENANT, root.subscription_id)).subtotal == 11  # type: ignore[attr-defined]
    assert (await desk.billing.preview(TENANT, nearer.subscription_id)).subtotal == 5  # type: ignore[attr-defined]


async def test_costs_are_told_by_charge_type_agent_and_tree(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("0.10"))), fee="31"), by=HUMAN)
    made = await subscribed(desk, AGENT, "k")
    await desk.usage.ingest_batch(TENANT, [used(30), used(70, agent=CHILD, chain=(HUMAN, AGENT, CHILD))], by=AGENT)
    cost = await desk.usage.query_cost(TENANT, made.subscription_id)  # type: ignore[attr-defined]

    assert (cost.total, cost.fixed, cost.currency) == (41, 31, "USD")
    assert cost.by_event_type == {"use": 10}
    assert cost.by_agent == {AGENT: 34, CHILD: 7}
    assert sum(node.total for node in cost.tree) == cost.total
    (human,) = [node for node in cost.tree if node.agent == HUMAN]
    assert (human.own, human.total, human.children[0].own, human.children[0].children[0].own) == (0, 10, 3, 7)


@pytest.mark.parametrize("folded", [True, False])
async def test_late_voided_and_corrected_usage_is_booked_on_the_next_invoice(desk: Desk, folded: bool) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("0.10")))), by=HUMAN)
    made = await subscribed(desk, AGENT, "k")
    sub = made.subscription_id  # type: ignore[attr-defined]
    gone, wrong = used(100), used(50)
    await desk.usage.ingest_batch(TENANT, [gone, wrong, used(10)], by=AGENT)
    if folded:
        await desk.usage.fold()
    desk.clock.set(JANUARY.end + DAY)
    january = await desk.billing.draft_invoice(TENANT, sub, by=HUMAN, at=JANUARY.start)
    first = await desk.billing.finalize_invoice(TENANT, january.invoice_id, by=HUMAN)
    assert first.subtotal == 16

    desk.clock.set(JANUARY.end + 3 * DAY)
    await desk.usage.void_event(TENANT, gone.event_id, by=HUMAN, reason="double")
    await desk.usage.correct_event(TENANT, replace(wrong, properties={"value": 40}), by=HUMAN, reason="typo")
    await desk.usage.ingest_event(TENANT, used(7), by=AGENT)
    if folded:
        await desk.usage.fold()
    desk.clock.set(FEBRUARY.end)
    draft = await desk.billing.draft_invoice(TENANT, sub, by=HUMAN, at=FEBRUARY.start)

    (fix,) = [line for line in draft.lines if line.kind is LineKind.CORRECTION]
    assert (fix.amount, fix.corrects) == (D("-10.30"), january.invoice_id)


async def test_batches_at_once_take_each_event_once(desk: Desk, make_store: MakeStore) -> None:
    """Two nodes, the same events in other orders, folding meanwhile."""
    other = Metering(make_store(parts=("creto.store", "creto.metering")), desk.clock, UnsafeTrustEverybody())
    events = [used(n, agent=f"a{n % 7}", chain=(HUMAN,)) for n in range(60)]
    halves = [events[:40], events[20:], events[::-1], events[::2]]
    nodes = [desk.usage, other]
    done, *_ = await asyncio.gather(
        asyncio.gather(*(nodes[i % 2].ingest_batch(TENANT, half, by=AGENT) for i, half in enumerate(halves * 2))),
        *(node.fold() for node in nodes * 3),
    )

    assert sum(one.accepted for one in done) == 60
    assert await desk.both() == sum(range(60))
    assert await desk.both(asked=meter(Aggregation.COUNT)) == 60
