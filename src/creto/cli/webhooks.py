"""`creto webhooks`: where the layer posts to, what is told there, and what arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from creto.cli.asking import Lines, asks, lists, shows
from creto.cli.choices import one_of
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.connectors.metering_webhooks import DeliveryState

if TYPE_CHECKING:
    from creto.edge.api.webhooks import DeliveryView, WebhookStanding, WebhookView

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
ENDPOINT = click.argument("endpoint_id", metavar="ENDPOINT")
MESSAGE = click.argument("message_id", metavar="MESSAGE")
EVENTS_HELP = "Tell it of this, as metering.invoice.* or metering.payment.paid; may be repeated."


@webhooks.command("list")
@pass_cli
async def list_(cli: Cli) -> None:
    """The endpoints."""
    async with session(cli) as creto:
        found = await creto.webhooks.list()
    cli.output.items(found.items, WEBHOOK, nothing="No endpoints.")
    cli.output.note(f"What is sent is signed by {found.public_key}.")


asks(
    webhooks, "add", lambda c: c.webhooks.add, lambda made: f"{made.webhook.endpoint_id}\n{made.secret}", click.argument("url"),
    click.option("--event", "events", metavar="PATTERN", multiple=True, help=EVENTS_HELP),
    help="A new endpoint. Its secret, the second line, is shown this once.",
)  # fmt: skip


def standing(found: WebhookStanding) -> Lines:
    one = found.webhook
    return (
        ("endpoint", one.endpoint_id), ("url", one.url), ("events", one.events), ("made", when(one.created_at)),
        ("disabled", one.disabled),
        ("deliveries", f"{found.delivered} arrived, {found.queued} waiting, {found.failed} failed"),
    )  # fmt: skip


shows(
    webhooks, "show", lambda c: c.webhooks.get, standing, ENDPOINT, help="One endpoint, and how its deliveries stand."
)


asks(
    webhooks, "events", lambda c: c.webhooks.want,
    lambda w: f"{w.endpoint_id} is told of {', '.join(w.events) or 'nothing of metering'}.", ENDPOINT,
    click.argument("events", metavar="PATTERN...", nargs=-1),
    help="Say what it is told of metering; nothing, if nothing is named.",
)  # fmt: skip
asks(
    webhooks, "rotate", lambda c: c.webhooks.rotate, lambda made: made.secret, ENDPOINT,
    help="A new secret; the old one signs beside it for a while.",
)  # fmt: skip
asks(
    webhooks, "disable", lambda c: c.webhooks.disable, lambda w: f"{w.endpoint_id} gets nothing until it is enabled.", ENDPOINT,
    click.option("--reason", default="", help="Why; it stands in the list."), help="Send nothing there.",
)  # fmt: skip
asks(
    webhooks, "enable", lambda c: c.webhooks.enable, lambda w: f"{w.endpoint_id} is told again.", ENDPOINT,
    help="Send there again.",
)  # fmt: skip


@webhooks.command()
@ENDPOINT
@pass_cli
async def remove(cli: Cli, endpoint_id: str) -> None:
    """Forget an endpoint, and what was on its way there."""
    async with session(cli) as creto:
        await creto.webhooks.remove(endpoint_id=endpoint_id)
    cli.output.say({"endpoint_id": endpoint_id}, f"{endpoint_id} gets nothing any more.")


asks(
    webhooks, "test", lambda c: c.webhooks.test, lambda t: f"{t.message_id}: {t.outcome}, {t.detail}.", ENDPOINT,
    help="Send a signed message that says nothing, now, and say how it went.",
)  # fmt: skip
lists(
    webhooks, "deliveries", lambda c: c.webhooks.deliveries, DELIVERY, ENDPOINT,
    click.option("--state", type=one_of(DeliveryState), help="Those alone."), nothing="Nothing was sent.",
    help="What was sent of metering in the last month, or waits to be; the oldest first.",
)  # fmt: skip


@webhooks.command()
@ENDPOINT
@MESSAGE
@pass_cli
async def payload(cli: Cli, endpoint_id: str, message_id: str) -> None:
    """What a delivery says, as it was sent."""
    async with session(cli) as creto:
        found = await creto.webhooks.delivery(endpoint_id=endpoint_id, message_id=message_id)
    click.echo(found.payload)


asks(
    webhooks, "again", lambda c: c.webhooks.again, lambda d: f"{d.message_id} is {d.state}.", ENDPOINT, MESSAGE,
    help="Deliver it once more, under the same id.",
)  # fmt: skip
