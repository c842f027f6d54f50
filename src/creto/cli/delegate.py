"""`creto delegate`: links of a chain, made by whoever holds the parent's key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from creto.cli.choices import (
    DURATION,
    confirmed,
    file_path,
    key_file_option,
    key_option,
    out_option,
    reason_option,
    yes_option,
)
from creto.cli.context import Cli, Group, pass_cli, read, write
from creto.cli.keyfiles import signing_key
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import CHAIN_BYTES_MAX
from creto.common.money import from_micros, parse_amount, to_micros
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.nhi import DelegationChain, DelegationLink
from creto.platform.nhi import delegate as signed_link

BACKDATED_NS = SECOND  # the clocks of two machines may differ a little
FOR_NS_DEFAULT = 3_600 * SECOND


class Delegate(Group):
    """`creto delegate CHILD …` makes a link; the other words are commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["make", *args]
        return super().parse_args(ctx, args)


delegate = Delegate(
    "delegate",
    no_args_is_help=True,
    help="Let an agent act for you, within bounds: creto delegate AGENT --action … --key …",
)


@delegate.command()
@click.argument("child", metavar="AGENT")
@click.option("--action", "actions", multiple=True, required=True, help="What it may do: runtime:exec, or runtime:* for all of these; may be repeated.")  # fmt: skip
@click.option("--resource", "resources", multiple=True, default=("*",), show_default=True, help="On what; may be repeated.")  # fmt: skip
@click.option("--for", "duration", type=DURATION, help="How long; an hour, or to the end of --chain.")
@click.option("--budget", help="What may be spent, as 5.00.")
@click.option("--currency", help="Of the budget, as USD.")
@click.option(
    "--depth", type=click.IntRange(min=0), default=0, show_default=True, help="How many times it may hand on."
)
@click.option("--chain", "chain_file", type=file_path, help="The chain by which you act, if you are an agent yourself.")
@key_option
@key_file_option
@out_option
@pass_cli
async def make(
    cli: Cli,
    child: str,
    actions: tuple[str, ...],
    resources: tuple[str, ...],
    duration: int | None,
    budget: str | None,
    currency: str | None,
    depth: int,
    chain_file: Path | None,
    key_id: str | None,
    key_file: Path | None,
    out: Path | None,
) -> None:
    """Sign a link from your key to AGENT. The chain file is what the agent shows with every call."""
    key = await signing_key(cli, key_id, key_file)
    above = load_chain(chain_file) if chain_file else None
    starts, ends = window(above, duration)
    link = signed_link(
        key,
        above,
        AgentId(child),
        tenant=None if above else cli.configured_tenant(),
        actions=actions,
        resources=resources,
        budget_micros=to_micros(parse_amount(budget, "--budget")) if budget else None,
        currency=currency,
        depth_left=depth,
        not_before=starts,
        not_after=ends,
    )
    chain = above.extended(link) if above else DelegationChain((link,))
    write(out, chain.to_bytes(), mode=0o600)
    cli.output.note(f"{link.child} may act for {link.parent} until {when(link.not_after)}.")


def window(above: DelegationChain | None, duration: int | None) -> tuple[ConsensusTimestamp, ConsensusTimestamp]:
    """From now, and never beyond the link above unless that was asked for (it is refused then)."""
    starts = time.time_ns() - BACKDATED_NS
    ends = starts + BACKDATED_NS + (FOR_NS_DEFAULT if duration is None else duration)
    if above and above.links:
        starts = max(starts, above.links[-1].not_before)
        ends = ends if duration is not None else min(ends, above.links[-1].not_after)
    return ConsensusTimestamp(starts), ConsensusTimestamp(ends)


def load_chain(path: Path) -> DelegationChain:
    return DelegationChain.from_bytes(read(path, bytes_max=CHAIN_BYTES_MAX).strip())


LINKS: tuple[Column[DelegationLink], ...] = (
    Column("FROM", lambda link: link.parent),
    Column("TO", lambda link: link.child),
    Column("ACTIONS", lambda link: link.actions),
    Column("RESOURCES", lambda link: link.resources),
    Column("BUDGET", lambda link: f"{from_micros(link.budget.micros)} {link.budget.currency}" if link.budget else "-"),
    Column("DEPTH", lambda link: link.depth_left, right=True),
    Column("UNTIL", lambda link: when(link.not_after)),
)


@delegate.command()
@click.argument("file", type=file_path)
@pass_cli
def show(cli: Cli, file: Path) -> None:
    """The links of a chain file, as they say; nothing is verified."""
    cli.output.items(load_chain(file).links, LINKS)


@delegate.command()
@click.argument("file", type=file_path)
@click.option("--agent", help="Whom the chain must end at.")
@click.option("--action", help="What it must cover.")
@click.option("--resource", help="What it must cover.")
@pass_cli
async def verify(cli: Cli, file: Path, agent: str | None, action: str | None, resource: str | None) -> None:
    """Ask the installation whether a chain holds now: signatures, bounds, and nobody on it revoked."""
    chain = load_chain(file)
    async with session(cli) as creto:
        valid = await creto.delegations.validate(
            chain=chain.to_bytes(), agent=AgentId(agent) if agent else None, action=action, resource=resource
        )
    lines: list[tuple[str, Any]] = [
        ("agent", valid.agent),
        ("acts for", valid.root),
        ("actions", valid.actions),
        ("resources", valid.resources),
        ("until", when(valid.not_after)),
    ]
    cli.output.thing(valid, lines)


@delegate.command()
@click.argument("file", type=file_path)
@reason_option
@yes_option
@pass_cli
async def revoke(cli: Cli, file: Path, reason: str | None, yes: bool) -> None:
    """Withdraw the last link of a chain, and everything handed on beneath it. The identities stay in force."""
    chain = load_chain(file)
    if not chain.links:
        raise InvalidInput.of("FILE", got="an empty chain", expected="at least one link", code="PL-129")
    confirmed(f"Revoke what {chain.links[-1].parent} granted to {chain.links[-1].child}?", yes)
    async with session(cli) as creto:
        done = await creto.delegations.revoke(chain=chain.to_bytes(), reason=reason)
    cli.output.say(done, f"Revoked the link to {chain.links[-1].child}.")
