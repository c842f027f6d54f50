"""`creto invoices`: made, explained to the cent, printed, and written to a file that `creto verify` checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.choices import AMOUNT, DURATION, MOMENT, collected, limit_option, out_option, seconds
from creto.cli.context import Cli, group, pass_cli, write
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.edge.api.invoices import CreditedLine
from creto.metering import InvoiceStatus, Party, rendered

if TYPE_CHECKING:
    from creto.metering import Invoice, Line

INVOICE: Sequence[Column[Invoice]] = (
    Column("INVOICE", lambda i: i.invoice_id),
    Column("NUMBER", lambda i: i.number),
    Column("STATUS", lambda i: i.status if i.kind == "invoice" else f"{i.status} {i.kind}"),
    Column("FROM", lambda i: when(i.period.start)),
    Column("TO", lambda i: when(i.period.end)),
    Column("TOTAL", lambda i: f"{i.total} {i.currency}", right=True),
    Column("DUE", lambda i: f"{i.due} {i.currency}", right=True),
)
LINE: Sequence[Column[Line]] = (
    Column("LINE", lambda line: line.line_id),
    Column("WHAT", lambda line: line.description),
    Column("QUANTITY", lambda line: f"{line.quantity:f}", right=True),
    Column("EVENTS", lambda line: line.events, right=True),
    Column("AMOUNT", lambda line: line.amount, right=True),
)

invoices = group("invoices", "Made, explained to the cent, printed, and proved.")
invoice_argument = click.argument("invoice")


@invoices.command("list")
@click.option("--subscription", help="Of this one.")
@click.option("--status", type=click.Choice([s.value for s in InvoiceStatus]))
@limit_option
@pass_cli
async def list_(cli: Cli, subscription: str | None, status: str | None, limit: int) -> None:
    """Invoices and credit notes."""
    wanted = InvoiceStatus(status) if status else None
    async with session(cli) as creto:
        found = await collected(
            creto.billing.invoices, limit, cli.output.note, subscription_id=subscription, status=wanted
        )
    cli.output.items(found, INVOICE, nothing="No invoices.")


@invoices.command()
@invoice_argument
@pass_cli
async def show(cli: Cli, invoice: str) -> None:
    """One invoice with its lines."""
    async with session(cli) as creto:
        shown(cli, await creto.billing.invoice(invoice_id=invoice))


def shown(cli: Cli, found: Invoice) -> None:
    if cli.output.json:
        cli.output.say(found, "")
        return
    cli.output.items([found], INVOICE)
    click.echo("")
    cli.output.items(found.lines, LINE)


@invoices.command()
@click.argument("subscription")
@click.option("--at", type=MOMENT, help="Of the period that holds this moment; of the one that runs, if not said.")
@pass_cli
async def preview(cli: Cli, subscription: str, at: int | None) -> None:
    """What the invoice would be now."""
    async with session(cli) as creto:
        shown(cli, await creto.billing.preview(subscription_id=subscription, at=at))


@invoices.command()
@click.argument("subscription")
@click.option("--at", type=MOMENT, required=True, help="Of the period that holds this moment.")
@pass_cli
async def draft(cli: Cli, subscription: str, at: int) -> None:
    """Open the invoice of a period. Prints its name."""
    async with session(cli) as creto:
        made = await creto.billing.draft(subscription_id=subscription, at=at)
    cli.output.say(made, made.invoice_id)


@invoices.command()
@invoice_argument
@pass_cli
async def recount(cli: Cli, invoice: str) -> None:
    """An open invoice with all that is known now."""
    async with session(cli) as creto:
        made = await creto.billing.recount(invoice_id=invoice)
    cli.output.say(made, f"{invoice}: {made.total} {made.currency}, {made.due} due.")


@invoices.command()
@invoice_argument
@pass_cli
async def close(cli: Cli, invoice: str) -> None:
    """Into grace: only late events come in."""
    async with session(cli) as creto:
        made = await creto.billing.close(invoice_id=invoice)
    cli.output.say(made, f"{invoice} is in grace.")


@invoices.command()
@invoice_argument
@click.option("--series", default="INV", show_default=True)
@pass_cli
async def finalize(cli: Cli, invoice: str, series: str) -> None:
    """Number it; it never changes again."""
    async with session(cli) as creto:
        made = await creto.billing.finalize(invoice_id=invoice, series=series)
    cli.output.say(made, f"{made.number}: {made.total} {made.currency}, {made.due} due.")


@invoices.command()
@invoice_argument
@pass_cli
async def void(cli: Cli, invoice: str) -> None:
    """It was never owed; its number stays taken."""
    async with session(cli) as creto:
        made = await creto.billing.void(invoice_id=invoice)
    cli.output.say(made, f"{made.number or invoice} is void.")


class Credited(click.ParamType[CreditedLine]):
    """A line and what is taken back of it."""

    name = "LINE=AMOUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CreditedLine:
        line, _, amount = str(value).rpartition("=")
        if not line:
            self.fail(f"{value!r} is no LINE=AMOUNT, as tokens=1.50.", param, ctx)
        return CreditedLine(line_id=line, amount=AMOUNT.convert(amount, param, ctx))


@invoices.command()
@invoice_argument
@click.argument("lines", type=Credited(), nargs=-1, required=True)
@click.option("--series", default="CN", show_default=True)
@click.option("--as-credits", is_flag=True, help="Give it back as credits in the wallet, instead of money.")
@pass_cli
async def credit(cli: Cli, invoice: str, lines: tuple[CreditedLine, ...], series: str, as_credits: bool) -> None:
    """Take back parts of its lines by a credit note. Prints the note's name and number."""
    async with session(cli) as creto:
        note = await creto.billing.credit_note(invoice_id=invoice, lines=lines, series=series, as_credits=as_credits)
    cli.output.say(note, f"{note.invoice_id} {note.number}: {note.total} {note.currency}.")


@invoices.command()
@invoice_argument
@click.argument("line", required=False)
@limit_option
@pass_cli
async def explain(cli: Cli, invoice: str, line: str | None, limit: int) -> None:
    """Why a line is what it is, down to its events; of all lines, if none is named."""
    async with session(cli) as creto:
        names = [line] if line else [one.line_id for one in (await creto.billing.invoice(invoice_id=invoice)).lines]
        for name in names:
            found = await creto.billing.explain(invoice_id=invoice, line_id=name, limit=min(limit, 1_000))
            cli.output.say(found, rendered(found))


@invoices.command()
@invoice_argument
@pass_cli
async def reproduce(cli: Cli, invoice: str) -> None:
    """Count it again as things stood then: it must give the same bytes."""
    async with session(cli) as creto:
        found = await creto.billing.reproduce(invoice_id=invoice)
    cli.output.say(found, "The same bytes." if found.same else f"Other lines: {', '.join(found.other_lines)}.")


@invoices.command()
@invoice_argument
@click.option("--note", "notes", multiple=True, help="How and until when to pay; may be repeated.")
@out_option
@pass_cli
async def pdf(cli: Cli, invoice: str, notes: tuple[str, ...], out: Path | None) -> None:
    """On paper."""
    async with session(cli) as creto:
        made = await creto.billing.pdf(invoice_id=invoice, notes=notes)
    write(out, made.data)


@invoices.command()
@invoice_argument
@out_option
@pass_cli
async def csv(cli: Cli, invoice: str, out: Path | None) -> None:
    """Its lines as CSV."""
    async with session(cli) as creto:
        made = await creto.billing.csv(invoice_id=invoice)
    write(out, made.data)


@invoices.command("file")
@invoice_argument
@out_option
@pass_cli
async def file_(cli: Cli, invoice: str, out: Path | None) -> None:
    """With the proofs that `creto verify` checks."""
    async with session(cli) as creto:
        made = await creto.billing.file(invoice_id=invoice)
    write(out, made.data)


@invoices.command()
@click.option(
    "--grace", type=DURATION, default="1d", show_default=True, help="For late events, before it becomes final."
)
@pass_cli
async def run(cli: Cli, grace: int) -> None:
    """Draft, close and finalise what is due, as the worker does by itself."""
    async with session(cli) as creto:
        done = await creto.billing.run(grace_s=seconds(grace) if grace else 0, limit=1_000)
    cli.output.say(done, f"{done.drafted} drafted, {len(done.final)} final, {len(done.failed)} failed.")


@invoices.command()
@click.argument("name")
@click.option("--line", "address", multiple=True, help="A line of the address; may be repeated.")
@click.option("--tax-id", default="")
@click.option("--email", default="")
@pass_cli
async def issuer(cli: Cli, name: str, address: tuple[str, ...], tax_id: str, email: str) -> None:
    """Say who sends them."""
    async with session(cli) as creto:
        made = await creto.billing.set_issuer(party=Party(name=name, address=address, tax_id=tax_id, email=email))
    cli.output.say(made, f"Invoices come from {name}.")
