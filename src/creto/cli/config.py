"""`creto config`: what holds, and where it comes from."""

from __future__ import annotations

import click

from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column
from creto.common.config import Setting

config = group("config", "Show or check the configuration.")

KEY: Column[Setting] = Column("KEY", lambda s: s.key)
VALUE: Column[Setting] = Column("VALUE", lambda s: s.value)
LIVE: Column[Setting] = Column("", lambda s: "live" if s.live else "")
ORIGIN: Column[Setting] = Column("FROM", lambda s: s.origin)


@config.command()
@click.argument("keys", nargs=-1)
@click.option("--origin", is_flag=True, help="Also say where each value comes from.")
@pass_cli
def show(cli: Cli, keys: tuple[str, ...], origin: bool) -> None:
    """Every key and its value, or those named (a section's name takes all of its keys). Secrets are masked.

    Keys marked "live" change on SIGHUP, the others with a restart.
    """
    found = cli.config()
    for key in keys:
        if not any(s.key.startswith(f"{key}.") for s in found.settings()):
            found.get(key)  # an unknown key is refused with the nearest name
    chosen = [s for s in found.settings() if not keys or s.key in keys or s.key.partition(".")[0] in keys]
    cli.output.items(chosen, (KEY, VALUE, LIVE, ORIGIN) if origin else (KEY, VALUE, LIVE))


@config.command()
@pass_cli
def check(cli: Cli) -> None:
    """Read the configuration as a start would, and say whether it is valid."""
    given = [s for s in cli.config().settings() if s.origin != "default"]
    files = sorted({s.origin.removeprefix("file ").rpartition(":")[0] for s in given if s.origin.startswith("file ")})
    where = ", ".join([*files, "the environment"] if any(s.origin.startswith("env ") for s in given) else files)
    cli.output.say(
        {"valid": True, "set": len(given), "files": files},
        f"The configuration is valid: {len(given)} keys from {where}, the rest are defaults."
        if given
        else "The configuration is valid: all defaults.",
    )
