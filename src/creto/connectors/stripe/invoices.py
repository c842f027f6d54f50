"""Our invoice, or a purchase of credits, as Stripe's: one request for its head, some for its lines. Pure: what to ask for, never the asking.

Amounts are ours to the last unit: a line is what is left of it after its discount, taxes are those that we counted, and credits that
paid a part are a line of their own. So Stripe's total is what is due.

INVARIANT: the amounts and taxes of all lines sum to the invoice's `due`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import STRIPE_LINES_MAX, STRIPE_LINES_STEP, STRIPE_TEXT_CHARS_MAX
from creto.common.settings import Collection, StripeConfig
from creto.common.timestamps import SECOND
from creto.connectors.stripe.amounts import major, minor
from creto.connectors.stripe.types import Kind, Params, Payer, StripeId
from creto.metering import Invoice, Line, Period, TaxAmount, invoice_digest
from creto.metering.taxes import by_code
from creto.metering.wallets import Purchase

ZERO = Decimal()
CREDITS = "Prepaid credits"
CARRIED = "Carried to prepaid credits"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A line as Stripe shall show it: already without its discount."""

    text: str
    period: Period
    amount: Decimal
    taxes: tuple[TaxAmount, ...] = ()
    line_id: str = ""


def customer_params(tenant: TenantId, agent: AgentId, payer: Payer) -> Params:
    """A customer that somebody else made keeps the name that it has there, unless we were told one."""
    params: Params = {"metadata": {"creto_tenant": tenant, "creto_agent": agent}}
    name = payer.name or (agent if payer.stripe_id is None else None)
    return params | {key: value for key, value in (("name", name), ("email", payer.email)) if value is not None}


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice there, as it shall be: its head, its lines, and what they have to come to."""

    tenant: TenantId
    kind: Kind
    our_id: str
    currency: str
    head: Params
    lines: list[Params]
    due: Decimal


def sheet_of(invoice: Invoice, customer: StripeId, config: StripeConfig) -> Sheet:
    more = {
        "number": invoice.number,
        "footer": cut(invoice.rounding),
        "metadata": {
            "creto_tenant": invoice.tenant,
            "creto_invoice": invoice.invoice_id,
            "creto_subscription": invoice.subscription_id,
            "creto_digest": invoice_digest(invoice),
        },
    }
    return Sheet(
        tenant=invoice.tenant,
        kind=Kind.INVOICE,
        our_id=invoice.invoice_id,
        currency=invoice.currency,
        head=head_params(customer, invoice.currency, config) | more,
        lines=line_requests(invoice),
        due=invoice.due,
    )


def sheet_of_purchase(tenant: TenantId, purchase: Purchase, customer: StripeId, config: StripeConfig) -> Sheet:
    """Credits that were asked for, to be granted once they are paid. Stripe numbers it: it is no invoice of ours."""
    line = {
        "amount": minor(purchase.amount, purchase.currency),
        "description": CREDITS,
        "discountable": False,
        "metadata": {"creto_place": "0", "creto_line": ""},
    }
    return Sheet(
        tenant=tenant,
        kind=Kind.PURCHASE,
        our_id=purchase.purchase_id,
        currency=purchase.currency,
        head=head_params(customer, purchase.currency, config)
        | {"metadata": {"creto_tenant": tenant, "creto_invoice": purchase.purchase_id}},
        lines=[{"lines": [line]}],
        due=purchase.amount,
    )


def head_params(customer: StripeId, currency: str, config: StripeConfig) -> Params:
    """A draft that nothing but us changes: no pending items, and it does not finalise by itself."""
    params: Params = {
        "customer": customer,
        "currency": currency.lower(),
        "collection_method": str(config.collection),
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
    }
    return (
        params | {"days_until_due": config.days_until_due} if config.collection is Collection.SEND_INVOICE else params
    )


def line_requests(invoice: Invoice) -> list[Params]:
    """The lines, in as few requests as Stripe takes them. Each line names its place, so that it is known again."""
    items = fitted(list(items_of(invoice)), invoice.period)
    lines = [line_params(item, place, invoice.currency) for place, item in enumerate(items)]
    return [{"lines": lines[at : at + STRIPE_LINES_STEP]} for at in range(0, len(lines), STRIPE_LINES_STEP)]


def items_of(invoice: Invoice) -> Iterator[Item]:
    """Stripe knows no tax below zero: an invoice that gives some back shows its taxes as lines."""
    apart = any(tax.amount < 0 or tax.taxable < 0 for line in invoice.lines for tax in line.taxes)
    for line in invoice.lines:
        yield Item(
            text=described(line),
            period=line.period,
            amount=line.taxable,
            taxes=() if apart else tuple(tax for tax in line.taxes if tax.amount),
            line_id=line.line_id,
        )
    for tax in invoice.taxes if apart else ():
        yield Item(text=f"{tax.code} {tax.percent} %", period=invoice.period, amount=tax.amount)
    paid = sum((use.amount for use in invoice.credits), ZERO)
    if paid:
        yield Item(text=CREDITS, period=invoice.period, amount=-paid)
    if invoice.carried:
        yield Item(text=CARRIED, period=invoice.period, amount=invoice.carried)


def described(line: Line) -> str:
    return f"{line.description} (less {line.discount} discount)" if line.discount else line.description


def fitted(items: Sequence[Item], period: Period) -> list[Item]:
    """As many as Stripe takes: else a charge's groups as one line, and if those are too many, all as one."""
    if len(items) > STRIPE_LINES_MAX:
        items = [together(list(group), period) for _, group in groupby(items, key=charge_of)]
    return [together(items, period)] if len(items) > STRIPE_LINES_MAX else list(items)


def charge_of(item: Item) -> str:
    """What its line is of, without the group; what is no line of ours stands for itself."""
    return item.line_id.split(":")[0] if item.line_id else item.text


def together(items: Sequence[Item], period: Period) -> Item:
    if len(items) == 1:
        return items[0]
    return Item(
        text=f"{items[0].text} and {len(items) - 1} more lines",
        period=period,
        amount=sum((item.amount for item in items), ZERO),
        taxes=by_code(tax for item in items for tax in item.taxes),
        line_id=charge_of(items[0]),
    )


def line_params(item: Item, place: int, currency: str) -> Params:
    params: Params = {
        "amount": minor(item.amount, currency),
        "description": cut(item.text),
        "discountable": False,
        "period": {"start": item.period.start // SECOND, "end": (item.period.end - 1) // SECOND},
        "metadata": {"creto_place": str(place), "creto_line": cut(item.line_id)},
    }
    taxes = [tax_params(tax, currency) for tax in item.taxes]
    return params | {"tax_amounts": taxes} if taxes else params


def tax_params(tax: TaxAmount, currency: str) -> Params:
    percent = tax.percent.quantize(Decimal("0.0001"))
    if percent != tax.percent:
        raise InvalidInput.of("percent", got=str(tax.percent), expected="at most 4 decimals", code="MT-424")
    return {
        "amount": minor(tax.amount, currency),
        "taxable_amount": minor(tax.taxable, currency),
        "tax_rate_data": {"display_name": tax.code, "percentage": f"{percent.normalize():f}", "inclusive": False},
    }


def places(request: Params) -> set[str]:
    """The lines of a request, as they name themselves."""
    return {line["metadata"]["creto_place"] for line in request["lines"]}


def credit_params(note: Invoice, there: StripeId, invoice: Params) -> Params:
    """A credit note over what is still unpaid, and for the rest a credit to the customer's balance."""
    given = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    amount = min(minor(note.due, note.currency), max(invoice["total"] - given, 0))
    paid = amount - min(amount, max(invoice["amount_remaining"], 0))
    params: Params = {
        "invoice": there,
        "amount": amount,
        "memo": cut(f"Credit note {note.number}"),
        "metadata": {
            "creto_tenant": note.tenant,
            "creto_invoice": note.invoice_id,
            "creto_number": note.number,
            "creto_digest": invoice_digest(note),
        },
    }
    return params | {"credit_amount": paid} if paid else params


def check_total(sheet: Sheet, total: int) -> None:
    """Before it becomes final there: Stripe asks the customer for what we ask, to the last unit."""
    due = minor(sheet.due, sheet.currency)
    if total != due:
        counted = major(total, sheet.currency)
        raise InvalidInput(
            "MT-424",
            f"Stripe counts {counted} {sheet.currency} for {sheet.our_id}, {sheet.due} is due",
            field="total",
            got=total,
            expected=due,
            hint="The invoice stays a draft there. Look whether somebody changed it, or taxes are added by the account.",
        )


def cut(text: str) -> str:
    return text if len(text) <= STRIPE_TEXT_CHARS_MAX else text[: STRIPE_TEXT_CHARS_MAX - 1] + "…"
