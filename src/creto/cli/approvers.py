"""`creto approvals policies|groups|contacts|ooo|delegate|break-glass|health`: who decides, and whether they can be reached."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.approvals import approvals, request_argument
from creto.cli.asking import as_key, as_key_file, identity, lists
from creto.cli.choices import AHEAD, DURATION, confirmed, seconds, yes_option
from creto.cli.context import Cli, group, pass_cli, read
from creto.cli.output import Column, counted, when
from creto.cli.session import session
from creto.cli.voting import plain
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.oversight.types import (
    Channel,
    Contact,
    Delegation,
)

__all__ = ["approvals"]  # with what is added here

if TYPE_CHECKING:
    from creto.edge.api.approval_views import NotificationView, OversightPolicyView
    from creto.edge.api.approvers import ApproverGroup, PutOversightPolicy

POLICY_BYTES_MAX = 256 * 1024

POLICY: Sequence[Column[OversightPolicyView]] = (
    Column("POLICY", lambda p: p.policy_id, shrinks=True),
    Column("VERSION", lambda p: p.version, right=True),
    Column("APPROVALS", lambda p: p.quorum.approvals, right=True),
    Column("TIERS", lambda p: tuple(f"{tier.name} {tier.timeout_s} s" for tier in p.tiers), shrinks=True),
    Column("TITLE", lambda p: p.title, shrinks=True),
)
GROUP: Sequence[Column[ApproverGroup]] = (
    Column("GROUP", lambda g: g.name),
    Column("MEMBERS", lambda g: g.members, shrinks=True),
)
CONTACT: Sequence[Column[Contact]] = (
    Column("CHANNEL", lambda c: c.channel),
    Column("ADDRESS", lambda c: c.address, shrinks=True),
    Column("PERSON", lambda c: c.person, shrinks=True),
)
AWAY: Sequence[Column[Delegation]] = (
    Column("ID", lambda d: d.delegation_id),
    Column("OF", lambda d: d.of, shrinks=True),
    Column("TO", lambda d: d.to, shrinks=True),
    Column("FROM", lambda d: when(d.starts_at), drops=True),
    Column("UNTIL", lambda d: when(d.ends_at)),
    Column("POLICIES", lambda d: d.policies or "all", drops=True),
)
LOST: Sequence[Column[NotificationView]] = (
    Column("REQUEST", lambda n: n.request_id),
    Column("CHANNEL", lambda n: n.channel, drops=True),
    Column("ADDRESS", lambda n: n.address, shrinks=True),
    Column("KIND", lambda n: n.kind, drops=True),
    Column("STATE", lambda n: n.state, drops=True),
    Column("TRIES", lambda n: n.attempts, right=True, drops=True),
    Column("ERROR", lambda n: n.error, shrinks=True),
)

policies = group("policies", "Who decides, how many, how sure, and by when.")
groups = group("groups", "Named sets of humans.")
contacts = group("contacts", "How humans are reached.")
for part in (policies, groups, contacts):
    approvals.add_command(part)


lists(
    policies, "list", lambda c: c.approvals.policies, POLICY, nothing="No oversight policies.", help="Those that hold.",
    pages=False, example="creto approvals policies list",
)  # fmt: skip


@policies.command("show", example="creto approvals policies show payments")
@click.argument("policy")
@pass_cli
async def show_policy(cli: Cli, policy: str) -> None:
    """One of them, as JSON."""
    async with session(cli) as creto:
        found = await creto.approvals.policy(policy_id=policy)
    click.echo(wire.encode(found))


@policies.command("put", example="creto approvals policies put payments.toml")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@pass_cli
async def put_policy(cli: Cli, file: Path) -> None:
    """Store the next version of a policy, written in TOML or JSON. Open requests keep the one they were asked under."""
    asked = policy_of(read(file, bytes_max=POLICY_BYTES_MAX))
    async with session(cli) as creto:
        made = await creto.approvals.put_policy(**{name: getattr(asked, name) for name in asked.__struct_fields__})
    cli.output.say(made, f"{made.policy_id} version {made.version} holds for what is asked from now on.")
    warn(cli, made.warnings)


def warn(cli: Cli, warnings: Sequence[str]) -> None:
    for warning in warnings:
        cli.output.note(f"Take care: {warning}.")


def policy_of(data: bytes) -> PutOversightPolicy:
    from creto.edge.api.approvers import PutOversightPolicy

    if data.lstrip().startswith(b"{"):
        written = wire.decode(data, dict[str, Any], what="policy")
    else:
        try:
            written = tomllib.loads(data.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput.of("policy", got=str(error), expected="TOML or JSON") from error
    return wire.convert(written, PutOversightPolicy, what="policy")


lists(
    groups, "list", lambda c: c.approvals.groups, GROUP, nothing="No groups.", help="The groups and their members.", pages=False,
    example="creto approvals groups list",
)  # fmt: skip


@groups.command("put", example="creto approvals groups put finance $ANN $BEN")
@click.argument("name")
@click.argument("members", metavar="MEMBER...", nargs=-1)
@click.option("--empty", is_flag=True, help="Nobody belongs to it any more.")
@pass_cli
async def put_group(cli: Cli, name: str, members: tuple[str, ...], empty: bool) -> None:
    """Say who belongs to a group: identities, linked addresses, or group:<name>. Who is not named does not."""
    if empty is bool(members):
        raise click.UsageError("Name the members, or say --empty.")
    async with session(cli) as creto:
        made = await creto.approvals.put_group(name=name, members=members)
    cli.output.say(made, f"{name} has {counted(len(members), 'member')}.")
    warn(cli, made.warnings)


lists(
    contacts, "list", lambda c: c.approvals.contacts, CONTACT, nothing="Nobody has an address.",
    help="Addresses, and whose they are.", pages=False, example="creto approvals contacts list",
)  # fmt: skip


channel_argument = click.argument("channel", type=click.Choice([channel.value for channel in Channel]))


@contacts.command(example="creto approvals contacts link email ann@corp.example $ANN")
@channel_argument
@click.argument("address")
@click.argument("person")
@pass_cli
async def link(cli: Cli, channel: str, address: str, person: str) -> None:
    """Say whose an address is."""
    async with session(cli) as creto:
        made = await creto.approvals.link(channel=Channel(channel), address=address, person=AgentId(person))
    cli.output.say(made, f"{channel} {address} is {person}.")


@contacts.command(example="creto approvals contacts unlink email ann@corp.example")
@channel_argument
@click.argument("address")
@pass_cli
async def unlink(cli: Cli, channel: str, address: str) -> None:
    """Say that an address is nobody's."""
    async with session(cli) as creto:
        done = await creto.approvals.unlink(channel=Channel(channel), address=address)
    cli.output.say(done, f"{channel} {address} {'is nobody’s now' if done.found else 'was nobody’s'}.")


policy_option = click.option("--policy", "only", multiple=True, help="For this policy alone; may be repeated.")


@approvals.command(example="creto approvals delegate $BEN --for 8h --policy payments --key $ANN")
@click.argument("to")
@click.option("--for", "ttl", type=DURATION, required=True, help="For so long, from now.")
@click.option("--of", metavar="AGENT", help="Whose seats; yours, if not said.")
@policy_option
@as_key
@as_key_file
@pass_cli
async def delegate(
    cli: Cli, to: str, ttl: int, of: str | None, only: tuple[str, ...], key_id: str | None, key_file: Path | None
) -> None:
    """Let somebody else sit in your seats for a while."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        now = (await creto.time.get_timestamp()).timestamps[0]
        made = await creto.approvals.delegate(
            to=AgentId(to), ends_at=now + ttl, of=AgentId(of) if of else None, policies=only
        )
    cli.output.say(made, f"{to} decides for {made.of} until {when(made.ends_at)}: {made.delegation_id}.")
    warn_of_circle(cli, made)


def warn_of_circle(cli: Cli, made: Delegation) -> None:
    if made.circle:
        cli.output.note(
            f"Take care: {', '.join(made.circle)} stand in for one another in a circle, so nobody sits there."
        )


@approvals.command(
    example="creto approvals ooo --to $BEN --from 2027-07-01 --until 2027-07-15\ncreto approvals ooo --end $ABSENCE"
)
@click.option("--to", help="Who sits in your seats meanwhile.")
@click.option("--from", "starts", type=AHEAD, help="The first moment, as --until; now, if not said.")
@click.option(
    "--until", type=AHEAD, help="The first moment after it: 2026-01-31, 2026-01-31T09:30:00Z, or 8h from now as 8h."
)
@click.option("--of", metavar="AGENT", help="Whose seats; yours, if not said.")
@click.option("--end", metavar="ID", help="Back in the office: end this absence.")
@policy_option
@as_key
@as_key_file
@pass_cli
async def ooo(
    cli: Cli, to: str | None, starts: int | None, until: int | None, of: str | None, end: str | None,
    only: tuple[str, ...], key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Out of office: plan it, end it, see who is away."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        if end is not None:
            done = await creto.approvals.end_delegation(delegation_id=end)
            cli.output.say(done, f"{end} is over." if done.found else f"There is no {end}.")
        elif to is None and until is None:
            found = await creto.approvals.delegations()
            cli.output.items(found.items, AWAY, nothing="Everybody is in the office.")
        elif to is None or until is None:
            raise click.UsageError("Name both --to and --until.")
        else:
            made = await creto.approvals.delegate(
                to=AgentId(to), starts_at=starts, ends_at=until, of=AgentId(of) if of else None, policies=only
            )
            cli.output.say(made, f"{to} decides for {made.of} until {when(made.ends_at)}: {made.delegation_id}.")
            warn_of_circle(cli, made)


@approvals.command(
    "break-glass",
    example="creto approvals break-glass deploys $BOT code.deploy web --reason Outage",
)
@click.argument("policy")
@click.argument("agent")
@click.argument("action")
@click.argument("resource")
@click.option("--reason", required=True, help="Why; it stands in the review.")
@click.option("--for", "ttl", type=DURATION, help="For so long; as the policy allows, if not said.")
@as_key
@as_key_file
@pass_cli
async def break_glass(
    cli: Cli, policy: str, agent: str, action: str, resource: str, reason: str, ttl: int | None, key_id: str | None,
    key_file: Path | None,
) -> None:  # fmt: skip
    """Let AGENT act at once, for minutes; others review it after."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        made = await creto.approvals.break_glass(
            policy_id=policy, agent=AgentId(agent), action=action, resource=resource, reason=reason,
            ttl_s=seconds(ttl) if ttl is not None else None,
        )  # fmt: skip
    cli.output.say(made, f"Armed until {when(made.expires_at)}: {made.grant_id}. The review is {made.request_id}.")


@approvals.command(example="creto approvals health")
@pass_cli
async def health(cli: Cli) -> None:
    """What was not delivered, not seen, or could reach nobody."""
    async with session(cli) as creto:
        found = await creto.approvals.health()
    if cli.output.json:
        cli.output.say(found, "")
        return
    cli.output.thing(
        found,
        [
            ("pending", found.pending),
            ("oldest", when(found.oldest_at)),
            ("unseen", found.unseen),
            *((f"nobody reachable in {one.policy_id}", one.tiers) for one in found.unreachable),
            *((f"cannot be met: {one.policy_id}", one.why) for one in found.short),
            *((f"{one.channel} is not configured", f"{counted(one.waiting, 'message')} waiting") for one in found.idle),
            *(
                (f"unreachable by {one.channel}", f"{one.address} ({one.person}): {plain(one.error)}")
                for one in found.dead
            ),
        ],
    )
    if found.undelivered:
        click.echo("")
        cli.output.items(found.undelivered, LOST)


@approvals.command(example="creto approvals discard slack")
@channel_argument
@yes_option
@pass_cli
async def discard(cli: Cli, channel: str, yes: bool) -> None:
    """Discard what waits for CHANNEL.

    For one that is not configured any more: nothing of it is sent, also if it is configured again.
    """
    confirmed(f"Send nothing of what waits for {channel}?", yes)
    async with session(cli) as creto:
        done = await creto.approvals.discard_notifications(channel=Channel(channel))
    cli.output.say(done, f"{counted(done.count, 'message')} for {channel} discarded.")


lists(
    approvals, "notifications", lambda c: c.approvals.notifications, LOST, request_argument,
    nothing="Nobody was told: nobody who decides has an address.", help="Whom a request was sent to, and how far that got.",
    pages=False, example="creto approvals notifications $REQ",
)  # fmt: skip
