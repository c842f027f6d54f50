"""Invoices: from lines to a bill, and from a bill to its numbers, its voiding and its credit notes.

    PREVIEW;  DRAFT → GRACE → FINAL → VOID;  DRAFT → FINAL;  DRAFT, GRACE → VOID

Each line is rounded to the currency; everything below the lines is a sum of rounded numbers. The canonical form of an invoice is one
byte string, the same wherever and whenever it is made, so its digest names it.

INVARIANT: subtotal, discount, tax and total are the sums over the lines.
INVARIANT: an invoice that is FINAL never changes; only its status may, to VOID. It keeps its number then: numbers have no gaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.ids import AgentId, SubscriptionId, TenantId
from creto.common.limits import SERIES_CHARS_MAX
from creto.metering.coupons import discounted
from creto.metering.credits import BURN_ORDER, BurnKey, Grant, Owed, cover, in_units
from creto.metering.currencies import Currency, ExchangeRate, iso
from creto.metering.periods import Period, prorated
from creto.metering.rounding import HUNDRED, ZERO, precise
from creto.metering.taxes import TaxRounding, by_code, taxed
from creto.metering.types import (
    ChargeId,
    Coupon,
    CouponUse,
    CreditUse,
    GrantId,
    Invoice,
    InvoiceId,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineKind,
    Shown,
    Tax,
)
from creto.platform.crypto import digest

NEXT = {
    InvoiceStatus.PREVIEW: (),
    InvoiceStatus.DRAFT: (InvoiceStatus.GRACE, InvoiceStatus.FINAL, InvoiceStatus.VOID),
    InvoiceStatus.GRACE: (InvoiceStatus.FINAL, InvoiceStatus.VOID),
    InvoiceStatus.FINAL: (InvoiceStatus.VOID,),
    InvoiceStatus.VOID: (),
}


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """What an invoice is about."""

    invoice_id: InvoiceId
    tenant: TenantId
    subscription_id: SubscriptionId
    currency: str
    period: Period
    plan: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the whole invoice: coupons, taxes, credits, who has a wallet, the switches of rounding and order.

    With `fixed` whoever asked for the invoice set them; else they are those of the subscription, as they are when it becomes
    final. Credits pay as they are at `paid_at`, or as they were when the period ended.
    """

    coupons: tuple[Coupon, ...] = ()
    taxes: tuple[Tax, ...] = ()
    grants: tuple[Grant, ...] = ()
    remaining: dict[GrantId, Decimal] = {}
    paid_at: int | None = None
    wallets: frozenset[AgentId] | None = None  # None: whoever has one when it is counted
    shown: ExchangeRate | None = None
    fixed: bool = False
    percent_first: bool = True
    tax_rounding: TaxRounding = TaxRounding.LINE
    burn_order: tuple[BurnKey, ...] = BURN_ORDER


NO_TERMS = Terms()


@precise
def draft(heading: Heading, lines: Sequence[Line], terms: Terms = NO_TERMS) -> Invoice:
    """Coupons come off the lines, taxes go on what is left, credits pay what is due.

    Corrections bring their discount and tax with them: those of the invoice that they correct.
    """
    currency = iso(heading.currency)
    fresh = [line for line in lines if line.corrects is None]
    off = discounted(
        [(line.charge_id, line.amount) for line in fresh], terms.coupons, currency, percent_first=terms.percent_first
    )
    cheaper = [replace(line, discount=part) for line, part in zip(fresh, off.per_line, strict=True)]
    taxes = taxed([line.taxable for line in cheaper], terms.taxes, currency, terms.tax_rounding)
    ready = (
        *(replace(line, taxes=tax) for line, tax in zip(cheaper, taxes, strict=True)),
        *(line for line in lines if line.corrects is not None),
    )
    made = replace(summed(heading, ready), coupons=tuple(CouponUse(*taken) for taken in off.taken.items()))
    if terms.grants:
        owed = [part for line in ready for part in owed_for(line, currency)]
        at = heading.period.end - 1 if terms.paid_at is None else terms.paid_at
        uses = cover(terms.grants, terms.remaining, owed, currency.code, at, terms.burn_order)
        made = settled(made, in_units(uses, currency.digits))
    made = carried(made)
    return made if terms.shown is None else shown_in(made, terms.shown)


def carried(invoice: Invoice) -> Invoice:
    """Nobody is asked for less than nothing: what an invoice gives back goes to the wallet."""
    return replace(invoice, carried=-invoice.total, due=ZERO) if invoice.total < 0 else invoice


def left_over(invoice: Invoice) -> Decimal:
    """What is due by its foot: an invoice is paid by credits and carries a total below 0, a credit note gives both back."""
    sign = 1 if invoice.kind is InvoiceKind.INVOICE else -1
    return invoice.total - sum((use.amount for use in invoice.credits), ZERO) + sign * invoice.carried


def owed_for(line: Line, currency: Currency) -> list[Owed]:
    """A line with its taxes, by who bears it: what an agent bears its own credits may pay."""
    names, amount = frozenset({line.charge_id, line.kind}), with_tax(line)
    weights = [share.amount for share in line.shares]
    if amount <= 0 or not any(weights) or min(weights) < 0:
        return [Owed(line.line_id, names, amount)]
    parts = zip(line.shares, currency.split(amount, weights), strict=True)
    return [Owed(line.line_id, names, part, share.agent) for share, part in parts]


def shown_in(invoice: Invoice, rate: ExchangeRate) -> Invoice:
    """What it comes to in another currency; what is owed stays what it is."""
    to = iso(rate.quote)
    total, due = to.rounded(invoice.total * rate.rate), to.rounded(invoice.due * rate.rate)
    return replace(invoice, shown=Shown(to.code, rate.rate, rate.at, total, due))


def with_tax(line: Line) -> Decimal:
    return line.taxable + sum((tax.amount for tax in line.taxes), ZERO)


@precise
def summed(heading: Heading, lines: tuple[Line, ...], kind: InvoiceKind = InvoiceKind.INVOICE) -> Invoice:
    subtotal = sum((line.amount for line in lines), ZERO)
    discount = sum((line.discount for line in lines), ZERO)
    taxes = by_code(tax for line in lines for tax in line.taxes)
    tax = sum((t.amount for t in taxes), ZERO)
    total = subtotal - discount + tax
    return Invoice(
        invoice_id=heading.invoice_id,
        tenant=heading.tenant,
        subscription_id=heading.subscription_id,
        currency=heading.currency,
        period=heading.period,
        plan=heading.plan,
        lines=lines,
        subtotal=subtotal,
        discount=discount,
        taxes=taxes,
        tax=tax,
        total=total,
        due=total,
        kind=kind,
    )


@precise
def settled(invoice: Invoice, uses: tuple[CreditUse, ...]) -> Invoice:
    """Paid from credits. They pay no more than the total: negative lines make it less than its parts."""
    left, taken = max(invoice.total, ZERO), []
    for use in uses:
        part = min(use.amount, left)
        if part > 0:
            taken.append(replace(use, amount=part))
            left -= part
    return replace(invoice, credits=tuple(taken), due=invoice.total - sum((u.amount for u in taken), ZERO))


def moved(invoice: Invoice, status: InvoiceStatus) -> Invoice:
    if status not in NEXT[invoice.status]:
        raise AlreadyExists(
            "MT-412",
            f"{invoice.invoice_id} is {invoice.status} and cannot become {status}",
            got=invoice.status,
            expected=", ".join(NEXT[invoice.status]) or "no further change",
        )
    return replace(invoice, status=status)


def finalized(invoice: Invoice, series: str, last: int, now: int) -> tuple[Invoice, int]:
    """Final, with the next number of its series; the caller commits both in one transaction, so there is no gap."""
    final = replace(moved(invoice, InvoiceStatus.FINAL), number=number(series, last + 1), finalized_at=now)
    return final, last + 1


SERIES = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def checked_series(series: str) -> str:
    """It stands before every number, on paper and in the names of files."""
    if len(series) > SERIES_CHARS_MAX or not SERIES.fullmatch(series) or ".." in series:
        expected = f"1 to {SERIES_CHARS_MAX} letters and digits, with . _ or - between them"
        raise InvalidInput.of("series", got=series, expected=expected, code="MT-400")
    return series


def number(series: str, sequence: int) -> str:
    if sequence < 1:
        raise InvalidInput.of("sequence", got=sequence, expected="1 or above", code="MT-400")
    return f"{series}-{sequence:06d}"


def voided(invoice: Invoice) -> Invoice:
    return moved(invoice, InvoiceStatus.VOID)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands of an invoice's lines, by their ids: with what corrections and credit notes took back, and what credits paid of it still."""

    taxable: dict[str, Decimal]
    credits: tuple[CreditUse, ...] = ()


@precise
def credit_note(
    heading: Heading,
    invoice: Invoice,
    credits: Sequence[tuple[str, Decimal]],
    standing: Standing | None = None,
    *,
    as_credits: bool = False,
) -> Invoice:
    """Give back parts of a final invoice's lines. Amounts are exact: the line and its tax are each rounded once.

    No more than stands of a line. What credits paid of it goes back to them by its share, the rest is due to the customer, or goes to
    the wallet `as_credits`.
    """
    if invoice.status is not InvoiceStatus.FINAL or invoice.kind is InvoiceKind.CREDIT_NOTE:
        got = invoice.status if invoice.kind is InvoiceKind.INVOICE else invoice.kind
        raise AlreadyExists("MT-412", f"{invoice.invoice_id} is {got}", got=got, expected="a final invoice")
    currency = iso(invoice.currency)
    stands = standing or Standing(taxable={x.line_id: x.taxable for x in invoice.lines}, credits=invoice.credits)
    by_id = {line.line_id: line for line in invoice.lines}
    lines, uses = [], []
    for line_id, wanted in merged(credits):
        if line_id not in by_id:
            raise InvalidInput.of("line_id", got=line_id, expected=f"a line of {invoice.number}", code="MT-400")
        line, left = by_id[line_id], stands.taxable.get(line_id, ZERO)
        check_credited(line_id, wanted, left, currency)
        back = credited_line(line, wanted, invoice.invoice_id, currency)
        paid = [use for use in stands.credits if use.line_id == line_id]
        lines.append(back)
        uses += returned(paid, wanted, left, with_tax(back), currency)
    note = replace(summed(heading, tuple(lines), InvoiceKind.CREDIT_NOTE), corrects=invoice.invoice_id)
    note = replace(note, credits=tuple(uses))
    due = left_over(note)
    return replace(note, carried=due, due=ZERO) if as_credits else replace(note, due=due)


def merged(credits: Sequence[tuple[str, Decimal]]) -> list[tuple[str, Decimal]]:
    """Each line once."""
    sums: dict[str, Decimal] = {}
    for line_id, amount in credits:
        sums[line_id] = sums.get(line_id, ZERO) + amount
    return list(sums.items())


def check_credited(line_id: str, wanted: Decimal, left: Decimal, currency: Currency) -> None:
    if not wanted.is_finite() or currency.rounded(wanted) <= 0:
        raise InvalidInput.of(f"{line_id}.amount", got=str(wanted), expected="an amount above 0", code="MT-400")
    if wanted > left:
        expected = (
            f"at most {max(left, ZERO)}, which stands of the line" if left > 0 else "a line of which something stands"
        )
        raise InvalidInput.of(f"{line_id}.amount", got=str(wanted), expected=expected, code="MT-400")


@precise
def returned(
    paid: Sequence[CreditUse], part: Decimal, whole: Decimal, at_most: Decimal, currency: Currency
) -> list[CreditUse]:
    """What of a line's credits goes back with a part of it: its share, and all of it with all of the line. Who paid last is first."""
    total = sum((use.amount for use in paid), ZERO)
    left, found = min(currency.rounded(total * part / whole), at_most), []
    for use in reversed(paid):
        amount = min(use.amount, left)
        if amount:
            found.append(replace(use, amount=amount))
            left -= amount
    return found


def credited_line(line: Line, exact: Decimal, corrects: InvoiceId, currency: Currency) -> Line:
    taxes = tuple(
        replace(tax, taxable=exact, amount=currency.rounded(exact * tax.percent / HUNDRED)) for tax in line.taxes
    )
    return replace(
        line,
        exact=exact,
        amount=currency.rounded(exact),
        discount=ZERO,
        taxes=taxes,
        steps=(),
        shares=(),
        corrects=corrects,
    )


@precise
def unused(line: Line, part: int, whole: int) -> Decimal:
    """What of a line that was paid in advance is left, exact."""
    return prorated(line.taxable, part, whole)


@precise
def canonical(invoice: Invoice) -> bytes:
    """The invoice as one byte string. Numbers have one spelling, keys are sorted; the status is no part of it."""
    final = replace(invoice, status=InvoiceStatus.FINAL)
    return wire.encode(spelled(msgspec.to_builtins(final, builtin_types=(Decimal,))))


def spelled(value: object) -> object:
    match value:
        case Decimal():
            return f"{value.normalize():f}" if value else "0"
        case dict():
            return {key: spelled(part) for key, part in value.items()}
        case list() | tuple():
            return [spelled(part) for part in value]
    return value


def invoice_digest(invoice: Invoice) -> str:
    return digest(canonical(invoice)).hex()


LINE_ORDER = {kind: place for place, kind in enumerate(LineKind)}


def in_order(lines: Iterable[Line], charges: Sequence[ChargeId]) -> list[Line]:
    """As people read it: fees, usage, true-ups, corrections; within them as the plan lists its charges."""
    place = {charge: i for i, charge in enumerate(charges)}
    return sorted(
        lines, key=lambda x: (LINE_ORDER[x.kind], place.get(x.charge_id, len(place)), x.period.start, x.line_id)
    )
