"""Invoice files: any invoice that is drafted holds, any event behind it is proved, and any bytes give only documented errors."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import AuditError, EnablementError, InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.metering import (
    Bill,
    BillableEvent,
    Coupon,
    Grant,
    InvoiceStatus,
    LineKind,
    PerUnit,
    Tax,
    TaxRounding,
    Terms,
    bill,
    corrections,
    draft,
    standing,
)
from creto.metering.billing import bases
from creto.metering.charges import Days, adjustment
from creto.metering.explained import parts
from creto.metering.invoice_file import (
    check_events,
    check_sums,
    encoded,
    event_proofs,
    is_invoice_file,
    read_invoice,
    verify_invoice,
)
from creto.metering.periods import prorated
from creto.metering.reasons import FeeReason, TrueUpReason, reason_of
from creto.metering.types import GrantId
from creto.platform.audit import Keys
from creto.platform.crypto import merkle
from tests.fuzz import examples, spoiled
from tests.unit.metering.examples import AGENT, JANUARY, D, charge, event, heading, plan, subscription
from tests.unit.metering.test_properties import AGENTS, USD, coupons, orders, quantities, streams, taxes


@given(
    orders(),
    streams(),
    streams(max_size=4),
    st.lists(coupons, max_size=2, unique_by=lambda c: c.coupon_id),
    st.lists(taxes, max_size=2, unique_by=lambda t: t.code),
    st.sampled_from(TaxRounding),
    st.dictionaries(st.sampled_from([None, *AGENTS, AGENT]), quantities, max_size=4),
)
def test_every_invoice_and_its_correction_hold(
    asked: Bill,
    events: list[BillableEvent],
    late: list[BillableEvent],
    off: list[Coupon],
    on: list[Tax],
    rounding: TaxRounding,
    wallets: dict[AgentId | None, Decimal],
) -> None:
    grants = tuple(
        Grant(grant_id=GrantId(f"g{owner}"), amount=USD.rounded(left), currency="USD", owner=owner)
        for owner, left in wallets.items()
    )
    terms = Terms(
        coupons=tuple(off), taxes=tuple(on), tax_rounding=rounding, grants=grants,
        remaining={g.grant_id: g.amount for g in grants},
    )  # fmt: skip
    first = draft(heading(), bill(asked, events), terms)
    known = standing([*events, *(replace(e, event_id=f"late-{e.event_id}") for e in late)])
    recount = draft(heading(), bill(asked, known), terms)
    booked = corrections.booked([replace(first, status=InvoiceStatus.FINAL)], first.invoice_id)
    second = draft(heading(id="inv2"), corrections.rebooked(booked, recount.lines, first.invoice_id), terms)

    for made in (first, recount, second):
        check_sums(made)
        read_invoice(json_raw(encoded(made)))
        used: dict[str, Decimal] = {}
        for use in made.credits:
            used[use.grant_id] = used.get(use.grant_id, D(0)) + use.amount
        assert all(used.get(g.grant_id, D(0)) <= g.amount for g in grants)


def json_raw(data: bytes) -> msgspec.Raw:
    """The invoice within a file, as it is written there."""
    return msgspec.Raw(wire.encode(json.loads(data)["invoice"]))


@given(orders(), streams())
def test_every_event_behind_a_line_is_proved_and_its_parts_are_the_line(
    asked: Bill, events: list[BillableEvent]
) -> None:
    made = draft(heading(), bill(asked, events))
    evidence = bases(asked, events)

    for line in made.lines:
        if line.events_root is None:
            assert line.line_id not in evidence or evidence[line.line_id].events == ()
            continue
        behind = list(evidence[line.line_id].events)
        proofs = tuple(event_proofs(line.line_id, behind))
        assert check_events(made, proofs) == line.events == len(behind)
        told = parts(evidence[line.line_id], line.amount, "USD")
        assert sum((part.part for part in told), D(0)) == line.amount


@given(orders(), streams())
def test_what_no_event_is_behind_is_told_by_days_and_by_what_was_spent(
    asked: Bill, events: list[BillableEvent]
) -> None:
    lines = bill(asked, events)
    for line in lines:
        match reason_of(asked, line, lines):
            case FeeReason(amount, held, whole, is_prorated):
                assert line.exact == (prorated(amount, held, whole) if is_prorated else amount)
            case TrueUpReason(spent, minimum, commitment, paid, whole, held):
                assert line.exact == adjustment(spent, minimum, commitment, Days(held, paid, whole))
            case None:
                assert line.kind is LineKind.USAGE


def invoice_with(*events: BillableEvent) -> bytes:
    asked = Bill(plans=(plan(charge(PerUnit(unit=D(1))), fee="3"),), subscription=subscription(), period=JANUARY)
    proofs = [p for basis in bases(asked, events).values() for p in event_proofs(basis.line_id, list(basis.events))]
    return encoded(draft(heading(), bill(asked, events)), proofs)


EVENTS = tuple(event(JANUARY.start + n, id=f"e{n}", value=n) for n in range(3))


@settings(max_examples=examples(60))
@given(st.binary(max_size=200))
def test_any_bytes_give_only_documented_errors(data: bytes) -> None:
    for attempt in (data, b'{"format":"creto/invoice/v1",' + data):
        is_invoice_file(attempt)
        with pytest.raises(EnablementError):
            verify_invoice(attempt, Keys())


def test_spoiled_files_give_only_documented_errors() -> None:
    good = invoice_with(*EVENTS)
    for data in spoiled(good, 300, seed="invoices"):
        with pytest.raises(EnablementError):
            verify_invoice(data, Keys())


@pytest.mark.parametrize("which", ["tenant", "timestamp"])
def test_an_event_of_elsewhere_or_another_time_is_not_behind_a_line(which: str) -> None:
    alien = replace(EVENTS[0], **{"tenant": TenantId("other")} if which == "tenant" else {"timestamp": JANUARY.end})  # type: ignore[arg-type]
    made = draft(
        heading(),
        bill(Bill(plans=(plan(charge(PerUnit(unit=D(1)))),), subscription=subscription(), period=JANUARY), EVENTS),
    )
    (line,) = made.lines
    leaf = merkle.leaf_hash(wire.encode(alien)).hex()
    forged = replace(made, lines=(replace(line, events=1, events_root=leaf),))
    (proof,) = event_proofs("use", [alien])
    with pytest.raises(AuditError):
        check_events(forged, (proof,))


def test_a_file_that_is_none_says_what_is_missing() -> None:
    with pytest.raises(AuditError) as refused:
        verify_invoice(invoice_with(*EVENTS), Keys())
    assert (refused.value.code, refused.value.field) == ("MT-422", "proof")
    with pytest.raises(InvalidInput):
        verify_invoice(b'{"format":"creto/invoice/v1","invoice":{}}', Keys())
