"""`creto approvals grants`: what is approved before anybody asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from creto.cli.approvals import hold_option, limits_option, values_option
from creto.cli.asking import as_key, as_key_file, asks, identity
from creto.cli.choices import DURATION, limit_option, seconds
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, counted, when
from creto.cli.session import session
from creto.cli.voting import bounds_of, plain, said, vote
from creto.common.ids import AgentId
from creto.common.limits import PAGE_ITEMS_MAX
from creto.oversight.types import Grant, Verdict

grants = group("grants", "What was approved in advance.")

GRANT: Sequence[Column[Grant]] = (
    Column("GRANT", lambda g: g.grant_id),
    Column("KIND", lambda g: g.kind, drops=True),
    Column("AGENT", lambda g: g.agent, drops=True),
    Column("ACTION", lambda g: plain(g.action), shrinks=True),
    Column("RESOURCE", lambda g: plain(g.resource), shrinks=True),
    Column("USED", lambda g: f"{g.uses}/{g.uses_max}"),
    Column("UNTIL", lambda g: when(g.ended_at or g.expires_at), drops=True),
    Column("", lambda g: "ended" if g.ended_at is not None else ""),
)


@grants.command("list", example="creto approvals grants list --mine --key $ANN")
@click.option("--mine", is_flag=True, help="Only those that you could end.")
@limit_option
@as_key
@as_key_file
@pass_cli
async def list_grants(cli: Cli, mine: bool, limit: int, key_id: str | None, key_file: Path | None) -> None:
    """Live ones and ended ones."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        found = await creto.approvals.grants(limit=min(limit, PAGE_ITEMS_MAX), mine=mine)
    cli.output.items(found.items, GRANT, nothing="Nothing was approved in advance.")


asks(
    grants, "end", lambda c: c.approvals.end_grant, lambda g: f"{g.grant_id} ended after {counted(g.uses, 'use')}.",
    click.argument("grant_id", metavar="GRANT"), as_key, as_key_file, help="Take it back, or disarm.",
    example="creto approvals grants end $GRANT --key $ANN",
)  # fmt: skip


@grants.command(example="creto approvals grants give mails $BOT email.send list:team --for 8h")
@click.argument("policy")
@click.argument("agent")
@click.argument("action")
@click.argument("resource")
@click.option("--for", "ttl", type=DURATION, required=True, help="For so long from the decision, as 8h; the policy says how long at most.")  # fmt: skip
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="So many calls.")
@limits_option
@values_option
@click.option("--reason", default="", help="Why; the other approvers see it.")
@hold_option
@as_key
@as_key_file
@pass_cli
async def give(
    cli: Cli, policy: str, agent: str, action: str, resource: str, ttl: int, uses: int, limits: tuple[str, ...],
    values: tuple[str, ...], reason: str, hold: int | None, key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Let AGENT do it without asking.

    You propose it and vote for it; it holds once as many agree as POLICY demands.
    """
    key = await identity(cli, key_id, key_file)
    async with session(cli, key) as creto:
        asked = await creto.approvals.propose_grant(
            policy_id=policy, agent=AgentId(agent), action=action, resource=resource, ttl_s=seconds(ttl), uses=uses,
            bounds=bounds_of(limits, values), reason=reason,
        )  # fmt: skip
        cli.output.note(f"{plain(asked.effect)} ({asked.request_id})")
        case = await creto.approvals.get(request_id=asked.request_id)
        receipt = await vote(creto, case, key, None, hold, verdict=Verdict.APPROVE, reason=reason)
    cli.output.say(receipt, said(receipt))
