"""`creto dev` and `creto serve`: the layer in one process, or in supervised ones."""

from __future__ import annotations

import asyncio
import signal
import sys

import click
import msgspec

from creto.cli.context import Cli, Command, pass_cli
from creto.cli.init import ensure_kek
from creto.cli.serving import (
    ROLES,
    Ready,
    addresses_of,
    ended_with_parent,
    gathered,
    logging_started,
    login_secret,
    served,
)
from creto.cli.stopping import stopping
from creto.cli.supervisor import Supervisor

NAMES = {
    "rest": "REST and console",
    "grpc": "gRPC",
    "metrics": "metrics",
    "health": "health",
}
PATHS = {"metrics": "/metrics", "health": "/ready"}


@click.command(cls=Command)
@pass_cli
async def dev(cli: Cli) -> None:
    """Run the whole layer in one process, on SQLite, in this folder.

    Prints its addresses and a login link for the console that works once, within ten minutes. Ctrl-C drains and ends.
    """
    cli.local_only("dev runs")
    config = cli.config()
    logging_started(config, for_people=True)
    made = ensure_kek(config)
    if made is not None:
        cli.output.note(f"Made {made}: it opens everything that is sealed here. Keep a copy elsewhere.")
    async with stopping() as stop, served(cli, config, ROLES) as (app, addresses):
        found = addresses_of(addresses)
        link = f"{found['rest']}/login?link={await login_secret(app)}"
        announce(cli, found, link)
        await stop.wait()
        cli.output.note("Draining; what was accepted is answered.")


def announce(cli: Cli, addresses: dict[str, str], link: str | None) -> None:
    if cli.output.json:
        cli.output.say({**addresses, **({"login": link} if link else {})}, "")
    else:
        for name, address in addresses.items():
            click.echo(f"{NAMES[name].ljust(18)}{address}{PATHS.get(name, '')}")
        if link:
            click.echo(f"{'Sign in (once)'.ljust(18)}{link}")
    sys.stdout.flush()


@click.command(cls=Command)
@click.option("--role", type=click.Choice(ROLES), hidden=True, help="Be one child of a supervisor.")
@click.option("--http", type=click.IntRange(0, 64), default=1, show_default=True, help="Processes that answer REST and the console.")  # fmt: skip
@click.option("--grpc", type=click.IntRange(0, 64), default=1, show_default=True, help="Processes that answer gRPC.")
@click.option("--worker", type=click.IntRange(0, 8), default=1, show_default=True, help="Processes that keep the log; a second one waits to take over.")  # fmt: skip
@pass_cli
async def serve(cli: Cli, role: str | None, http: int, grpc: int, worker: int) -> None:
    """Run the layer as processes of their own, started again when one ends.

    SIGTERM or Ctrl-C drains; SIGHUP reloads what may change live. `creto agents login` gives a login link for the console.
    """
    cli.local_only("serve runs")
    config = cli.config()
    logging_started(config)
    if role is not None:
        await serve_role(cli, role)
        return
    async with stopping() as stop:
        supervisor = Supervisor(
            lambda name: child_command(cli, name),
            {"http": http, "grpc": grpc, "worker": worker},
            ready=lambda ready: started(cli, answering(ready)),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.send, signal.SIGHUP)
        async with gathered(config, supervisor) as addresses:
            started(cli, Ready("all", addresses_of(addresses)))
            code = await supervisor.run(stop)
    raise click.exceptions.Exit(code)


async def serve_role(cli: Cli, role: str) -> None:
    config = cli.config()
    async with stopping() as stop:
        ended_with_parent(stop)
        async with served(cli, config, (role,), shared=True) as (_, addresses):
            click.echo(msgspec.json.encode(Ready(role, addresses_of(addresses))))
            sys.stdout.flush()
            await stop.wait()


def answering(ready: Ready) -> Ready:
    """Where others ask it; its own metrics and health go into everybody's."""
    return Ready(ready.role, {name: at for name, at in ready.addresses.items() if name not in PATHS})


def child_command(cli: Cli, role: str) -> list[str]:
    """This program again, with the same options."""
    options = [word for path in cli.files for word in ("--config", str(path))]
    options += ["--tenant", cli.tenant] if cli.tenant else []
    return [sys.executable, "-m", "creto", *options, "serve", "--role", role]


def started(cli: Cli, ready: Ready) -> None:
    if cli.output.json:
        cli.output.say(ready, "")
    else:
        where = ", ".join(f"{NAMES[name]} {address}" for name, address in ready.addresses.items())
        click.echo(f"{ready.role.ljust(8)}{where or 'runs'}")
    sys.stdout.flush()
