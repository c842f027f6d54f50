"""`creto objects`: sealed objects. What is large goes and comes in pieces, with a bar."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from creto.cli.attributes import pairs
from creto.cli.choices import MOMENT, collected, confirmed, file_path, limit_option, reason_option, yes_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, size, when
from creto.cli.progress import progress
from creto.cli.session import session
from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.limits import STORAGE_PART_BYTES

if TYPE_CHECKING:
    from creto.edge.api.objects import ObjectView
    from creto.sdk import AsyncCreto

objects = group("objects", "Objects: sealed before they leave the layer, kept in a folder or on S3.")

COLUMNS: Sequence[Column[ObjectView]] = (
    Column("KEY", lambda o: o.key),
    Column("SIZE", lambda o: size(o.size), right=True),
    Column("CREATED", lambda o: when(o.created_at)),
    Column("RETAINED UNTIL", lambda o: when(o.retain_until)),
    Column("HOLD", lambda o: "held" if o.legal_hold else ""),
)


def lines(found: ObjectView) -> list[tuple[str, object]]:
    return [
        ("key", found.key),
        ("size", f"{size(found.size)} ({found.size})"),
        ("version", found.version),
        ("digest", found.digest),
        ("created", when(found.created_at)),
        ("by", found.created_by),
        ("retained until", when(found.retain_until) if found.retain_until else None),
        ("legal hold", "yes" if found.legal_hold else "no"),
        ("type", found.content_type),
        *((f"  {name}", value) for name, value in found.metadata.items()),
    ]


@objects.command("ls")
@click.argument("prefix", default="")
@limit_option
@pass_cli
async def ls(cli: Cli, prefix: str, limit: int) -> None:
    """Objects whose key begins with PREFIX."""
    async with session(cli) as creto:
        found = await collected(creto.objects.list, limit, cli.output.note, prefix=prefix)
    cli.output.items(found, COLUMNS, nothing="No objects.")


@objects.command()
@click.argument("key")
@pass_cli
async def stat(cli: Cli, key: str) -> None:
    """An object without its bytes."""
    async with session(cli) as creto:
        found = await creto.objects.stat(key=key)
    cli.output.thing(found, lines(found))


@objects.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.argument("key")
@click.option("--type", "content_type", default="application/octet-stream", show_default=True, help="Its media type.")
@click.option("--meta", metavar="NAME=VALUE", multiple=True, help="Sealed beside it; may be repeated.")
@click.option("--if-absent", is_flag=True, help="Only if there is no such object yet.")
@click.option("--if-match", metavar="VERSION", help="Only over this version.")
@click.option("--retain-until", type=MOMENT, help="Nobody can delete or replace it before.")
@pass_cli
async def put(
    cli: Cli,
    file: Path,
    key: str,
    content_type: str,
    meta: tuple[str, ...],
    if_absent: bool,
    if_match: str | None,
    retain_until: int | None,
) -> None:
    """Store FILE (- is standard input) under KEY, sealed. What is large goes in parts."""
    with source(file) as content, progress(cli.output, key, length(file), as_bytes=True) as advance:
        async with session(cli) as creto:
            made = await creto.objects.put(
                key=key,
                content=content,
                content_type=content_type,
                if_absent=if_absent,
                if_match=if_match,
                retain_until=retain_until,
                advance=advance,
                metadata=pairs(meta, "--meta"),
            )
    cli.output.say(made, f"Stored {key}, {size(made.size)}, version {made.version}.")


@contextmanager
def source(file: Path) -> Iterator[IO[bytes]]:
    try:
        opened = click.open_file(str(file), "rb")
    except OSError as error:
        raise InvalidInput("PL-400", f"{file} cannot be read: {error.strerror}", field=str(file)) from error
    with opened as content:
        yield content


def length(file: Path) -> int | None:
    """What the bar runs to; nobody knows how much a pipe holds."""
    return file.stat().st_size if file.is_file() else None


@objects.command()
@click.argument("key")
@click.argument("file", type=file_path, required=False)
@pass_cli
async def get(cli: Cli, key: str, file: Path | None) -> None:
    """Read an object into FILE (a new one), or to standard output."""
    async with session(cli) as creto:
        found = await creto.objects.stat(key=key)
        if file is None or str(file) == "-":
            with click.open_file("-", "wb") as out:
                await fetched(cli, creto, found, out)
            return
        partial = file.with_name(f".{file.name}.part")
        if file.exists():
            raise AlreadyExists("PL-409", f"{file} exists already", field="FILE", hint="Name a file that is new.")
        try:
            with partial.open("wb") as out:
                await fetched(cli, creto, found, out)
            os.rename(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    cli.output.note(f"Wrote {file}, {size(found.size)}.")


async def fetched(cli: Cli, creto: AsyncCreto, found: ObjectView, out: IO[bytes]) -> None:
    """Piece by piece, all of one version."""
    with progress(cli.output, found.key, found.size, as_bytes=True) as advance:
        for start in range(0, found.size, STORAGE_PART_BYTES):
            length = min(STORAGE_PART_BYTES, found.size - start)
            piece = await creto.objects.get(key=found.key, start=start, length=length)
            out.write(piece.data)
            advance(len(piece.data))
    now = await creto.objects.stat(key=found.key)
    if now.version != found.version:
        raise AlreadyExists("PL-412", f"{found.key} was replaced while it was read", hint="Read it again.")


@objects.command("rm")
@click.argument("key")
@click.option("--if-match", metavar="VERSION", help="Only this version.")
@yes_option
@pass_cli
async def rm(cli: Cli, key: str, if_match: str | None, yes: bool) -> None:
    """Delete an object for good."""
    confirmed(f"Delete {key} for good?", yes)
    async with session(cli) as creto:
        await creto.objects.delete(key=key, if_match=if_match)
    cli.output.say({"deleted": key}, f"Deleted {key}.")


@objects.command()
@click.argument("key")
@click.option("--release", is_flag=True, help="Lift the hold.")
@reason_option
@pass_cli
async def hold(cli: Cli, key: str, release: bool, reason: str | None) -> None:
    """Put an object under legal hold: nobody can delete or replace it until the hold is lifted."""
    if not reason:
        raise InvalidInput.of("--reason", got=None, expected="why, as a case number")
    async with session(cli) as creto:
        done = await creto.objects.hold(key=key, on=not release, reason=reason)
    cli.output.say(done, f"{'Released' if release else 'Held'} {key}.")


@objects.command()
@click.argument("key")
@click.argument("until", type=MOMENT)
@pass_cli
async def retain(cli: Cli, key: str, until: int) -> None:
    """Keep an object UNTIL a time (2030-01-31): nobody can delete or replace it before. A retention only grows."""
    async with session(cli) as creto:
        done = await creto.objects.retain(key=key, until=until)
    cli.output.say(done, f"Retained {key} until {when(done.retain_until)}.")


@objects.command("rotate-key")
@click.option("--resume", is_flag=True, help="Go on with a rotation that was interrupted.")
@pass_cli
async def rotate_key(cli: Cli, resume: bool) -> None:
    """Put a fresh storage key in use: the key of every object is wrapped again, the objects stay as they are."""
    async with session(cli) as creto:
        done = await creto.objects.rotate_key(resume=resume)
    cli.output.say(done, f"Wrapped {done.wrapped} keys again.")
