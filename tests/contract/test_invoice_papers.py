"""A final invoice on both engines: it explains itself both ways, proves itself offline, and can be counted again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from creto.common.errors import AlreadyExists, AuditError, EnablementError, InvalidInput, NotFound
from creto.common.ids import EventId
from creto.common.timestamps import DAY
from creto.metering import (
    Coupon,
    Graduated,
    Invoice,
    LineKind,
    Override,
    PerUnit,
    Tax,
    Tier,
    canonical,
    rendered,
    rendered_event,
)
from creto.metering.reasons import FeeReason, TrueUpReason
from creto.metering.types import ChargeId, CouponId
from creto.platform.audit import Audit, Keys, Trust, verify_file
from creto.platform.audit.keys import log_signers
from creto.platform.crypto import SigningKey
from tests.contract.billing_desk import FEBRUARY, Desk, set_clock
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import CHILD, HUMAN, JANUARY, TENANT, D, charge, event, meter, plan

START = JANUARY.start
TIERS = Graduated(tiers=(Tier(up_to=D(100), unit=D("0.10")), Tier(unit=D("0.05"), flat=D(1))))
PLAN = plan(
    charge(TIERS, meter=meter(group_by=("region",)), free_units=D(10), discount_percent=D(10), name="Calls"),
    fee="31",
)


class Books(Desk):
    """A desk with a log; its public keys are all that a verifier has."""

    def __init__(self, make_store: MakeStore) -> None:
        super().__init__(make_store(parts=("creto.store", "creto.platform.audit", "creto.metering")))
        self.audit = Audit(self.store, self.clock, SigningKey.generate(), "example.com/log")

    async def january(self, **more: Any) -> Invoice:
        subscription = await self.subscribed(PLAN, **more)
        self.source.used(
            subscription,
            event(START + DAY, id="a", value=130, region="eu", agent=CHILD, chain=(HUMAN, "agent", CHILD)),
            event(START + 2 * DAY, id="b", value=20, region="eu"),
            event(START + 3 * DAY, id="c", value=7, region="us"),
            event(START + 3 * DAY, id="other", type="unmetered"),
        )
        invoice_id = await self.drafted(subscription, terms=None)
        set_clock(self, JANUARY.end)
        return await self.billing.finalize_invoice(TENANT, invoice_id, by=HUMAN)

    async def keys(self) -> Keys:
        return Keys(trust=await self.audit.trust())

    async def file(self, invoice: Invoice, **more: Any) -> bytes:
        return await self.billing.invoice_file(TENANT, invoice.invoice_id, self.audit, **more)


@pytest.fixture
def books(make_store: MakeStore) -> Books:
    return Books(make_store)


async def test_an_invoice_proves_itself_with_the_logs_keys_alone(books: Books) -> None:
    invoice = await books.january()

    verdict = verify_file(await books.file(invoice), await books.keys())

    assert verdict.kind == "invoice"
    assert verdict.details["events"] == 3
    assert verdict.details["total"] == str(invoice.total)
    assert "3 of the 3 events behind the lines are proved by this file" in verdict.shows


async def test_one_event_is_proved_without_showing_the_others(books: Books) -> None:
    invoice = await books.january()
    data = await books.file(invoice, events=[EventId("b")])
    assert verify_file(data, await books.keys()).details["events"] == 1
    shown = json.loads(data)["events"]
    assert [json.loads(one["event"])["event_id"] for one in shown] == ["b"]


def altered(data: bytes, change: Any) -> bytes:
    file = json.loads(data)
    change(file)
    return json.dumps(file).encode()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("total", lambda f: f["invoice"].update(total="1")),
        ("lines.base.amount", lambda f: f["invoice"]["lines"][0].update(amount="30")),
        ("subtotal", lambda f: f["invoice"]["lines"].pop(0)),
        ("lines.use:region=eu.shares", lambda f: f["invoice"]["lines"][1]["shares"][0].update(amount="0.01")),
        ("invoice", lambda f: f["invoice"].update(note="paid")),
        ("invoice", lambda f: f["invoice"].update(subtotal="1e2")),
        ("proof.digest", lambda f: f["invoice"].update(number="INV-000002")),
        ("proof.digest", lambda f: f["invoice"]["lines"][1].update(description="Less")),
        ("events.use:region=eu.0", lambda f: f["events"][0].update(event=f["events"][0]["event"].replace("130", "13"))),
        ("events.use:region=us.0", lambda f: f["events"][0].update(line_id="use:region=us")),
        ("events.base.0", lambda f: f["events"][0].update(line_id="base")),
        ("proof", lambda f: f.update(proof=None)),
    ],
)
async def test_whatever_is_changed_in_a_file_shows(books: Books, field: str, change: Any) -> None:
    data = await books.file(await books.january())
    assert verify_file(altered(data, lambda f: None), await books.keys())
    keys = await books.keys()
    with pytest.raises(AuditError) as refused:
        verify_file(altered(data, change), keys)
    assert (refused.value.code, refused.value.field) == ("MT-422", field)


async def test_the_proof_of_another_invoice_or_log_is_none(books: Books) -> None:
    first = await books.january()
    file = json.loads(await books.file(first))
    note = await books.billing.credit_invoice(TENANT, first.invoice_id, [("base", D(5))], by=HUMAN)
    noted = await books.file(note)
    assert verify_file(noted, await books.keys()).kind == "invoice"

    file["proof"] = json.loads(noted)["proof"]
    keys = await books.keys()
    with pytest.raises(AuditError) as refused:
        verify_file(json.dumps(file).encode(), keys)
    assert refused.value.field == "proof.event"

    strange = Keys(trust=Trust.of(*(s.key for s in log_signers("example.com/log", SigningKey.generate()))))
    with pytest.raises(EnablementError):
        verify_file(noted, strange)
    with pytest.raises(InvalidInput) as no_keys:
        verify_file(noted, Keys())
    assert no_keys.value.field == "keys"


async def test_a_draft_has_no_file_and_an_event_that_is_not_behind_an_invoice_no_proof(books: Books) -> None:
    invoice = await books.january()
    with pytest.raises(InvalidInput) as strange:
        await books.file(invoice, events=[EventId("b"), EventId("nothing")])
    assert (strange.value.field, strange.value.got) == ("events", "['nothing']")
    draft = await books.billing.draft_invoice(TENANT, invoice.subscription_id, by=HUMAN, at=FEBRUARY.start)
    with pytest.raises(AlreadyExists) as refused:
        await books.file(draft)
    assert refused.value.code == "MT-412"


async def test_a_line_tells_how_it_came_about(books: Books) -> None:
    invoice = await books.january()

    told = await books.billing.explain_line(TENANT, invoice.invoice_id, "use:region=eu")

    assert told.priced is not None
    assert (told.priced.read, told.priced.billed) == (150, 140)
    assert (told.priced.gross, told.priced.percent_off, told.line.exact) == (13, D("1.3"), D("11.7"))
    assert told.root_holds
    assert [(e.event_id, e.counted) for e in told.events] == [("a", 130), ("b", 20)]
    assert sum(e.part for e in told.events) == told.line.amount == D("11.70")
    text = rendered(told)
    for words in (
        "Calls (eu): 11.70 USD on INV-000001 (final)",
        "sum of value over use events",
        "150 from 2 events",
        "100 × 0.1 = 10",
        "40 × 0.05 + 1 = 3",
        "discount    10 % off: −1.3\n  exact       11.7",
        "human → agent → child  130 → 10.14 USD",
        "the events below hash to it",
    ):
        assert words in text, text
    page = await books.billing.explain_line(TENANT, invoice.invoice_id, "use:region=eu", after=1, limit=1)
    assert [e.event_id for e in page.events] == ["b"]
    with pytest.raises(NotFound) as missing:
        await books.billing.explain_line(TENANT, invoice.invoice_id, "use:region=moon")
    assert "use:region=us" in (missing.value.hint or "")


async def test_an_event_tells_where_it_went(books: Books) -> None:
    invoice = await books.january()

    told = await books.billing.explain_event(TENANT, EventId("a"))

    (part,) = told.lines
    assert (part.invoice_id, part.line_id, part.counted, part.part) == (
        invoice.invoice_id, "use:region=eu", 130, D("10.14"),
    )  # fmt: skip
    assert "counted in" in rendered_event(told)
    assert (await books.billing.explain_event(TENANT, EventId("other"))).lines == ()
    with pytest.raises(NotFound):
        await books.billing.explain_event(TENANT, EventId("nowhere"))


async def test_a_late_event_is_explained_where_it_was_booked_and_the_old_invoice_stays_provable(books: Books) -> None:
    january = await books.january()
    subscription_id = january.subscription_id
    subscription = await books.billing.subscription(TENANT, subscription_id)
    set_clock(books, JANUARY.end + DAY)
    books.source.used(subscription, event(START + 9 * DAY, id="late", value=30, region="us"))
    assert (await books.billing.explain_event(TENANT, EventId("late"))).lines == ()

    february = await books.drafted(subscription, FEBRUARY.start, terms=None)
    set_clock(books, FEBRUARY.end)
    second = await books.billing.finalize_invoice(TENANT, february, by=HUMAN)

    (fix,) = [line for line in second.lines if line.kind is LineKind.CORRECTION]
    (part,) = (await books.billing.explain_event(TENANT, EventId("late"))).lines
    assert (part.invoice_id, part.line_id) == (february, fix.line_id)
    told = await books.billing.explain_line(TENANT, february, fix.line_id)
    assert told.root_holds
    assert [e.event_id for e in told.events] == ["late", "c"]
    assert "less what was billed then" in rendered(told)
    for invoice in (january, second):
        assert (await books.billing.reproduce_invoice(TENANT, invoice.invoice_id)).same
        assert verify_file(await books.file(invoice), await books.keys()).details["number"] == invoice.number
    assert verify_file(await books.file(second), await books.keys()).details["events"] == 2


async def test_a_preview_explains_events_that_no_invoice_has_yet(books: Books) -> None:
    subscription = await books.subscribed(PLAN)
    books.source.used(subscription, event(START + DAY, id="a", value=30, region="eu"))
    (part,) = (await books.billing.explain_event(TENANT, EventId("a"))).lines
    assert (part.status, part.part) == ("preview", D("1.80"))


async def test_an_invoice_counted_again_is_the_same_bytes_also_with_coupons_and_taxes(books: Books) -> None:
    await books.billing.create_coupon(TENANT, Coupon(coupon_id=CouponId("ten"), percent=D(10)), by=HUMAN)
    await books.billing.set_tax(TENANT, Tax(code="vat", percent=D(20)), by=HUMAN)
    invoice = await books.january(coupons=("ten",), taxes=("vat",))
    again = await books.billing.reproduce_invoice(TENANT, invoice.invoice_id)
    assert (again.same, again.other_lines) == (True, ())
    assert canonical(await books.billing.invoice(TENANT, invoice.invoice_id)) == canonical(invoice)

    await books.billing.set_tax(TENANT, Tax(code="vat", percent=D(25)), by=HUMAN)
    await books.billing.change_override(
        TENANT, invoice.subscription_id, Override(fees={ChargeId("base"): D(1)}), by=HUMAN
    )
    assert (await books.billing.reproduce_invoice(TENANT, invoice.invoice_id)).same


async def test_fees_minimums_and_commitments_are_explained_by_their_days_and_what_was_spent(books: Books) -> None:
    asked = plan(
        charge(PerUnit(unit=D("0.10")), minimum=D(62)), fee="31", minimum=D(200), commitment=None, trial_days=7
    )
    subscription = await books.subscribed(asked)
    books.source.used(subscription, event(START + DAY, id="a", value=100))
    set_clock(books, START + 15 * DAY + DAY // 2)
    await books.billing.terminate(TENANT, subscription.subscription_id, by=HUMAN)
    invoice_id = await books.drafted(subscription, terms=None)

    told = {
        id: (await books.billing.explain_line(TENANT, invoice_id, id)).reason
        for id in ("base", "use:minimum", "minimum")
    }

    assert told == {
        "base": FeeReason(D(31), 9, 31, True),
        "use:minimum": TrueUpReason(D(10), D(62), None, 9, 31, 16),
        "minimum": TrueUpReason(D(27), D(200), None, 9, 31, 16),
    }
    text = rendered(await books.billing.explain_line(TENANT, invoice_id, "minimum"))
    assert "spent     27" in text
    assert "minimum   200 for 9 of 31 days" in text


async def test_a_flat_price_is_explained_without_steps_of_tiers(books: Books) -> None:
    subscription = await books.subscribed(plan(charge(PerUnit(unit=D("0.5")), name="Calls")))
    invoice_id = await books.drafted(subscription, terms=None)
    told = await books.billing.explain_line(TENANT, invoice_id, "use")
    assert (told.root_holds, told.events) == (None, ())
    assert "per unit  0 × 0.5 = 0" in rendered(told)
