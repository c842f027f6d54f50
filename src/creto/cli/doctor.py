"""`creto doctor`: what is there, what is missing, what to do about it."""

from __future__ import annotations

import click

from creto.cli.checks import Check, State, checks
from creto.cli.context import Cli, Command, pass_cli
from creto.cli.exits import Exit
from creto.cli.facts import gathered
from creto.cli.output import styled

COLORS = {State.OK: "green", State.NOTE: "yellow", State.MISSING: "red"}


@click.command(cls=Command)
@pass_cli
async def doctor(cli: Cli) -> None:
    """Look at this machine and this installation: versions, engines, configuration, store, keys, ports, clock, sandboxes.

    Notes are about what is optional. Exit code 0 when nothing that is required is missing, else 1. Nothing is changed.
    """
    cli.local_only("doctor looks")
    found = checks(await gathered(cli))
    if cli.output.json:
        cli.output.items(found, ())
    else:
        shown(found)
    lacking = [check for check in found if check.state is State.MISSING]
    notes = sum(check.state is State.NOTE for check in found)
    if lacking:
        cli.output.note(f"{len(lacking)} required things are missing: {', '.join(check.name for check in lacking)}.")
        raise click.exceptions.Exit(Exit.FAILURE)
    cli.output.note(f"Nothing required is missing; {notes} notes.")


def shown(found: list[Check]) -> None:
    width = max(len(check.name) for check in found)
    for check in found:
        state = styled(str(check.state).ljust(7), fg=COLORS[check.state])
        click.echo(f"{state}  {check.name.ljust(width)}  {check.found}")
        if check.remedy:
            click.echo(f"{' ' * (11 + width)}→ {check.remedy}")
