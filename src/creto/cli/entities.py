"""`creto policies entities` and `creto policies overrides`: what policies read of things, and a human's yes to one act."""

from __future__ import annotations

from collections.abc import Sequence

import click

from creto.cli.asking import shows
from creto.cli.attributes import attributes
from creto.cli.choices import collected, limit_option
from creto.cli.context import Cli, Group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.security.authz import EntityName, StoredEntity

entities = Group("entities", help="Attributes and groups of identities and resources, for policies to read.", no_args_is_help=True)  # fmt: skip
overrides = Group("overrides", help="Override tokens: a human's yes to one act.", no_args_is_help=True)

COLUMNS: Sequence[Column[StoredEntity]] = (
    Column("URI", lambda e: e.uri),
    Column("TYPE", lambda e: e.type),
    Column("ATTRIBUTES", lambda e: wire.encode(e.attrs).decode()),
    Column("GROUPS", lambda e: [spelled(parent) for parent in e.parents]),
)


def spelled(name: EntityName) -> str:
    return f"{name.type}:{name.id}"


def group_named(text: str) -> EntityName:
    type, colon, id = text.partition(":")
    if not type or not colon or not id:
        raise InvalidInput.of("--group", got=text, expected="TYPE:ID, as Group:night-shift")
    return EntityName(type, id)


def lines(found: StoredEntity) -> list[tuple[str, object]]:
    attrs = ((f"  {name}", wire.encode(value).decode()) for name, value in found.attrs.items())
    return [("uri", found.uri), ("type", found.type), ("groups", [spelled(p) for p in found.parents]), *attrs]


@entities.command("list")
@click.option("--group", metavar="TYPE:ID", help="Only what is in this group, as Group:night-shift.")
@limit_option
@pass_cli
async def list_(cli: Cli, group: str | None, limit: int) -> None:
    """What is stored."""
    name = group_named(group) if group else None
    asked = {"group_type": name.type, "group_id": name.id} if name else {}
    async with session(cli) as creto:
        found = await collected(creto.policies.list_entities, limit, cli.output.note, **asked)
    cli.output.items(found, COLUMNS, nothing="Nothing.")


shows(
    entities, "show", lambda c: c.policies.get_entity, lines, click.argument("uri"),
    help="What is stored of URI: an agent's id, or a resource as object:reports/1.",
)  # fmt: skip


@entities.command()
@click.argument("uri")
@click.option("--attr", "attrs", metavar="NAME=VALUE", multiple=True, help="As level=3; may be repeated.")
@click.option("--group", "groups", metavar="TYPE:ID", multiple=True, help="As Group:night-shift; may be repeated.")
@pass_cli
async def put(cli: Cli, uri: str, attrs: tuple[str, ...], groups: tuple[str, ...]) -> None:
    """Store attributes and groups of URI; what was stored before is replaced whole."""
    from creto.edge.api.entities import Group as GroupName

    parents = tuple(GroupName(type=name.type, id=name.id) for name in map(group_named, groups))
    async with session(cli) as creto:
        made = await creto.policies.put_entity(uri=uri, attrs=attributes(attrs, "--attr"), parents=parents)
    cli.output.say(made, f"Stored {len(made.attrs)} attributes and {len(made.parents)} groups of {uri}.")


@entities.command()
@click.argument("uri")
@pass_cli
async def drop(cli: Cli, uri: str) -> None:
    """Forget what is stored of URI."""
    async with session(cli) as creto:
        done = await creto.policies.drop_entity(uri=uri)
    cli.output.say(done, f"Forgot {uri}." if done.first else f"Nothing was stored of {uri}.")


@overrides.command()
@click.argument("token")
@pass_cli
async def check(cli: Cli, token: str) -> None:
    """What TOKEN is for, and whether it can still be used."""
    async with session(cli) as creto:
        found = await creto.policies.validate_override_token(token=token)
    named = found.token
    shown: list[tuple[str, object]] = [
        ("id", named.token_id),
        ("standing", found.standing),
        ("agent", named.agent),
        ("action", named.action),
        ("resource", named.resource),
        ("arguments", named.args_digest),
        ("policies", f"version {named.policy_version}"),
        ("expires", when(named.expires_at)),
        ("request", named.request_id),
    ]
    cli.output.thing(found, shown)


@overrides.command()
@click.argument("token_id", metavar="ID")
@pass_cli
async def revoke(cli: Cli, token_id: str) -> None:
    """Take an approval back before it is used. ID is the token's name, as `check` and the log have it."""
    async with session(cli) as creto:
        done = await creto.policies.revoke_override(token_id=token_id)
    cli.output.say(done, f"Revoked {token_id}." if done.first else f"{token_id} was not open.")
