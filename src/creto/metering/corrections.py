"""Corrections: late, backdated, corrected and voided events, booked on the period they belong to.

A period is counted anew with all that is known now; the difference to what was booked for it goes on the next invoice, as lines that
name the invoice they correct. Nobody edits a final invoice.

A credit note gave something of a line back before anything was counted anew. What a correction takes off that line is that much less: of the
two the customer gets the larger, never both. A credit note after a correction gives back no more than still stands.

INVARIANT: what was booked for a period and its corrections sum to the bill that would have come had all events been in time, but for what
credit notes gave back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from creto.metering.attribution import summed_shares
from creto.metering.currencies import Currency, iso
from creto.metering.invoices import Standing
from creto.metering.rounding import ZERO, precise
from creto.metering.taxes import by_code
from creto.metering.types import Invoice, InvoiceId, InvoiceKind, InvoiceStatus, Line, LineKind, Share, TaxAmount

CORRECTION = "correction:"


def subject(line: Line) -> str:
    """The line that a line is, or that it corrects."""
    return line.line_id if line.corrects is None else line.line_id.removeprefix(f"{CORRECTION}{line.corrects}@")


@precise
def booked(invoices: Iterable[Invoice], original: InvoiceId) -> dict[str, Line]:
    """What stands for the lines of an invoice: its own and all that corrected them. Void invoices booked nothing."""
    found: dict[str, Line] = {}
    for invoice in invoices:
        if invoice.status is InvoiceStatus.VOID or invoice.kind is InvoiceKind.CREDIT_NOTE:
            continue
        for line in invoice.lines:
            if invoice.invoice_id == original if line.corrects is None else line.corrects == original:
                known = found.get(subject(line))
                found[subject(line)] = line if known is None else plus(known, line)
    return found


@precise
def noted(invoices: Iterable[Invoice], original: InvoiceId) -> dict[str, Line]:
    """What credit notes gave back of each line of an invoice."""
    found: dict[str, Line] = {}
    for note in invoices:
        if note.kind is InvoiceKind.CREDIT_NOTE and note.corrects == original and note.status is not InvoiceStatus.VOID:
            for line in note.lines:
                known = found.get(line.line_id)
                found[line.line_id] = line if known is None else plus(known, line)
    return found


@precise
def standing(invoice: Invoice, others: Sequence[Invoice]) -> Standing:
    """What stands of a final invoice after all that was issued since."""
    issued = [other for other in others if other.status is InvoiceStatus.FINAL]
    books, notes = booked(issued, invoice.invoice_id), noted(issued, invoice.invoice_id)
    back = [use for note in issued if note.corrects == invoice.invoice_id for use in note.credits]
    gone = {(use.grant_id, use.line_id): ZERO for use in back}
    for use in back:
        gone[use.grant_id, use.line_id] += use.amount
    return Standing(
        taxable={
            line.line_id: min(line.taxable, books[line.line_id].taxable)
            - (notes[line.line_id].amount if line.line_id in notes else ZERO)
            for line in invoice.lines
            if line.line_id in books
        },
        credits=tuple(
            replace(use, amount=use.amount - gone.get((use.grant_id, use.line_id), ZERO)) for use in invoice.credits
        ),
    )


def plus(known: Line, line: Line, sign: int = 1) -> Line:
    """Two lines as one; with sign -1 their difference."""
    return replace(
        known,
        exact=known.exact + sign * line.exact,
        amount=known.amount + sign * line.amount,
        quantity=known.quantity + sign * line.quantity,
        discount=known.discount + sign * line.discount,
        taxes=by_code((*known.taxes, *(signed_tax(tax, sign) for tax in line.taxes))),
        shares=summed_shares((*known.shares, *(Share(s.agent, sign * s.amount) for s in line.shares))),
    )


def signed_tax(tax: TaxAmount, sign: int) -> TaxAmount:
    return replace(tax, taxable=sign * tax.taxable, amount=sign * tax.amount)


@precise
def rebooked(
    before: dict[str, Line], recount: Sequence[Line], original: InvoiceId, notes: Mapping[str, Line] | None = None,
    currency: str = "USD",
) -> list[Line]:  # fmt: skip
    """The lines that turn what was booked into the recount, which is drafted by the same terms. None where nothing changed.

    A line may move cost from one agent to another and leave the amount as it was. `notes` is what credit notes gave back already.
    """
    now, given = {line.line_id: line for line in recount}, notes or {}
    changes = [
        less_noted(changed_line(before.get(line_id), now.get(line_id)), given.get(line_id), iso(currency))
        for line_id in sorted(before.keys() | now.keys())
    ]
    return [
        replace(
            line,
            line_id=f"{CORRECTION}{original}@{line.line_id}",
            kind=LineKind.CORRECTION,
            description=f"{line.description} (correction)",
            corrects=original,
        )
        for line in changes
        if line is not None and (line.amount or line.discount or line.shares or any(tax.amount for tax in line.taxes))
    ]


def changed_line(old: Line | None, new: Line | None) -> Line | None:
    if new is None:
        return None if old is None else replace(plus(nothing(old), old, -1), steps=(), events=0, events_root=None)
    return plus(new, nothing(new) if old is None else old, -1)


def less_noted(line: Line | None, note: Line | None, currency: Currency) -> Line | None:
    """A correction that gives back, without what a credit note gave back before it. Who bears less does by that much less."""
    if line is None or note is None or line.taxable >= 0:
        return line
    if line.taxable + note.amount >= 0:
        return None
    rest = plus(line, replace(note, quantity=ZERO, shares=()))
    weights = [max(-share.amount, ZERO) for share in line.shares]
    if not any(weights):
        return replace(rest, shares=())
    parts = zip(line.shares, currency.split(rest.amount, weights), strict=True)
    return replace(rest, shares=tuple(Share(share.agent, part) for share, part in parts if part))


def nothing(line: Line) -> Line:
    return replace(line, exact=ZERO, amount=ZERO, quantity=ZERO, discount=ZERO, taxes=(), shares=())
