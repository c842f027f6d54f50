"""`creto usage unpaid` and `alerts`: what of usage wants somebody to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.choices import MOMENT, collected, limit_option
from creto.cli.context import Cli, Command, pass_cli
from creto.cli.naming import id_of
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.ids import AgentId

if TYPE_CHECKING:
    from creto.edge.api.attention import UsageAlert
    from creto.metering import Unpaid

UNPAID: Sequence[Column[Unpaid]] = (
    Column("AGENT", lambda u: u.agent, shrinks=True),
    Column("TYPE", lambda u: u.event_type),
    Column("EVENTS", lambda u: u.events, right=True),
    Column("FIRST", lambda u: when(u.first)),
    Column("LAST", lambda u: when(u.last)),
)
ALERTS: Sequence[Column[UsageAlert]] = (
    Column("TOLD", lambda a: when(a.told_at)),
    Column("EVENTS", lambda a: a.events, right=True),
    Column("REPORTED BY", lambda a: a.agent),
    Column("WHY", lambda a: f"{a.code} {a.reason}"),
)


@click.command(cls=Command, example="creto usage unpaid --from 30d")
@click.option("--from", "start", type=MOMENT, help="The first moment; 31 days before the last, if not said.")
@click.option("--until", "--to", "end", type=MOMENT, help="The first moment after it; now, if not said.")
@click.option("--agent", help="Of this agent, with all who act for it.")
@limit_option
@pass_cli
async def unpaid(cli: Cli, start: int | None, end: int | None, agent: str | None, limit: int) -> None:
    """Usage that no subscription pays for.

    A subscription from a moment before it (`creto subscriptions create --from`) takes it over, and bills it.
    """
    async with session(cli) as creto:
        of = AgentId(await id_of(creto, "agent", agent)) if agent else None
        found = await collected(creto.metering.unpaid, limit, cli.output.note, start=start, end=end, agent=of)
    cli.output.items(found, UNPAID, nothing="All usage is paid for.")


@click.command(cls=Command, example="creto usage alerts")
@limit_option
@pass_cli
async def alerts(cli: Cli, limit: int) -> None:
    """Reports of usage whose signatures do not hold.

    Somebody may be forging usage: nothing of it counts. `creto usage anomalies` shows agents that run away.
    """
    async with session(cli) as creto:
        found = await collected(creto.metering.alerts, limit, cli.output.note)
    cli.output.items(found, ALERTS, nothing="No alerts.")
