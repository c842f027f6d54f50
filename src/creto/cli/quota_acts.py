"""Further `creto quotas`: quota held by hand, what acts cost, and limits on cost from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from creto.cli.asking import AGENT, asks, lists, shows
from creto.cli.choices import AMOUNT, CURRENCY, DURATION, money, seconds
from creto.cli.context import Cli, group, pass_cli
from creto.cli.naming import id_of
from creto.cli.output import Column, when
from creto.cli.quotas import quotas, thresholds
from creto.cli.session import session
from creto.common.ids import AgentId, PolicyId
from creto.common.limits import QUOTA_RESERVATION_S
from creto.common.money import from_micros, to_micros
from creto.contracts import Block, CostThresholdType, NotifyOnly, RequireApproval, ThresholdAction
from creto.metering.triggers import POLICY

if TYPE_CHECKING:
    from creto.metering import Quota, Rate

__all__ = ["quotas"]  # with all of these in it

RATE: Sequence[Column[Rate]] = (
    Column("ACT", lambda r: r.counts),
    Column("COSTS", lambda r: f"{from_micros(r.micros)} {r.currency}", right=True),
)

rates = group("rates", "What one unit of an act costs: for quotas in money and the budgets of delegations.")
quotas.add_command(rates)

RESERVATION = click.argument("reservation_id", metavar="RESERVATION")
EVENT_TYPE = click.argument("event_type", metavar="ACT")


def quota_lines(quota: Quota) -> list[tuple[str, object]]:
    beyond = quota.overflow
    more = {name: getattr(beyond, name) for name in beyond.__struct_fields__ if getattr(beyond, name) is not None}
    return [
        ("quota", quota.quota_id),
        ("counts", quota.counts),
        *((f"a {limit.window.name}", limit.amount) for limit in quota.limits),
        ("for", quota.agent or ("all together" if quota.shared else "each agent")),
        ("of", "its own acts" if quota.own_acts else None),
        ("currency", quota.currency),
        ("beyond", " ".join([str(beyond.__struct_config__.tag), *(f"{name}={value}" for name, value in more.items())])),
        ("told at", tuple(f"{percent} %" for percent in quota.notify_at)),
    ]


shows(
    quotas, "show", lambda c: c.quotas.get, quota_lines, click.argument("quota_id", metavar="QUOTA"),
    help="One quota: what it counts, in which windows, and what happens beyond it.", example="creto quotas show calls",
)  # fmt: skip


# Quota in hand


@quotas.command(example="creto quotas reserve planner tool.call --amount 5 --for 2m")
@AGENT
@EVENT_TYPE
@click.option("--amount", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--for", "ttl", type=DURATION, help=f"Released by itself after so long.  [default: {QUOTA_RESERVATION_S}s]"
)
@pass_cli
async def reserve(cli: Cli, agent: str, event_type: str, amount: int, ttl: int | None) -> None:
    """Hold quota for an act that is to come. Prints the reservation, which `settle` and `release` take."""
    async with session(cli) as creto:
        held = await creto.quotas.reserve(
            agent=AgentId(await id_of(creto, "agent", agent)), event_type=event_type, amount=amount,
            ttl_s=QUOTA_RESERVATION_S if ttl is None else seconds(ttl),
        )  # fmt: skip
    cli.output.note(f"{held.outcome}: {held.amount} held until {when(held.expires_at)}.")
    cli.output.say(held, held.reservation_id)


asks(
    quotas, "settle", lambda c: c.quotas.settle, lambda done: f"{done.reservation_id} is settled.", RESERVATION,
    click.option("--amount", type=click.IntRange(min=0), help="It took so much; what was held, if not said."),
    help="It took what was held, or another amount.", example="creto quotas settle $HELD --amount 3",
)  # fmt: skip
asks(
    quotas, "release", lambda c: c.quotas.release, lambda done: f"{done.reservation_id} is released.", RESERVATION,
    help="It took nothing: what was held is free again.", example="creto quotas release $HELD",
)  # fmt: skip


# What acts cost


@rates.command("set", example="creto quotas rates set tool.call 0.05 USD")
@EVENT_TYPE
@click.argument("amount", type=AMOUNT)
@click.argument("currency", type=CURRENCY)
@pass_cli
async def set_rate(cli: Cli, event_type: str, amount: Decimal, currency: str) -> None:
    """What one unit of an act costs, to a millionth."""
    async with session(cli) as creto:
        made = await creto.quotas.put_rate(counts=event_type, micros=to_micros(amount), currency=currency)
    cli.output.say(made, f"{event_type}: {amount} {currency} each.")


lists(
    rates, "list", lambda c: c.quotas.rates, RATE, pages=False,
    nothing="Acts cost nothing. Say what one costs:\n  creto quotas rates set tool.call 0.05 USD",
    help="What acts cost.", example="creto quotas rates list",
)  # fmt: skip
asks(
    rates, "delete", lambda c: c.quotas.delete_rate, lambda gone: f"{gone.name} costs nothing any more.",
    click.argument("counts", metavar="ACT"), help="An act costs nothing any more.", example="creto quotas rates delete tool.call",
)  # fmt: skip


# Limits on cost


@thresholds.command("set", example="creto quotas thresholds set big 100 EUR --per transaction --ask finance")
@click.argument("threshold_id", metavar="THRESHOLD")
@click.argument("limit", type=AMOUNT)
@click.argument("currency", type=CURRENCY)
@click.option("--per", type=click.Choice(["transaction", "hour", "day", "month", "lifetime"]), default="transaction", show_default=True, help="Of single events, or of what is spent in this time.")  # fmt: skip
@click.option("--agent", help="For this agent and all below it; each agent, if not said.")
@click.option("--counts", multiple=True, default=("*",), help="An event type; a star for any rest. May be repeated.")
@click.option("--ask", "approvers", multiple=True, metavar="WHO", help="Beyond it humans are asked; may be repeated.")
@click.option(
    "--tell", "channels", multiple=True, metavar="CHANNEL", help="Beyond it they are only told; may be repeated."
)
@click.option("--block", is_flag=True, help="Beyond it nothing happens.")
@click.option("--policy", default=POLICY, show_default=True, help="The approval policy that decides, with --ask.")
@pass_cli
async def set_threshold(
    cli: Cli, threshold_id: str, limit: Decimal, currency: str, per: str, agent: str | None, counts: tuple[str, ...],
    approvers: tuple[str, ...], channels: tuple[str, ...], block: bool, policy: str,
) -> None:  # fmt: skip
    """Set a limit on cost, and what happens beyond it: --ask, --tell or --block."""
    if (bool(approvers), bool(channels), block).count(True) != 1:
        raise click.UsageError("Say what happens beyond it: --ask WHO, --tell CHANNEL or --block.")
    action: ThresholdAction = Block()
    if not block:
        action = RequireApproval(approvers=approvers) if approvers else NotifyOnly(channels=channels)
    kind = CostThresholdType.LIFETIME if per == "lifetime" else CostThresholdType(f"per_{per}")
    money(limit, currency, "limit")
    async with session(cli) as creto:
        whose = AgentId(await id_of(creto, "agent", agent)) if agent else None
        made = await creto.quotas.put_threshold(
            threshold_id=threshold_id, threshold_type=kind, limit=limit, currency=currency, action=action, agent=whose,
            counts=counts, policy_id=PolicyId(policy),
        )  # fmt: skip
    cli.output.say(made, f"{threshold_id}: {limit} {currency} per {per}.")


asks(
    thresholds, "delete", lambda c: c.quotas.delete_threshold, lambda gone: f"{gone.name} holds no more.",
    click.argument("threshold_id", metavar="THRESHOLD"),
    help="Take a limit on cost away.", example="creto quotas thresholds delete big",
)  # fmt: skip
