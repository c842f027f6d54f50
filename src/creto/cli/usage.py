"""`creto usage`: what agents used, event by event and in sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creto.cli.asking import SUBSCRIPTION, answer, asks
from creto.cli.charts import bar
from creto.cli.choices import DURATION, MOMENT, out_option
from creto.cli.context import Cli, group, pass_cli, written
from creto.cli.documents import document, events_in
from creto.cli.exits import Exit
from creto.cli.output import Column, day, when
from creto.cli.session import session
from creto.cli.usage_archive import archive, export, sql
from creto.cli.usage_attention import alerts, unpaid
from creto.cli.usage_letters import anomalies, dead_letters, forgive, prices
from creto.cli.usage_query import query, spent
from creto.cli.voting import plain
from creto.common import wire
from creto.common.limits import BATCH_ITEMS_MAX
from creto.metering import BillableEvent, EventState, IngestStatus, rendered_event

if TYPE_CHECKING:
    from creto.metering import CostNode, Ingested

INGESTED: Sequence[Column[Ingested]] = (
    Column("EVENT", lambda i: i.event_id),
    Column("STATUS", lambda i: i.status),
    Column("", lambda i: i.error.message if i.error else i.policy_id or ""),
)

usage = group("usage", "What agents used: report it, look at it, put it right.")
for command in (query, spent, export, sql, archive, dead_letters, unpaid, alerts, anomalies, forgive, prices):
    usage.add_command(command)


@usage.command(example="creto usage submit events.jsonl")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@pass_cli
async def submit(cli: Cli, file: Path) -> None:
    """Report events.

    A JSON list or one a line, in any form of the contract or as CloudEvents. Each is answered for itself.
    """
    events = events_in(file)
    results: list[Ingested] = []
    async with session(cli) as creto:
        for start in range(0, len(events), BATCH_ITEMS_MAX):
            done = await creto.metering.submit_events(events=tuple(events[start : start + BATCH_ITEMS_MAX]))
            results += done.results
    cli.output.items(results, INGESTED)
    refused = [n for n, result in enumerate(results, 1) if result.status is IngestStatus.REJECTED]
    if refused:
        cli.output.note(
            f"Refused: {len(refused)} of {len(results)}, the first is number {refused[0]}. The others are in."
        )
        click.get_current_context().exit(Exit.FAILURE)


@usage.command(example="creto usage show e1")
@click.argument("event")
@pass_cli
async def show(cli: Cli, event: str) -> None:
    """One event, and what became of it."""
    async with session(cli) as creto:
        found = await creto.metering.event(event_id=event)
    cli.output.thing(
        found,
        [
            ("event", found.event.event_id),
            ("agent", found.event.agent_nhi),
            ("type", found.event.event_type),
            ("at", when(found.event.timestamp)),
            ("state", found.state.name.lower()),
            ("properties", wire.encode(found.event.properties).decode()),
            *((act.act, f"{when(act.done_at)} by {act.by}: {act.reason}") for act in found.history),
        ],
    )


EVENT = click.argument("event_id", metavar="EVENT")
asks(
    usage, "explain", lambda c: c.metering.explain, rendered_event, EVENT,
    help="Which lines of which invoices an event went into.", example="creto usage explain e1",
)  # fmt: skip


@usage.command(example="creto usage wait e1 --timeout 10m")
@click.argument("event")
@click.option("--timeout", type=DURATION, help="Give up after so long, as 10m; the event goes on waiting.")
@pass_cli
async def wait(cli: Cli, event: str, timeout: int | None) -> None:
    """Wait for what becomes of an event that humans decide about. Exit code 0 if it counts, 4 if not, 6 if nobody has decided in time."""
    async with session(cli) as creto:
        found = await creto.metering.wait_event(event_id=event, timeout_s=None if timeout is None else timeout / 10**9)
    last = found.history[-1] if found.history else None
    cli.output.say(found, f"It is {found.state.name.lower()}. {plain(last.reason) if last else ''}".rstrip())
    code = {EventState.COUNTED: Exit.OK, EventState.HELD: Exit.UNAVAILABLE}.get(found.state, Exit.DENIED)
    raise click.exceptions.Exit(code)


@usage.command(example="creto usage prove e1 -o e1.json; creto verify --keys keys e1.json")
@EVENT
@out_option
@pass_cli
async def prove(cli: Cli, event_id: str, out: Path | None) -> None:
    """That an event is in the audit log, as a file that `creto verify` checks."""
    from creto.platform.audit import parse_proof

    async with session(cli) as creto:
        event = await creto.metering.prove(event_id=event_id)
        entry = await creto.audit.prove(event_id=event.entry_id, fresh=True)
    written(cli, out, event.within(parse_proof(entry.file)).to_json() + b"\n")


@usage.command(example="creto usage cost $SUB")
@SUBSCRIPTION
@click.option("--at", type=MOMENT, help="Of the period that holds this moment; of the one that runs, if not said.")
@pass_cli
async def cost(cli: Cli, subscription_id: str, at: int | None) -> None:
    """What a subscription's period costs so far."""
    found = await answer(cli, lambda c: c.metering.query_cost, {"subscription_id": subscription_id, "at": at})
    if cli.output.json:
        cli.output.say(found, "")
        return
    click.echo(f"{found.total} {found.currency}, {day(found.period.start)} to {day(found.period.end)}\n")
    largest = max(found.by_charge.values(), default=Decimal())
    charges: list[Column[tuple[str, Decimal]]] = [
        Column("CHARGE", lambda c: c[0], shrinks=True),
        Column("COST", lambda c: c[1], right=True),
        Column("", lambda c: bar(c[1], largest), drops=True),
    ]
    cli.output.items(found.by_charge.items(), charges)
    click.echo()
    cli.output.items([one for root in found.tree for one in branches(root)], TREE)


def branches(node: CostNode, depth: int = 0) -> Iterator[tuple[str, Decimal]]:
    """Whoever acts for another stands below, moved in."""
    yield f"{'  ' * depth}{node.agent}", node.total
    for child in node.children:
        yield from branches(child, depth + 1)


TREE: Sequence[Column[tuple[str, Decimal]]] = (
    Column("AGENT", lambda b: b[0], shrinks=True),
    Column("COST", lambda b: b[1], right=True),
)


@usage.command(example='creto usage correct e1.json --reason "Counted in bytes."')
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--reason", required=True, help="Why; it stands in the ledger.")
@pass_cli
async def correct(cli: Cli, file: Path, reason: str) -> None:
    """An event as it should have been.

    FILE holds the whole event, as JSON. Its id says which one it takes the place of; who used it stays.
    """
    event = document(file, BillableEvent, "event")
    async with session(cli) as creto:
        done = await creto.metering.correct(event_id=event.event_id, event=event, reason=reason)
    cli.output.say(done, f"{event.event_id} is corrected.")


REASON = click.option("--reason", required=True, help="Why; it stands in the ledger.")
asks(
    usage, "void", lambda c: c.metering.void, lambda e: f"{e.event.event_id} does not count.", EVENT, REASON,
    help="As if the event had never been: the next invoice corrects what was billed.",
    example="creto usage void e1 --reason twice",
)  # fmt: skip
asks(
    usage, "finalize", lambda c: c.metering.finalize, lambda e: f"{e.event.event_id} counts.", EVENT, REASON,
    help="Count an event that waits.", example="creto usage finalize e1 --reason agreed",
)  # fmt: skip
asks(
    usage, "release", lambda c: c.metering.release, lambda e: f"{e.event.event_id} will never count.", EVENT, REASON,
    help="Never count an event that waits.", example="creto usage release e1 --reason refused",
)  # fmt: skip
