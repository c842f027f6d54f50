"""`creto plans` and `creto subscriptions`: what is charged, and who is billed by it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creto.cli.choices import MOMENT, collected, limit_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.documents import document, fields_of
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common import wire
from creto.common.ids import AgentId
from creto.metering import Party

if TYPE_CHECKING:
    from creto.metering import Plan, Subscription

PLAN: Sequence[Column[Plan]] = (
    Column("PLAN", lambda p: p.plan_id),
    Column("VERSION", lambda p: p.version, right=True),
    Column("CURRENCY", lambda p: p.currency),
    Column("EACH", lambda p: p.cycle if p.cycle_count == 1 else f"{p.cycle_count} {p.cycle}s"),
    Column("CHARGES", lambda p: tuple(p.charge_ids)),
    Column("NAME", lambda p: p.name),
)
SUBSCRIPTION: Sequence[Column[Subscription]] = (
    Column("SUBSCRIPTION", lambda s: s.subscription_id),
    Column("AGENT", lambda s: s.agent),
    Column("PLAN", lambda s: f"{s.phases[-1].plan_id} {s.phases[-1].version}"),
    Column("STATUS", lambda s: s.status),
    Column("SINCE", lambda s: when(s.started_at)),
    Column("UNTIL", lambda s: when(s.ends_at)),
)

plans = group("plans", "What is charged, and how often; versions never change.")
subscriptions = group("subscriptions", "Who is billed by which plan.")
file_argument = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))


@plans.command("list")
@limit_option
@pass_cli
async def list_plans(cli: Cli, limit: int) -> None:
    """The newest version of each plan."""
    async with session(cli) as creto:
        found = await collected(creto.billing.plans, limit, cli.output.note)
    cli.output.items(found, PLAN, nothing="No plans.")


@plans.command()
@file_argument
@pass_cli
async def create(cli: Cli, file: Path) -> None:
    """The first version of a plan that is written in TOML or JSON."""
    from creto.edge.api.plans import PutPlan

    asked = document(file, PutPlan, "plan")
    async with session(cli) as creto:
        made = await creto.billing.create_plan(**fields_of(asked))
    cli.output.say(made, f"{made.plan_id} version {made.version}.")


@plans.command()
@file_argument
@pass_cli
async def revise(cli: Cli, file: Path) -> None:
    """The next version; subscriptions stay on theirs."""
    from creto.edge.api.plans import PutPlan

    asked = document(file, PutPlan, "plan")
    async with session(cli) as creto:
        made = await creto.billing.revise_plan(**fields_of(asked))
    cli.output.say(made, f"{made.plan_id} version {made.version}.")


@plans.command("show")
@click.argument("plan")
@click.option("--version", type=click.IntRange(min=1), help="The newest, if not said.")
@pass_cli
async def show_plan(cli: Cli, plan: str, version: int | None) -> None:
    """One version, as JSON."""
    async with session(cli) as creto:
        found = await creto.billing.plan(plan_id=plan, version=version)
    click.echo(wire.encode(found))


@subscriptions.command("list")
@click.option("--agent", help="Of this agent.")
@limit_option
@pass_cli
async def list_subscriptions(cli: Cli, agent: str | None, limit: int) -> None:
    """Who is billed by what."""
    async with session(cli) as creto:
        found = await collected(
            creto.billing.subscriptions, limit, cli.output.note, agent=AgentId(agent) if agent else None
        )
    cli.output.items(found, SUBSCRIPTION, nothing="No subscriptions.")


@subscriptions.command("create")
@click.argument("agent")
@click.argument("plan")
@click.option("--starts", type=MOMENT, help="Now, if not said.")
@click.option("--anchor", type=MOMENT, help="Where periods are counted from; the start, if not said.")
@click.option("--zone", default="UTC", show_default=True)
@click.option("--coupon", "coupons", multiple=True)
@click.option("--tax", "taxes", multiple=True)
@click.option("--key", metavar="KEY", help="Made once for each key.")
@pass_cli
async def subscribe(
    cli: Cli, agent: str, plan: str, starts: int | None, anchor: int | None, zone: str, coupons: tuple[str, ...],
    taxes: tuple[str, ...], key: str | None,
) -> None:  # fmt: skip
    """Bill an agent, and all below it, by a plan. Prints the subscription's name."""
    async with session(cli) as creto:
        made = await creto.billing.subscribe(
            agent=AgentId(agent), plan_id=plan, key=key, starts_at=starts, anchor=anchor, zone=zone, coupons=coupons, taxes=taxes
        )  # fmt: skip
    cli.output.say(made, made.subscription_id)


@subscriptions.command()
@click.argument("subscription")
@click.argument("plan")
@click.option("--at-period-end", is_flag=True, help="When the period that runs is over; else now.")
@pass_cli
async def change(cli: Cli, subscription: str, plan: str, at_period_end: bool) -> None:
    """Upgrade or downgrade."""
    async with session(cli) as creto:
        made = await creto.billing.change(subscription_id=subscription, plan_id=plan, at_period_end=at_period_end)
    last = made.phases[-1]
    cli.output.say(made, f"{subscription} is on {last.plan_id} version {last.version} from {when(last.since)}.")


@subscriptions.command()
@click.argument("subscription")
@click.argument("name")
@click.option("--line", "address", multiple=True, help="A line of the address; may be repeated.")
@click.option("--tax-id", default="")
@click.option("--email", default="")
@pass_cli
async def customer(cli: Cli, subscription: str, name: str, address: tuple[str, ...], tax_id: str, email: str) -> None:
    """Say who gets its invoices."""
    party = Party(name=name, address=address, tax_id=tax_id, email=email)
    async with session(cli) as creto:
        made = await creto.billing.set_customer(subscription_id=subscription, party=party)
    cli.output.say(made, f"{subscription} is billed to {name}.")


def stepping(name: str, help_: str) -> None:
    @subscriptions.command(name, help=help_)
    @click.argument("subscription")
    @pass_cli
    async def step(cli: Cli, subscription: str) -> None:
        async with session(cli) as creto:
            made = await getattr(creto.billing, name)(subscription_id=subscription)
        cli.output.say(made, f"{subscription} is {made.status}.")


stepping("pause", "Charge nothing until it is resumed.")
stepping("resume", "Charge again.")
stepping("cancel", "It ends with the period that runs.")
stepping("terminate", "It ends now.")
