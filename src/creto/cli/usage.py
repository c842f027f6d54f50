"""`creto usage`: what agents used, event by event and in sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from creto.cli.charts import bar, spark
from creto.cli.choices import DURATION, MOMENT, limit_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.documents import document, events_in
from creto.cli.exits import Exit
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.cli.usage_archive import archive, export, sql
from creto.cli.usage_attention import alerts, unpaid
from creto.cli.usage_letters import anomalies, dead_letters, forgive, prices
from creto.cli.voting import plain
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.common.limits import BATCH_ITEMS_MAX
from creto.metering import (
    Aggregation,
    BillableEvent,
    BucketSize,
    EventState,
    IngestStatus,
    Meter,
    UsageBy,
    rendered_event,
)
from creto.metering.types import MeterId

if TYPE_CHECKING:
    from creto.metering import CostNode, Ingested, UsageRow

INGESTED: Sequence[Column[Ingested]] = (
    Column("EVENT", lambda i: i.event_id),
    Column("STATUS", lambda i: i.status),
    Column("", lambda i: i.error.message if i.error else i.policy_id or ""),
)

UNREAD_NAMED = 3
usage = group("usage", "What agents used: report it, look at it, put it right.")
for command in (export, sql, archive, dead_letters, unpaid, alerts, anomalies, forgive, prices):
    usage.add_command(command)


@usage.command()
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


@usage.command()
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


@usage.command()
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


@usage.command()
@click.argument("event")
@pass_cli
async def explain(cli: Cli, event: str) -> None:
    """Which lines of which invoices an event went into."""
    async with session(cli) as creto:
        found = await creto.metering.explain(event_id=event)
    cli.output.say(found, rendered_event(found))


@usage.command()
@click.argument("event_type")
@click.option("--sum", "property_", metavar="PROPERTY", help="Sum up this property; without it events are counted.")
@click.option("--from", "start", type=MOMENT, required=True, help="The first moment.")
@click.option("--until", "--to", "end", type=MOMENT, required=True, help="The first moment after it.")
@click.option("--agent", help="Of this agent, with all who act for it.")
@click.option("--each", "bucket", type=click.Choice([b.value for b in BucketSize]), help="A series, in such slices.")
@click.option("--by", type=click.Choice([b.value for b in UsageBy]), default=UsageBy.ALL.value, show_default=True)
@click.option("--group-by", "groups", multiple=True, metavar="PROPERTY", help="Grouped; may be repeated.")
@click.option("--spark", "as_spark", is_flag=True, help="The series in one line each; with --each.")
@limit_option
@pass_cli
async def query(
    cli: Cli, event_type: str, property_: str | None, start: int, end: int, agent: str | None, bucket: str | None, by: str,
    groups: tuple[str, ...], as_spark: bool, limit: int,
) -> None:  # fmt: skip
    """How much was used, as a sum or a series with a small chart."""
    if as_spark and bucket is None:
        raise InvalidInput.of("--spark", got="no series", expected="--each, which makes one")
    meter = Meter(
        meter_id=MeterId("asked"), event_type=event_type, property=property_, group_by=groups,
        aggregation=Aggregation.COUNT if property_ is None else Aggregation.SUM,
    )  # fmt: skip
    async with session(cli) as creto:
        found = await creto.metering.query_usage(
            meter=meter, start=start, end=end, agent=AgentId(agent) if agent else None, delegates=agent is not None,
            by=UsageBy(by), bucket=BucketSize(bucket) if bucket else None, limit=min(limit, 1_000),
        )  # fmt: skip
    if found.unread_count:
        cli.output.note(
            f"Not counted, for they lack what is summed up: {found.unread_count}. {', '.join(found.unread[:UNREAD_NAMED])}"
            f"{', …' if found.unread_count > UNREAD_NAMED else ''}: `creto usage correct` puts them right."
        )
    if as_spark and not cli.output.json:
        cli.output.items(lines_of(found.rows), LINES, nothing="Nothing was used.")
        return
    largest = max((row.quantity for row in found.rows), default=Decimal())
    columns: list[Column[UsageRow]] = [Column("FROM", lambda r: when(r.start))]
    if by != UsageBy.ALL.value:
        columns.append(Column("AGENT", lambda r: r.agent, shrinks=True))
    if groups:
        columns.append(Column("GROUP", lambda r: tuple(r.group.values()), shrinks=True))
    columns += [
        Column("QUANTITY", lambda r: f"{r.quantity:f}", right=True),
        Column("EVENTS", lambda r: r.events, right=True),
        Column("", lambda r: bar(r.quantity, largest)),
    ]
    cli.output.items(found.rows, columns, nothing="Nothing was used.")


class UsageLine(NamedTuple):
    """A series of one agent and group."""

    who: str
    quantities: list[Decimal]


LINES: Sequence[Column[UsageLine]] = (
    Column("WHO", lambda u: u.who, shrinks=True),
    Column("TOTAL", lambda u: f"{sum(u.quantities):f}", right=True),
    Column("MOST", lambda u: f"{max(u.quantities):f}", right=True),
    Column("", lambda u: spark(u.quantities)),
)


def lines_of(rows: Sequence[UsageRow]) -> list[UsageLine]:
    """Each over the same slices of time, also those in which it used nothing."""
    places = {start: n for n, start in enumerate(sorted({row.start for row in rows}))}
    found: dict[str, list[Decimal]] = {}
    for row in rows:
        who = ", ".join([*([row.agent] if row.agent else []), *row.group.values()]) or "all"
        found.setdefault(who, [Decimal()] * len(places))[places[row.start]] += row.quantity
    return [UsageLine(who, quantities) for who, quantities in found.items()]


@usage.command()
@click.argument("subscription")
@click.option("--at", type=MOMENT, help="Of the period that holds this moment; of the one that runs, if not said.")
@pass_cli
async def cost(cli: Cli, subscription: str, at: int | None) -> None:
    """What a subscription's period costs so far."""
    async with session(cli) as creto:
        found = await creto.metering.query_cost(subscription_id=subscription, at=at)
    if cli.output.json:
        cli.output.say(found, "")
        return
    click.echo(f"{found.total} {found.currency}, {when(found.period.start)} to {when(found.period.end)}\n")
    largest = max(found.by_charge.values(), default=Decimal())
    charges: list[Column[tuple[str, Decimal]]] = [
        Column("CHARGE", lambda c: c[0], shrinks=True),
        Column("COST", lambda c: c[1], right=True),
        Column("", lambda c: bar(c[1], largest)),
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


@usage.command()
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


def ending(name: str, sentence: str, help_: str) -> None:
    @usage.command(name, help=help_)
    @click.argument("event")
    @click.option("--reason", required=True, help="Why; it stands in the ledger.")
    @pass_cli
    async def end(cli: Cli, event: str, reason: str) -> None:
        async with session(cli) as creto:
            done = await getattr(creto.metering, name)(event_id=event, reason=reason)
        cli.output.say(done, f"{event} {sentence}.")


ending("void", "does not count", "As if the event had never been.")
ending("finalize", "counts", "Count an event that waits.")
ending("release", "will never count", "Never count an event that waits.")
