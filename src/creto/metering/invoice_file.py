"""An invoice as a file: what it says, the events behind its lines, and the log's proof that it was issued so.

    {"format": "creto/invoice/v1",
     "invoice": {…},                        in its canonical form: its digest stands in the ledger
     "events": [{"line_id": …, "event": "{…}", "index": 0, "path": […]}],     the exact text of each event, and its way to the line's root
     "proof": "c2sp.org/tlog-proof@v1\\n…"}   of the ledger entry that names the digest

    verdict = verify_file(Path("invoice.json").read_bytes(), Keys(trust=trust))

What holds then: the log has an entry that this invoice became final; all of it sums up; each event given was counted in its line, as it
stands here. Whether the invoice was voided since, only the installation knows.

INVARIANT: nothing of a file is believed but what the log's entry names by its digest, and what hashes to a root therein.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from creto.common import wire
from creto.common.errors import AuditError, CryptoError
from creto.common.limits import INVOICE_FILE_EVENTS_MAX
from creto.common.timestamps import iso as instant
from creto.contracts import BillableEvent
from creto.metering.currencies import iso
from creto.metering.invoices import Heading, canonical, invoice_digest, left_over, summed, with_tax
from creto.metering.rounding import HUNDRED, ZERO, precise
from creto.metering.types import Invoice, InvoiceKind, Line
from creto.platform.audit.proof import parse_proof
from creto.platform.audit.types import Verdict
from creto.platform.audit.verify_file import Keys, register, verify_proof
from creto.platform.crypto import merkle
from creto.store.types import Entry

FORMAT = "creto/invoice/v1"
ISSUING = {InvoiceKind.INVOICE: "InvoiceFinalized", InvoiceKind.CREDIT_NOTE: "InvoiceCredited"}


class LineEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That an event is number `index` of those behind a line. `event` is the exact text that is hashed."""

    line_id: str
    event: str
    index: int
    path: tuple[bytes, ...]


class InvoiceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    invoice: msgspec.Raw
    events: tuple[LineEvent, ...] = ()
    proof: str | None = None


def encoded(invoice: Invoice, events: Iterable[LineEvent] = (), proof: bytes | None = None) -> bytes:
    text = None if proof is None else proof.decode()
    return wire.encode(InvoiceFile(FORMAT, msgspec.Raw(canonical(invoice)), tuple(events), text))


def event_proofs(line_id: str, events: list[BillableEvent], wanted: frozenset[str] | None = None) -> list[LineEvent]:
    """The events behind a line with their proofs, all or those that are wanted."""
    leaves = [wire.encode(event) for event in events]
    paths = merkle.inclusion_proofs([merkle.leaf_hash(leaf) for leaf in leaves])
    return [
        LineEvent(line_id, leaf.decode(), index, tuple(paths[index]))
        for index, (event, leaf) in enumerate(zip(events, leaves, strict=True))
        if wanted is None or event.event_id in wanted
    ]


def is_invoice_file(data: bytes) -> bool:
    return data.lstrip()[:1] == b"{" and b'"' + FORMAT.encode() + b'"' in data


def verify_invoice(data: bytes, keys: Keys) -> Verdict:
    file = wire.decode(data, InvoiceFile, code="MT-400", what="invoice")
    if file.format != FORMAT:
        raise unproved("format", file.format, FORMAT)
    invoice = read_invoice(file.invoice)
    check_sums(invoice)
    proved = check_events(invoice, file.events)
    if file.proof is None:
        raise AuditError(
            "MT-422", "nobody vouches for it: the file has no proof of the log", field="proof", got="none",
            expected="the proof of the entry that names its digest", hint="Only an invoice that is final has one.",
        )  # fmt: skip
    logged = verify_proof(file.proof.encode(), keys)
    check_entry(parse_proof(file.proof.encode()).entry, invoice)
    behind = sum(line.events for line in invoice.lines)
    total, due = (iso(invoice.currency).rounded(amount) for amount in (invoice.total, invoice.due))
    return Verdict(
        "invoice",
        (
            f"{invoice.kind.replace('_', ' ')} {invoice.number} of the tenant {invoice.tenant}: {total} {invoice.currency}, {due} due",
            f"for {instant(invoice.period.start)} to {instant(invoice.period.end)}, final at {instant(invoice.finalized_at or 0)}, if nobody voided it since",
            f"{len(invoice.lines)} lines sum to it, with their discounts and taxes",
            f"{proved} of the {behind} events behind the lines are proved by this file",
            *logged.shows[1:],
        ),
        {
            "invoice_id": invoice.invoice_id,
            "number": invoice.number,
            "total": str(total),
            "currency": invoice.currency,
            "digest": invoice_digest(invoice),
            "events": proved,
            **logged.details,
        },
    )


def read_invoice(raw: msgspec.Raw) -> Invoice:
    """The invoice, if what is written is all that the digest is over: no field more, no other spelling of a number."""
    invoice = wire.decode(bytes(raw), Invoice, code="MT-400", what="invoice")
    written = wire.encode(wire.decode(bytes(raw), dict[str, object], code="MT-400", what="invoice"))
    if written != canonical(invoice):
        raise unproved("invoice", "another spelling, or a field more", "its canonical form")
    return invoice


@precise
def check_sums(invoice: Invoice) -> None:
    """MT-422 unless lines, discounts, taxes and credits come to what the foot says."""
    for line in invoice.lines:
        check_line(line, invoice)
    heading = Heading(
        invoice_id=invoice.invoice_id, tenant=invoice.tenant, subscription_id=invoice.subscription_id,
        currency=invoice.currency, period=invoice.period, plan=invoice.plan,
    )  # fmt: skip
    again = summed(heading, invoice.lines, invoice.kind)
    for field in ("subtotal", "discount", "taxes", "tax", "total"):
        if getattr(again, field) != getattr(invoice, field):
            raise unproved(field, getattr(invoice, field), getattr(again, field))
    same("due", invoice.due, left_over(invoice))
    if invoice.kind is InvoiceKind.INVOICE:
        same("carried", invoice.carried, max(-invoice.total, ZERO))
    if invoice.kind is InvoiceKind.INVOICE and any(line.corrects is None and line.discount for line in invoice.lines):
        off = sum((line.discount for line in invoice.lines if line.corrects is None), ZERO)
        same("coupons", sum((use.amount for use in invoice.coupons), ZERO), off)


def check_line(line: Line, invoice: Invoice) -> None:
    """Rounded amounts lie within a unit of the exact ones; of a correction, which is a difference of two, within two."""
    unit = Decimal((0, (1,), -iso(invoice.currency).digits)) * 2
    where = f"lines.{line.line_id}"
    if abs(line.amount - line.exact) >= unit:
        raise unproved(f"{where}.amount", line.amount, f"{line.exact}, rounded")
    if line.shares:
        same(f"{where}.shares", sum((share.amount for share in line.shares), ZERO), line.amount)
    for tax in line.taxes:
        if abs(tax.amount - tax.taxable * tax.percent / HUNDRED) >= unit:
            raise unproved(f"{where}.taxes.{tax.code}", tax.amount, f"{tax.percent} % of {tax.taxable}, rounded")
    paid = sum((use.amount for use in invoice.credits if use.line_id == line.line_id), ZERO)
    if paid > max(with_tax(line), ZERO):
        raise unproved(f"{where}.credits", paid, f"at most {with_tax(line)}")


def check_events(invoice: Invoice, events: tuple[LineEvent, ...]) -> int:
    """How many events were proved. Each was counted in its line, and once."""
    if len(events) > INVOICE_FILE_EVENTS_MAX:
        raise unproved("events", len(events), f"at most {INVOICE_FILE_EVENTS_MAX}")
    lines = {line.line_id: line for line in invoice.lines}
    for proof in events:
        where = f"events.{proof.line_id}.{proof.index}"
        line = lines.get(proof.line_id)
        if line is None or line.events_root is None:
            raise unproved(where, "an event", "a line with events behind it")
        leaf = proof.event.encode()
        try:
            root = bytes.fromhex(line.events_root)
            merkle.verify_inclusion(merkle.leaf_hash(leaf), proof.index, line.events, proof.path, root)
        except (CryptoError, ValueError) as error:
            cause = error if isinstance(error, CryptoError) else None
            raise AuditError(
                "MT-422", f"{where}: the event is not one of those behind the line", field=where, got="another event",
                expected=f"the root {line.events_root}", caused_by=cause,
            ) from error  # fmt: skip
        event = wire.decode(leaf, BillableEvent, code="MT-400", what="event")
        if event.tenant != invoice.tenant or event.timestamp not in line.period:
            raise unproved(
                where, f"{event.tenant} at {instant(event.timestamp)}", "an event of the line's tenant and period"
            )
    return len({(proof.line_id, proof.index) for proof in events})


def check_entry(entry: Entry, invoice: Invoice) -> None:
    """The ledger's entry is about this invoice, as it is."""
    said = wire.decode(bytes(entry.metadata), dict[str, object], code="MT-400", what="metadata of the entry")
    for field, got, expected in (
        ("proof.event", entry.event, ISSUING[invoice.kind]),
        ("proof.tenant", entry.tenant, invoice.tenant),
        ("proof.resource", entry.resource, f"metering:invoice:{invoice.invoice_id}"),
        ("proof.digest", said.get("digest"), invoice_digest(invoice)),
    ):
        if got != expected:
            raise unproved(field, got, expected)


def same(field: str, got: Decimal, expected: Decimal) -> None:
    if got != expected:
        raise unproved(field, got, expected)


def unproved(field: str, got: object, expected: object) -> AuditError:
    return AuditError.of(field, got=str(got), expected=str(expected), code="MT-422")


register("invoice", is_invoice_file, verify_invoice)
