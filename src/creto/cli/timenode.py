"""`creto time-node`: one of the machines whose clocks the quorum agrees on."""

from __future__ import annotations

from pathlib import Path

import click

from creto.cli.choices import file_path, key_option
from creto.cli.context import Cli, Command, Group, pass_cli
from creto.cli.exits import Exit
from creto.cli.keyfiles import load_or_make_key, public_text, signing_key
from creto.cli.local import time_nodes
from creto.cli.output import Column
from creto.cli.stopping import stopping
from creto.common.errors import InvalidInput
from creto.common.timestamps import MILLISECOND
from creto.platform.consensus import ClockState, NodeState, TimeNode


@click.group("time-node", cls=Group, invoke_without_command=True)
@click.option("--key-file", type=file_path, help="The node's key; made on the first start.")
@key_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9440, show_default=True, help="0 takes a free one.")
@click.pass_context
def time_node(ctx: click.Context, key_file: Path | None, key_id: str | None, host: str, port: int) -> None:
    """Run a node of the time quorum: it signs what its machine's clock reads, for whoever asks.

    Prints one line, HOST:PORT=PUBLICKEY: what stands in consensus.nodes of every installation that asks it. 3f+1 nodes bear f that
    lie, fail or drift. Keep the machine's clock right (NTP).
    """
    if ctx.invoked_subcommand is None:
        import asyncio

        asyncio.run(serve_time(ctx.ensure_object(Cli), key_id, key_file, host, port))


async def serve_time(cli: Cli, key_id: str | None, key_file: Path | None, host: str, port: int) -> None:
    if key_id is None:
        key = load_or_make_key(key_file or Path("time-node.key"))
    else:
        key = await signing_key(cli, key_id, key_file)
    async with stopping() as stop, TimeNode(key) as node:
        try:
            address, bound = await node.serve(host, port)
        except OSError as error:
            raise InvalidInput.of("--port", got=f"{host}:{port}", expected=f"a free port ({error.strerror})") from error
        click.echo(f"{address}:{bound}={public_text(key.public)}")
        await stop.wait()


@time_node.command(cls=Command)
@pass_cli
async def status(cli: Cli) -> None:
    """Ask every node in consensus.nodes once; exit code 6 when they make no quorum."""
    from creto.platform.consensus import QuorumClock
    from creto.platform.consensus.transport import TcpTransport

    nodes = time_nodes(cli.config())
    if not nodes:
        cli.output.note("consensus.nodes is empty: this installation uses the clock of its process.")
        return
    clock, transport = QuorumClock(nodes), TcpTransport()
    try:
        agreed = await clock.ask_once(transport)
    finally:
        await transport.close()
    cli.output.items(clock.state().nodes, COLUMNS)
    cli.output.note(summary(agreed, clock.state()))
    if not agreed:
        raise click.exceptions.Exit(Exit.UNAVAILABLE)


COLUMNS: tuple[Column[NodeState], ...] = (
    Column("ADDRESS", lambda n: n.address),
    Column("NODE", lambda n: n.node),
    Column("TAKEN", lambda n: "yes" if n.taken else "no"),
    Column("OFFSET", lambda n: milliseconds(n.offset_ns), right=True),
    Column("ROUND TRIP", lambda n: milliseconds(n.round_trip_ns), right=True),
    Column("FAULT", lambda n: n.fault or ""),
)


def milliseconds(nanoseconds: int | None) -> str:
    return "-" if nanoseconds is None else f"{nanoseconds / MILLISECOND:.3f} ms"


def summary(agreed: bool, state: ClockState) -> str:
    if not agreed:
        return "No quorum: timestamps are local and marked degraded."
    return f"The quorum agrees, within {milliseconds(state.uncertainty_ns)}."
