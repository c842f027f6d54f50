"""Invoices on paper: PDF by typst, the same bytes for the same invoice wherever it is made.

    pdf = to_pdf(invoice, Letterhead(issuer=Party(name="Creto Ltd"), customer=Party(name="ACME")))

The template and its fonts come with the package. They have the letters of Europe; the system's fonts are looked at only where an invoice has
others. The texts of an invoice are data to the template, never markup. Needs the extra `creto[pdf]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from importlib import resources
from typing import Any, Literal

from creto.common import wire
from creto.common.errors import InternalError, InvalidInput
from creto.common.limits import PAPER_AGENTS_MAX, PAPER_STEPS_MAX
from creto.common.timestamps import SECOND
from creto.metering.billing import borne_by
from creto.metering.currencies import iso
from creto.metering.explained import number
from creto.metering.invoices import invoice_digest
from creto.metering.parties import Letterhead, Party
from creto.metering.periods import Period, local
from creto.metering.rounding import ZERO
from creto.metering.types import Invoice, InvoiceId, InvoiceKind, InvoiceStatus, Line

Json = dict[str, Any]
Form = Literal["pdf", "png"]
Numbers = Mapping[InvoiceId, str]  # of invoices, as people know them
LACKING = re.compile(r'the text `"(.+?)"` could not be displayed')
ESCAPED = re.compile(r"\\u\{([0-9a-f]+)\}")  # what the compiler would not print itself
LONG_WORD = re.compile(r"\S{30}(?=\S)")


def to_pdf(invoice: Invoice, letterhead: Letterhead, numbers: Numbers | None = None) -> bytes:
    """PDF/A-2b, for the archive. `numbers` are those of the invoices that it corrects."""
    return b"".join(compiled(invoice, letterhead, "pdf", numbers=numbers))


def to_png(invoice: Invoice, letterhead: Letterhead, dots_per_inch: int = 144) -> list[bytes]:
    """Its pages as pictures."""
    return compiled(invoice, letterhead, "png", dots_per_inch)


def compiled(
    invoice: Invoice, letterhead: Letterhead, form: Form, dots_per_inch: int = 144, numbers: Numbers | None = None
) -> list[bytes]:
    """With the package's fonts alone; where they lack a letter, with the system's, too. A letter that none has is MT-400."""
    paper = wire.encode(on_paper(invoice, letterhead, numbers or {})).decode()
    at = (invoice.finalized_at or invoice.period.end) // SECOND
    for own_fonts in (True, False):
        pdf, lacking = set_in_type(paper, "pdf", at, own_fonts=own_fonts)
        if not lacking:
            return pdf if form == "pdf" else set_in_type(paper, form, at, dots_per_inch, own_fonts=own_fonts)[0]
    raise InvalidInput(
        "MT-400", f"no font has the letters {lacking}", field="letters", got=lacking,
        expected="letters that a font of this system has",
        hint="Install one that has them, as Debian's fonts-noto or fonts-noto-cjk.",
    )  # fmt: skip


def set_in_type(
    paper: str, form: Form, at_s: int, dots_per_inch: int = 144, *, own_fonts: bool
) -> tuple[list[bytes], str]:
    """The pages, or the letters for which there is no font: a PDF for the archive may have none such, so the compiler names them."""
    try:
        import typst
    except ImportError as error:
        raise InternalError("PL-501", "typst is not installed", hint="pip install 'creto[pdf]'") from error
    with resources.as_file(resources.files("creto.metering") / "paper") as folder:
        try:
            made: object = typst.compile(
                str(folder / "invoice.typ"),
                format=form,
                ppi=dots_per_inch,
                root=str(folder),
                font_paths=[str(folder)],
                ignore_system_fonts=own_fonts,
                sys_inputs={"paper": paper},
                timestamp=at_s,
                pdf_standards="a-2b" if form == "pdf" else None,
            )
        except RuntimeError as error:
            letters = LACKING.findall(getattr(error, "diagnostic", None) or str(error))
            if not letters:
                raise
            return [], "".join(dict.fromkeys(ESCAPED.sub(lambda m: chr(int(m[1], 16)), "".join(letters))))
    # One page is bytes, several pictures are a list of them.
    return [page for page in (made if isinstance(made, list) else [made]) if isinstance(page, bytes)], ""


def on_paper(invoice: Invoice, letterhead: Letterhead, numbers: Numbers) -> Json:
    """All texts of the page, ready to be set."""
    kind = "Credit note" if invoice.kind is InvoiceKind.CREDIT_NOTE else "Invoice"
    final = invoice.status in (InvoiceStatus.FINAL, InvoiceStatus.VOID)
    agents = [(agent, amount) for agent, amount in borne_by(invoice.lines).items() if amount]
    shown = sorted(agents, key=lambda a: (-a[1], a[0]))[:PAPER_AGENTS_MAX]
    rest = sum((amount for _, amount in agents), ZERO) - sum((amount for _, amount in shown), ZERO)
    return {
        "title": f"{kind} {invoice.number or invoice.invoice_id}",
        "heading": kind,
        "number": invoice.number or invoice.invoice_id,
        "mark": "" if invoice.status is InvoiceStatus.FINAL else invoice.status.upper(),
        "issuer": party_on_paper(letterhead.issuer),
        "customer": party_on_paper(letterhead.customer),
        "facts": list(facts(invoice, numbers)),
        "currency": invoice.currency,
        "lines": [line_on_paper(line, invoice, numbers) for line in invoice.lines],
        "sums": list(sums(invoice)),
        "shares": [
            *((agent, money(amount, invoice.currency)) for agent, amount in shown),
            *(
                [(f"{len(agents) - len(shown)} more", money(rest, invoice.currency))]
                if len(agents) > len(shown)
                else []
            ),
        ],
        "after": " and ".join(
            name for name, amount in (("discounts", invoice.discount), ("taxes", invoice.tax)) if amount
        ),
        "notes": [foldable(note) for note in letterhead.notes],
        "rounding": invoice.rounding,
        "digest": invoice_digest(invoice) if final else "",
    }


def party_on_paper(party: Party) -> Json:
    return {
        "name": foldable(party.name),
        "address": [foldable(part) for part in party.address],
        "tax_id": foldable(party.tax_id),
        "email": foldable(party.email),
    }


def foldable(text: str) -> str:
    """With places to break in words that are longer than a line may be."""
    return LONG_WORD.sub("\\g<0>\u200b", text)


def facts(invoice: Invoice, numbers: Numbers) -> Iterator[tuple[str, str]]:
    if invoice.finalized_at is not None:
        yield "Date", date(invoice.finalized_at, invoice.period.zone)
    yield "Period", days(invoice.period)
    yield "Subscription", invoice.subscription_id
    if invoice.plan:
        yield "Plan", invoice.plan
    if invoice.corrects is not None:
        yield "Corrects", numbers.get(invoice.corrects, invoice.corrects)


def line_on_paper(line: Line, invoice: Invoice, numbers: Numbers) -> Json:
    own_period = line.period != invoice.period
    return {
        "description": foldable(line.description),
        "period": days(line.period) if own_period else "",
        "quantity": grouped(line.quantity),
        "discount": money(-line.discount, invoice.currency) if line.discount else "",
        "amount": money(line.amount, invoice.currency),
        "steps": list(steps(line))
        if line.corrects is None
        else [f"Corrects {numbers.get(line.corrects, line.corrects)}"],
    }


def steps(line: Line) -> Iterator[str]:
    """How the amount came about; a long list, as of single transactions, is cut."""
    for step in line.steps[:PAPER_STEPS_MAX]:
        flat = f" + {grouped(step.flat)}" if step.flat and step.rate else ""
        how = f"{grouped(step.units)} × {grouped(step.rate)}{flat}" if step.rate else grouped(step.flat)
        yield f"{step.label}: {how} = {grouped(step.amount)}"
    if len(line.steps) > PAPER_STEPS_MAX:
        yield f"and {len(line.steps) - PAPER_STEPS_MAX} more steps"


def sums(invoice: Invoice) -> Iterator[tuple[str, str, bool]]:
    """The foot: what it is, how much, and whether it is what one looks for."""
    code = invoice.currency
    yield "Subtotal", money(invoice.subtotal, code), False
    if invoice.discount:
        yield "Discounts", money(-invoice.discount, code), False
    for tax in invoice.taxes:
        yield (
            f"{tax.name or tax.code} {number(tax.percent)} % of {money(tax.taxable, code)}",
            money(tax.amount, code),
            False,
        )
    yield f"Total {code}", money(invoice.total, code), True
    yield from settlement(invoice)
    if invoice.shown is not None and invoice.status is not InvoiceStatus.VOID:
        shown = invoice.shown
        rate = f"at {number(shown.rate)}, {date(shown.at, invoice.period.zone)}"
        yield f"{shown.currency} {rate}", money(shown.due, shown.currency), False


def settlement(invoice: Invoice) -> Iterator[tuple[str, str, bool]]:
    """From the total to what is due; of a credit note to what comes back, and how."""
    code, by_credits = invoice.currency, sum((use.amount for use in invoice.credits), ZERO)
    note = invoice.kind is InvoiceKind.CREDIT_NOTE
    if by_credits:
        yield "Back to credits" if note else "Paid by credits", money(-by_credits, code), False
    if invoice.carried:
        yield "To your credits", money(-invoice.carried if note else invoice.carried, code), False
    if invoice.status is not InvoiceStatus.VOID and (not note or by_credits or invoice.carried):
        yield f"{'To be paid back' if note else 'Due'} {code}", money(invoice.due, code), True
    if invoice.carried and not note:
        yield "The total is below zero. It pays for what comes.", "", False


def money(amount: Decimal, currency: str) -> str:
    return f"{iso(currency).rounded(amount):,f}".replace("-", "−")


def grouped(value: Decimal) -> str:
    return f"{value.normalize():,f}".replace("-", "−") if value else "0"


def days(period: Period) -> str:
    """Its first and its last day, as the tenant's calendar has them."""
    return f"{date(period.start, period.zone)} – {date(period.end - 1, period.zone)}"


def date(at: int, zone: str) -> str:
    return local(at, zone).date().isoformat()
