"""`creto quotas thresholds check`: what limits on cost would say of events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from creto.cli.context import Cli, Command, pass_cli
from creto.cli.documents import events_in
from creto.cli.output import Column
from creto.cli.session import session
from creto.common import wire
from creto.contracts import BillableEvent, BillingPeriod, OversightTrigger


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


@click.command("check", cls=Command, example="creto quotas thresholds check events.json --period current_month")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--period", type=click.Choice([p.value for p in BillingPeriod]), default=BillingPeriod.CURRENT_MONTH.value,
    show_default=True, help="Which limits are asked, beside those of single events.",
)  # fmt: skip
@pass_cli
async def check(cli: Cli, file: Path, period: str) -> None:
    """What the limits on cost would say of events.

    FILE holds events as JSON, a list or one a line; several are asked as if they came one after the other. Nothing is counted.
    """
    events = tuple(wire.convert(one, BillableEvent, what="event", strict=False) for one in events_in(file))
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
