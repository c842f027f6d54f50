"""`creto credits`: what was paid in advance, where it went, and when more is bought."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from creto.cli.asking import AGENT, asks, lists
from creto.cli.charts import bar
from creto.cli.choices import AHEAD, AMOUNT, CURRENCY, money, one_of
from creto.cli.context import Cli, group, pass_cli
from creto.cli.naming import id_of, named
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.ids import AgentId
from creto.metering import CycleUnit, PurchaseState, Rollover, TopUp
from creto.metering.periods import Cycle
from creto.metering.rounding import ZERO

if TYPE_CHECKING:
    from creto.metering import Burnt, GrantBook, Posting, Purchase, TopUpRule
    from creto.sdk import AsyncCreto

GRANT: Sequence[Column[GrantBook]] = (
    Column("GRANT", lambda b: b.grant.grant_id),
    Column("PRIORITY", lambda b: b.grant.priority, right=True),
    Column("GRANTED", lambda b: b.balance.granted, right=True),
    Column("LEFT", lambda b: b.balance.remaining, right=True),
    Column("EXPIRES", lambda b: when(b.grant.expires_at)[:10]),
    Column("", lambda b: bar(b.balance.remaining, b.balance.granted), drops=True),
)
POSTING: Sequence[Column[Posting]] = (
    Column("AT", lambda p: when(p.at)),
    Column("GRANT", lambda p: p.grant_id, shrinks=True),
    Column("FROM", lambda p: p.source),
    Column("TO", lambda p: p.target),
    Column("AMOUNT", lambda p: p.amount, right=True),
    Column("FOR", lambda p: p.ref, shrinks=True),
)
RULE: Sequence[Column[TopUpRule]] = (
    Column("RULE", lambda r: r.rule_id),
    Column("AGENT", lambda r: r.agent, shrinks=True),
    Column("BUYS", lambda r: f"{r.top_up.amount} {r.currency}", right=True),
    Column("WHEN", lambda r: bought_when(r)),
    Column("PAID", lambda r: "before it is granted" if r.payment else "not"),
)
PURCHASE: Sequence[Column[Purchase]] = (
    Column("PURCHASE", lambda p: p.purchase_id),
    Column("RULE", lambda p: p.rule_id, drops=True),
    Column("AGENT", lambda p: p.agent, shrinks=True),
    Column("AMOUNT", lambda p: f"{p.amount} {p.currency}", right=True),
    Column("ASKED", lambda p: when(p.asked_at), drops=True),
    Column("STATE", lambda p: p.state),
)

credits = group("credits", "Credits paid in advance: granted, used, expired; to the last micro.")
top_ups = group("top-ups", "When more is bought by itself: each cycle, or below a balance.")
purchases = group("purchases", "Credits that top-ups asked for.")
credits.add_command(top_ups)
credits.add_command(purchases)

GRANT_ID = click.argument("grant_id", metavar="GRANT")
RULE_ID = click.argument("rule_id", metavar="RULE")
AMOUNT_ARGUMENT = click.argument("amount", type=AMOUNT)
CURRENCY_ARGUMENT = click.argument("currency", type=CURRENCY)
PRIORITY = click.option("--priority", type=click.IntRange(0, 1_000), default=50, show_default=True, help="Lower is used first.")  # fmt: skip
EXPIRES_AFTER = click.option("--expires-after-days", type=click.IntRange(1), help="What is left so long after it was bought is lost.")  # fmt: skip
EACH = one_of(CycleUnit)
now_anchored = "Renewed each such time, counted from the start."


@credits.command(example="creto credits grant planner 50 EUR --expires 2027-01-01 --reason welcome")
@AGENT
@AMOUNT_ARGUMENT
@CURRENCY_ARGUMENT
@PRIORITY
@click.option("--starts", "effective_at", type=AHEAD, help="Used from then on; now, if not said.")
@click.option(
    "--expires", "expires_at", type=AHEAD, help="What is left then is lost: 2027-01-31, or in a while as 90d."
)
@click.option("--renews", type=EACH, help=now_anchored)
@click.option("--keeps", type=AMOUNT, default="0", help="With --renews: so much of what is left stays beside it.")
@click.option("--only", multiple=True, help="Pays for this charge alone; may be repeated.")
@click.option("--key", metavar="KEY", help="Granted once for each key.")
@click.option("--reason", default="", help="Why; it stands in the ledger.")
@pass_cli
async def grant(
    cli: Cli, agent: str, amount: Decimal, currency: str, priority: int, effective_at: int | None, expires_at: int | None,
    renews: str | None, keeps: Decimal, only: tuple[str, ...], key: str | None, reason: str,
) -> None:  # fmt: skip
    """Give an agent credits."""
    if keeps and renews is None:
        raise click.UsageError("--keeps goes with --renews.")
    money(amount, currency, "amount")
    async with session(cli) as creto:
        cycle = Cycle(CycleUnit(renews), effective_at or await moment(creto), "UTC") if renews else None
        made = await creto.credits.grant(
            agent=AgentId(await id_of(creto, "agent", agent)), amount=amount, currency=currency, priority=priority,
            effective_at=effective_at, expires_at=expires_at, renews=cycle, rollover=Rollover(maximum=keeps), only=only, key=key,
            reason=reason,
        )  # fmt: skip
    cli.output.say(made, f"{made.grant.grant_id}: {amount} {currency}.")


async def moment(creto: AsyncCreto) -> int:
    """Now, by the layer's clock."""
    return int((await creto.time.get_timestamp()).timestamps[0])


@credits.command(example="creto credits wallet planner EUR")
@AGENT
@CURRENCY_ARGUMENT
@pass_cli
async def wallet(cli: Cli, agent: str, currency: str) -> None:
    """All that an agent has in a currency."""
    async with session(cli) as creto:
        found = await creto.credits.wallet(**await named(creto, {"agent": agent}), currency=currency)
    if cli.output.json:
        cli.output.say(found, "")
        return
    total = found.balance
    click.echo(f"{found.usable} {currency} can be used.")
    if total.granted:
        rest = f"{total.remaining} left + {total.used} used + {total.expired} expired + {total.voided} voided"
        click.echo(f"Of {total.granted} granted: {rest}.")
    cli.output.items(found.grants, GRANT, nothing=f"No grants. Give some:\n  creto credits grant {agent} 50 {currency}")


@credits.command(example="creto credits postings cr-01a1f0c4-…  # or: --for INV-000001")
@click.argument("grant_id", metavar="[GRANT]", required=False)
@click.option("--for", "subject", metavar="INVOICE", help="Which grants paid for this invoice, or what else was named.")
@pass_cli
async def postings(cli: Cli, grant_id: str | None, subject: str | None) -> None:
    """Where every micro of a grant went, or which grants paid for something."""
    if (grant_id is None) == (subject is None):
        raise click.UsageError("Name a GRANT, or --for INVOICE.")
    async with session(cli) as creto:
        found: Sequence[Posting]
        if subject is not None:
            found = (await creto.credits.postings_for(ref=await reference(creto, subject))).items
        else:
            found = await all_postings(creto, str(grant_id))
    cli.output.items(found, POSTING, nothing="Nothing was posted.")


async def reference(creto: AsyncCreto, subject: str) -> str:
    """What postings of an invoice name, whichever way it is called; what is none is taken as it stands."""
    from creto.common.errors import NotFound
    from creto.metering.wallets import INVOICE

    try:
        return f"{INVOICE}{await id_of(creto, 'invoice_id', subject)}"
    except NotFound:
        return subject


async def all_postings(creto: AsyncCreto, grant_id: str) -> list[Posting]:
    found: list[Posting] = []
    while page := (await creto.credits.postings(grant_id=grant_id, after=len(found))).items:
        found += page
    return found


asks(
    credits, "void", lambda c: c.credits.void, lambda b: f"{b.grant.grant_id} is void: {b.balance.voided} {b.grant.currency}.",
    GRANT_ID, help="Nobody can use what is left of a grant.", example="creto credits void cr-01a1f0c4-…",
)  # fmt: skip


@credits.command(example="creto credits extend cr-01a1f0c4-… --until 2027-06-30  # or: --for-ever")
@GRANT_ID
@click.option("--until", type=AHEAD, help="What is left then is lost: 2027-01-31, or in a while as 90d.")
@click.option("--for-ever", is_flag=True, help="It does not expire any more.")
@pass_cli
async def extend(cli: Cli, grant_id: str, until: int | None, for_ever: bool) -> None:
    """Until when what is left of a grant may be used: later than before, or earlier.

    Of equal priority the grant that expires first is used first.
    """
    if (until is None) == (not for_ever):
        raise click.UsageError("Say --until 2027-06-30, or --for-ever.")
    async with session(cli) as creto:
        book = await creto.credits.extend(grant_id=grant_id, expires_at=until)
    lasts = "does not expire" if until is None else f"expires {when(until)[:10]}"
    cli.output.say(book, f"{grant_id} {lasts}: {book.balance.remaining} {book.grant.currency} left.")


@credits.command(example="creto credits buy planner 100 EUR")
@AGENT
@AMOUNT_ARGUMENT
@CURRENCY_ARGUMENT
@PRIORITY
@EXPIRES_AFTER
@click.option("--key", metavar="KEY", help="Bought once for each key.")
@pass_cli
async def buy(
    cli: Cli, agent: str, amount: Decimal, currency: str, priority: int, expires_after_days: int | None, key: str | None
) -> None:
    """Buy credits for an agent, once. It gets them when they are paid.

    They are asked for by Stripe where that is configured; `purchases settle` says by hand that they are paid.
    """
    money(amount, currency, "amount")
    async with session(cli) as creto:
        asked = await creto.credits.buy(
            agent=AgentId(await id_of(creto, "agent", agent)), amount=amount, currency=currency, priority=priority,
            expires_after_days=expires_after_days, key=key,
        )  # fmt: skip
    cli.output.say(asked, f"{asked.purchase_id} asks for {amount} {currency}, granted once it is paid.")


def used(done: Burnt) -> str:
    paid = sum((use.amount for use in done.uses), ZERO)
    return f"{paid} used{f', {done.short} not paid' if done.short else ''}, {done.usable} left."


asks(
    credits, "use", lambda c: c.credits.burn, used, AGENT, AMOUNT_ARGUMENT, CURRENCY_ARGUMENT,
    click.argument("ref", metavar="FOR"),
    click.option("--whole", is_flag=True, help="All of it, or nothing."),
    click.option("--only", "names", multiple=True, help="As a charge: grants that pay for others alone stay."),
    click.option("--key", metavar="KEY", help="Used once for each key."),
    help="Use credits for something of your own. FOR is what the ledger calls it.",
    example="creto credits use planner 2.50 EUR workshop",
)  # fmt: skip


# Buying more


def bought_when(rule: TopUpRule) -> str:
    if rule.top_up.below is not None:
        return f"below {rule.top_up.below}"
    assert rule.top_up.cycle is not None
    return f"each {rule.top_up.cycle.unit}"


@top_ups.command("set", example="creto credits top-ups set refill planner 100 EUR --below 20")
@RULE_ID
@AGENT
@AMOUNT_ARGUMENT
@CURRENCY_ARGUMENT
@click.option("--below", type=AMOUNT, help="Whenever less than this can be used.")
@click.option("--each", type=EACH, help="As often as this, counted from now.")
@click.option("--free", is_flag=True, help="Granted at once: nobody pays.")
@PRIORITY
@EXPIRES_AFTER
@pass_cli
async def set_top_up(
    cli: Cli, rule_id: str, agent: str, amount: Decimal, currency: str, below: Decimal | None, each: str | None, free: bool,
    priority: int, expires_after_days: int | None,
) -> None:  # fmt: skip
    """When to buy more for an agent: below a balance, or each cycle.

    It is asked for by Stripe where that is configured, and granted once it is paid; `purchases settle` says so by hand.
    """
    if (below is None) == (each is None):
        raise click.UsageError("Say --below 20, or --each month.")
    money(amount, currency, "amount")
    async with session(cli) as creto:
        cycle = Cycle(CycleUnit(each), await moment(creto), "UTC") if each else None
        made = await creto.credits.set_top_up(
            rule_id=rule_id, agent=AgentId(await id_of(creto, "agent", agent)), currency=currency,
            top_up=TopUp(amount=amount, below=below, cycle=cycle), priority=priority, expires_after_days=expires_after_days,
            payment=not free,
        )  # fmt: skip
    cli.output.say(made, f"{rule_id}: {amount} {currency} {bought_when(made)}.")


lists(
    top_ups, "list", lambda c: c.credits.top_ups, RULE,
    nothing="No top-ups. Make one:\n  creto credits top-ups set refill AGENT 100 EUR --below 20",
    help="When more is bought for whom.", example="creto credits top-ups list",
)  # fmt: skip
asks(
    top_ups, "remove", lambda c: c.credits.drop_top_up, lambda gone: f"{gone.name} buys no more.", RULE_ID,
    help="Buy no more; what was bought stays.", example="creto credits top-ups remove refill",
)  # fmt: skip
lists(
    purchases, "list", lambda c: c.credits.purchases, PURCHASE,
    nothing="Nothing was bought. `creto credits top-ups list` says when something is; `creto credits buy` buys now.",
    help="What was asked for, the oldest first.", example="creto credits purchases list",
)  # fmt: skip


def settled(purchase: Purchase) -> str:
    if purchase.state is PurchaseState.PAID:
        return f"{purchase.purchase_id} is paid: {purchase.grant_id} of {purchase.amount} {purchase.currency}."
    return f"{purchase.purchase_id} {purchase.state}: nothing is granted."


asks(
    purchases, "settle", lambda c: c.credits.settle_purchase, settled,
    click.argument("purchase_id", metavar="PURCHASE"),
    click.option("--paid/--failed", "paid", required=True, default=None, help="Paid: it is granted. Failed: it is not."),
    help="Say what became of a purchase that was paid elsewhere than at Stripe.",
    example="creto credits purchases settle buy-01a1f0c4-… --paid",
)  # fmt: skip
