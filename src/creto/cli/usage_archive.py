"""`creto usage export`, `sql` and `archive`: events out, as files and to questions in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from creto.cli.choices import DURATION, MOMENT, collected, file_path, limit_option, paged
from creto.cli.context import Cli, Command, group, pass_cli
from creto.cli.exports import FORMS, exporting, form_of, new_file
from creto.cli.output import Column, size, when
from creto.cli.progress import progress
from creto.cli.session import session
from creto.common.errors import CryptoError
from creto.common.ids import AgentId
from creto.common.limits import ARCHIVE_PIECE_BYTES, INTEGER_MAX
from creto.common.timestamps import SECOND

if TYPE_CHECKING:
    from creto.metering import ArchivePart, KeptEvent
    from creto.sdk import AsyncCreto

from_option = click.option(
    "--from", "start", type=MOMENT, default=0, help="The first moment.  [default: the beginning]"
)
to_option = click.option(
    "--to", "--until", "end", type=MOMENT, default=INTEGER_MAX, help="The first moment after it.  [default: now]"
)
TOGETHER = 5_000  # events that are written at once

PARTS: Sequence[Column[ArchivePart]] = (
    Column("DAY", lambda p: p.day),
    Column("PART", lambda p: p.part, right=True),
    Column("EVENTS", lambda p: p.events, right=True),
    Column("BATCHES", lambda p: p.batches, right=True),
    Column("SIZE", lambda p: size(p.size), right=True),
    Column("ARCHIVED", lambda p: when(p.archived_at)),
)

archive = group("archive", "Closed days of events, as Parquet in the layer's storage.")


@click.command(cls=Command, example="creto usage export --from 2026-01-01 --to 2026-02-01 -o january.parquet")
@from_option
@to_option
@click.option("--agent", help="Of this agent, with all who act for it.")
@click.option("--type", "event_type", metavar="TYPE", help="Of this type of event.")
@click.option("-o", "--out", type=file_path, help="A new file: its ending says the form. Without it, standard output.")
@click.option("--format", "form", type=click.Choice(FORMS), help="The form, whatever the file is called.")
@pass_cli
async def export(
    cli: Cli, start: int, end: int, agent: str | None, event_type: str | None, out: Path | None, form: str | None
) -> None:
    """Events into a file: JSON lines, CSV or Parquet.

    Archived or not, every version of every event is there, in the order in which they came; those in the state `counted` count.
    """
    whose = AgentId(agent) if agent else None
    count = 0
    with exporting(out, form_of(out, form)) as add, progress(cli.output, "export") as advance:
        async with session(cli) as creto:
            together: list[KeptEvent] = []
            async for kept in paged(
                creto.metering.events, INTEGER_MAX, start=start, end=end, agent=whose, event_type=event_type
            ):
                together.append(kept)
                if len(together) == TOGETHER:
                    add(together)
                    count += len(together)
                    advance(len(together))
                    together = []
            if together:
                add(together)
                count += len(together)
    cli.output.note(f"{count} events{'' if out is None else f' in {out}'}.")


@click.command(
    cls=Command,
    example="creto usage sql \"SELECT agent, sum(numbers['tokens']) FROM counted GROUP BY agent\" january.parquet",
)
@click.argument("query")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@from_option
@to_option
@click.option("--limit", type=click.IntRange(min=1), default=1_000, show_default=True, help="At most so many rows.")
@pass_cli
async def sql(cli: Cli, query: str, files: tuple[Path, ...], start: int, end: int, limit: int) -> None:
    """Ask a SELECT of exported or archived events.

    Of Parquet FILES, or without them of the archived days from --from to --to. `events` holds every event in its last state, `counted` those that count. Beside the event's fields stand `time`, `texts['name']`
    and `numbers['name']`: properties as texts, and as exact decimals. The question is answered here, with no access to anything else.
    """
    from creto.metering.analytics import answer, engine

    engine()
    with TemporaryDirectory(prefix="creto-sql-") as folder:
        spill = Path(folder, "spill")
        spill.mkdir()
        if not files:
            async with session(cli) as creto:
                files = tuple([path async for path in fetched(cli, creto, Path(folder), start, end)])
            if files:
                cli.output.note(f"Of the archived days up to {files[-1].name[:10]}; `creto usage export` has the rest.")
        with answer(files, query, spill) as found:
            rows = [dict(zip(found.columns, row, strict=True)) for row in islice(found.rows, limit + 1)]
    if len(rows) > limit:
        cli.output.note(f"There are more than {limit} rows: --limit takes a higher number.")
    cli.output.items(rows[:limit], columns_of(rows, found.columns), nothing="No rows.")


def columns_of(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Column[dict[str, Any]]]:
    def column(name: str) -> Column[dict[str, Any]]:
        number = any(is_number(row[name]) for row in rows) and all(
            row[name] is None or is_number(row[name]) for row in rows
        )
        return Column(name, lambda row: shown(row[name]), right=number)

    return [column(name) for name in names]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def shown(value: Any) -> Any:
    """A decimal without the zeros that only say how its column is declared."""
    if not isinstance(value, Decimal):
        return value
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


async def fetched(cli: Cli, creto: AsyncCreto, folder: Path, start: int, end: int) -> AsyncIterator[Path]:
    """The parts of these days, each checked against the list."""
    async for part in paged(creto.metering.archives, INTEGER_MAX, start=start, end=end):
        path = folder / f"{part.day}-{part.part:04}.parquet"
        await download(cli, creto, part, path)
        yield path


async def download(cli: Cli, creto: AsyncCreto, part: ArchivePart, path: Path) -> None:
    from creto.metering.archiving import pieces
    from creto.platform.crypto import tagged_digest_of

    with path.open("wb") as file, progress(cli.output, path.name, part.size, as_bytes=True) as advance:
        for start in range(0, part.size, ARCHIVE_PIECE_BYTES):
            length = min(ARCHIVE_PIECE_BYTES, part.size - start)
            piece = await creto.metering.archive_file(day=part.day, part=part.part, start=start, length=length)
            file.write(piece.data)
            advance(len(piece.data))
    if tagged_digest_of(pieces(path)) != part.digest:
        raise CryptoError("PL-220", f"part {part.part} of {part.day} is not what was archived")


@archive.command("list", example="creto usage archive list --from 2026-01-01")
@from_option
@to_option
@limit_option
@pass_cli
async def list_(cli: Cli, start: int, end: int, limit: int) -> None:
    """What is archived, by days."""
    async with session(cli) as creto:
        found = await collected(creto.metering.archives, limit, cli.output.note, start=start, end=end)
    cli.output.items(found, PARTS, nothing="Nothing is archived.")


@archive.command("run", example="creto usage archive run --grace 0s")
@click.option(
    "--grace", type=DURATION, help="How long ago a day must have ended; 0s for all.  [default: as configured]"
)
@pass_cli
async def run_(cli: Cli, grace: int | None) -> None:
    """Archive the days that are over, as the worker does by itself."""
    async with session(cli) as creto:
        done = await creto.metering.archive_usage(grace_s=None if grace is None else grace // SECOND)
    cli.output.items(done.items, PARTS, nothing="Nothing is due.")


@archive.command(example="creto usage archive get 2026-01-31 1 january-31.parquet")
@click.argument("day")
@click.argument("part", type=click.IntRange(min=1))
@click.argument("file", type=file_path)
@pass_cli
async def get(cli: Cli, day: str, part: int, file: Path) -> None:
    """One part of a day (2026-01-31) into FILE, a new one."""
    async with session(cli) as creto:
        found = await creto.metering.archive_part(day=day, part=part)
        with new_file(file) as partial:
            await download(cli, creto, found, partial)
    cli.output.note(f"Wrote {file}: {found.events} events, {size(found.size)}.")
