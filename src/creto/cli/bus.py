"""`creto bus`: the messages that no consumer could take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.asking import Lines, lists, shows
from creto.cli.choices import confirmed, yes_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, readable, size, when
from creto.cli.session import session
from creto.common.errors import InvalidInput
from creto.common.limits import PAGE_ITEMS_MAX

if TYPE_CHECKING:
    from creto.edge.api.bus import DeadLetterView, WholeDeadLetter
    from creto.sdk import AsyncCreto

bus = group("bus", "The bus: what its consumers could not take.")
dead_letters = group("dead-letters", "Messages that were delivered in vain, each with the reason of its last failure.")
bus.add_command(dead_letters)

COLUMNS: Sequence[Column[DeadLetterView]] = (
    Column("MESSAGE", lambda d: d.id),
    Column("DURABLE", lambda d: d.durable),
    Column("SUBJECT", lambda d: d.subject),
    Column("TRIES", lambda d: d.deliveries, right=True),
    Column("DIED", lambda d: when(d.died_at)),
    Column("REASON", lambda d: f"{d.code} {d.reason}"),
)

durable_argument = click.argument("durable")
ids_argument = click.argument("ids", metavar="[MESSAGE]...", nargs=-1)
all_option = click.option("--all", "every", is_flag=True, help="All that the durable has.")


lists(
    dead_letters, "list", lambda c: c.bus.dead_letters, COLUMNS,
    click.option("--durable", help="Only those of this consumer."), nothing="No dead letters.", help="Dead letters, oldest first.",
)  # fmt: skip


def told(found: WholeDeadLetter) -> Lines:
    letter = found.letter
    return (
        ("message", letter.id),
        ("durable", letter.durable),
        ("subject", letter.subject),
        ("agent", letter.agent),
        ("tries", letter.deliveries),
        ("died", when(letter.died_at)),
        ("reason", f"{letter.code} {letter.reason}"),
        *((f"header {name}", value) for name, value in sorted(found.headers.items())),
        ("size", size(len(found.payload))),
        ("payload", readable(found.payload)),
    )


shows(
    dead_letters, "show", lambda c: c.bus.dead_letter, told, durable_argument, click.argument("message_id", metavar="MESSAGE"),
    help="One dead letter, with what it says.",
)  # fmt: skip


@dead_letters.command()
@durable_argument
@ids_argument
@all_option
@pass_cli
async def replay(cli: Cli, durable: str, ids: tuple[str, ...], every: bool) -> None:
    """Deliver dead letters of a durable again, with a fresh count. Repair its consumer first."""
    async with session(cli) as creto:
        taken: list[str] = []
        for some in chunks(await wanted(creto, durable, ids, every)):
            taken += (await creto.bus.replay_dead(durable=durable, ids=some)).ids
    cli.output.say({"replayed": taken}, f"{len(taken)} go to {durable} again.")


@dead_letters.command()
@durable_argument
@ids_argument
@all_option
@yes_option
@pass_cli
async def discard(cli: Cli, durable: str, ids: tuple[str, ...], every: bool, yes: bool) -> None:
    """Forget dead letters of a durable for good. The audit log keeps their ids and who did it."""
    async with session(cli) as creto:
        letters = await wanted(creto, durable, ids, every)
        confirmed(f"Discard {len(letters)} dead letters of {durable} for good?", yes)
        taken: list[str] = []
        for some in chunks(letters):
            taken += (await creto.bus.discard_dead(durable=durable, ids=some)).ids
    cli.output.say({"discarded": taken}, f"{len(taken)} are gone.")


async def wanted(creto: AsyncCreto, durable: str, ids: tuple[str, ...], every: bool) -> list[str]:
    """Those named, or all that are there now: what dies meanwhile is for another time."""
    if bool(ids) == every:
        raise InvalidInput.of("MESSAGE", got="both or neither", expected="messages or --all")
    if ids:
        return list(ids)
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await creto.bus.dead_letters(durable=durable, limit=PAGE_ITEMS_MAX, cursor=cursor)
        found += [letter.id for letter in page.items]
        cursor = page.cursor
        if cursor is None:
            return found


def chunks(ids: list[str]) -> list[tuple[str, ...]]:
    return [tuple(ids[n : n + PAGE_ITEMS_MAX]) for n in range(0, len(ids), PAGE_ITEMS_MAX)]
