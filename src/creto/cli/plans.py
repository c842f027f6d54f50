"""`creto plans`: what is charged, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.asking import lists
from creto.cli.context import Cli, group, pass_cli
from creto.cli.documents import document, fields_of
from creto.cli.output import Column, counted
from creto.cli.session import session

if TYPE_CHECKING:
    from creto.metering import Charge, Plan

NO_PLANS = "No plans. Begin with a sample:\n  creto plans sample > plan.toml\n  creto plans create plan.toml"
SAMPLE = """\
plan_id = "team"
name = "Team"
currency = "EUR"
cycle = "month"                       # hour, day, week, month, quarter, year
trial_days = 0
fees = [{charge_id = "seat", amount = "20", name = "Seat"}]

[[charges]]
charge_id = "tokens"
name = "Tokens"
# What is counted: count, sum, unique_count, max, latest or weighted_sum, of a property of the events.
meter = {meter_id = "tokens", event_type = "inference", aggregation = "sum", property = "tokens"}
# What it costs: flat, per_unit, graduated, volume, package, percentage, graduated_percentage or dynamic.
price = {model = "graduated", tiers = [{up_to = "1000000", unit = "0.000004"}, {unit = "0.000003"}]}
"""
PLAN: Sequence[Column[Plan]] = (
    Column("PLAN", lambda p: p.plan_id),
    Column("VERSION", lambda p: p.version, right=True),
    Column("CURRENCY", lambda p: p.currency),
    Column("EACH", lambda p: each(p)),
    Column("CHARGES", lambda p: tuple(p.charge_ids), shrinks=True),
    Column("NAME", lambda p: p.name, shrinks=True),
)
CHARGED: Sequence[Column[tuple[str, str, str, str]]] = (
    Column("CHARGE", lambda c: c[0]),
    Column("NAME", lambda c: c[1], shrinks=True),
    Column("OF", lambda c: c[2], shrinks=True),
    Column("PRICE", lambda c: c[3], shrinks=True),
)

plans = group("plans", "What is charged, and how often; versions never change.")
file_argument = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
PLAN_ID = click.argument("plan_id", metavar="PLAN")

lists(
    plans, "list", lambda c: c.billing.plans, PLAN,
    nothing=NO_PLANS, help="The newest version of each plan.", example="creto plans list",
)  # fmt: skip
lists(
    plans, "versions", lambda c: c.billing.plan_versions, PLAN, PLAN_ID, pages=False,
    nothing=NO_PLANS, help="All versions of a plan, the oldest first.", example="creto plans versions team",
)  # fmt: skip


def each(plan: Plan) -> str:
    return plan.cycle if plan.cycle_count == 1 else f"{plan.cycle_count} {plan.cycle}s"


@plans.command(example="creto plans sample > plan.toml")
@pass_cli
def sample(cli: Cli) -> None:
    """A plan to begin with, in TOML."""
    cli.output.say({"toml": SAMPLE}, SAMPLE.rstrip())


@plans.command(example="creto plans create plan.toml")
@file_argument
@pass_cli
async def create(cli: Cli, file: Path) -> None:
    """The first version of a plan that is written in TOML or JSON; `sample` prints one."""
    from creto.edge.api.plans import PutPlan

    asked = document(file, PutPlan, "plan")
    async with session(cli) as creto:
        made = await creto.billing.create_plan(**fields_of(asked))
    cli.output.say(made, f"{made.plan_id} version {made.version}.")


@plans.command(example="creto plans revise plan.toml")
@file_argument
@pass_cli
async def revise(cli: Cli, file: Path) -> None:
    """The next version; subscriptions stay on theirs until `creto subscriptions change` moves them."""
    from creto.edge.api.plans import PutPlan

    asked = document(file, PutPlan, "plan")
    async with session(cli) as creto:
        made = await creto.billing.revise_plan(**fields_of(asked))
    cli.output.say(made, f"{made.plan_id} version {made.version}.")


@plans.command("show", example="creto plans show team --version 1")
@PLAN_ID
@click.option("--version", type=click.IntRange(min=1), help="The newest, if not said.")
@pass_cli
async def show_plan(cli: Cli, plan_id: str, version: int | None) -> None:
    """One version, with what it charges; --json has all of it, as `create` takes it."""
    async with session(cli) as creto:
        found = await creto.billing.plan(plan_id=plan_id, version=version)
    cli.output.thing(found, () if cli.output.json else standing(found))
    if not cli.output.json:
        click.echo()
        cli.output.items(list(charged(found)), CHARGED)


def standing(plan: Plan) -> list[tuple[str, object]]:
    return [
        ("plan", f"{plan.plan_id} version {plan.version}"),
        ("name", plan.name),
        ("each", each(plan)),
        ("currency", plan.currency),
        ("trial", counted(plan.trial_days, "day") if plan.trial_days else None),
        ("minimum", plan.minimum),
        ("commitment", plan.commitment and f"{plan.commitment.amount}, beyond it × {plan.commitment.overage_factor}"),
        ("paid by", f"{plan.payer.rule} of the chain"),
    ]


def charged(plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    for fee in plan.fees:
        yield fee.charge_id, fee.name, f"each {each(plan)}", str(fee.amount)
    for charge in plan.charges:
        meter = charge.meter
        what = f"{meter.aggregation} of {meter.property}" if meter.property else str(meter.aggregation)
        yield charge.charge_id, charge.name, f"{what} over {meter.event_type}", priced(charge)


def priced(charge: Charge) -> str:
    """In words, as far as they go on a line: `creto --json plans show` has every tier."""
    price: Any = charge.price
    model = str(type(price).__struct_config__.tag).replace("_", " ")
    tiers = getattr(price, "tiers", ())
    unit = getattr(price, "unit", None)
    parts = [model]
    if tiers:
        parts.append(counted(len(tiers), "tier"))
    if isinstance(unit, Decimal):
        parts.append(f"{unit} each")
    if charge.free_units:
        parts.append(f"{charge.free_units} free")
    return ", ".join(parts)
