"""`creto usage dead-letters`, `anomalies`, `forgive` and `prices`: what a person looks at now and then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.choices import MOMENT, collected, confirmed, limit_option, yes_option
from creto.cli.context import Cli, Command, group, pass_cli
from creto.cli.output import Column, readable, size, when
from creto.cli.session import session
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX

if TYPE_CHECKING:
    from creto.metering import DeadUsage, Flagged
    from creto.metering.tokens import ModelPrice
    from creto.sdk import AsyncCreto

DEAD: Sequence[Column[DeadUsage]] = (
    Column("LETTER", lambda d: d.letter_id),
    Column("DIED", lambda d: when(d.died_at)),
    Column("REASON", lambda d: f"{d.reason.code} {d.reason.message}"),
)
FLAGGED: Sequence[Column[Flagged]] = (
    Column("AGENT", lambda f: f.agent),
    Column("SINCE", lambda f: when(f.told_at)),
    Column("WHY", lambda f: why(f)),
)
PRICES: Sequence[Column[ModelPrice]] = (
    Column("MODEL", lambda p: f"{p.provider}/{p.model}"),
    Column("SINCE", lambda p: p.since or None),
    *(
        Column(title, lambda p, kind=kind: p.per_million.get(kind), right=True)  # type: ignore[misc]
        for title, kind in (("INPUT", "input"), ("OUTPUT", "output"), ("CACHED", "cached_input"), ("CACHE WRITE", "cache_write"))
    ),
    Column("ABOVE", lambda p: None if p.long is None else f"{p.long.above} tokens: {', '.join(f'{k} {v}' for k, v in p.long.per_million.items())}"),
)  # fmt: skip

dead_letters = group(
    "dead-letters", "Events from the bus that could not be taken: they count only once a human has looked."
)
letters_argument = click.argument("letters", metavar="[LETTER]...", nargs=-1)
all_option = click.option("--all", "every", is_flag=True, help="All that are there.")


def why(flagged: Flagged) -> str:
    reason, kind = flagged.reason, flagged.kind
    if kind == "loop":
        return (
            f"{flagged.event_type}: the same {reason.actual_rate} times in a row, {reason.expected_rate} at most before"
        )
    return f"{reason.actual_rate} acts in the hour, usually {reason.expected_rate:.1f}"


@dead_letters.command("list")
@limit_option
@pass_cli
async def list_(cli: Cli, limit: int) -> None:
    """Dead letters, oldest first."""
    async with session(cli) as creto:
        found = await collected(creto.metering.dead_letters, limit, cli.output.note)
    cli.output.items(found, DEAD, nothing="No dead letters.")


@dead_letters.command()
@click.argument("letter")
@pass_cli
async def show(cli: Cli, letter: str) -> None:
    """One dead letter: why it died, and what it says."""
    async with session(cli) as creto:
        found = await creto.metering.dead_letter(letter_id=letter)
    reason = found.reason
    cli.output.thing(
        found,
        [
            ("letter", found.letter_id),
            ("died", when(found.died_at)),
            ("subject", found.subject),
            ("reason", f"{reason.code} {reason.message}"),
            ("field", reason.field),
            ("got", reason.got),
            ("expected", reason.expected),
            ("size", size(len(found.payload))),
            ("event", readable(found.payload)),
        ],
    )


@dead_letters.command()
@letters_argument
@all_option
@pass_cli
async def retry(cli: Cli, letters: tuple[str, ...], every: bool) -> None:
    """Take dead letters once more, after what was wrong has been put right. Those that fail again stay."""
    taken: list[str] = []
    failed: dict[str, EnablementError] = {}
    async with session(cli) as creto:
        for letter in await wanted(creto, letters, every):
            try:
                await creto.metering.retry_dead_letter(letter_id=letter)
                taken.append(letter)
            except EnablementError as error:
                failed[letter] = error
    stays = {letter: error.code for letter, error in failed.items()}
    cli.output.say({"taken": taken, "failed": stays}, f"{len(taken)} taken, {len(failed)} stay.")
    for letter, refused in failed.items():
        cli.output.note(f"  {letter}  {refused.code} {refused.message}")
    if failed and not taken:
        raise click.exceptions.Exit(1)


@dead_letters.command()
@letters_argument
@all_option
@click.option("--reason", required=True, help="Why; it stands in the ledger.")
@yes_option
@pass_cli
async def discard(cli: Cli, letters: tuple[str, ...], every: bool, reason: str, yes: bool) -> None:
    """Give dead letters up for good: these events never count."""
    async with session(cli) as creto:
        found = await wanted(creto, letters, every)
        confirmed(f"Discard {len(found)} dead letters for good?", yes)
        for letter in found:
            await creto.metering.discard_dead_letter(letter_id=letter, reason=reason)
    cli.output.say({"discarded": found}, f"{len(found)} are gone.")


async def wanted(creto: AsyncCreto, letters: Sequence[str], every: bool) -> list[str]:
    """Those named, or all that are there now."""
    if bool(letters) == every:
        raise InvalidInput.of("LETTER", got="both or neither", expected="letters or --all")
    if letters:
        return list(letters)
    return [one.letter_id for one in await collected(creto.metering.dead_letters, INTEGER_MAX, lambda _: None)]


@click.command(cls=Command)
@click.option("--past", is_flag=True, help="Also those whose alarm is over and whom nobody has cleared.")
@limit_option
@pass_cli
async def anomalies(cli: Cli, past: bool, limit: int) -> None:
    """Agents that do what they never did: far more than usual, or the same over and over. `forgive` clears one."""
    async with session(cli) as creto:
        found = await collected(creto.quotas.anomalies, limit, cli.output.note, past=past)
    cli.output.items(found, FLAGGED, nothing="Nobody runs away.")


@click.command(cls=Command)
@click.argument("agent")
@pass_cli
async def forgive(cli: Cli, agent: str) -> None:
    """You have looked, and AGENT may go on: this is its habit from now on. The ledger says who did."""
    async with session(cli) as creto:
        done = await creto.quotas.forgive(agent=AgentId(agent))
    cli.output.say(done, f"{agent} is cleared.")


@click.command(cls=Command)
@click.argument("model", default="")
@click.option("--at", type=MOMENT, help="As they were at this moment; now, if not said.")
@pass_cli
async def prices(cli: Cli, model: str, at: int | None) -> None:
    """What tokens of language models cost, by the table in use; of those whose name holds MODEL."""
    async with session(cli) as creto:
        found = await creto.metering.prices(at=at)
    items = [price for price in found.items if model in f"{price.provider}/{price.model}"]
    cli.output.note(f"{found.currency} for a million tokens, table {found.version} of {named(found.origin)}.")
    cli.output.items(items, PRICES, nothing="No such model.")


def named(origin: str) -> str:
    return "this package" if origin == "package" else origin
