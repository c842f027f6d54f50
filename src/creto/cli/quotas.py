"""`creto quotas`: how much of what agents may use, and who waits for a human."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creto.cli.charts import bar
from creto.cli.choices import limit_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.documents import document, fields_of
from creto.cli.naming import id_of
from creto.cli.output import Column, when
from creto.cli.quota_notices import answer, notices
from creto.cli.session import session
from creto.cli.threshold_checks import check as check_thresholds
from creto.common.ids import AgentId
from creto.metering import Limit, Measure, Window, WindowUnit

if TYPE_CHECKING:
    from creto.metering import Quota, QuotaUsage, Threshold, Waiting


def told(limit: Limit) -> str:
    zone = f" in {limit.window.zone}" if limit.window.zone else ""
    return f"{limit.amount} a {limit.window.name}{zone}"


QUOTA: Sequence[Column[Quota]] = (
    Column("QUOTA", lambda q: q.quota_id),
    Column("COUNTS", lambda q: q.counts),
    Column("MEASURES", lambda q: q.property or q.measures),
    Column("LIMITS", lambda q: tuple(told(limit) for limit in q.limits)),
    Column("FOR", lambda q: q.agent or ("all together" if q.shared else "each agent"), shrinks=True),
    Column("BEYOND", lambda q: type(q.overflow).__struct_config__.tag),
)
USED: Sequence[Column[QuotaUsage]] = (
    Column("QUOTA", lambda u: u.quota_id),
    Column("WINDOW", lambda u: u.window),
    Column("USED", lambda u: u.used, right=True),
    Column("HELD", lambda u: u.held, right=True),
    Column("OVER", lambda u: u.over, right=True),
    Column("LIMIT", lambda u: u.limit, right=True),
    Column("RESETS", lambda u: when(u.resets_at)),
    Column("", lambda u: bar(Decimal(u.used), Decimal(u.limit)), drops=True),
)
WAITS: Sequence[Column[Waiting]] = (
    Column("EVENT", lambda w: w.event_id, shrinks=True),
    Column("THRESHOLD", lambda w: w.threshold_id),
    Column("COST", lambda w: f"{w.exceeded.current_cost} {w.exceeded.threshold.currency}", right=True),
    Column("REQUEST", lambda w: w.request_id, shrinks=True),
    Column("SINCE", lambda w: when(w.waits_since), drops=True),
)
THRESHOLD: Sequence[Column[Threshold]] = (
    Column("THRESHOLD", lambda t: t.threshold.threshold_id),
    Column("OF", lambda t: t.threshold.threshold_type.replace("_", " ")),
    Column("LIMIT", lambda t: f"{t.threshold.limit} {t.threshold.currency}", right=True),
    Column("FOR", lambda t: t.agent or "each agent", shrinks=True),
    Column("POLICY", lambda t: t.policy_id),
)

quotas = group("quotas", "How much agents may use, held inside every act; limits on cost, and who waits for a human.")
thresholds = group("thresholds", "Limits on cost: beyond them humans are told or asked, or it blocks.")
for command in (thresholds, notices, answer):
    quotas.add_command(command)
thresholds.add_command(check_thresholds)
file_argument = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))


@quotas.command("list", example="creto quotas list")
@pass_cli
async def list_(cli: Cli) -> None:
    """The quotas that hold."""
    async with session(cli) as creto:
        found = await creto.quotas.list()
    cli.output.items(
        found.items, QUOTA, nothing="No quotas. Set one:\n  creto quotas set calls 100 --per day --counts tool.call"
    )


@quotas.command("set", example="creto quotas set calls 100 --per day --counts tool.call --agent planner")
@click.argument("quota")
@click.argument("amount", type=click.IntRange(min=0))
@click.option("--per", type=click.Choice([u.value for u in WindowUnit]), default="day", show_default=True)
@click.option(
    "--counts", multiple=True, default=("*",), help="An act or event type; a star for any rest. May be repeated."
)
@click.option("--agent", help="For this agent and all below it.")
@click.option("--shared", is_flag=True, help="For the whole tenant together.")
@click.option(
    "--measures",
    type=click.Choice([m.value for m in Measure]),
    default="acts",
    show_default=True,
    help="What moves it: acts as they pass, or the usage that is reported.",
)
@click.option("--property", "of", help="Count this property of events, as tokens, in place of the events.")
@click.option("--zone", help="The time zone of the window, as Europe/Berlin; the tenant's if not said.")
@pass_cli
async def set_(
    cli: Cli,
    quota: str,
    amount: int,
    per: str,
    counts: tuple[str, ...],
    agent: str | None,
    shared: bool,
    measures: str,
    of: str | None,
    zone: str | None,
) -> None:
    """Set a quota that blocks; `put` takes one from a file, with all that it can do."""
    limits = (Limit(amount, Window(WindowUnit(per), zone=zone)),)
    async with session(cli) as creto:
        made = await creto.quotas.put(
            quota_id=quota,
            limits=limits,
            counts=counts,
            shared=shared,
            agent=AgentId(await id_of(creto, "agent", agent)) if agent else None,
            measures=Measure(measures),
            property=of,
        )
    cli.output.say(made, f"{quota}: {', '.join(told(limit) for limit in made.limits)}.")


@quotas.command(example="creto quotas zone Europe/Berlin")
@click.argument("name", required=False)
@pass_cli
async def zone(cli: Cli, name: str | None) -> None:
    """The time zone in which days and months begin: show it, or set it for quotas set from now on, and for costs."""
    async with session(cli) as creto:
        found = await creto.quotas.settings() if name is None else await creto.quotas.set_settings(zone=name)
    cli.output.say(found, f"Days and months begin in {found.zone}.")


@quotas.command(example="creto quotas put quota.toml")
@file_argument
@pass_cli
async def put(cli: Cli, file: Path) -> None:
    """Set a quota that is written in TOML or JSON."""
    from creto.edge.api.quotas import PutQuota

    asked = document(file, PutQuota, "quota")
    async with session(cli) as creto:
        made = await creto.quotas.put(**fields_of(asked))
    cli.output.say(made, f"{made.quota_id} holds.")


@quotas.command(example="creto quotas delete calls")
@click.argument("quota")
@pass_cli
async def delete(cli: Cli, quota: str) -> None:
    """Take a quota away."""
    async with session(cli) as creto:
        done = await creto.quotas.delete(quota_id=quota)
    cli.output.say(done, f"{quota} holds no more.")


@quotas.command(example="creto quotas check planner tool.call")
@click.argument("agent")
@click.argument("event_type", metavar="ACT")
@click.option("--amount", type=click.IntRange(min=1), default=1, show_default=True)
@pass_cli
async def check(cli: Cli, agent: str, event_type: str, amount: int) -> None:
    """Whether an act would be let through now; nothing is taken."""
    async with session(cli) as creto:
        whose = AgentId(await id_of(creto, "agent", agent))
        found = await creto.quotas.check(agent=whose, event_type=event_type, amount=amount)
    cli.output.say(found, f"{found.outcome}: {found.remaining} of {found.limit} left.")


@quotas.command(example="creto quotas usage planner")
@click.argument("agent")
@pass_cli
async def usage(cli: Cli, agent: str) -> None:
    """What the counters of an agent stand at."""
    async with session(cli) as creto:
        found = await creto.quotas.usage(agent=AgentId(await id_of(creto, "agent", agent)))
    cli.output.items(found.items, USED, nothing="No quota counts what it does.")


@quotas.command(example="creto quotas waiting")
@limit_option
@pass_cli
async def waiting(cli: Cli, limit: int) -> None:
    """Events that wait for a human."""
    async with session(cli) as creto:
        found = await creto.quotas.waiting(limit=min(limit, 1_000))
    cli.output.items(found.items, WAITS, nothing="Nothing waits.")


@thresholds.command("list", example="creto quotas thresholds list")
@pass_cli
async def list_thresholds(cli: Cli) -> None:
    """The limits on cost."""
    async with session(cli) as creto:
        found = await creto.quotas.thresholds()
    cli.output.items(
        found.items,
        THRESHOLD,
        nothing="No limits on cost. Set one:\n  creto quotas thresholds set big 100 EUR --ask finance",
    )


@thresholds.command("put", example="creto quotas thresholds put threshold.toml")
@file_argument
@pass_cli
async def put_threshold(cli: Cli, file: Path) -> None:
    """Set a limit on cost that is written in TOML or JSON."""
    from creto.edge.api.quotas import PutThreshold

    asked = document(file, PutThreshold, "threshold")
    async with session(cli) as creto:
        made = await creto.quotas.put_threshold(**fields_of(asked))
    cli.output.say(made, f"{made.threshold.threshold_id}: {made.threshold.limit} {made.threshold.currency}.")
