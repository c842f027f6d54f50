"""`creto stripe`: who pays, what waits there, what was refused, and what is paid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.choices import collected, limit_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.ids import AgentId
from creto.connectors.stripe import READS, Payment, PaymentStatus

if TYPE_CHECKING:
    from creto.edge.api.bus import DeadLetterView
    from creto.edge.api.stripe import PayerView, PaymentView, RequestView

PAYER: Sequence[Column[PayerView]] = (
    Column("AGENT", lambda p: p.agent),
    Column("CUSTOMER", lambda p: p.customer),
    Column("NAME", lambda p: p.name),
    Column("EMAIL", lambda p: p.email),
)
PAYMENT: Sequence[Column[Payment]] = (
    Column("OF", lambda p: p.our_id),
    Column("STATUS", lambda p: p.status),
    Column("PAID", lambda p: f"{p.paid} {p.currency}", right=True),
    Column("SAID", lambda p: when(p.said_at)),
    Column("AT STRIPE", lambda p: p.stripe_id),
)
REQUEST: Sequence[Column[RequestView]] = (
    Column("WHAT", lambda r: r.kind),
    Column("OF", lambda r: r.our_id),
    Column("STATE", lambda r: r.state),
    Column("TRIES", lambda r: r.attempt, right=True),
    Column("ASKED", lambda r: when(r.asked_at)),
    Column("AT STRIPE", lambda r: r.stripe_id),
)
FAILED: Sequence[Column[DeadLetterView]] = (
    Column("LETTER", lambda d: d.id),
    Column("EVENT", lambda d: d.subject),
    Column("OF", lambda d: d.agent),
    Column("DIED", lambda d: when(d.died_at)),
    Column("CODE", lambda d: d.code),
    Column("REASON", lambda d: d.reason),
)

stripe = group("stripe", "Invoices that are collected at Stripe: who pays, what waits, what is paid.")
payers = group("payers", "Who pays for which agent.")
stripe.add_command(payers)


@stripe.command()
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


@payers.command("list")
@limit_option
@pass_cli
async def list_payers(cli: Cli, limit: int) -> None:
    """Whoever was said to pay for an agent."""
    async with session(cli) as creto:
        found = await collected(creto.stripe.payers, limit, cli.output.note)
    cli.output.items(found, PAYER, nothing="Nobody was named; agents pay for themselves.")


@payers.command("set")
@click.argument("agent")
@click.option("--name")
@click.option("--email")
@click.option(
    "--customer", metavar="CUS", help="One that Stripe has already; else one is made when something is collected."
)
@pass_cli
async def set_payer(cli: Cli, agent: str, name: str | None, email: str | None, customer: str | None) -> None:
    """Say who pays for an agent, and for all that it delegates to."""
    async with session(cli) as creto:
        made = await creto.stripe.set_payer(agent=AgentId(agent), name=name, email=email, customer=customer)
    cli.output.say(made, f"{made.customer or made.name or made.email or agent} pays for {agent}.")


@payers.command("show")
@click.argument("agent")
@pass_cli
async def show_payer(cli: Cli, agent: str) -> None:
    """Who pays for an agent, and as which customer."""
    async with session(cli) as creto:
        found = await creto.stripe.payer(agent=AgentId(agent))
    cli.output.items([found], PAYER)


@stripe.command()
@click.option("--status", type=click.Choice([s.value for s in PaymentStatus]), help="Those alone.")
@limit_option
@pass_cli
async def payments(cli: Cli, status: str | None, limit: int) -> None:
    """What Stripe said of payments."""
    async with session(cli) as creto:
        wanted = PaymentStatus(status) if status else None
        found = await collected(creto.stripe.payments, limit, cli.output.note, status=wanted)
    cli.output.items(found, PAYMENT, nothing="Stripe has said nothing.")


@stripe.command()
@click.argument("invoice")
@pass_cli
async def payment(cli: Cli, invoice: str) -> None:
    """Where the payment of an invoice, or of a purchase of credits, stands."""
    async with session(cli) as creto:
        shown(cli, await creto.stripe.payment(our_id=invoice))


@stripe.command()
@click.argument("invoice")
@pass_cli
async def collect(cli: Cli, invoice: str) -> None:
    """Bring an invoice there now: one that was final before, or that was refused."""
    async with session(cli) as creto:
        shown(cli, await creto.stripe.collect(our_id=invoice))


def shown(cli: Cli, found: PaymentView) -> None:
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
    cli.output.thing(found, lines)


@stripe.command()
@limit_option
@pass_cli
async def unfinished(cli: Cli, limit: int) -> None:
    """What was asked for and is not known to be there."""
    async with session(cli) as creto:
        found = await collected(creto.stripe.unfinished, limit, cli.output.note)
    cli.output.items(found, REQUEST, nothing="Nothing waits.")


@stripe.command()
@limit_option
@pass_cli
async def failed(cli: Cli, limit: int) -> None:
    """What Stripe refused, in its words: dead letters of the bus."""
    found: list[DeadLetterView] = []
    async with session(cli) as creto:
        for durable in READS:
            found += await collected(creto.bus.dead_letters, limit, cli.output.note, durable=durable)
    cli.output.items(found, FAILED, nothing="Nothing failed.")


@stripe.command()
@limit_option
@pass_cli
async def retry(cli: Cli, limit: int) -> None:
    """Do again whatever failed, after it was put right."""
    taken: list[str] = []
    async with session(cli) as creto:
        for durable in READS:
            letters = await collected(creto.bus.dead_letters, min(limit, 1_000), cli.output.note, durable=durable)
            if letters:
                done = await creto.bus.replay_dead(durable=durable, ids=tuple(one.id for one in letters))
                taken += done.ids
    cli.output.say({"ids": taken}, f"{len(taken)} are done again." if taken else "Nothing failed.")
