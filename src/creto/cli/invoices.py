"""`creto invoices`: made, explained to the cent, printed, and written to a file that `creto verify` checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.asking import INVOICE as NAMED
from creto.cli.asking import SUBSCRIPTION, Parameter, Question, add, answer, asks, lists
from creto.cli.choices import AMOUNT, DURATION, MOMENT, limit_option, money, one_of, out_option, seconds
from creto.cli.context import Cli, group, pass_cli, written
from creto.cli.naming import named
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.limits import PAGE_ITEMS_MAX
from creto.common.timestamps import SECOND
from creto.edge.api.invoices import CreditedLine
from creto.metering import InvoiceKind, InvoiceStatus, Party, rendered
from creto.metering.periods import Period, zone_of
from creto.metering.rounding import ZERO

if TYPE_CHECKING:
    from creto.edge.api import Blob
    from creto.edge.api.invoices import ReproducedView
    from creto.metering import Invoice, Line

INVOICE: Sequence[Column[Invoice]] = (
    Column("INVOICE", lambda i: None if i.status is InvoiceStatus.PREVIEW else i.invoice_id, shrinks=True),
    Column("NUMBER", lambda i: i.number),
    Column("STATUS", lambda i: i.status if i.kind is InvoiceKind.INVOICE else f"{i.status} note"),
    Column("PERIOD", lambda i: period_of(i.period)),
    Column("TOTAL", lambda i: f"{i.total} {i.currency}", right=True),
    Column("DUE", lambda i: None if i.status is InvoiceStatus.VOID else f"{i.due} {i.currency}", right=True),
)
LINE: Sequence[Column[Line]] = (
    Column("LINE", lambda line: line.line_id, shrinks=True),
    Column("WHAT", lambda line: line.description, shrinks=True),
    Column("QUANTITY", lambda line: f"{line.quantity:f}", right=True),
    Column("EVENTS", lambda line: line.events, right=True, drops=True),
    Column("AMOUNT", lambda line: line.amount, right=True),
)
SUM: Sequence[Column[tuple[str, str]]] = (
    Column("", lambda s: s[0]),
    Column("AMOUNT", lambda s: s[1], right=True),
)

invoices = group("invoices", "Made, explained to the cent, printed, and proved.")


def period_of(period: Period) -> str:
    """2026-01 for that month on the wall clock of its zone; else its first and its last day, or its first and last instant."""
    zone = zone_of(period.zone)
    start, end = (datetime.fromtimestamp(at // SECOND, zone) for at in (period.start, period.end))
    if any(at % SECOND for at in (period.start, period.end)) or (start.time(), end.time()) != (time(), time()):
        return f"{when(period.start)} to {when(period.end)}"
    last = end.date() - timedelta(days=1)
    if start.day == 1 and end.day == 1 and (start.year, start.month) == (last.year, last.month):
        return f"{start:%Y-%m}"
    return f"{start:%Y-%m-%d} to {last}"


lists(
    invoices, "list", lambda c: c.billing.invoices, INVOICE,
    click.option("--subscription", "subscription_id", metavar="SUBSCRIPTION", help="Of this one."),
    click.option("--status", type=one_of(InvoiceStatus)),
    nothing="No invoices. See what the next will be:\n  creto invoices preview SUBSCRIPTION",
    help="Invoices and credit notes.", example="creto invoices list --status final",
)  # fmt: skip


@invoices.command(example="creto invoices show INV-000001")
@NAMED
@pass_cli
async def show(cli: Cli, invoice_id: str) -> None:
    """One invoice with its lines."""
    shown(cli, await answer(cli, lambda c: c.billing.invoice, {"invoice_id": invoice_id}))


def shown(cli: Cli, found: Invoice) -> None:
    if cli.output.json:
        cli.output.say(found, "")
        return
    cli.output.items([found], INVOICE)
    click.echo("")
    cli.output.items(found.lines, LINE)
    sums = list(sums_of(found))
    if len(sums) > 2:
        click.echo("")
        cli.output.items(sums, SUM)
    if found.unread_count:
        cli.output.note(
            f"Not billed, as no meter could read them: {found.unread_count} events, {found.unread[0]} first."
        )


def sums_of(found: Invoice) -> Iterator[tuple[str, str]]:
    """From the lines to what is due, as far as they differ."""
    if found.discount or found.tax or found.credits or found.carried:
        yield "lines", str(found.subtotal)
    for coupon in found.coupons:
        yield f"coupon {coupon.coupon_id}", f"-{coupon.amount}"
    for tax in found.taxes:
        yield f"{tax.name or tax.code} {tax.percent} % of {tax.taxable}", str(tax.amount)
    yield "total", str(found.total)
    paid = sum((use.amount for use in found.credits), ZERO)
    if paid:
        yield "paid by credits", f"-{paid}"
    if found.carried:
        yield "carried to credits", str(found.carried)
    if found.status is InvoiceStatus.VOID:
        return
    yield "due" if found.kind is InvoiceKind.INVOICE else "given back", str(found.due)
    if found.shown:
        yield f"due in {found.shown.currency}, at {found.shown.rate}", str(found.shown.due)


@invoices.command(example="creto invoices preview $SUB --at 2026-01-15")
@SUBSCRIPTION
@click.option("--at", type=MOMENT, help="Of the period that holds this moment; of the one that runs, if not said.")
@pass_cli
async def preview(cli: Cli, subscription_id: str, at: int | None) -> None:
    """What the invoice would be now."""
    shown(cli, await answer(cli, lambda c: c.billing.preview, {"subscription_id": subscription_id, "at": at}))


def owed(made: Invoice) -> str:
    return f"{made.number or made.invoice_id}: {made.total} {made.currency}, {made.due} due."


asks(
    invoices, "draft", lambda c: c.billing.draft, lambda made: made.invoice_id, SUBSCRIPTION,
    click.option("--at", type=MOMENT, required=True, help="Of the period that holds this moment."),
    help="Open the invoice of a period. Prints its id.", example="creto invoices draft $SUB --at 2026-01-15",
)  # fmt: skip
asks(
    invoices, "recount", lambda c: c.billing.recount, owed, NAMED,
    help="An open invoice with all that is known now.", example="creto invoices recount $INV",
)  # fmt: skip
asks(
    invoices, "close", lambda c: c.billing.close, lambda made: f"{made.invoice_id} is in grace.", NAMED,
    help="Into grace: only late events come in.", example="creto invoices close $INV",
)  # fmt: skip
asks(
    invoices, "finalize", lambda c: c.billing.finalize, owed, NAMED,
    click.option("--series", default="INV", show_default=True, help="Numbers of a series have no gaps."),
    help="Number it; it never changes again.", example="creto invoices finalize $INV",
)  # fmt: skip
asks(
    invoices, "void", lambda c: c.billing.void, lambda made: f"{made.number or made.invoice_id} is void.", NAMED,
    help="It was never owed; its number stays taken.", example="creto invoices void INV-000001",
)  # fmt: skip


class Credited(click.ParamType[CreditedLine]):
    """A line and what is taken back of it."""

    name = "LINE=AMOUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CreditedLine:
        line, _, amount = str(value).rpartition("=")
        if not line:
            self.fail(f"{value!r} is no LINE=AMOUNT, as tokens=1.50.", param, ctx)
        return CreditedLine(line_id=line, amount=AMOUNT.convert(amount, param, ctx))


@invoices.command(example="creto invoices credit INV-000001 tokens=0.40 --as-credits")
@NAMED
@click.argument("lines", type=Credited(), nargs=-1, required=True)
@click.option("--series", default="CN", show_default=True, help="Numbers of a series have no gaps.")
@click.option("--as-credits", is_flag=True, help="Give it back as credits in the wallet, instead of money.")
@pass_cli
async def credit(cli: Cli, invoice_id: str, lines: tuple[CreditedLine, ...], series: str, as_credits: bool) -> None:
    """Take back parts of its lines by a credit note. Prints the note's id and number."""
    async with session(cli) as creto:
        found = await creto.billing.invoice(**await named(creto, {"invoice_id": invoice_id}))
        for line in lines:
            money(line.amount, found.currency, line.line_id)
        note = await creto.billing.credit_note(
            invoice_id=found.invoice_id, lines=lines, series=series, as_credits=as_credits
        )
    cli.output.say(note, f"{note.invoice_id} {note.number}: {note.total} {note.currency}.")


@invoices.command(example="creto invoices explain INV-000001 tokens")
@NAMED
@click.argument("line", required=False)
@limit_option
@pass_cli
async def explain(cli: Cli, invoice_id: str, line: str | None, limit: int) -> None:
    """Why a line is what it is, down to its events; of all lines, if none is named."""
    async with session(cli) as creto:
        asked = await named(creto, {"invoice_id": invoice_id})
        names = [line] if line else [one.line_id for one in (await creto.billing.invoice(**asked)).lines]
        for name in names:
            found = await creto.billing.explain(**asked, line_id=name, limit=min(limit, PAGE_ITEMS_MAX))
            cli.output.say(found, rendered(found))


def reproduced(found: ReproducedView) -> str:
    return "The same bytes." if found.same else f"Other lines: {', '.join(found.other_lines)}."


asks(
    invoices, "reproduce", lambda c: c.billing.reproduce, reproduced, NAMED,
    help="Count it again as things stood then: it must give the same bytes.", example="creto invoices reproduce INV-000001",
)  # fmt: skip


def files(name: str, question: Question[Blob], *params: Parameter, help: str, example: str) -> None:
    """What is a file."""

    async def write_out(cli: Cli, out: Path | None, **fields: Any) -> None:
        made = await answer(cli, question, fields)
        written(cli, out, made.data)

    add(invoices, name, write_out, (NAMED, *params, out_option), help, example)


files(
    "pdf", lambda c: c.billing.pdf,
    click.option("--note", "notes", multiple=True, help="How and until when to pay; may be repeated."),
    help="On paper.", example='creto invoices pdf INV-000001 --note "Payable within 30 days." -o invoice.pdf',
)  # fmt: skip
files("csv", lambda c: c.billing.csv, help="Its lines as CSV.", example="creto invoices csv INV-000001 -o invoice.csv")
files(
    "file", lambda c: c.billing.file,
    click.option("--event", "events", multiple=True, help="With the proof of this event; of all, if none is named."),
    help="With the proofs that `creto verify` checks.", example="creto invoices file INV-000001 -o invoice.json",
)  # fmt: skip


@invoices.command(example="creto invoices run --grace 2h")
@click.option(
    "--grace", type=DURATION, default="1d", show_default=True, help="For late events, before it becomes final."
)
@pass_cli
async def run(cli: Cli, grace: int) -> None:
    """Draft, close and finalise what is due, as the worker does by itself."""
    async with session(cli) as creto:
        done = await creto.billing.run(grace_s=seconds(grace) if grace else 0, limit=PAGE_ITEMS_MAX)
    cli.output.say(done, f"{done.drafted} drafted, {len(done.final)} final, {len(done.failed)} failed.")


@invoices.command(example='creto invoices issuer "Us Inc" --line "1 Main Street" --tax-id DE123456789')
@click.argument("name")
@click.option("--line", "address", multiple=True, help="A line of the address; may be repeated.")
@click.option("--tax-id", default="", help="As VAT numbers are.")
@click.option("--email", default="", help="Where questions go.")
@pass_cli
async def issuer(cli: Cli, name: str, address: tuple[str, ...], tax_id: str, email: str) -> None:
    """Say who sends them."""
    async with session(cli) as creto:
        made = await creto.billing.set_issuer(party=Party(name=name, address=address, tax_id=tax_id, email=email))
    cli.output.say(made, f"Invoices come from {name}.")
