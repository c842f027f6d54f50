"""`creto migrate`: the database and this release."""

from __future__ import annotations

import click
import msgspec

from creto.cli.context import Cli, Command, Group
from creto.cli.exits import Exit
from creto.cli.local import migrated_parts
from creto.cli.output import Column
from creto.cli.progress import progress
from creto.store import MigrationState, MigrationStatus, migration_status, open_store, pending_migrations


class Pending(msgspec.Struct, frozen=True):
    part: str
    version: int
    name: str


@click.group(cls=Group, invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Say what would be applied, and change nothing.")
@click.option("--json", "json", is_flag=True, help="Print JSON.")
@click.pass_context
def migrate(ctx: click.Context, dry_run: bool, json: bool) -> None:
    """Bring the database up to this release. Migrations only go forward; make a backup first."""
    if ctx.invoked_subcommand is not None:
        return
    cli = ctx.ensure_object(Cli)
    cli.output.json = cli.output.json or json
    url = url_of(cli)
    pending = [Pending(m.part, m.version, m.name) for m in pending_migrations(url, parts=migrated_parts())]
    if not dry_run and pending:
        with progress(cli.output, f"applying {len(pending)} migrations"):
            open_store(url, parts=migrated_parts()).close()
    columns: list[Column[Pending]] = [
        Column("PART", lambda m: m.part.removeprefix("creto.")),
        Column("MIGRATION", lambda m: f"{m.version:04}_{m.name}"),
    ]
    cli.output.items(pending, columns, nothing="The database is up to date.")
    if pending:
        cli.output.note(f"{len(pending)} migrations {'would be' if dry_run else 'were'} applied.")


@migrate.command(cls=Command)
@click.pass_context
def status(ctx: click.Context) -> None:
    """Each migration and whether it is applied; exit code 1 if the database does not fit this release."""
    cli = ctx.ensure_object(Cli)
    found = migration_status(url_of(cli), parts=migrated_parts())
    columns: list[Column[MigrationStatus]] = [
        Column("PART", lambda m: m.part.removeprefix("creto.")),
        Column("MIGRATION", lambda m: f"{m.version:04}_{m.name}"),
        Column("STATE", lambda m: m.state),
        Column("APPLIED", lambda m: m.applied_at),
    ]
    cli.output.items(found, columns)
    if any(m.state is not MigrationState.APPLIED for m in found):
        ctx.exit(Exit.FAILURE)


def url_of(cli: Cli) -> str:
    from creto.common.settings import StoreConfig

    cli.local_only("migrate")
    return cli.config()[StoreConfig].url
