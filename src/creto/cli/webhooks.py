"""`creto webhooks`: where the layer posts to, what is told there, and what arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.choices import collected, limit_option
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.connectors.metering_webhooks import DeliveryState

if TYPE_CHECKING:
    from creto.edge.api.webhooks import DeliveryView, WebhookView

WEBHOOK: Sequence[Column[WebhookView]] = (
    Column("ENDPOINT", lambda w: w.endpoint_id),
    Column("URL", lambda w: w.url),
    Column("EVENTS", lambda w: w.events),
    Column("MADE", lambda w: when(w.created_at)),
    Column("DISABLED", lambda w: w.disabled or ""),
)
DELIVERY: Sequence[Column[DeliveryView]] = (
    Column("MESSAGE", lambda d: d.message_id),
    Column("EVENT", lambda d: d.event_type),
    Column("STATE", lambda d: d.state),
    Column("TRIES", lambda d: d.attempts, right=True),
    Column("CHANGED", lambda d: when(d.changed_at)),
    Column("NEXT", lambda d: when(d.next_at)),
    Column("DETAIL", lambda d: d.detail),
)

webhooks = group(
    "webhooks", "Where the layer posts to, as Standard Webhooks: what metering tells, what humans are asked."
)
endpoint_argument = click.argument("endpoint")
EVENTS_HELP = "Tell it of this, as metering.invoice.* or metering.payment.paid; may be repeated."


@webhooks.command("list")
@pass_cli
async def list_(cli: Cli) -> None:
    """The endpoints."""
    async with session(cli) as creto:
        found = await creto.webhooks.list()
    cli.output.items(found.items, WEBHOOK, nothing="No endpoints.")
    cli.output.note(f"What is sent is signed by {found.public_key}.")


@webhooks.command()
@click.argument("url")
@click.option("--event", "events", metavar="PATTERN", multiple=True, help=EVENTS_HELP)
@pass_cli
async def add(cli: Cli, url: str, events: tuple[str, ...]) -> None:
    """A new endpoint. Its secret, the second line, is shown this once."""
    async with session(cli) as creto:
        made = await creto.webhooks.add(url=url, events=events)
    cli.output.say(made, f"{made.webhook.endpoint_id}\n{made.secret}")


@webhooks.command()
@endpoint_argument
@pass_cli
async def show(cli: Cli, endpoint: str) -> None:
    """One endpoint, and how its deliveries stand."""
    async with session(cli) as creto:
        found = await creto.webhooks.get(endpoint_id=endpoint)
    one = found.webhook
    cli.output.thing(
        found,
        [
            ("endpoint", one.endpoint_id), ("url", one.url), ("events", one.events), ("made", when(one.created_at)),
            ("disabled", one.disabled),
            ("deliveries", f"{found.delivered} arrived, {found.queued} waiting, {found.failed} failed"),
        ],
    )  # fmt: skip


@webhooks.command()
@endpoint_argument
@click.argument("patterns", metavar="PATTERN...", nargs=-1)
@pass_cli
async def events(cli: Cli, endpoint: str, patterns: tuple[str, ...]) -> None:
    """Say what it is told of metering; nothing, if nothing is named."""
    async with session(cli) as creto:
        done = await creto.webhooks.want(endpoint_id=endpoint, events=patterns)
    cli.output.say(done, f"{endpoint} is told of {', '.join(done.events) or 'nothing of metering'}.")


@webhooks.command()
@endpoint_argument
@pass_cli
async def rotate(cli: Cli, endpoint: str) -> None:
    """A new secret; the old one signs beside it for a while."""
    async with session(cli) as creto:
        made = await creto.webhooks.rotate(endpoint_id=endpoint)
    cli.output.say(made, made.secret)


@webhooks.command()
@endpoint_argument
@click.option("--reason", default="", help="Why; it stands in the list.")
@pass_cli
async def disable(cli: Cli, endpoint: str, reason: str) -> None:
    """Send nothing there."""
    async with session(cli) as creto:
        done = await creto.webhooks.disable(endpoint_id=endpoint, reason=reason)
    cli.output.say(done, f"{endpoint} gets nothing until it is enabled.")


@webhooks.command()
@endpoint_argument
@pass_cli
async def enable(cli: Cli, endpoint: str) -> None:
    """Send there again."""
    async with session(cli) as creto:
        done = await creto.webhooks.enable(endpoint_id=endpoint)
    cli.output.say(done, f"{endpoint} is told again.")


@webhooks.command()
@endpoint_argument
@pass_cli
async def remove(cli: Cli, endpoint: str) -> None:
    """Forget an endpoint, and what was on its way there."""
    async with session(cli) as creto:
        await creto.webhooks.remove(endpoint_id=endpoint)
    cli.output.say({"endpoint_id": endpoint}, f"{endpoint} gets nothing any more.")


@webhooks.command()
@endpoint_argument
@pass_cli
async def test(cli: Cli, endpoint: str) -> None:
    """Send a signed message that says nothing, now, and say how it went."""
    async with session(cli) as creto:
        done = await creto.webhooks.test(endpoint_id=endpoint)
    cli.output.say(done, f"{done.message_id}: {done.outcome}, {done.detail}.")


@webhooks.command()
@endpoint_argument
@click.option("--state", type=click.Choice([s.value for s in DeliveryState]), help="Those alone.")
@limit_option
@pass_cli
async def deliveries(cli: Cli, endpoint: str, state: str | None, limit: int) -> None:
    """What was sent of metering in the last month, or waits to be; the oldest first."""
    async with session(cli) as creto:
        asked = {"endpoint_id": endpoint, "state": DeliveryState(state) if state else None}
        found = await collected(creto.webhooks.deliveries, limit, cli.output.note, **asked)
    cli.output.items(found, DELIVERY, nothing="Nothing was sent.")


@webhooks.command()
@endpoint_argument
@click.argument("message")
@pass_cli
async def payload(cli: Cli, endpoint: str, message: str) -> None:
    """What a delivery says, as it was sent."""
    async with session(cli) as creto:
        found = await creto.webhooks.delivery(endpoint_id=endpoint, message_id=message)
    click.echo(found.payload)


@webhooks.command()
@endpoint_argument
@click.argument("message")
@pass_cli
async def again(cli: Cli, endpoint: str, message: str) -> None:
    """Deliver it once more, under the same id."""
    async with session(cli) as creto:
        done = await creto.webhooks.again(endpoint_id=endpoint, message_id=message)
    cli.output.say(done, f"{message} is {done.state}.")
