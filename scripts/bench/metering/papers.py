"""Invoices handed out: the page as PDF, the file with its proofs, and its verification with public keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tests.unit.metering.examples import JANUARY, charge, event, heading, meter, plan, subscription

from creto.metering import Bill, BillableEvent, Invoice, Letterhead, Party, PerUnit, bill, draft, finalized, to_pdf
from creto.metering.billing import bases
from creto.metering.invoice_file import check_events, check_sums, event_proofs
from scripts.bench.measure import Row, Scale, each, latency

LINES = 60
EVENTS = 1_000
HEAD = Letterhead(issuer=Party(name="Creto Ltd"), customer=Party(name="ACME"))


def rows(scale: Scale) -> Iterator[Row]:
    page = invoice(LINES, LINES)[0]
    yield latency(f"invoice as PDF, {LINES} lines", each(lambda: to_pdf(page, HEAD), scale.count(200, 10), warm=1))
    made, asked, events = invoice(EVENTS, 1)
    (basis,) = bases(asked, events).values()
    behind = list(basis.events)
    proofs = tuple(event_proofs(basis.line_id, behind))
    yield latency(
        f"proofs of {EVENTS:,} events made",
        each(lambda: event_proofs(basis.line_id, behind), scale.count(40, 3), warm=1),
    )
    yield latency(
        f"an invoice and its {EVENTS:,} events verified",
        each(lambda: (check_sums(made), check_events(made, proofs)), scale.count(40, 3), warm=1),
    )


def invoice(count: int, groups: int) -> tuple[Invoice, Bill, list[BillableEvent]]:
    grouped = meter(group_by=("region",)) if groups > 1 else meter()
    asked = Bill(
        plans=(plan(charge(PerUnit(unit=Decimal("0.0123")), meter=grouped)),),
        subscription=subscription(),
        period=JANUARY,
    )
    events = [event(JANUARY.start + n, id=f"e{n}", value=n, region=f"r{n % groups}") for n in range(count)]
    return finalized(draft(heading(), bill(asked, events)), "INV", 0, JANUARY.end)[0], asked, events
