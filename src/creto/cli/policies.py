"""`creto policies`: Cedar policies, their versions, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import click

from creto.cli.asking import asks, lists
from creto.cli.attributes import attributes
from creto.cli.choices import MOMENT, file_path, out_option
from creto.cli.context import Cli, Group, group, pass_cli, read, write
from creto.cli.entities import entities, overrides
from creto.cli.exits import Exit
from creto.cli.output import Column, text, when
from creto.cli.session import session
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import AUTHZ_DRY_RUN_MAX
from creto.security.authz import (
    Allow,
    Decision,
    Deny,
    Explanation,
    PolicyVersion,
    QuotaDenied,
    RequiresOversight,
    RoleAssignment,
)

if TYPE_CHECKING:
    from creto.edge.api.policies import CheckAccess, Retried, Tried

POLICY_BYTES_MAX = 1024 * 1024

policies = group("policies", "Cedar policies: who may do what, and when a human must agree.")

COLUMNS: Sequence[Column[PolicyVersion]] = (
    Column("VERSION", lambda v: v.version, right=True),
    Column("", lambda v: "active" if v.active else ""),
    Column("POLICIES", lambda v: v.policies, right=True),
    Column("UPLOADED", lambda v: when(v.uploaded_at)),
    Column("BY", lambda v: v.uploaded_by),
    Column("NOTE", lambda v: v.note),
)
MEMBERS: Sequence[Column[RoleAssignment]] = (
    Column("AGENT", lambda m: m.agent),
    Column("SINCE", lambda m: when(m.assigned_at)),
    Column("BY", lambda m: m.assigned_by),
)

schema_option = click.option("--schema", type=file_path, help="A Cedar schema that adds to the shipped one.")
alone_option = click.option("--alone", is_flag=True, help="Without the shipped policies beside these.")
context_option = click.option("--context", metavar="NAME=VALUE", multiple=True, help="An attribute of the request, as amount=50000; may be repeated.")  # fmt: skip


lists(
    policies, "list", lambda c: c.policies.list, COLUMNS, nothing="Only the shipped policies.", help="The versions, the newest first."
)  # fmt: skip


@policies.command()
@click.argument("version", type=click.IntRange(min=0), required=False)
@out_option
@pass_cli
async def show(cli: Cli, version: int | None, out: Path | None) -> None:
    """The text of a version; of the one in force, if none is named."""
    async with session(cli) as creto:
        found = await creto.policies.get(version=version)
    if cli.output.json and out is None:
        cli.output.say(found, "")
    else:
        write(out, found.text.encode())
        cli.output.note(f"Version {found.version}{', in force' if found.active else ''}.")


@policies.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@schema_option
@alone_option
@click.option("--note", default="", help="What is new; it stands in the list.")
@click.option("--activate", is_flag=True, help="Put it into force at once.")
@pass_cli
async def upload(cli: Cli, file: Path, schema: Path | None, alone: bool, note: str, activate: bool) -> None:
    """Upload a version. It is refused, with line and reason, if it does not validate."""
    async with session(cli) as creto:
        made = await creto.policies.upload(
            text=policy_text(file),
            policy_schema=policy_text(schema),
            with_defaults=not alone,
            note=note,
            activate=activate,
        )
    cli.output.say(made, f"Uploaded version {made.version}{', in force now' if activate else ''}.")
    if not activate:
        cli.output.note(f"It is not in force yet: creto policies activate {made.version}")


@policies.command()
@click.argument("version", type=click.IntRange(min=0))
@pass_cli
async def activate(cli: Cli, version: int) -> None:
    """Put a version into force, also an older one."""
    async with session(cli) as creto:
        done = await creto.policies.activate(version=version)
    cli.output.say(done, f"Version {done.version} is in force.")
    if not done.everywhere:
        cli.output.note("Some node has not confirmed it yet; it follows, or distrusts its memory.")


asks(
    policies, "diff", lambda c: c.policies.diff, lambda found: found.diff.rstrip("\n") or "No difference.",
    click.argument("old", type=click.IntRange(min=0)), click.argument("new", type=click.IntRange(min=0)),
    help="What changed between two versions.",
)  # fmt: skip


@policies.command()
@click.argument("agent")
@click.argument("action")
@click.argument("resource")
@context_option
@pass_cli
async def check(cli: Cli, agent: str, action: str, resource: str, context: tuple[str, ...]) -> None:
    """May AGENT do ACTION on RESOURCE? Exit code 0 for yes, 4 for no, 5 if a human must agree."""
    async with session(cli) as creto:
        found = await creto.policies.check(
            agent=AgentId(agent), action=action, resource=resource, context=attributes(context)
        )
    cli.output.say(found, said(found.decision))
    raise click.exceptions.Exit(exit_of_decision(found.decision))


@policies.command()
@click.argument("agent")
@click.argument("action")
@click.argument("resource")
@context_option
@pass_cli
async def why(cli: Cli, agent: str, action: str, resource: str, context: tuple[str, ...]) -> None:
    """Which policies decide a request, and how. The exit code is 0 whatever they decide."""
    async with session(cli) as creto:
        found = await creto.policies.why(
            agent=AgentId(agent), action=action, resource=resource, context=attributes(context)
        )
    cli.output.thing(found, explained(found))


@policies.command("dry-run")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("requests", type=file_path, required=False)
@click.option("--recorded", metavar="N", type=click.IntRange(1, AUTHZ_DRY_RUN_MAX), help="Try the last N decisions of the audit log; shown is what would change.")  # fmt: skip
@click.option("--since", type=MOMENT, help="Of the recorded ones, only those since: 2026-01-31T09:30:00Z, or 2h ago as 2h.")  # fmt: skip
@schema_option
@alone_option
@pass_cli
async def dry_run(
    cli: Cli, file: Path, requests: Path | None, recorded: int | None, since: int | None, schema: Path | None, alone: bool
) -> None:  # fmt: skip
    """What requests would get under the policies in FILE, and what they get now; nothing is stored.

    REQUESTS holds one JSON object a line: {"agent": …, "action": …, "resource": …, "context": {…}}.
    """
    if (requests is None) is (recorded is None):
        raise click.UsageError("Name a file of REQUESTS, or --recorded N.")
    given: dict[str, Any] = {"text": policy_text(file), "policy_schema": policy_text(schema), "with_defaults": not alone}  # fmt: skip
    if recorded is not None:
        async with session(cli) as creto:
            again = await creto.policies.dry_run_recorded(limit=recorded, since=since, **given)
        cli.output.items(again.items, RECORDED, nothing="Nothing would change.")
        cli.output.note(
            f"Of {again.requests} recorded decisions {again.changed} would change; {again.doubtful} cannot be told: their context was not recorded."
        )
        return
    async with session(cli) as creto:
        found = await creto.policies.dry_run(requests=asked(requests), **given)
    cli.output.items(found.items, TRIED)


def asked(requests: Path | None) -> tuple[CheckAccess, ...]:
    from creto.edge.api.policies import CheckAccess

    lines = read(requests, bytes_max=POLICY_BYTES_MAX).splitlines() if requests is not None else []
    return tuple(wire.decode(line, CheckAccess, what="request") for line in lines if line.strip())


TRIED: Sequence[Column[Tried]] = (
    Column("", lambda t: "changed" if t.changed else ""),
    Column("AGENT", lambda t: t.request.agent[-12:]),
    Column("ACTION", lambda t: t.request.action),
    Column("RESOURCE", lambda t: t.request.resource),
    Column("NOW", lambda t: said(t.now)),
    Column("THEN", lambda t: said(t.then)),
)
RECORDED: Sequence[Column[Retried]] = (
    Column("", lambda t: "doubtful" if t.doubtful else "changed"),
    Column("TIMES", lambda t: t.times, right=True),
    Column("LAST", lambda t: when(t.at)),
    Column("AGENT", lambda t: t.request.agent[-12:]),
    Column("ACTION", lambda t: t.request.action),
    Column("RESOURCE", lambda t: t.request.resource),
    Column("ENDED", lambda t: t.code or t.outcome.value),
    Column("NOW", lambda t: said(t.now)),
    Column("THEN", lambda t: said(t.then)),
)

policies.add_command(entities)
policies.add_command(overrides)
roles = Group("roles", help="The roles of identities, which policies speak of.", no_args_is_help=True)
policies.add_command(roles)


@roles.command("show")
@click.argument("agent")
@pass_cli
async def roles_show(cli: Cli, agent: str) -> None:
    """The roles of AGENT."""
    async with session(cli) as creto:
        found = await creto.policies.roles(agent=AgentId(agent))
    cli.output.items(found.roles, (Column("ROLE", lambda role: role),), nothing="No roles.")


@roles.command("give")
@click.argument("agent")
@click.argument("role")
@pass_cli
async def roles_give(cli: Cli, agent: str, role: str) -> None:
    """Give AGENT a role."""
    async with session(cli) as creto:
        done = await creto.policies.assign_role(agent=AgentId(agent), role=role)
    cli.output.say(done, f"{agent} has the role {role}.")


@roles.command("take")
@click.argument("agent")
@click.argument("role")
@pass_cli
async def roles_take(cli: Cli, agent: str, role: str) -> None:
    """Take a role from AGENT."""
    async with session(cli) as creto:
        done = await creto.policies.unassign_role(agent=AgentId(agent), role=role)
    cli.output.say(done, f"{agent} has the role {role} no more.")


lists(
    roles, "members", lambda c: c.policies.members, MEMBERS, click.argument("role"), nothing="Nobody.",
    help="Who has ROLE, each under the first id of their line.",
)  # fmt: skip


def policy_text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return read(path, bytes_max=POLICY_BYTES_MAX).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput.of(str(path), got="bytes that are not UTF-8", expected="UTF-8 text") from error


def said(decision: Decision) -> str:
    match decision:
        case Allow():
            return "allow"
        case Deny():
            return f"deny: {decision.reason}"
        case RequiresOversight():
            return f"a human must agree: {text((decision.policy_id, *decision.also))}"
        case QuotaDenied():
            return f"deny, by quota: {decision.reason}"
        case _:
            assert_never(decision)


def exit_of_decision(decision: Decision) -> Exit:
    match decision:
        case Allow():
            return Exit.OK
        case RequiresOversight():
            return Exit.NEEDS_APPROVAL
        case Deny() | QuotaDenied():
            return Exit.DENIED
        case _:
            assert_never(decision)


def explained(found: Explanation) -> list[tuple[str, object]]:
    return [
        ("decision", said(found.decision)),
        ("permitted by", found.permits),
        ("forbidden by", found.forbids),
        ("version", found.version),
        ("considered", f"{found.considered} policies"),
        ("principal", found.principal),
        ("action", found.action),
        ("resource", found.resource),
        *((f"error in {policy}", error) for policy, error in found.errors.items()),
    ]
