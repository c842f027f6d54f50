"""Corrections: late, backdated, corrected and voided events, booked on the period they belong to.

A period is counted anew with all that is known now; the difference to what was booked for it goes on the next invoice, as lines that
name the invoice they correct. Nobody edits a final invoice.

INVARIANT: what was booked for a period and its corrections sum to the bill that would have come had all events been in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from creto.common.ids import AgentId
from creto.metering.rounding import ZERO, precise
from creto.metering.types import Invoice, InvoiceId, InvoiceStatus, Line, LineKind, Share

CORRECTION = "correction:"


def subject(line: Line) -> str:
    """The line that a line is, or that it corrects."""
    return line.line_id.rpartition(CORRECTION)[2].rpartition("@")[2] if line.corrects else line.line_id


@precise
def booked(invoices: Iterable[Invoice], original: InvoiceId) -> dict[str, Line]:
    """What stands for the lines of an invoice: its own and all that corrected them. Void invoices booked nothing."""
    found: dict[str, Line] = {}
    for invoice in invoices:
        if invoice.status is InvoiceStatus.VOID:
            continue
        for line in invoice.lines:
            if invoice.invoice_id == original if line.corrects is None else line.corrects == original:
                known = found.get(subject(line))
                found[subject(line)] = line if known is None else plus(known, line)
    return found


def plus(known: Line, line: Line) -> Line:
    return replace(
        known,
        amount=known.amount + line.amount,
        exact=known.exact + line.exact,
        quantity=known.quantity + line.quantity,
        shares=summed_shares((*known.shares, *line.shares)),
    )


@precise
def rebooked(before: dict[str, Line], recount: Sequence[Line], original: InvoiceId) -> list[Line]:
    """The lines that turn what was booked into the recount. None where nothing changed."""
    lines = []
    now = {line.line_id: line for line in recount}
    for line_id in sorted(before.keys() | now.keys()):
        old, new = before.get(line_id), now.get(line_id)
        base = new or old
        if base is None:
            continue
        amount = (new.amount if new else ZERO) - (old.amount if old else ZERO)
        if amount:
            lines.append(
                replace(
                    base,
                    line_id=f"{CORRECTION}{original}@{line_id}",
                    kind=LineKind.CORRECTION,
                    description=f"{base.description} (correction)",
                    amount=amount,
                    exact=(new.exact if new else ZERO) - (old.exact if old else ZERO),
                    quantity=(new.quantity if new else ZERO) - (old.quantity if old else ZERO),
                    discount=ZERO,
                    taxes=(),
                    shares=share_changes(old.shares if old else (), new.shares if new else ()),
                    corrects=original,
                )
            )
    return lines


def share_changes(old: Sequence[Share], new: Sequence[Share]) -> tuple[Share, ...]:
    return summed_shares((*new, *(Share(s.agent, -s.amount) for s in old)))


def summed_shares(shares: Iterable[Share]) -> tuple[Share, ...]:
    sums: dict[AgentId, Decimal] = {}
    for share in shares:
        sums[share.agent] = sums.get(share.agent, ZERO) + share.amount
    return tuple(Share(agent, sums[agent]) for agent in sorted(sums) if sums[agent])
