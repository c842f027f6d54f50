"""`creto usage query` and `spent`: how much was used, and what it cost, as numbers and small charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from creto.cli.asking import AGENT, answer
from creto.cli.attributes import pairs
from creto.cli.charts import bar, spark
from creto.cli.choices import CURRENCY, MOMENT, limit_option, one_of
from creto.cli.context import Cli, Command, pass_cli
from creto.cli.naming import named
from creto.cli.output import Column, day
from creto.cli.session import session
from creto.common.errors import InvalidInput
from creto.common.limits import PAGE_ITEMS_MAX
from creto.contracts import BillingPeriod
from creto.metering import Aggregation, BucketSize, Meter, PropertyFilter, UsageBy
from creto.metering.types import MeterId

if TYPE_CHECKING:
    from creto.metering import UsagePage, UsageRow
    from creto.sdk import AsyncCreto

NOTHING = "Nothing was used. `creto usage export` lists the events that there are."
UNREAD_NAMED = 3
MEASURES = {
    "sum_": Aggregation.SUM,
    "unique_": Aggregation.UNIQUE_COUNT,
    "max_": Aggregation.MAX,
    "latest_": Aggregation.LATEST,
    "weighted_sum_": Aggregation.WEIGHTED_SUM,
}


def measuring(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(f"--{name}", f"{name.replace('-', '_')}_", metavar="PROPERTY", help=help)


def measured(measures: Mapping[str, str | None]) -> tuple[Aggregation, str | None]:
    said = [(MEASURES[name], property_) for name, property_ in measures.items() if property_ is not None]
    if len(said) > 1:
        raise click.UsageError("One of --sum, --unique, --max, --latest and --weighted-sum at a time.")
    return said[0] if said else (Aggregation.COUNT, None)


def filters(texts: Sequence[str], option: str, *, except_for: bool = False) -> Iterator[PropertyFilter]:
    """Several values of one property: any of them."""
    by_property: dict[str, list[str]] = {}
    for text in texts:
        for name, value in pairs([text], option).items():
            by_property.setdefault(name, []).append(value)
    for name, values in by_property.items():
        yield PropertyFilter(name, tuple(values), except_for)


@click.command(cls=Command, example="creto usage query inference --sum tokens --where model=opus --from 7d --each day")
@click.argument("event_type", metavar="TYPE")
@measuring("sum", "Sum up this property.")
@measuring("unique", "Count its different values.")
@measuring("max", "The largest value of it.")
@measuring("latest", "Its last value.")
@measuring("weighted-sum", "Its mean level over the time.")
@click.option("--where", "wheres", metavar="PROPERTY=VALUE", multiple=True, help="Of those alone; may be repeated.")
@click.option("--where-not", "nots", metavar="PROPERTY=VALUE", multiple=True, help="Not of those; may be repeated.")
@click.option("--from", "start", type=MOMENT, default="30d", show_default=True, help="The first moment.")
@click.option("--until", "--to", "end", type=MOMENT, default="0s", help="The first moment after it.  [default: now]")
@click.option("--zone", default="UTC", show_default=True, help="On whose wall clock days begin, as Europe/Berlin.")
@click.option("--agent", help="Of this agent, with all who act for it.")
@click.option("--each", "bucket", type=one_of(BucketSize), help="A series, in such slices.")
@click.option("--by", type=one_of(UsageBy), default=UsageBy.ALL.value, show_default=True)
@click.option("--group-by", "groups", multiple=True, metavar="PROPERTY", help="Grouped; may be repeated.")
@click.option("--spark", "as_spark", is_flag=True, help="The series in one line each; with --each.")
@click.option("--top", type=click.IntRange(1, PAGE_ITEMS_MAX), help="The largest so many alone.")
@limit_option
@pass_cli
async def query(
    cli: Cli, /, event_type: str, start: int, end: int, zone: str, agent: str | None, bucket: str | None, by: str,
    groups: tuple[str, ...], wheres: tuple[str, ...], nots: tuple[str, ...], as_spark: bool, top: int | None, limit: int,
    **measures: str | None,
) -> None:  # fmt: skip
    """How much was used, as a number or a series with a small chart.

    Without --sum, --unique, --max, --latest or --weighted-sum events are counted.
    """
    if as_spark and bucket is None:
        raise InvalidInput.of("--spark", got="no series", expected="--each, which makes one")
    aggregation, property_ = measured(measures)
    meter = Meter(
        meter_id=MeterId("asked"), event_type=event_type, property=property_, group_by=groups, aggregation=aggregation,
        filters=(*filters(wheres, "--where"), *filters(nots, "--where-not", except_for=True)),
    )  # fmt: skip
    asked = {
        "meter": meter, "start": start, "end": end, "zone": zone, "agent": agent, "delegates": agent is not None,
        "by": UsageBy(by), "top": top, "bucket": BucketSize(bucket) if bucket else None,
    }  # fmt: skip
    async with session(cli) as creto:
        found = await used(creto, await named(creto, asked), limit, cli.output.note)
    if as_spark and not cli.output.json:
        cli.output.items(lines_of(found), LINES, nothing=NOTHING)
        return
    largest = max((row.quantity for row in found), default=Decimal())
    columns: list[Column[UsageRow]] = [Column("FROM", lambda r: day(r.start))]
    if by != UsageBy.ALL.value:
        columns.append(Column("AGENT", lambda r: r.agent, shrinks=True))
    if groups:
        columns.append(Column("GROUP", lambda r: tuple(r.group.values()), shrinks=True))
    columns += [
        Column("QUANTITY", lambda r: f"{r.quantity:f}", right=True),
        Column("EVENTS", lambda r: r.events, right=True),
        Column("", lambda r: bar(r.quantity, largest), drops=True),
    ]
    cli.output.items(found, columns, nothing=NOTHING)


async def used(creto: AsyncCreto, asked: dict[str, Any], limit: int, note: Callable[[str], None]) -> list[UsageRow]:
    rows: list[UsageRow] = []
    cursor = None
    while len(rows) < limit:
        page = await creto.metering.query_usage(**asked, cursor=cursor, limit=min(limit - len(rows), PAGE_ITEMS_MAX))
        rows += page.rows
        if page.unread_count and cursor is None:
            note(unread(page))
        cursor = page.next
        if cursor is None:
            return rows
    note(f"There are more than {limit}: --limit takes a higher number.")
    return rows


def unread(page: UsagePage) -> str:
    more = ", …" if page.unread_count > UNREAD_NAMED else ""
    named_ = ", ".join(page.unread[:UNREAD_NAMED])
    return f"Not counted, for they lack what is asked for: {page.unread_count}. {named_}{more}: `creto usage correct` puts them right."


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


SPENT: Sequence[Column[tuple[str, Decimal]]] = (
    Column("TYPE", lambda s: s[0], shrinks=True),
    Column("COST", lambda s: s[1], right=True),
)


@click.command(cls=Command, example="creto usage spent planner EUR --in current_day")
@AGENT
@click.argument("currency", type=CURRENCY)
@click.option("--in", "period", type=one_of(BillingPeriod), default=BillingPeriod.CURRENT_MONTH.value, show_default=True, help="In this time.")  # fmt: skip
@pass_cli
async def spent(cli: Cli, agent: str, currency: str, period: str) -> None:
    """What an agent and all below it have spent, as limits on cost count it."""
    asked = {"agent": agent, "currency": currency, "period": BillingPeriod(period)}
    found = await answer(cli, lambda c: c.metering.accumulated_cost, asked)
    if cli.output.json:
        cli.output.say(found, "")
        return
    click.echo(f"{found.total_cost} {found.currency} in the {str(found.period).replace('_', ' ')}.")
    cli.output.items(found.by_event_type.items(), SPENT)
