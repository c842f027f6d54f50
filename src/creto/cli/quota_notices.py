"""`creto quotas notices` and `answer`: what quotas have told, and what a human makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.choices import limit_option
from creto.cli.context import Cli, Command, pass_cli
from creto.cli.naming import id_of
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX
from creto.metering import QuotaAnswer, WindowUnit

if TYPE_CHECKING:
    from creto.metering import Told

TOLD: Sequence[Column[Told]] = (
    Column("TOLD", lambda t: when(t.notice.at)),
    Column("WHAT", lambda t: t.notice.text),
    Column("BEYOND", lambda t: t.notice.overflow_action),
    Column("REQUEST", lambda t: t.request_id),
    Column("ANSWERED", lambda t: when(t.answered_at) if t.answered_at else None),
)


@click.command(cls=Command, example="creto quotas notices --agent planner")
@click.option("--agent", help="What this agent was told.")
@limit_option
@pass_cli
async def notices(cli: Cli, agent: str | None, limit: int) -> None:
    """Who nears a limit or goes beyond it, the newest first, and which request humans decide about it."""
    async with session(cli) as creto:
        of = AgentId(await id_of(creto, "agent", agent)) if agent else None
        found = await creto.quotas.notices(agent=of, limit=min(limit, 1_000))
    cli.output.items(found.items, TOLD, nothing="Nothing was told.")
    if found.nobody_asked is not None:
        cli.output.note(found.nobody_asked)


@click.command(cls=Command, example="creto quotas answer calls --per day --limit 200")
@click.argument("quota")
@click.option("--per", type=click.Choice([u.value for u in WindowUnit]), default="day", show_default=True)
@click.option("--limit", type=click.IntRange(0, INTEGER_MAX), help="The new limit of that window.")
@click.option("--block", is_flag=True, help="Let nothing go beyond the limit any more.")
@pass_cli
async def answer(cli: Cli, quota: str, per: str, limit: int | None, block: bool) -> None:
    """Raise or lower one limit of a quota, or let it block; what was used counts on."""
    if (limit is None) is not block:
        raise click.UsageError("Either --limit or --block.")
    said = QuotaAnswer.BLOCK if block else QuotaAnswer.INCREASE
    async with session(cli) as creto:
        made = await creto.quotas.answer(quota_id=quota, window=per, answer=said, new_limit=limit or 0)
    cli.output.say(made, f"{quota} blocks beyond its limits." if block else f"{quota}: {limit} a {per}.")
