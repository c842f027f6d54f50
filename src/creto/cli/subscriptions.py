"""`creto subscriptions`: who is billed by which plan, from when to when, and what is otherwise for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from creto.cli.asking import SUBSCRIPTION, asks, lists
from creto.cli.choices import CURRENCY, MOMENT, confirmed, file_path, yes_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.documents import document
from creto.cli.naming import id_of, named
from creto.cli.output import Column, counted, day
from creto.cli.session import session
from creto.common.ids import AgentId
from creto.metering import Override, Party, SubscriptionStatus

if TYPE_CHECKING:
    from creto.metering import Letterhead, Phase, Plan, Subscription

COLUMNS: Sequence[Column[Subscription]] = (
    Column("SUBSCRIPTION", lambda s: s.subscription_id, shrinks=True),
    Column("AGENT", lambda s: s.agent, shrinks=True),
    Column("PLAN", lambda s: f"{s.phases[-1].plan_id} {s.phases[-1].version}"),
    Column("STATUS", lambda s: s.status),
    Column("SINCE", lambda s: day(s.started_at)),
    Column("UNTIL", lambda s: day(s.ends_at)),
)
PHASES: Sequence[Column[Phase]] = (
    Column("FROM", lambda p: day(p.since)),
    Column("PLAN", lambda p: p.plan_id),
    Column("VERSION", lambda p: p.version, right=True),
    Column("OTHERWISE", lambda p: "as it was made" if p.override is None else otherwise(p.override) or "nothing"),
)

subscriptions = group("subscriptions", "Who is billed by which plan.")
version_option = click.option("--version", type=click.IntRange(min=1), help="Of the plan; the newest, if not said.")
at_end_option = click.option("--at-period-end", is_flag=True, help="When the period that runs is over; else now.")

lists(
    subscriptions, "list", lambda c: c.billing.subscriptions, COLUMNS, click.option("--agent", help="Of this agent."),
    nothing="No subscriptions. Bill an agent by a plan:\n  creto subscriptions create AGENT PLAN",
    help="Who is billed by what.", example="creto subscriptions list --agent planner",
)  # fmt: skip


@subscriptions.command("create", example="creto subscriptions create planner team --starts 2026-01-01 --tax vat")
@click.argument("agent")
@click.argument("plan_id", metavar="PLAN")
@version_option
@click.option("--starts", "starts_at", type=MOMENT, help="Now, if not said.")
@click.option("--anchor", type=MOMENT, help="Where periods are counted from; the start, if not said.")
@click.option("--zone", default="UTC", show_default=True, help="On whose wall clock days begin, as Europe/Berlin.")
@click.option("--coupon", "coupons", multiple=True, help="One of `creto coupons list`; may be repeated.")
@click.option("--tax", "taxes", multiple=True, help="One of `creto taxes list`; may be repeated.")
@click.option("--trial-days", type=click.IntRange(min=0), help="Another trial than the plan's.")
@click.option("--override", "file", type=file_path, help="What it has otherwise than the plan, in TOML or JSON.")
@click.option("--shown-in", type=CURRENCY, help="Its invoices say in this currency, too, what they come to.")
@click.option("--key", metavar="KEY", help="Made once for each key.")
@pass_cli
async def create(
    cli: Cli, agent: str, plan_id: str, version: int | None, starts_at: int | None, anchor: int | None, zone: str,
    coupons: tuple[str, ...], taxes: tuple[str, ...], trial_days: int | None, file: Path | None, shown_in: str | None,
    key: str | None,
) -> None:  # fmt: skip
    """Bill an agent, and all below it, by a plan. Prints the subscription's id."""
    override = document(file, Override, "override") if file else None
    if trial_days is not None:
        override = replace(override or Override(), trial_days=trial_days)
    async with session(cli) as creto:
        made = await creto.billing.subscribe(
            agent=AgentId(await id_of(creto, "agent", agent)), plan_id=plan_id, key=key, version=version, starts_at=starts_at,
            anchor=anchor, zone=zone, override=override, coupons=coupons, taxes=taxes, shown_in=shown_in,
        )  # fmt: skip
    cli.output.say(made, made.subscription_id)


@subscriptions.command(example="creto subscriptions show $SUB")
@SUBSCRIPTION
@pass_cli
async def show(cli: Cli, subscription_id: str) -> None:
    """One subscription: its plans, trial, coupons and taxes, and who gets its invoices."""
    async with session(cli) as creto:
        asked = await named(creto, {"subscription_id": subscription_id})
        found = await creto.billing.subscription(**asked)
        plan = await creto.billing.plan(plan_id=found.phases[0].plan_id, version=found.phases[0].version)
        letterhead = await creto.billing.letterhead(**asked)
    cli.output.thing(found, standing(found, plan, letterhead))
    if not cli.output.json:
        click.echo()
        cli.output.items(found.phases, PHASES)


def standing(found: Subscription, plan: Plan, letterhead: Letterhead) -> list[tuple[str, object]]:
    from creto.metering.plans import effective, trial_ends_at

    trial_until = trial_ends_at(effective(plan, found.override), found)
    customer = letterhead.customer
    return [
        ("subscription", found.subscription_id),
        ("agent", found.agent),
        ("status", found.status),
        ("since", day(found.started_at)),
        ("until", found.ends_at and day(found.ends_at)),
        ("periods from", f"{day(found.anchor)} {found.zone}"),
        ("trial until", day(trial_until) if trial_until > found.started_at else None),
        ("otherwise", otherwise(found.override) if found.override else None),
        ("coupons", found.coupons),
        ("taxes", found.taxes),
        ("shown in", found.shown_in),
        ("pauses", counted(len(found.pauses), "pause") if found.pauses else None),
        ("billed to", None if customer.name == found.subscription_id else (customer.name, *customer.address)),
        ("tax id", customer.tax_id),
        ("email", customer.email),
    ]


def otherwise(override: Override) -> str:
    """What an override says, name by name."""
    said: list[str] = []
    for name in override.__struct_fields__:
        value = getattr(override, name)
        if isinstance(value, dict):
            said += [f"{name.replace('_', ' ')} of {charge}" for charge in value]
        elif value is not None:
            said.append(f"{name.replace('_', ' ')} {getattr(value, 'amount', value)}")
    return ", ".join(said)


def moved(made: Subscription) -> str:
    last = made.phases[-1]
    return f"{made.subscription_id} is on {last.plan_id} version {last.version} from {day(last.since)}."


asks(
    subscriptions, "change", lambda c: c.billing.change, moved,
    SUBSCRIPTION, click.argument("plan_id", metavar="PLAN"), version_option, at_end_option,
    help="Upgrade or downgrade: to another plan, or to another version of its own.",
    example="creto subscriptions change $SUB team --version 2 --at-period-end",
)  # fmt: skip


@subscriptions.command(example="creto subscriptions override $SUB special.toml")
@SUBSCRIPTION
@click.argument("file", required=False, type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--none", "back", is_flag=True, help="As the plan says again.")
@at_end_option
@pass_cli
async def override(cli: Cli, subscription_id: str, file: Path | None, back: bool, at_period_end: bool) -> None:
    """What it has otherwise than its plan from now on.

    FILE is TOML or JSON: `fees`, `prices`, `free_units` and `discount_percent` by charge, `minimum`, `commitment`, `trial_days`.
    """
    if (file is None) != back:
        raise click.UsageError("Name a FILE, or --none.")
    wanted = Override() if file is None else document(file, Override, "override")
    async with session(cli) as creto:
        asked = await named(creto, {"subscription_id": subscription_id})
        made = await creto.billing.override(**asked, override=wanted, at_period_end=at_period_end)
    cli.output.say(made, f"{made.subscription_id} has otherwise: {otherwise(wanted) or 'nothing'}.")


COUPON = click.argument("coupon_id", metavar="COUPON")
asks(
    subscriptions, "add-coupon", lambda c: c.billing.apply_coupon, lambda s: f"Coupons: {', '.join(s.coupons)}.",
    SUBSCRIPTION, COUPON,
    help="Give it a coupon: from its next invoice on.", example="creto subscriptions add-coupon $SUB launch",
)  # fmt: skip
asks(
    subscriptions, "remove-coupon", lambda c: c.billing.remove_coupon,
    lambda s: f"Coupons: {', '.join(s.coupons) or 'none'}.", SUBSCRIPTION, COUPON,
    help="Take a coupon from it.", example="creto subscriptions remove-coupon $SUB launch",
)  # fmt: skip
asks(
    subscriptions, "taxes", lambda c: c.billing.set_taxes, lambda s: f"Taxes: {', '.join(s.taxes) or 'none'}.",
    SUBSCRIPTION, click.argument("taxes", metavar="[TAX]...", nargs=-1),
    help="Which taxes its invoices bear: these and no others; none, if none is named.",
    example="creto subscriptions taxes $SUB vat",
)  # fmt: skip
asks(
    subscriptions, "show-in", lambda c: c.billing.show_in, lambda s: f"Shown in {s.shown_in or 'its own currency alone'}.",
    SUBSCRIPTION, click.argument("currency", type=CURRENCY, required=False),
    help="In which other currency its invoices say what they come to; in none, if none is named.",
    example="creto subscriptions show-in $SUB USD",
)  # fmt: skip


@subscriptions.command(
    example='creto subscriptions customer $SUB "Ada Ltd" --line "1 High Street" --email ap@ada.example'
)
@SUBSCRIPTION
@click.argument("name")
@click.option("--line", "address", multiple=True, help="A line of the address; may be repeated.")
@click.option("--tax-id", default="", help="As VAT numbers are.")
@click.option("--email", default="", help="Where its invoices go; with Stripe, who pays.")
@pass_cli
async def customer(
    cli: Cli, subscription_id: str, name: str, address: tuple[str, ...], tax_id: str, email: str
) -> None:
    """Say who gets its invoices."""
    party = Party(name=name, address=address, tax_id=tax_id, email=email)
    async with session(cli) as creto:
        asked = await named(creto, {"subscription_id": subscription_id})
        made = await creto.billing.set_customer(**asked, party=party)
    cli.output.say(made, f"{asked['subscription_id']} is billed to {name}.")


def state(made: Subscription) -> str:
    ending = f"; it ends {day(made.ends_at)}" if made.status is SubscriptionStatus.CANCELLED else ""
    return f"{made.subscription_id} is {made.status}{ending}."


asks(
    subscriptions, "pause", lambda c: c.billing.pause, state, SUBSCRIPTION,
    help="Charge nothing until it is resumed.", example="creto subscriptions pause $SUB",
)  # fmt: skip
asks(
    subscriptions, "resume", lambda c: c.billing.resume, state, SUBSCRIPTION,
    help="Charge again.", example="creto subscriptions resume $SUB",
)  # fmt: skip
asks(
    subscriptions, "cancel", lambda c: c.billing.cancel, state, SUBSCRIPTION,
    help="It ends with the period that runs.", example="creto subscriptions cancel $SUB",
)  # fmt: skip
asks(
    subscriptions, "terminate", lambda c: c.billing.terminate, state, SUBSCRIPTION,
    help="It ends now; what was used is still invoiced.", example="creto subscriptions terminate $SUB",
)  # fmt: skip


@subscriptions.command(example="creto subscriptions delete $SUB --yes")
@SUBSCRIPTION
@yes_option
@pass_cli
async def delete(cli: Cli, subscription_id: str, yes: bool) -> None:
    """As if it had never been: for one that was made by mistake and never invoiced."""
    async with session(cli) as creto:
        asked = await named(creto, {"subscription_id": subscription_id})
        await creto.billing.subscription(**asked)
        confirmed(f"Delete {asked['subscription_id']} as if it had never been?", yes)
        done = await creto.billing.delete(**asked)
    cli.output.say(done, f"{done.subscription_id} is gone.")
