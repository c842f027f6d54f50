"""From events in rows to lines and back, on both engines: what an invoice was made of stays provable, whatever happens to its events later."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import EventId, SubscriptionId
from creto.common.timestamps import DAY
from creto.metering import (
    LLM_COST,
    Billing,
    IngestStatus,
    Invoice,
    LineKind,
    Metering,
    PerUnit,
    StoredEvents,
    UnsafeTrustEverybody,
    rendered,
    rendered_event,
)
from creto.metering.types import PlanId
from creto.platform.audit import Audit, Keys, verify_file
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import SigningKey
from tests.contract.billing_desk import FEBRUARY
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, D, charge, event, meter, plan

START = JANUARY.start


class Desk:
    def __init__(self, make_store: MakeStore) -> None:
        store = make_store(parts=("creto.store", "creto.platform.audit", "creto.metering"))
        self.clock = ManualClock(START)
        self.usage = Metering(store, self.clock, UnsafeTrustEverybody())
        self.billing = Billing(store, self.clock, StoredEvents())
        self.audit = Audit(store, self.clock, SigningKey.generate(), "example.com/log")

    async def used(self, at: int, id: str, value: int, **more: object) -> None:
        made = event(at, id=id, value=value, agent=CHILD, chain=(HUMAN, AGENT, CHILD), **more)  # type: ignore[arg-type]
        assert (await self.usage.ingest_event(TENANT, made, by=HUMAN)).status is IngestStatus.ACCEPTED

    async def invoiced(self, subscription_id: SubscriptionId, at: int) -> Invoice:
        made = await self.billing.draft_invoice(TENANT, subscription_id, by=HUMAN, at=at)
        self.clock.set(max(made.period.end, self.clock.now()))
        return await self.billing.finalize_invoice(TENANT, made.invoice_id, by=HUMAN)

    async def proved(self, invoice: Invoice) -> list[str]:
        """The events that the invoice's file proves to whoever has the log's keys."""
        data = await self.billing.invoice_file(TENANT, invoice.invoice_id, self.audit)
        verdict = verify_file(data, Keys(trust=await self.audit.trust()))
        shown = [json.loads(one["event"])["event_id"] for one in json.loads(data)["events"]]
        assert verdict.details["events"] == len(shown)
        return sorted(shown)


@pytest.fixture
def desk(make_store: MakeStore) -> Desk:
    return Desk(make_store)


@pytest.mark.parametrize("folded", [False, True])
async def test_what_a_final_invoice_was_made_of_stays_provable(desk: Desk, folded: bool) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("0.10")))), by=HUMAN)
    made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="k", by=HUMAN, starts_at=START)
    id = made.subscription_id
    desk.clock.set(START + 20 * DAY)
    for name, value in (("kept", 10), ("void", 20), ("fixed", 30), ("early", 40)):
        await desk.used(START + 10 * DAY, name, value)
    if folded:
        await desk.usage.fold()
    await desk.usage.void_event(TENANT, EventId("early"), by=HUMAN, reason="a test")
    january = await desk.invoiced(id, START)
    assert january.total == 6

    desk.clock.set(JANUARY.end + DAY)
    await desk.usage.void_event(TENANT, EventId("void"), by=HUMAN, reason="never happened")
    right = event(START + 10 * DAY, id="fixed", value=3, agent=CHILD, chain=(HUMAN, AGENT, CHILD))
    await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="ten times too much")
    await desk.used(START + 11 * DAY, "late", 7)
    february = await desk.invoiced(id, FEBRUARY.start)

    (fix,) = [line for line in february.lines if line.kind is LineKind.CORRECTION]
    assert january.total + fix.amount == D("2.00")
    assert await desk.proved(january) == ["fixed", "kept", "void"]
    assert await desk.proved(february) == ["fixed", "kept", "late"]
    for invoice in (january, february):
        assert (await desk.billing.reproduce_invoice(TENANT, invoice.invoice_id)).same

    why = await desk.billing.explain_line(TENANT, february.invoice_id, fix.line_id)
    assert {e.event_id: (e.change, e.before, e.counted, e.part) for e in why.events} == {
        "fixed": ("changed", 30, 3, D("-2.70")),
        "late": ("new", 0, 7, D("0.70")),
        "void": ("gone", 20, 0, D("-2.00")),
        "kept": ("same", 10, 10, 0),
    }
    assert (sum(e.part for e in why.events), why.corrects, why.root_holds) == (fix.amount, "INV-000001", True)
    assert "gone: 0 instead of 20 → -2.00 USD" in rendered(why)
    gone = await desk.billing.explain_event(TENANT, EventId("void"))
    assert (gone.state, [act.act for act in gone.history]) == ("void", ["voided"])
    assert [(p.number, p.part) for p in gone.lines] == [("INV-000001", 2), ("INV-000002", -2)]
    assert "never happened" in rendered_event(gone)

    note = await desk.billing.credit_invoice(TENANT, january.invoice_id, [("use", D("0.50"))], by=HUMAN)
    assert await desk.proved(note) == ["fixed", "kept", "void"]
    with pytest.raises(InvalidInput):
        await desk.billing.reproduce_invoice(TENANT, note.invoice_id)

    told = await desk.billing.explain_line(TENANT, january.invoice_id, "use")
    assert told.root_holds
    assert {e.event_id: e.counted for e in told.events} == {"kept": 10, "void": 20, "fixed": 30}
    lines = (await desk.billing.explain_event(TENANT, EventId("fixed"))).lines
    assert {(part.number, part.counted) for part in lines} == {("INV-000001", 30), ("INV-000002", 3), ("CN-000001", 30)}
    assert [p.number for p in (await desk.billing.explain_event(TENANT, EventId("late"))).lines] == ["INV-000002"]


@pytest.mark.parametrize("fate", ["kept", "deleted"])
async def test_a_subscription_that_is_made_known_later_takes_events_over_and_leaves_the_proof(
    desk: Desk, fate: str
) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1))), fee="31"), by=HUMAN)
    first = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="k", by=HUMAN, starts_at=START)
    desk.clock.set(START + 20 * DAY)
    await desk.used(START + 10 * DAY, "taken", 10)
    await desk.used(START + DAY, "kept", 1)
    january = await desk.invoiced(first.subscription_id, START)
    desk.clock.set(JANUARY.end + DAY)
    rival = await desk.billing.subscribe(TENANT, CHILD, PlanId("p"), key="r", by=HUMAN, starts_at=START + 5 * DAY)
    desk.clock.set(JANUARY.end + 2 * DAY)
    if fate == "deleted":
        await desk.billing.delete_subscription(TENANT, rival.subscription_id)
        desk.clock.set(JANUARY.end + 3 * DAY)

    again = await desk.billing.reproduce_invoice(TENANT, january.invoice_id)
    told = await desk.billing.explain_line(TENANT, january.invoice_id, "use")
    assert (again.same, told.root_holds) == (True, True)
    assert await desk.proved(january) == ["kept", "taken"]
    february = await desk.billing.preview(TENANT, first.subscription_id, at=FEBRUARY.start)
    fixes = [line.amount for line in february.lines if line.corrects]
    assert fixes == ([] if fate == "deleted" else [-10])
    if fate == "kept":
        theirs = await desk.billing.preview(TENANT, rival.subscription_id, at=START + 5 * DAY)
        assert [line.amount for line in theirs.lines if line.line_id == "use"] == [10]


async def test_an_event_that_was_moved_to_another_period_is_explained_in_both(desk: Desk) -> None:
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1))), fee="31"), by=HUMAN)
    made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="k", by=HUMAN, starts_at=START)
    desk.clock.set(START + 20 * DAY)
    await desk.used(START + 10 * DAY, "moved", 10)
    await desk.invoiced(made.subscription_id, START)
    desk.clock.set(FEBRUARY.start + 5 * DAY)
    right = event(FEBRUARY.start + DAY, id="moved", value=10, agent=CHILD, chain=(HUMAN, AGENT, CHILD))
    await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="a wrong clock")
    second = await desk.invoiced(made.subscription_id, FEBRUARY.start)

    (fix,) = [line for line in second.lines if line.corrects]
    (gone,) = (await desk.billing.explain_line(TENANT, second.invoice_id, fix.line_id)).events
    assert (fix.amount, gone.event_id, gone.part, gone.change) == (-10, "moved", -10, "gone")
    told = await desk.billing.explain_event(TENANT, EventId("moved"))
    assert [(p.number, p.part) for p in told.lines] == [("INV-000001", 10), ("INV-000002", 10), ("INV-000002", -10)]


async def test_an_event_that_no_meter_can_read_is_named_and_billed_once_it_is_corrected(desk: Desk) -> None:
    """It came before there was a plan that asks for what it lacks."""
    desk.clock.set(START + 20 * DAY)
    await desk.used(START + 10 * DAY, "good", 10)
    for id, props in (("bare", {}), ("words", {"value": "many"})):
        bad = event(START + 10 * DAY, id=id, agent=CHILD, chain=(HUMAN, AGENT, CHILD), **props)
        await desk.usage.ingest_event(TENANT, bad, by=HUMAN)
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D(1)))), by=HUMAN)
    made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="k", by=HUMAN, starts_at=START)
    assert (await desk.usage.query_cost(TENANT, made.subscription_id, at=START + DAY)).total == 10

    desk.clock.set(FEBRUARY.start)
    run = await desk.billing.run_invoices(TENANT, by=HUMAN)
    (id,) = run.final
    january = await desk.billing.invoice(TENANT, id)
    assert (january.total, january.unread, run.for_review) == (10, ("bare", "words"), {id: 2})
    assert (await desk.billing.reproduce_invoice(TENANT, id)).same
    assert await desk.proved(january) == ["good"]

    desk.clock.set(FEBRUARY.start + DAY)
    right = event(START + 10 * DAY, id="bare", value=5, agent=CHILD, chain=(HUMAN, AGENT, CHILD))
    await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="it had no value")
    february = await desk.invoiced(made.subscription_id, FEBRUARY.start)
    assert (february.total, february.unread) == (5, ())


async def test_an_event_that_nobody_pays_for_says_so(desk: Desk) -> None:
    desk.clock.set(START + 20 * DAY)
    await desk.used(START + 10 * DAY, "free", 1)
    told = await desk.billing.explain_event(TENANT, EventId("free"))
    assert (told.subscription_id, told.lines) == (None, ())
    assert "nobody pays for it" in rendered_event(told)
    with pytest.raises(NotFound):
        await desk.billing.explain_event(TENANT, EventId("none"))


async def test_calls_of_language_models_are_billed_by_the_table_of_prices(desk: Desk) -> None:
    calls = replace(meter(property=LLM_COST), event_type="inference")
    await desk.billing.create_plan(TENANT, plan(charge(PerUnit(unit=D("1.2")), meter=calls)), by=HUMAN)
    made = await desk.billing.subscribe(TENANT, AGENT, PlanId("p"), key="k", by=HUMAN, starts_at=START)
    desk.clock.set(START + 20 * DAY)
    at = START + 10 * DAY
    call = {"provider": "openai", "model_id": "o1-2024-12-17", "input_tokens": 1_000_000}
    unpriced = event(at, id="x", type="inference", **{**call, "model_id": "o1-none"})
    with pytest.raises(NotFound) as refused:
        await desk.usage.ingest_event(TENANT, unpriced, by=HUMAN)
    assert "o1-none" in refused.value.message
    for number in range(2):
        made_call = event(at + number, id=f"call{number}", type="inference", **call, output_tokens=100_000)
        await desk.usage.ingest_event(TENANT, made_call, by=HUMAN)

    invoice = await desk.invoiced(made.subscription_id, START)

    (line,) = invoice.lines
    assert (line.quantity, line.amount) == (42, D("50.40"))
    assert invoice.token_prices == "2026-11-21"
    assert await desk.proved(invoice) == ["call0", "call1"]
