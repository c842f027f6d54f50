"""Corrections: late, backdated, corrected and voided events, booked on the period they belong to.

A period is counted anew with all that is known now; the difference to what was booked for it goes on the next invoice, as lines that
name the invoice they correct. Nobody edits a final invoice.

INVARIANT: what was booked for a period and its corrections sum to the bill that would have come had all events been in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from creto.metering.attribution import summed_shares
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
    return TaxAmount(tax.code, tax.percent, sign * tax.taxable, sign * tax.amount)


@precise
def rebooked(before: dict[str, Line], recount: Sequence[Line], original: InvoiceId) -> list[Line]:
    """The lines that turn what was booked into the recount, which is drafted by the same terms. None where nothing changed.

    A line may move cost from one agent to another and leave the amount as it was.
    """
    now = {line.line_id: line for line in recount}
    changes = [changed_line(before.get(line_id), now.get(line_id)) for line_id in sorted(before.keys() | now.keys())]
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


def nothing(line: Line) -> Line:
    return replace(line, exact=ZERO, amount=ZERO, quantity=ZERO, discount=ZERO, taxes=(), shares=())
