"""Commands that are one question: their parameters are its fields, and what comes back is said or listed.

    asks(taxes, "set", lambda c: c.credits.set_tax, lambda t: f"{t.code} is {t.percent} %.", CODE, PERCENT, help="…", example="…")
    lists(taxes, "list", lambda c: c.credits.taxes, TAX, nothing="No taxes.", help="…", example="…")

What a command does beyond that stands in a function of its own. With `as_key` and `as_key_file` among its parameters the question is asked
as the identity whose key that is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from creto.cli.choices import collected, limit_option
from creto.cli.context import Cli, pass_cli
from creto.cli.naming import named
from creto.cli.output import Column
from creto.cli.session import session

if TYPE_CHECKING:
    from creto.sdk import AgentKey, AsyncCreto

T = TypeVar("T")
Question = Callable[["AsyncCreto"], Callable[..., Awaitable[T]]]
Parameter = Callable[[Callable[..., Any]], Callable[..., Any]]
Lines = Sequence[tuple[str, object]]

AGENT = click.argument("agent")
SUBSCRIPTION = click.argument("subscription_id", metavar="SUBSCRIPTION")
INVOICE = click.argument("invoice_id", metavar="INVOICE")
as_key = click.option("--key", "key_id", metavar="ID", help="As this identity, by its key in the keystore.")
as_key_file = click.option("--key-file", type=click.Path(dir_okay=False, path_type=Path), help="As the identity of this key file.")  # fmt: skip


async def identity(cli: Cli, key_id: str | None, key_file: Path | None) -> AgentKey | None:
    if key_id is None and key_file is None:
        return None
    from creto.cli.keyfiles import signing_key
    from creto.sdk import AgentKey

    return AgentKey(await signing_key(cli, key_id, key_file))


def asks(
    group: click.Group, name: str, question: Question[T], said: Callable[[T], str], *params: Parameter, help: str,
    example: str = "",
) -> None:  # fmt: skip
    """What came of it, as a sentence."""

    async def ask(cli: Cli, **fields: Any) -> None:
        done = await answer(cli, question, fields)
        cli.output.say(done, "" if cli.output.json else said(done))

    add(group, name, ask, params, help, example)


def shows(
    group: click.Group, name: str, question: Question[T], lines: Callable[[T], Lines], *params: Parameter, help: str,
    example: str = "",
) -> None:  # fmt: skip
    """One thing, field by field."""

    async def show(cli: Cli, **fields: Any) -> None:
        found = await answer(cli, question, fields)
        cli.output.thing(found, () if cli.output.json else lines(found))

    add(group, name, show, params, help, example)


def lists(
    group: click.Group, name: str, question: Question[Any], columns: Sequence[Column[Any]], *params: Parameter,
    nothing: str, help: str, example: str = "", pages: bool = True,
) -> None:  # fmt: skip
    """A list, over as many pages as it takes; without `pages` the answer holds all of it."""

    async def list_(cli: Cli, **fields: Any) -> None:
        limit = fields.pop("limit", None)
        async with session(cli, await asker(cli, fields)) as creto:
            asked = await named(creto, fields)
            if limit is None:
                found: Sequence[Any] = (await question(creto)(**asked)).items
            else:
                found = await collected(question(creto), limit, cli.output.note, **asked)
        cli.output.items(found, columns, nothing=nothing)

    add(group, name, list_, (*params, limit_option) if pages else params, help, example)


async def answer(cli: Cli, question: Question[T], fields: dict[str, Any]) -> T:
    async with session(cli, await asker(cli, fields)) as creto:
        return await question(creto)(**await named(creto, fields))


async def asker(cli: Cli, fields: dict[str, Any]) -> AgentKey | None:
    return await identity(cli, fields.pop("key_id", None), fields.pop("key_file", None))


def add(
    group: click.Group, name: str, work: Callable[..., Any], params: Sequence[Parameter], help: str, example: str
) -> None:
    command: Callable[..., Any] = pass_cli(work)
    for param in reversed(params):
        command = param(command)
    group.command(name, help=help, example=example)(command)
