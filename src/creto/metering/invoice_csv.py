"""Invoices as CSV: a row for each line, for spreadsheets and other programs.

Numbers are plain decimals, instants are ISO 8601. What agents and tenants named is text: a cell that a spreadsheet would read as a formula
gets an apostrophe in front.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from decimal import Decimal

from creto.common.timestamps import iso
from creto.metering.explained import number
from creto.metering.rounding import ZERO
from creto.metering.types import Invoice, Line

COLUMNS = (
    "invoice_id", "number", "kind", "status", "subscription_id", "line_id", "line_kind", "charge_id", "description",
    "period_start", "period_end", "quantity", "exact", "amount", "discount", "tax", "total", "currency", "events",
    "events_root", "corrects", "borne_by",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(invoices: Iterable[Invoice]) -> bytes:
    """RFC 4180, UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for invoice in invoices:
        for line in invoice.lines:
            writer.writerow(cells(invoice, line))
    return out.getvalue().encode()


def cells(invoice: Invoice, line: Line) -> list[str]:
    tax = sum((t.amount for t in line.taxes), ZERO)
    texts = [
        invoice.invoice_id, invoice.number or "", invoice.kind, invoice.status, invoice.subscription_id, line.line_id,
        line.kind, line.charge_id, line.description, iso(line.period.start), iso(line.period.end),
    ]  # fmt: skip
    numbers: list[Decimal] = [line.quantity, line.exact, line.amount, line.discount, tax, line.taxable + tax]
    borne = ";".join(f"{share.agent}={number(share.amount)}" for share in line.shares)
    rest = [invoice.currency, str(line.events), line.events_root or "", line.corrects or "", borne]
    return [*(text(t) for t in texts), *(number(n) for n in numbers), *(text(t) for t in rest)]


def text(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA) else value
