"""`creto coupons`, `taxes`, `exchange-rates` and `billing`: what invoices are made by, beside plans."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from creto.cli.asking import asks, lists, shows
from creto.cli.choices import AHEAD, AMOUNT, CURRENCY, MOMENT, money, one_of
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, counted, day, when
from creto.cli.session import session
from creto.metering import BurnKey, TaxRounding
from creto.metering.presets import PRESETS, Preset

if TYPE_CHECKING:
    from creto.metering import BillingRules, Coupon, ExchangeRate, Tax

COUPON: Sequence[Column[Coupon]] = (
    Column("COUPON", lambda c: c.coupon_id),
    Column("OFF", lambda c: off(c), right=True),
    Column("FOR", lambda c: lasting(c)),
    Column("OF", lambda c: c.charges or "all charges", shrinks=True),
    Column("GIVEN UNTIL", lambda c: day(c.until)),
    Column("AT MOST", lambda c: c.redemptions_max, right=True),
)
TAX: Sequence[Column[Tax]] = (
    Column("TAX", lambda t: t.code),
    Column("PERCENT", lambda t: t.percent, right=True),
    Column("NAME", lambda t: t.name, shrinks=True),
)
RATE: Sequence[Column[ExchangeRate]] = (
    Column("FROM", lambda r: when(r.at)),
    Column("ONE", lambda r: r.base),
    Column("IS", lambda r: f"{r.rate} {r.quote}", right=True),
)
PRESET: Sequence[Column[Preset]] = (
    Column("PRESET", lambda p: p.name),
    Column("TAX ROUNDED", lambda p: f"per {p.tax_rounding}"),
    Column("OFF FIRST", lambda p: first_off(p.percent_first)),
    Column("CREDITS BURN BY", lambda p: p.burn_order),
)

coupons = group("coupons", "What comes off a price, for whom it was given to.")
taxes = group("taxes", "Taxes that invoices bear, by code.")
exchange_rates = group("exchange-rates", "What one currency is in another, from an instant on.")
billing = group("billing", "How this tenant's invoices are made, where billing systems differ.")

COUPON_ID = click.argument("coupon_id", metavar="COUPON")
TAX_CODE = click.argument("code", metavar="TAX")
BASE, QUOTE = click.argument("base", type=CURRENCY), click.argument("quote", type=CURRENCY)


def off(coupon: Coupon) -> str:
    return f"{coupon.amount} {coupon.currency}" if coupon.percent is None else f"{coupon.percent} %"


def lasting(coupon: Coupon) -> str:
    return "ever" if coupon.periods is None else counted(coupon.periods, "period")


def first_off(percent_first: bool) -> str:
    return "percentages" if percent_first else "fixed amounts"


# Coupons


@coupons.command("create", example="creto coupons create launch --percent 20 --periods 3")
@COUPON_ID
@click.option("--percent", type=AMOUNT, help="So much of the price.")
@click.option("--amount", type=(AMOUNT, CURRENCY), metavar="AMOUNT CURRENCY", help="So much, as 5 EUR.")
@click.option("--periods", type=click.IntRange(1), default=1, show_default=True, help="On so many invoices.")
@click.option("--forever", is_flag=True, help="On every invoice.")
@click.option("--charge", "charges", multiple=True, help="Off this charge alone; may be repeated.")
@click.option("--until", type=AHEAD, help="Given out until then; whoever has it keeps it.")
@click.option("--at-most", "redemptions_max", type=click.IntRange(1), help="Given to so many subscriptions.")
@pass_cli
async def create_coupon(
    cli: Cli, coupon_id: str, percent: Decimal | None, amount: tuple[Decimal, str] | None, periods: int, forever: bool,
    charges: tuple[str, ...], until: int | None, redemptions_max: int | None,
) -> None:  # fmt: skip
    """A new coupon: a share of the price, or an amount."""
    if (percent is None) == (amount is None):
        raise click.UsageError("Say --percent 20, or --amount 5 EUR.")
    fixed: dict[str, Any] = {"amount": money(*amount, "--amount"), "currency": amount[1]} if amount else {}
    async with session(cli) as creto:
        made = await creto.credits.create_coupon(
            coupon_id=coupon_id, percent=percent, periods=None if forever else periods, charges=charges, until=until,
            redemptions_max=redemptions_max, **fixed,
        )  # fmt: skip
    said = f"{coupon_id}: {off(made)} off for {lasting(made)}."
    cli.output.say(made, f"{said} Give it:\n  creto subscriptions add-coupon SUBSCRIPTION {coupon_id}")


lists(
    coupons, "list", lambda c: c.credits.coupons, COUPON,
    nothing="No coupons. Make one:\n  creto coupons create launch --percent 20",
    help="The coupons.", example="creto coupons list",
)  # fmt: skip
shows(
    coupons, "show", lambda c: c.credits.coupon,
    lambda c: [
        ("coupon", c.coupon_id), ("off", off(c)), ("for", lasting(c)), ("of", c.charges or "all charges"),
        ("given until", c.until and when(c.until)), ("at most", c.redemptions_max),
    ],
    COUPON_ID, help="One coupon.", example="creto coupons show launch",
)  # fmt: skip
asks(
    coupons, "remove", lambda c: c.credits.drop_coupon, lambda c: f"{c.coupon_id} is given out no more.", COUPON_ID,
    help="Give it out no more. Whoever has it keeps it; one that nobody ever had is gone.",
    example="creto coupons remove launch",
)  # fmt: skip


# Taxes


asks(
    taxes, "set", lambda c: c.credits.set_tax, lambda t: f"{t.code}: {t.percent} %. Invoices that are not final take it.",
    TAX_CODE, click.argument("percent", type=AMOUNT),
    click.option("--name", default="", help="As it stands on paper, as VAT."),
    help="A tax, or another rate for it.", example='creto taxes set de-vat 19 --name "Umsatzsteuer"',
)  # fmt: skip
lists(
    taxes, "list", lambda c: c.credits.taxes, TAX,
    nothing="No taxes. Make one:\n  creto taxes set vat 20 --name VAT", help="The taxes.", example="creto taxes list",
)  # fmt: skip
asks(
    taxes, "remove", lambda c: c.credits.drop_tax, lambda gone: f"{gone.name} is gone.", TAX_CODE,
    help="Take away a tax that no subscription bears.", example="creto taxes remove de-vat",
)  # fmt: skip


# Exchange rates


asks(
    exchange_rates, "add", lambda c: c.credits.add_exchange_rate,
    lambda r: f"1 {r.base} is {r.rate} {r.quote} from {when(r.at)} on.",
    BASE, QUOTE, click.argument("rate", type=AMOUNT), click.option("--at", type=MOMENT, help="From then on; now, if not said."),
    help="What one BASE is in QUOTE. A rate never changes: a new one holds from its own instant on.",
    example="creto exchange-rates add EUR USD 1.0842 --at 2026-01-01",
)  # fmt: skip
lists(
    exchange_rates, "list", lambda c: c.credits.exchange_rates, RATE, BASE, QUOTE,
    click.option("--until", type=MOMENT, help="Those that held then or before."), pages=False,
    nothing="No rates of these two. Add one:\n  creto exchange-rates add EUR USD 1.08",
    help="The rates of two currencies, the newest first.", example="creto exchange-rates list EUR USD",
)  # fmt: skip


# Billing


def rule_lines(rules: BillingRules) -> list[tuple[str, object]]:
    return [
        ("preset", rules.preset),
        ("tax rounded", f"per {rules.tax_rounding}"),
        ("comes off first", first_off(rules.percent_first)),
        ("credits burn by", rules.burn_order),
    ]


shows(
    billing, "show", lambda c: c.credits.rules, rule_lines,
    help="How invoices are made.", example="creto billing show",
)  # fmt: skip


@billing.command(example="creto billing presets")
@pass_cli
def presets(cli: Cli) -> None:
    """The ways of other billing systems, by name."""
    cli.output.items(PRESETS.values(), PRESET)


@billing.command("set", example="creto billing set --preset lago --tax-rounding total")
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), help="The way of this billing system; `presets` lists them."
)
@click.option("--tax-rounding", type=one_of(TaxRounding), help="Each line's tax, or the invoice's.")
@click.option("--percent-first/--fixed-first", default=None, help="Which coupons come off first.")
@click.option("--burn-by", "burn_order", type=one_of(BurnKey), multiple=True, help="Which credits are used first; the first said counts most.")  # fmt: skip
@pass_cli
async def set_billing(
    cli: Cli, preset: str | None, tax_rounding: str | None, percent_first: bool | None, burn_order: tuple[str, ...],
) -> None:  # fmt: skip
    """Change how invoices are made: all that are not final yet.

    With --preset all is as there but what else is said; without it, what is not said stays.
    """
    if preset is None and tax_rounding is None and percent_first is None and not burn_order:
        raise click.UsageError("Say what shall be otherwise; `creto billing show` says how it is.")
    rounding = TaxRounding(tax_rounding) if tax_rounding else None
    order = tuple(map(BurnKey, burn_order))
    async with session(cli) as creto:
        if preset is None:
            now = await creto.credits.rules()
            preset, rounding = now.preset, rounding or now.tax_rounding
            percent_first = now.percent_first if percent_first is None else percent_first
            order = order or now.burn_order
        made = await creto.credits.set_rules(
            preset=preset, tax_rounding=rounding, percent_first=percent_first, burn_order=order or None
        )
    cli.output.thing(made, rule_lines(made))
