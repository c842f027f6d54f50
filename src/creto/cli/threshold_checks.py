"""`creto quotas thresholds check`: what limits on cost would say of events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from creto.cli.context import Cli, Command, pass_cli
from creto.cli.documents import document, events_in
from creto.cli.output import Column
from creto.cli.session import session
from creto.common import wire
from creto.contracts import BillableEvent, BillingPeriod, CostThreshold, OversightTrigger


class Answer(NamedTuple):
    event: str
    trigger: OversightTrigger | None


ANSWERS: Sequence[Column[Answer]] = (
    Column("EVENT", lambda a: a.event),
    Column("WOULD", lambda a: "cross it" if a.trigger else "stay within all"),
    Column("REASON", lambda a: type(a.trigger.reason).__name__ if a.trigger else ""),
    Column("COST", lambda a: f"{a.trigger.current_cost} {a.trigger.currency}" if a.trigger else "", right=True),
    Column("LIMIT", lambda a: a.trigger.threshold if a.trigger else "", right=True),
    Column("POLICY", lambda a: a.trigger.policy_id if a.trigger else ""),
)


class Crossed(NamedTuple):
    """One of the limits that were given along."""

    trigger: OversightTrigger


CROSSED: Sequence[Column[Crossed]] = (
    Column("REASON", lambda c: type(c.trigger.reason).__name__),
    Column("COST", lambda c: f"{c.trigger.current_cost} {c.trigger.currency}", right=True),
    Column("LIMIT", lambda c: c.trigger.threshold, right=True),
)


@click.command("check", cls=Command, example="creto quotas thresholds check events.json --period current_month")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--period", type=click.Choice([p.value for p in BillingPeriod]), default=BillingPeriod.CURRENT_MONTH.value,
    show_default=True, help="Which limits are asked, beside those of single events.",
)  # fmt: skip
@click.option(
    "--against", multiple=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Not the limits that hold, but one as `put` takes it; may be repeated. It counts for all agents and events.",
)  # fmt: skip
@pass_cli
async def check(cli: Cli, file: Path, period: str, against: tuple[Path, ...]) -> None:
    """What the limits on cost would say of events.

    FILE holds events as JSON, a list or one a line; several are asked as if they came one after the other. Nothing is counted.
    With --against it is one event, and the answer is which of those limits it would cross.
    """
    events = tuple(wire.convert(one, BillableEvent, what="event", strict=False) for one in events_in(file))
    if against:
        await check_against(cli, events, [threshold_in(path) for path in against])
        return
    asked = BillingPeriod(period)
    async with session(cli) as creto:
        if len(events) == 1:
            results = [await creto.quotas.check_cost_threshold(event=events[0], period=asked)]
        else:
            results = [*(await creto.quotas.check_batch(events=events, period=asked)).results]
    found = [Answer(event.event_id, result.trigger) for event, result in zip(events, results, strict=True)]
    if cli.output.json:
        cli.output.items(results, ())
        return
    cli.output.items(found, ANSWERS)


async def check_against(cli: Cli, events: Sequence[BillableEvent], thresholds: Sequence[CostThreshold]) -> None:
    if len(events) != 1:
        raise click.UsageError(f"--against asks of one event, and FILE holds {len(events)}.")
    async with session(cli) as creto:
        found = await creto.quotas.check_multiple_thresholds(event=events[0], thresholds=tuple(thresholds))
    rows = [Crossed(trigger) for trigger in found.triggers]
    if cli.output.json:
        cli.output.items(found.triggers, ())
        return
    cli.output.items(rows, CROSSED, nothing=f"{events[0].event_id} would stay within all.")


def threshold_in(path: Path) -> CostThreshold:
    from creto.edge.api.quotas import PutThreshold

    asked = document(path, PutThreshold, "threshold")
    names = CostThreshold.__struct_fields__
    return CostThreshold(**{name: getattr(asked, name) for name in names})
