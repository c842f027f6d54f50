"""`creto approvals request|required|use|report`: asking humans, whether one has to, and acting on their yes outside the layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from creto.cli.approvals import approvals, json_text, note_all, request_argument
from creto.cli.asking import as_key, as_key_file, asks, identity
from creto.cli.choices import file_path
from creto.cli.context import Cli, pass_cli, read_text
from creto.cli.exits import Exit
from creto.cli.output import counted
from creto.cli.session import session
from creto.cli.voting import named, plain
from creto.common.ids import AgentId
from creto.common.limits import OVERRIDE_TOKEN_BYTES_MAX
from creto.contracts import RiskFactor, RiskLevel

if TYPE_CHECKING:
    from creto.edge.api.approvals import Item
    from creto.edge.api.needs import ApprovalCheck, DemandView

__all__ = ["approvals"]  # with what is added here


@approvals.command(example="creto approvals request payments funds.transfer bank:7 --arguments args.json")
@click.argument("policy")
@click.argument("action")
@click.argument("resource")
@click.option("--arguments", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), help="A JSON file with the exact arguments.")  # fmt: skip
@click.option("--description", default="", help="Why, in your words.")
@click.option("--agent", help="Ask for this agent; you, if not said.")
@click.option("--chain", multiple=True, metavar="AGENT", help="With --agent: whom it acts for, from the root to itself; one each time.")  # fmt: skip
@click.option("--item", "items", metavar="ID=JSON", multiple=True, help="One act of a batch, each decided by itself; may be repeated.")  # fmt: skip
@click.option("--after", "afters", metavar="ID=ID", multiple=True, help="Of a batch: the first is pointless without the second, which stands before it; may be repeated.")  # fmt: skip
@click.option("--risk", "risks", metavar="NAME=LEVEL", multiple=True, help="What speaks for caution, and how much: low, medium, high, critical; may be repeated.")  # fmt: skip
@click.option("--idempotency-key", "name", metavar="KEY", help="Your own name for this request: with it, the same again is the same request.")  # fmt: skip
@click.option("--supersedes", metavar="REQUEST", help="The open request that this one replaces.")
@as_key
@as_key_file
@pass_cli
async def request(
    cli: Cli, policy: str, action: str, resource: str, arguments: Path | None, description: str, agent: str | None,
    chain: tuple[str, ...], items: tuple[str, ...], afters: tuple[str, ...], risks: tuple[str, ...], name: str | None, supersedes: str | None,
    key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Ask humans under POLICY.

    Asked again, it is the same request.
    """
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        made = await creto.approvals.create(
            policy_id=policy, action=action, resource=resource, arguments=json_text(arguments) if arguments else "{}",
            description=description, agent=AgentId(agent) if agent else None, chain=tuple(map(AgentId, chain)),
            items=batch_of(items, afters), risk_factors=tuple(map(risk_of, risks)), key=name, supersedes=supersedes,
        )  # fmt: skip
    cli.output.say(made, made.request_id)
    cli.output.note(f"It is {made.state}; {made.effect}")
    note_all(cli, made.notices)


def batch_of(items: tuple[str, ...], afters: tuple[str, ...] = ()) -> tuple[Item, ...]:
    from creto.edge.api.approvals import Item

    each = [named(one, 'rent={"amount": 40}') for one in items]
    links = [named(one, "ship=pay") for one in afters]
    unknown = next((item_id for item_id, _ in links if item_id not in dict(each)), None)
    if unknown is not None:
        raise click.UsageError(f"--after {unknown}=…: there is no --item {unknown}=….")
    return tuple(
        Item(item_id=item_id, arguments=arguments, after=tuple(before for after, before in links if after == item_id))
        for item_id, arguments in each
    )


@approvals.command(example="creto approvals required funds.transfer bank:7 --agent $BOT")
@click.argument("action")
@click.argument("resource")
@click.option("--arguments", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), help="A JSON file with the exact arguments.")  # fmt: skip
@click.option("--agent", help="Of this agent; of you, if not said.")
@click.option("--item", "items", metavar="ID=JSON", multiple=True, help="One act of a batch; may be repeated.")
@click.option("--policy", metavar="POLICY", help="The one to ask under, if no policy mentions the act.")
@as_key
@as_key_file
@pass_cli
async def required(
    cli: Cli, action: str, resource: str, arguments: Path | None, agent: str | None, items: tuple[str, ...], policy: str | None,
    key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Would this need a human's yes? By which policies, whose, and how sure. Nothing is asked.

    Exit code 0 if not, 5 if so, 4 if no human can allow it.
    """
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        found = await creto.approvals.check_approval_required(
            action=action, resource=resource, arguments=json_text(arguments) if arguments else "{}",
            agent=AgentId(agent) if agent else None, items=batch_of(items), policy_id=policy,
        )  # fmt: skip
    cli.output.thing(found, needs(found))
    raise click.exceptions.Exit({"not_required": Exit.OK, "required": Exit.NEEDS_APPROVAL}.get(found.need, Exit.DENIED))


def needs(found: ApprovalCheck) -> list[tuple[str, object]]:
    return [
        ("approval", f"{found.need}".replace("_", " ")),
        ("reason", found.reason or None),
        ("policy", found.policy_id),
        *((one.policy_id, wanted(one)) for one in found.demands),
        ("risk", found.risk),
        ("assurance", found.assurance),
        *((f"tier {one.name}", tuple(sorted(f"{plain(who.name)} ({who.person})" for who in one.approvers))) for one in found.tiers),
        ("wait", f"{found.estimated_wait_s} s" if found.estimated_wait_s is not None else None),
        ("in advance", f"approved at once by the grant {found.grant_id}" if found.grant_id else None),
    ]  # fmt: skip


def wanted(one: DemandView) -> str:
    groups = "".join(f", {need.approvals} of {need.group}" for need in one.groups)
    return f"version {one.version}, {counted(one.approvals, 'approval')}{groups}"


def risk_of(text: str) -> RiskFactor:
    name, level = named(text, "amount=high")
    if level not in list(RiskLevel):
        raise click.UsageError(f"{level!r} is no level: {', '.join(RiskLevel)}.")
    return RiskFactor(name=name, level=RiskLevel(level))


def token_of(_: click.Context, __: click.Parameter, path: Path) -> str:
    return read_text(path, bytes_max=OVERRIDE_TOKEN_BYTES_MAX)


asks(
    approvals, "use", lambda c: c.approvals.use, lambda used: plain(used.arguments), request_argument,
    click.option("--token", "override_token", type=file_path, required=True, callback=token_of, help="The file of `creto approvals wait --token-out`."),
    as_key, as_key_file,
    help="Use an approval up: the act begins.\n\nThe arguments that were approved are printed; they may be another's edit. With --json they are exact.",
    example="creto approvals use $REQ --token token --key $BOT",
)  # fmt: skip
asks(
    approvals, "report", lambda c: c.approvals.report,
    lambda said: f"{said.request_id}: on record, it {'succeeded' if said.succeeded else 'failed'}.", request_argument,
    click.argument(
        "succeeded", metavar="succeeded|failed", type=click.Choice(("succeeded", "failed")),
        callback=lambda _, __, said: said == "succeeded",
    ),
    click.option("--detail", default="", help="In words; it stands in the audit log."), as_key, as_key_file,
    help="Say what became of an act, once.\n\nFor who has used the approval up; asking again shows it to the approvers.",
    example="creto approvals report $REQ succeeded --key $BOT",
)  # fmt: skip
