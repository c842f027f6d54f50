"""`creto credits`: what was paid in advance, and where it went."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from creto.cli.choices import AMOUNT, MOMENT
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.cli.usage import bar
from creto.common.ids import AgentId

if TYPE_CHECKING:
    from creto.metering import GrantBook, Posting

GRANT: Sequence[Column[GrantBook]] = (
    Column("GRANT", lambda b: b.grant.grant_id),
    Column("PRIORITY", lambda b: b.grant.priority, right=True),
    Column("GRANTED", lambda b: b.balance.granted, right=True),
    Column("LEFT", lambda b: b.balance.remaining, right=True),
    Column("EXPIRES", lambda b: when(b.grant.expires_at)),
    Column("", lambda b: bar(b.balance.remaining, b.balance.granted)),
)
POSTING: Sequence[Column[Posting]] = (
    Column("AT", lambda p: when(p.at)),
    Column("FROM", lambda p: p.source),
    Column("TO", lambda p: p.target),
    Column("AMOUNT", lambda p: p.amount, right=True),
    Column("FOR", lambda p: p.ref),
)


credits = group("credits", "Credits paid in advance: granted, used, expired; to the last micro.")


@credits.command()
@click.argument("agent")
@click.argument("amount", type=AMOUNT)
@click.argument("currency")
@click.option("--priority", type=click.IntRange(0, 1_000), default=50, show_default=True, help="Lower is used first.")
@click.option("--expires", type=MOMENT)
@click.option("--key", metavar="KEY", help="Granted once for each key.")
@click.option("--reason", default="")
@pass_cli
async def grant(
    cli: Cli, agent: str, amount: Decimal, currency: str, priority: int, expires: int | None, key: str | None, reason: str
) -> None:  # fmt: skip
    """Give an agent credits."""
    async with session(cli) as creto:
        made = await creto.credits.grant(
            agent=AgentId(agent), amount=amount, currency=currency, priority=priority, expires_at=expires, key=key, reason=reason
        )  # fmt: skip
    cli.output.say(made, f"{made.grant.grant_id}: {amount} {currency}.")


@credits.command()
@click.argument("agent")
@click.argument("currency")
@pass_cli
async def wallet(cli: Cli, agent: str, currency: str) -> None:
    """All that an agent has in a currency."""
    async with session(cli) as creto:
        found = await creto.credits.wallet(agent=AgentId(agent), currency=currency)
    if cli.output.json:
        cli.output.say(found, "")
        return
    click.echo(f"{found.usable} {currency} can be used.")
    cli.output.items(found.grants, GRANT)


@credits.command()
@click.argument("grant")
@pass_cli
async def postings(cli: Cli, grant: str) -> None:
    """Where every micro of a grant went."""
    async with session(cli) as creto:
        found = await creto.credits.postings(grant_id=grant)
    cli.output.items(found.items, POSTING, nothing="Nothing was posted.")


@credits.command()
@click.argument("grant")
@pass_cli
async def void(cli: Cli, grant: str) -> None:
    """Nobody can use what is left of a grant."""
    async with session(cli) as creto:
        made = await creto.credits.void(grant_id=grant)
    cli.output.say(made, f"{grant} is void.")
