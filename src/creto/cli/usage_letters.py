"""`creto usage dead-letters`, `anomalies`, `forgive` and `prices`: what a person looks at now and then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import click

from creto.cli.choices import MOMENT, collected, confirmed, limit_option, yes_option
from creto.cli.context import Cli, Command, group, pass_cli
from creto.cli.naming import id_of
from creto.cli.output import Column, readable, size, when
from creto.cli.session import session
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX

if TYPE_CHECKING:
    from creto.metering import DeadUsage, Flagged
    from creto.metering.tokens import ModelPrice
    from creto.sdk import AsyncCreto


class Priced(NamedTuple):
    """A line of the table: a model, or its other prices for long prompts."""

    name: str
    since: str
    per_million: Mapping[str, Decimal]


DEAD: Sequence[Column[DeadUsage]] = (
    Column("LETTER", lambda d: d.letter_id),
    Column("DIED", lambda d: when(d.died_at), drops=True),
    Column("REASON", lambda d: f"{d.reason.code} {d.reason.message}", shrinks=True),
)
FLAGGED: Sequence[Column[Flagged]] = (
    Column("SINCE", lambda f: when(f.told_at)),
    Column("WHY", lambda f: why(f), shrinks=True),
    Column("AGENT", lambda f: f.agent, shrinks=True),
)
PRICES: Sequence[Column[Priced]] = (
    Column("MODEL", lambda p: p.name, shrinks=True),
    Column("SINCE", lambda p: p.since or None),
    Column("INPUT", lambda p: p.per_million.get("input"), right=True),
    Column("OUTPUT", lambda p: p.per_million.get("output"), right=True),
    Column("CACHED", lambda p: p.per_million.get("cached_input"), right=True),
    Column("WRITTEN", lambda p: p.per_million.get("cache_write"), right=True),
)

dead_letters = group("dead-letters", "Events from the bus that could not be taken.")
letters_argument = click.argument("letters", metavar="[LETTER]...", nargs=-1)
all_option = click.option("--all", "every", is_flag=True, help="All that are there.")


def why(flagged: Flagged) -> str:
    reason, kind = flagged.reason, flagged.kind
    if kind == "loop":
        return (
            f"{flagged.event_type}: the same {reason.actual_rate} times in a row, {reason.expected_rate} at most before"
        )
    return f"{reason.actual_rate} acts in the hour, usually {reason.expected_rate:.1f}"


@dead_letters.command("list", example="creto usage dead-letters list")
@limit_option
@pass_cli
async def list_(cli: Cli, limit: int) -> None:
    """Dead letters, oldest first."""
    async with session(cli) as creto:
        found = await collected(creto.metering.dead_letters, limit, cli.output.note)
    cli.output.items(found, DEAD, nothing="No dead letters.")


@dead_letters.command(example="creto usage dead-letters show $LETTER")
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


@dead_letters.command(example="creto usage dead-letters retry --all")
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


@dead_letters.command(example="creto usage dead-letters discard $LETTER --reason 'A test.' --yes")
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


@click.command(cls=Command, example="creto usage anomalies --past")
@click.option("--past", is_flag=True, help="Also those whose alarm is over and whom nobody has cleared.")
@limit_option
@pass_cli
async def anomalies(cli: Cli, past: bool, limit: int) -> None:
    """Agents that do what they never did.

    Far more than usual in an hour, or the same over and over. `creto usage forgive` clears one.
    """
    async with session(cli) as creto:
        found = await collected(creto.quotas.anomalies, limit, cli.output.note, past=past)
    cli.output.items(found, FLAGGED, nothing="Nobody runs away.")


@click.command(cls=Command, example="creto usage forgive planner")
@click.argument("agent")
@pass_cli
async def forgive(cli: Cli, agent: str) -> None:
    """Clear an agent that ran away.

    You have looked, and AGENT may go on: this is its habit from now on. The ledger says who did.
    """
    async with session(cli) as creto:
        done = await creto.quotas.forgive(agent=AgentId(await id_of(creto, "agent", agent)))
    cli.output.say(done, f"{agent} is cleared.")


@click.command(cls=Command, example="creto usage prices opus --at 2026-01-01")
@click.argument("model", default="")
@click.option("--at", type=MOMENT, help="As they were at this moment; now, if not said.")
@pass_cli
async def prices(cli: Cli, model: str, at: int | None) -> None:
    """What tokens of language models cost.

    By the table in use, of those models whose name holds MODEL. WRITTEN is what goes into a cache, CACHED what comes from there.
    """
    async with session(cli) as creto:
        found = await creto.metering.prices(at=at)
    items = [price for price in found.items if model in f"{price.provider}/{price.model}"]
    cli.output.note(f"{found.currency} for a million tokens, table {found.version} of {named(found.origin)}.")
    if cli.output.json:
        cli.output.items(items, ())
        return
    cli.output.items([line for price in items for line in priced(price)], PRICES, nothing="No such model.")


def priced(price: ModelPrice) -> Iterator[Priced]:
    yield Priced(f"{price.provider}/{price.model}", price.since, price.per_million)
    if price.long is not None:
        yield Priced(f"  above {price.long.above} tokens", "", price.long.per_million)


def named(origin: str) -> str:
    return "this package" if origin == "package" else origin
