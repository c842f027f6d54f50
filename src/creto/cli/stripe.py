"""`creto stripe`: who pays, what waits there, what was refused, and what is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.asking import AGENT, asks, lists, shows
from creto.cli.choices import one_of
from creto.cli.context import Cli, group, pass_cli
from creto.cli.naming import id_of
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.ids import AgentId
from creto.connectors.stripe import Payment, PaymentStatus
from creto.metering.wallets import PURCHASE_ID

if TYPE_CHECKING:
    from creto.edge.api.bus import DeadLetterView
    from creto.edge.api.stripe import PayerView, PaymentView, RequestView
    from creto.sdk import AsyncCreto

PAYER: Sequence[Column[PayerView]] = (
    Column("AGENT", lambda p: p.agent, shrinks=True),
    Column("CUSTOMER", lambda p: p.customer),
    Column("NAME", lambda p: p.name),
    Column("EMAIL", lambda p: p.email),
)
PAYMENT: Sequence[Column[Payment]] = (
    Column("OF", lambda p: p.our_id, shrinks=True),
    Column("STATUS", lambda p: p.status),
    Column("PAID", lambda p: f"{p.paid} {p.currency}", right=True),
    Column("SAID", lambda p: when(p.said_at)),
    Column("AT STRIPE", lambda p: p.stripe_id, drops=True),
)
REQUEST: Sequence[Column[RequestView]] = (
    Column("WHAT", lambda r: r.kind),
    Column("OF", lambda r: r.our_id, shrinks=True),
    Column("STATE", lambda r: r.state),
    Column("TRIES", lambda r: r.attempt, right=True),
    Column("ASKED", lambda r: when(r.asked_at)),
    Column("AT STRIPE", lambda r: r.stripe_id, drops=True),
)
FAILED: Sequence[Column[DeadLetterView]] = (
    Column("LETTER", lambda d: d.id, shrinks=True),
    Column("EVENT", lambda d: d.subject, drops=True),
    Column("OF", lambda d: d.agent, shrinks=True),
    Column("DIED", lambda d: when(d.died_at), drops=True),
    Column("CODE", lambda d: d.code),
    Column("REASON", lambda d: d.reason, shrinks=True),
)

stripe = group("stripe", "Invoices that are collected at Stripe: who pays, what waits, what is paid.")
payers = group("payers", "Who pays for which agent.")
stripe.add_command(payers)


@stripe.command(example="creto stripe status")
@pass_cli
async def status(cli: Cli) -> None:
    """How it is configured, and what waits."""
    async with session(cli) as creto:
        found = await creto.stripe.standing()
    cli.output.thing(
        found,
        [
            ("configured", "yes" if found.configured else "no: set stripe.api_key"),
            ("webhooks", "believed" if found.receives else "not taken: set stripe.webhook_secret"),
            ("collects", ("invoices" if found.invoices else "nothing") + (f" since {when(found.since)}" if found.since else "")),
            ("meters", found.meters), ("account", found.account), ("circuit", found.circuit),
            ("unfinished", counted(found.requests) or "nothing"), ("payments", counted(found.payments)),
        ],
    )  # fmt: skip


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


lists(
    payers, "list", lambda c: c.stripe.payers, PAYER,
    nothing="Nobody was named: whoever gets an agent's invoices pays, as `creto subscriptions customer` says.",
    help="Whoever was said to pay for an agent.", example="creto stripe payers list",
)  # fmt: skip


@payers.command("set", example='creto stripe payers set planner --name "Ada Ltd" --email ap@ada.example')
@click.argument("agent")
@click.option("--name")
@click.option("--email")
@click.option(
    "--customer", metavar="CUS", help="One that Stripe has already; else one is made when something is collected."
)
@pass_cli
async def set_payer(cli: Cli, agent: str, name: str | None, email: str | None, customer: str | None) -> None:
    """Say who pays for an agent, and for all that it delegates to; else whoever gets its invoices does."""
    async with session(cli) as creto:
        whose = AgentId(await id_of(creto, "agent", agent))
        made = await creto.stripe.set_payer(agent=whose, name=name, email=email, customer=customer)
    cli.output.say(made, f"{made.customer or made.name or made.email or agent} pays for {agent}.")


shows(
    payers, "show", lambda c: c.stripe.payer,
    lambda p: [("agent", p.agent), ("name", p.name), ("email", p.email), ("customer", p.customer or "none yet")], AGENT,
    help="Who pays for an agent, and as which customer.", example="creto stripe payers show planner",
)  # fmt: skip
lists(
    stripe, "payments", lambda c: c.stripe.payments, PAYMENT,
    click.option("--status", type=one_of(PaymentStatus), help="Those alone."),
    nothing="Stripe has said nothing.", help="What Stripe said of payments.", example="creto stripe payments --status failed",
)  # fmt: skip


async def ours(creto: AsyncCreto, invoice: str) -> str:
    """An invoice by its number, or what has an id: a purchase, too."""
    return invoice if invoice.startswith(PURCHASE_ID) else await id_of(creto, "invoice_id", invoice)


@stripe.command(example="creto stripe payment INV-000001")
@click.argument("invoice")
@pass_cli
async def payment(cli: Cli, invoice: str) -> None:
    """Where the payment of an invoice, or of a purchase of credits, stands."""
    async with session(cli) as creto:
        found = await creto.stripe.payment(our_id=await ours(creto, invoice))
    cli.output.thing(found, payment_lines(found))


@stripe.command(example="creto stripe collect INV-000001")
@click.argument("invoice")
@pass_cli
async def collect(cli: Cli, invoice: str) -> None:
    """Bring an invoice there now: one that was final before, or that was refused."""
    async with session(cli) as creto:
        found = await creto.stripe.collect(our_id=await ours(creto, invoice))
    cli.output.thing(found, payment_lines(found))


def payment_lines(found: PaymentView) -> list[tuple[str, object]]:
    said = found.payment
    lines: list[tuple[str, object]] = [("of", found.our_id)]
    if said is None:
        lines.append(("status", "Stripe has said nothing yet" if found.requests else "not sent to Stripe"))
    else:
        lines += [
            ("status", said.status), ("paid", f"{said.paid} {said.currency}"), ("said", when(said.said_at)),
            ("reason", said.reason), ("at stripe", said.stripe_id), ("page", said.page),
        ]  # fmt: skip
    lines += [
        (one.kind, one.state if one.our_id == found.our_id else f"{one.our_id} {one.state}") for one in found.requests
    ]
    return lines


lists(
    stripe, "unfinished", lambda c: c.stripe.unfinished, REQUEST, nothing="Nothing waits.",
    help="What was asked for and is not known to be there.", example="creto stripe unfinished",
)  # fmt: skip
lists(
    stripe, "failed", lambda c: c.stripe.failed, FAILED, nothing="Nothing failed.",
    help="What Stripe refused, in its words. Put it right; then `creto stripe retry`.", example="creto stripe failed",
)  # fmt: skip
asks(
    stripe, "retry", lambda c: c.stripe.retry,
    lambda done: f"{len(done.ids)} are done again." if done.ids else "Nothing failed.",
    click.argument("ids", metavar="[LETTER]...", nargs=-1),
    help="Do again what was refused, after it was put right: these letters of `failed`, or all.",
    example="creto stripe retry",
)  # fmt: skip
